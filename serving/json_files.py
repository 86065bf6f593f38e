"""Small JSON files of the release store: read strictly, written whole or not at all."""

import json
import os
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from feature_repo.errors import ReleaseError
from feature_repo.model import StrictModel

Model = TypeVar("Model", bound=StrictModel)


def read_json(path: Path, model: type[Model], remedy: str) -> Model:
    """The file as a typed model.

    Args:
        path: the JSON file.
        model: its type; unknown keys and values of another type are refused.
        remedy: what the user can do when the file cannot be used; ends the error's line.

    Raises:
        ReleaseError: on one line, when the file cannot be read or does not fit the model.
    """
    try:
        return model.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ReleaseError(f"{path} cannot be read ({error.strerror}). {remedy}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        what = f"`{key}`: {first['msg']}" if key else first["msg"]
        received = repr(first["input"])
        received = received if len(received) <= 80 else received[:77] + "..."
        raise ReleaseError(f"{path} is damaged: {what}. Received: {received}. {remedy}") from error


def write_json(path: Path, content: Any) -> None:
    """Replaces the file in one step; what is written is on disk when this returns.

    Raises:
        ReleaseError: when `content` cannot be JSON, such as a NaN among metrics.
    """
    try:
        text = json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise ReleaseError(f"{path.name} cannot be written: {error}. Pass plain JSON values without NaN.") from error
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Puts renames within a folder on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
