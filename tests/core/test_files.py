"""Files are whole or absent, whatever happens while they are written."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bodydouble.core import files
from bodydouble.core.errors import InputError, OutputError


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.name.startswith("."))


def test_a_file_appears_whole(tmp_path: Path):
    target = tmp_path / "deep" / "file.txt"
    with files.atomic_path(target) as partial:
        partial.write_text("half")
        assert not target.exists()
        partial.write_text("whole")
    assert target.read_text() == "whole"
    assert leftovers(tmp_path) == []


def test_an_exception_leaves_the_old_file(tmp_path: Path):
    target = tmp_path / "file.txt"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), files.atomic_path(target) as partial:
        partial.write_text("new")
        _ = 1 / 0
    assert target.read_text() == "old"
    assert leftovers(tmp_path) == []


def test_a_folder_replaces_a_folder(tmp_path: Path):
    target = tmp_path / "folder"
    target.mkdir()
    (target / "old").touch()
    with files.atomic_path(target) as partial:
        partial.mkdir()
        (partial / "new").touch()
    assert [p.name for p in target.iterdir()] == ["new"]


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "disk is full"), (errno.EACCES, "cannot be written"), (errno.EROFS, "cannot be written")],
)
def test_a_full_or_closed_disk_is_an_error_with_advice(tmp_path: Path, number: int, words: str):
    target = tmp_path / "file.bin"
    with pytest.raises(OutputError, match=words) as caught, files.atomic_path(target) as partial:
        partial.write_bytes(b"some")
        raise OSError(number, os.strerror(number))
    assert str(target) in str(caught.value)
    assert not target.exists()
    assert leftovers(tmp_path) == []


def test_a_place_that_takes_no_files(tmp_path: Path):
    """Such as /proc, where even root can make none: the system says that there is no such file."""
    target = tmp_path / "file.bin"
    with pytest.raises(OutputError, match=r"file\.bin cannot be written: No such file"), files.atomic_path(target):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def test_a_really_full_disk(tmp_path: Path):
    """/dev/full refuses every write with 'no space left'."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(OutputError, match="disk is full"), files.atomic_path(tmp_path / "x") as partial:
        partial.symlink_to("/dev/full")
        with partial.open("wb", buffering=0) as handle:
            handle.write(b"x")
    assert leftovers(tmp_path) == []


def test_other_os_errors_pass_unchanged(tmp_path: Path):
    with pytest.raises(FileNotFoundError), files.atomic_path(tmp_path / "x"):
        (tmp_path / "absent").read_bytes()


def test_kill_leaves_the_old_file_and_a_partial_that_can_be_removed(tmp_path: Path):
    target = tmp_path / "file.txt"
    target.write_text("old")
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom bodydouble.core.files import atomic_path\n"
        "with atomic_path(Path(sys.argv[1])) as partial:\n"
        "    partial.write_text('new')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    result = subprocess.run([sys.executable, "-c", code, str(target)], timeout=120, check=False)
    assert result.returncode == -signal.SIGKILL
    assert target.read_text() == "old"
    assert len(leftovers(tmp_path)) == 1
    files.remove_partials(tmp_path)
    assert leftovers(tmp_path) == []
    assert target.read_text() == "old"


def test_json_round_trip_and_refusals(tmp_path: Path):
    files.write_json(tmp_path / "a.json", {"a": [1, 2.5, None]})
    assert files.read_json(tmp_path / "a.json") == {"a": [1, 2.5, None]}
    with pytest.raises(ValueError, match=r"Out of range|not JSON compliant"):
        files.write_json(tmp_path / "nan.json", {"a": float("nan")})
    assert not (tmp_path / "nan.json").exists()
    with pytest.raises(InputError, match="is missing"):
        files.read_json(tmp_path / "absent.json")
    for text in ("{", "[" * 200_000, '{"a": ' + "9" * 5000 + "}"):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(InputError, match="not readable as JSON"):
            files.read_json(tmp_path / "bad.json")
    (tmp_path / "list.json").write_text(json.dumps([1]))
    with pytest.raises(InputError, match="must hold a JSON object"):
        files.read_json(tmp_path / "list.json")


def test_tensors_round_trip_and_refusals(tmp_path: Path):
    whole = torch.arange(12.0).reshape(3, 4)
    files.write_tensors(tmp_path / "t.safetensors", {"view": whole.T, "flag": torch.tensor(True)}, {"version": "1"})
    tensors, metadata = files.read_tensors(tmp_path / "t.safetensors")
    torch.testing.assert_close(tensors["view"], whole.T)
    assert tensors["flag"].item() is True
    assert metadata == {"version": "1"}
    data = (tmp_path / "t.safetensors").read_bytes()
    for damaged in (b"", data[:20], data[:-3], b"not tensors at all"):
        (tmp_path / "bad.safetensors").write_bytes(damaged)
        with pytest.raises(InputError, match="not a readable"):
            files.read_tensors(tmp_path / "bad.safetensors")


def test_sha256_of_a_file(tmp_path: Path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert files.file_sha256(tmp_path / "abc").startswith("ba7816bf8f01cfea")
