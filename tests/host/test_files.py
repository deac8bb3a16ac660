"""Atomic writes: whatever stops one, the old file stays and nothing else is left behind."""

import errno
import os

import pytest

from adakern.files import check_writable, write_atomically
from adakern_spec.errors import AdakernError


def test_a_file_appears_whole_in_a_new_folder(tmp_path):
    path = tmp_path / "new" / "result.txt"
    write_atomically(path, lambda temporary: temporary.write_text("whole"))
    assert path.read_text() == "whole"
    assert os.listdir(path.parent) == ["result.txt"]


def test_the_old_file_stands_while_the_new_one_is_written(tmp_path):
    path = tmp_path / "result.txt"
    path.write_text("old")
    seen = []

    def write(temporary):
        temporary.write_text("new")
        seen.append(path.read_text())

    write_atomically(path, write)
    assert seen == ["old"]
    assert path.read_text() == "new"


@pytest.mark.parametrize(
    ("failure", "raised", "named"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), AdakernError, "No space left on device"),
        (KeyboardInterrupt(), KeyboardInterrupt, None),
        (RuntimeError("in the writer"), RuntimeError, "in the writer"),
    ],
)
def test_a_write_that_fails_half_way_changes_nothing(tmp_path, failure, raised, named):
    path = tmp_path / "result.txt"
    path.write_text("old")

    def write(temporary):
        temporary.write_text("half")
        raise failure

    with pytest.raises(raised, match=named):
        write_atomically(path, write)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["result.txt"]


def test_an_impossible_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(AdakernError, match=str(tmp_path / "file" / "result.txt")):
        write_atomically(tmp_path / "file" / "result.txt", lambda temporary: None)


def test_check_before_writing_leaves_nothing_and_makes_the_folder(tmp_path):
    check_writable(tmp_path / "new" / "result.txt")
    assert os.listdir(tmp_path / "new") == []


def test_check_before_writing_refuses_a_folder_and_a_place_below_a_file(tmp_path):
    with pytest.raises(AdakernError, match="is a folder; name a file in it"):
        check_writable(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(AdakernError, match="cannot write"):
        check_writable(tmp_path / "file" / "result.txt")
