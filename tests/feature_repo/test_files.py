import pytest

from feature_repo.files import whole_file, write_file


def test_file_takes_its_place_when_the_block_ends(tmp_path):
    path = tmp_path / "new" / "table"
    with whole_file(path) as partial:
        partial.write_text("half")
        assert not path.exists()
        partial.write_text("whole")
    assert path.read_text() == "whole"
    assert [entry.name for entry in path.parent.iterdir()] == ["table"]


def test_failure_leaves_what_was_there_and_nothing_beside_it(tmp_path):
    path = tmp_path / "table"
    write_file(b"old", path)

    def fail() -> None:
        with whole_file(path) as partial:
            partial.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["table"]
