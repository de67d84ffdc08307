"""Sparse matrices and chumpy's arrays out of pickles, without their packages' code."""

from __future__ import annotations

import pickle
import sys
import types
from unittest import mock

import numpy as np
import pytest
from scipy import sparse

from bodydouble.core import pickles
from bodydouble.core.errors import InputError

DENSE = np.array([[0.0, 1.5, 0.0, -2.0], [0.0, 0.0, 0.0, 0.0], [3.0, 0.0, 0.25, 0.0]])


@pytest.mark.parametrize("make", [sparse.csc_matrix, sparse.csr_matrix, sparse.coo_matrix, sparse.csr_array])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_sparse_matrices_are_written_out(make, protocol: int) -> None:
    found = pickles.loads(pickle.dumps({"J": make(DENSE), "n": 1}, protocol), "test")
    np.testing.assert_array_equal(found["J"], DENSE)
    assert found["n"] == 1


def chumpy_pickle(protocol: int, name: str, **state: object) -> bytes:
    """What chumpy writes, without chumpy: a class of that name that keeps its state in a dict."""
    module_name, _, class_name = name.rpartition(".")
    module = types.ModuleType(module_name)
    made = type(class_name, (), {"__module__": module_name, "__qualname__": class_name})
    setattr(module, class_name, made)
    box = made()
    vars(box).update(state)
    parents = {"chumpy": types.ModuleType("chumpy")} if module_name.startswith("chumpy") else {}
    with mock.patch.dict(sys.modules, {**parents, module_name: module}):
        return pickle.dumps([box], protocol)


@pytest.mark.parametrize("protocol", [0, 2])
def test_chumpy_arrays_become_plain(protocol: int) -> None:
    found = pickles.loads(chumpy_pickle(protocol, "chumpy.ch.Ch", x=DENSE, _dirty_vars=set(), _itr=None), "test")
    np.testing.assert_array_equal(found[0], DENSE)
    chosen = {"a": DENSE, "idxs": np.array([1, 3, 8]), "preferred_shape": (3, 1)}
    found = pickles.loads(chumpy_pickle(protocol, "chumpy.reordering.Select", **chosen), "test")
    np.testing.assert_array_equal(found[0], [[1.5], [-2.0], [3.0]])


@pytest.mark.parametrize(
    ("name", "state", "text"),
    [
        ("chumpy.ch.Ch", {"x": "nothing"}, "something else than numbers"),
        ("chumpy.ch.Ch", {"a": DENSE, "idxs": np.array([12])}, "selects what is not there"),
        ("chumpy.ch.Ch", {"a": DENSE, "idxs": np.array([1]), "preferred_shape": (2, 2)}, "describes itself wrongly"),
        ("chumpy.ch.Secret", {"x": DENSE}, r"asks for chumpy\.ch\.Secret"),
        ("scipy.sparse.csr_matrix", {"_shape": (10**6, 10**6)}, "too large"),
        ("scipy.sparse.csr_matrix", {"_shape": (2.0, -1)}, "expected two lengths"),
        ("scipy.sparse.csr_matrix", {"_shape": (1, 1), "data": np.ones(1), "indptr": np.array([0, 1]), "indices": np.array([4])}, "outside of its shape"),
        ("scipy.sparse.csc_matrix", {"_shape": (9, 9), "data": np.ones(1), "indptr": np.array([0, 5]), "indices": np.array([4])}, "describes itself wrongly"),
    ],
)  # fmt: skip
def test_hostile_states_are_refused(name: str, state: dict, text: str) -> None:
    data = chumpy_pickle(2, name, **state)
    with pytest.raises(InputError, match=text):
        pickles.loads(data, "test")


def test_their_classes_cannot_be_changed_or_filled_otherwise() -> None:
    for data in (
        b"\x80\x02cscipy.sparse\ncsr_matrix\n}X\x01\x00\x00\x00aK\x01sb.",  # BUILD on the class itself
        b"\x80\x02cscipy.sparse\ncsr_matrix\n)\x81.",  # an instance that never got a state
        b"\x80\x02ccopy_reg\n_reconstructor\n(c__builtin__\nset\nc__builtin__\nobject\nNtR.",
    ):
        with pytest.raises(InputError):
            pickles.loads(data, "test")
