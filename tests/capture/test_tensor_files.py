"""Files of torch and joblib are read as numbers, whatever else is in them is refused, and nothing in them is run."""

from __future__ import annotations

import pickle
from collections import defaultdict
from pathlib import Path

import estimate_sets as sets
import numpy as np
import pytest
import torch

from bodydouble.capture.foreign.tensor_files import TensorNumbers, read_joblib, read_torch
from bodydouble.core.errors import InputError
from bodydouble.core.pickles import read_object_npy

VALUES = {
    "float": torch.arange(12.0).reshape(3, 4),
    "turned": torch.arange(12.0).reshape(3, 4).T,
    "part": torch.arange(12).reshape(3, 4)[1:, ::2],
    "repeated": torch.tensor([[1.0, 2.0]]).expand(5, 2),
    "half": torch.tensor([1.5, -2.0], dtype=torch.float16),
    "brain": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    "flags": torch.tensor([True, False]),
    "double": torch.tensor(3.25, dtype=torch.float64),
    "none": torch.zeros(0, 3),
    "parameter": torch.nn.Parameter(torch.ones(2)),
}


class Bad:
    def __reduce__(self):
        return (Path("made").touch, ())


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_of_torch(zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"nested": [VALUES, "text", 3, None]}, path, _use_new_zipfile_serialization=zipped)
    nested, text, number, nothing = read_torch(path)["nested"]
    assert (text, number, nothing) == ("text", 3, None)
    for name, tensor in VALUES.items():
        assert np.array_equal(nested[name], tensor.detach().float().numpy()), name
        assert nested[name].shape == tuple(tensor.shape)


def test_tensors_within_numpy_s_pickles(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", {"t": VALUES["turned"], "a": np.arange(3)}, allow_pickle=True)  # type: ignore[arg-type]
    found = read_object_npy(tmp_path / "a.npy", TensorNumbers)
    assert np.array_equal(found["t"], VALUES["turned"].numpy())
    assert np.array_equal(found["a"], [0, 1, 2])
    with pytest.raises(InputError, match="asks for torch"):
        read_object_npy(tmp_path / "a.npy")


def test_arrays_of_joblib(tmp_path: Path) -> None:
    value = defaultdict(dict)
    value[3] = {"f": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "n": np.int64(7), "e": np.zeros((0, 3)), "s": "x"}
    value[np.int64(5)]["c"] = np.arange(5, dtype=np.int32)
    (tmp_path / "a.pkl").write_bytes(sets.joblib_bytes(value))
    found = read_joblib(tmp_path / "a.pkl")
    assert np.array_equal(found[3]["f"], value[3]["f"])
    assert (found[3]["n"], found[3]["s"], found[3]["e"].shape) == (7, "x", (0, 3))
    assert np.array_equal(found[5]["c"], value[5]["c"])
    (tmp_path / "b.pkl").write_bytes(pickle.dumps({"a": np.arange(3)}))
    assert np.array_equal(read_joblib(tmp_path / "b.pkl")["a"], [0, 1, 2])


@pytest.mark.parametrize("kind", ["zip", "legacy", "joblib", "npy"])
def test_code_is_never_run(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bad"
    if kind == "joblib":
        path.write_bytes(pickle.dumps({"a": Bad()}))
    elif kind == "npy":
        np.save(tmp_path / "bad.npy", {"a": Bad()}, allow_pickle=True)  # type: ignore[arg-type]
        path = tmp_path / "bad.npy"
    else:
        torch.save({"a": Bad()}, path, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(InputError, match="which is not a number"):
        if kind == "npy":
            read_object_npy(path, TensorNumbers)
        else:
            (read_joblib if kind == "joblib" else read_torch)(path)
    assert not (tmp_path / "made").exists()


def test_modules_and_models_are_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "m.pt")
    with pytest.raises(InputError, match=r"asks for torch\.nn\.modules\.linear\.Linear"):
        read_torch(tmp_path / "m.pt")


def test_damage_is_told(tmp_path: Path) -> None:
    torch.save(VALUES, tmp_path / "a.pt")
    torch.save(VALUES, tmp_path / "l.pt", _use_new_zipfile_serialization=False)
    for name, reader in (("a.pt", read_torch), ("l.pt", read_torch)):
        data = (tmp_path / name).read_bytes()
        for share in (0.2, 0.5, 0.9):
            (tmp_path / "cut").write_bytes(data[: int(len(data) * share)])
            with pytest.raises(InputError, match="cut"):
                reader(tmp_path / "cut")
    data = sets.joblib_bytes({"a": np.arange(1000.0)})
    (tmp_path / "cut").write_bytes(data[:2000])
    with pytest.raises(InputError, match="has another size than it says; the file may be truncated"):
        read_joblib(tmp_path / "cut")
    (tmp_path / "cut").write_bytes(b"x\x9cnonsense")
    with pytest.raises(InputError, match="without compression"):
        read_joblib(tmp_path / "cut")
    with pytest.raises(InputError, match="missing"):
        read_torch(tmp_path / "nowhere.pt")


def test_a_tensor_beyond_its_storage_is_refused(tmp_path: Path) -> None:
    """A description that was tampered with: 12 numbers are there, 4000 are announced."""
    torch.save({"t": torch.arange(12.0).reshape(3, 4)}, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    data = (tmp_path / "a.pt").read_bytes()
    shape = b"K\x03K\x04\x86"  # the pair (3, 4)
    assert data.count(shape) == 1
    (tmp_path / "a.pt").write_bytes(data.replace(shape, b"K\xf0K\x04\x86"))
    with pytest.raises(InputError, match="reaches beyond its storage"):
        read_torch(tmp_path / "a.pt")
