"""Make `tests/body/golden_anny.npz` from the anny package's own forward pass.

Run with an installed `anny`; its first construction takes about two minutes and a gigabyte in ANNY_CACHE_DIR:

    ANNY_CACHE_DIR=/tmp/anny python scripts/make_golden_anny.py

The file holds a few random shapes, poses and expressions in our conventions (see `bodydouble.core.skinning`) together
with what the package makes of them, for a subset of the vertices, in float32.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

R_OURS_ANNY = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
"""Rotation from anny's axes (z up, facing -y) to ours (y up, facing +z)."""


def package_model() -> Any:
    """The package's own model, all facial actions, plain blend shapes, plain torch skinning, float64."""
    import anny

    return anny.Anny(
        facial_actions="all", phenotype_blendshapes="original", skinning_method="lbs", extrapolate_phenotypes=True
    )


def package_forward(
    model: Any,
    shape: NDArray[np.float64],
    rotvecs: NDArray[np.float64],
    translation_m: NDArray[np.float64],
    expression: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Vertices and joints of the package for cases in our conventions, in our axes.

    Args:
        shape: (cases, 6). rotvecs: (cases, bones, 3). translation_m: (cases, 3). expression: (cases, 52).
    Returns:
        (cases, verts, 3) and (cases, bones, 3), metres.
    """
    import roma

    to_ours = torch.from_numpy(R_OURS_ANNY)
    inputs = {
        "phenotype_kwargs": torch.from_numpy(shape),
        "facial_actions": torch.from_numpy(expression),
    }
    rest = model(**inputs)["rest_bone_poses"]
    # Our rotations act on the blend-shaped rest state, so the package's world orientation is ours times its rest one.
    R_local = to_ours.T @ roma.rotvec_to_rotmat(torch.from_numpy(rotvecs)) @ to_ours
    R_world = [R_local[:, 0]]
    for bone, parent in enumerate(model.bone_parents[1:], start=1):
        R_world.append(R_world[parent] @ R_local[:, bone])
    pose = torch.eye(4, dtype=torch.float64).repeat(*rotvecs.shape[:2], 1, 1)
    pose[..., :3, :3] = torch.stack(R_world, 1) @ rest[..., :3, :3]
    pose[:, 0, :3, 3] = rest[:, 0, :3, 3] + torch.from_numpy(translation_m) @ to_ours
    out = model(pose_parameters=pose, pose_parameterization="world-orient", **inputs)
    vertices = out["vertices"] @ to_ours.T
    return vertices.numpy(), (out["bone_poses"][..., :3, 3] @ to_ours.T).numpy()


def random_cases(
    num_cases: int, num_bones: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Shapes over the whole range and a little beyond, wild poses, strong expressions; the first case is the rest pose."""
    rng = np.random.default_rng(seed)
    shape = rng.uniform(0.0, 1.0, (num_cases, 6))
    shape[1] = [1.05, 0.1, -0.05, 1.05, 1.05, -0.05]
    rotvecs = rng.normal(0.0, 0.35, (num_cases, num_bones, 3))
    rotvecs[0] = 0.0
    translation = rng.normal(0.0, 1.0, (num_cases, 3))
    expression = rng.uniform(0.0, 1.0, (num_cases, 52)) * (rng.uniform(size=(num_cases, 52)) < 0.3)
    rounded = tuple(a.astype(np.float32).astype(np.float64) for a in (shape, rotvecs, translation, expression))
    return rounded[0], rounded[1], rounded[2], rounded[3]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("-o", "--out", type=Path, default=Path(__file__).parent.parent / "tests/body/golden_anny.npz")
    args = parser.parse_args()
    model = package_model()
    shape, rotvecs, translation, expression = random_cases(8, len(model.bone_labels), seed=0)
    vertices, joints = package_forward(model, shape, rotvecs, translation, expression)
    rng = np.random.default_rng(1)
    ids = np.sort(rng.choice(vertices.shape[1], 1500, replace=False))
    np.savez_compressed(
        args.out,
        bone_names=np.array(model.bone_labels),
        bone_parents=np.array(model.bone_parents),
        shape_names=np.array(model.phenotype_labels),
        num_vertices=vertices.shape[1],
        faces_checksum=np.array([int((model.faces * torch.tensor([1, 3, 7])).sum()), len(model.faces)]),
        shape=shape.astype(np.float32),
        rotvecs=rotvecs.astype(np.float32),
        translation_world_m=translation.astype(np.float32),
        expression=expression.astype(np.float32),
        vertex_ids=ids.astype(np.int32),
        vertices_world_m=vertices[:, ids].astype(np.float32),
        joints_world_m=joints.astype(np.float32),
    )
    print(f"{args.out}: {args.out.stat().st_size / 1e3:.0f} kB, {len(shape)} cases, {len(ids)} vertices")


if __name__ == "__main__":
    main()
