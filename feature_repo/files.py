"""Files that are never seen half-written."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path | str) -> Iterator[Path]:
    """A path beside `path` to write to; it takes `path`'s place when the block ends, and is gone when the block fails.

    Folders on the way are made. What stood at `path` before stays until then.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_file(content: bytes, path: Path | str) -> None:
    """Writes a whole file in one move."""
    with whole_file(path) as partial:
        partial.write_bytes(content)
