"""SMPL, SMPL-H and SMPL-X against the reference package, on files in the original layouts."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from smpl_files import model_arrays, tiny_arrays, write_npz, write_pkl

from bodydouble.body.protocol import ARKIT_ACTIONS, BodyModel, Pose
from bodydouble.body.smplx import SmplBody, bare_body, load_smplx
from bodydouble.body.smplx_file import read_smpl_file
from bodydouble.body.transfer import carried_file, carry_over
from bodydouble.core.errors import InputError, ShapeError

BATCH = 3
TOLERANCE_M = 1e-5


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def smplx_file(folder: Path) -> Path:
    return write_npz(folder / "SMPLX_NEUTRAL.npz")


@pytest.fixture(scope="session")
def body(smplx_file: Path) -> SmplBody:
    with pytest.MonkeyPatch.context() as patch:
        # Our own body's cache stays where it is: only what is carried over goes elsewhere.
        patch.setattr("bodydouble.body.transfer.cache_folder", lambda: smplx_file.parent / "cache")
        return load_smplx(smplx_file)


def random(*shape: int, scale: float = 1.0, seed: int = 0) -> torch.Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def reference(file: Path, kind: str, **options: object):
    smplx = pytest.importorskip("smplx", reason="the reference is not installed (see CONTRIBUTING.md)")

    make = {"smplx": smplx.SMPLX, "smplh": smplx.SMPLH, "smpl": smplx.SMPL}[kind]
    return make(str(file), batch_size=BATCH, **({"ext": file.suffix[1:]} if kind != "smpl" else {}), **options)


def assert_same(ours, theirs, joints: int) -> None:
    torch.testing.assert_close(ours.vertices(), theirs.vertices, rtol=0, atol=TOLERANCE_M)
    torch.testing.assert_close(ours.joints_world, theirs.joints[:, :joints], rtol=0, atol=TOLERANCE_M)


@pytest.mark.parametrize("flat", [True, False])
def test_smplx_agrees_with_the_reference(body: SmplBody, smplx_file: Path, flat: bool) -> None:
    betas, expression = random(BATCH, 10), random(BATCH, 10, seed=1)
    root, trunk, jaw, eyes = (random(BATCH, n, scale=0.4, seed=2 + n) for n in (3, 63, 3, 6))
    hands, place = [random(BATCH, 12, scale=0.5, seed=s) for s in (80, 81)], random(BATCH, 3, seed=82)
    theirs = reference(smplx_file, "smplx", use_pca=True, num_pca_comps=12, flat_hand_mean=flat)(
        betas=betas, expression=expression, global_orient=root, body_pose=trunk, jaw_pose=jaw, leye_pose=eyes[:, :3],
        reye_pose=eyes[:, 3:], left_hand_pose=hands[0], right_hand_pose=hands[1], transl=place,
    )  # fmt: skip
    fingers = [
        body.hand_rotvecs(side, h, flat=flat).flatten(1) for side, h in zip(("left", "right"), hands, strict=True)
    ]
    rotvecs = torch.cat([root, trunk, jaw, eyes, *fingers], 1).reshape(BATCH, 55, 3)
    posed = body.shaped(betas, expression).with_pose(Pose(rotvecs=rotvecs, translation_world_m=place))
    assert_same(posed, theirs, 55)
    assert float((theirs.vertices[0] - theirs.vertices[1]).norm(dim=1).min()) > 0.01  # the poses do differ


def test_smplx_agrees_with_full_hands_and_by_shape_values(body: SmplBody, smplx_file: Path) -> None:
    rotvecs, place = random(BATCH, 55, 3, scale=0.3, seed=7), random(BATCH, 3, seed=8)
    shape = torch.rand(BATCH, 10, generator=torch.Generator().manual_seed(9))
    flat = rotvecs.flatten(1)
    theirs = reference(smplx_file, "smplx", use_pca=False, flat_hand_mean=True)(
        betas=10.0 * (shape - 0.5), global_orient=flat[:, :3], body_pose=flat[:, 3:66], jaw_pose=flat[:, 66:69],
        leye_pose=flat[:, 69:72], reye_pose=flat[:, 72:75], left_hand_pose=flat[:, 75:120],
        right_hand_pose=flat[:, 120:], transl=place,
    )  # fmt: skip
    ours = body.with_shape(shape).with_pose(Pose(rotvecs=rotvecs, translation_world_m=place))
    assert_same(ours, theirs, 55)


@pytest.mark.parametrize("chumpy", [False, True])
def test_smpl_agrees_with_the_reference(folder: Path, chumpy: bool) -> None:
    plain = write_pkl(folder / "SMPL_NEUTRAL.pkl")
    file = write_pkl(folder / "SMPL_CHUMPY.pkl", chumpy=True) if chumpy else plain
    ours = bare_body(read_smpl_file(file))
    rotvecs, betas = random(BATCH, 24, 3, scale=0.4), random(BATCH, 10, seed=1)
    flat = rotvecs.flatten(1)
    theirs = reference(plain, "smpl")(betas=betas, global_orient=flat[:, :3], body_pose=flat[:, 3:])
    posed = ours.shaped(betas).with_pose(Pose(rotvecs=rotvecs, translation_world_m=torch.zeros(BATCH, 3)))
    assert_same(posed, theirs, 24)
    assert "leftThumbProximal" not in ours.humanoid and ours.hand_means is None
    with pytest.raises(ShapeError, match="no hand components; give full hand poses"):
        ours.hand_rotvecs("left", torch.zeros(6))
    with pytest.raises(ShapeError, match="1 expression components were given, and 0 are loaded"):
        ours.shaped(betas[0], torch.zeros(1))


def test_smplh_agrees_with_the_reference(folder: Path) -> None:
    file = write_pkl(folder / "SMPLH_FEMALE.pkl", "smplh")
    ours = bare_body(read_smpl_file(file))
    rotvecs, betas = random(BATCH, 52, 3, scale=0.4), random(BATCH, 10, seed=1)
    flat = rotvecs.flatten(1)
    theirs = reference(file, "smplh", use_pca=False, flat_hand_mean=True)(
        betas=betas, global_orient=flat[:, :3], body_pose=flat[:, 3:66], left_hand_pose=flat[:, 66:111],
        right_hand_pose=flat[:, 111:],
    )  # fmt: skip
    assert_same(
        ours.shaped(betas).with_pose(Pose(rotvecs=rotvecs, translation_world_m=torch.zeros(BATCH, 3))), theirs, 52
    )
    assert ours.uv_faces.shape == ours.faces.shape and 0 <= float(ours.uv.min()) <= float(ours.uv.max()) <= 1


def test_it_is_a_body_like_any_other(body: SmplBody, smplx_file: Path) -> None:
    assert isinstance(body, BodyModel)
    assert body.name == "smplx" and body.action_names == ARKIT_ACTIONS
    assert all(p < i for i, p in enumerate(body.bone_parents))
    assert set(body.humanoid.values()) == set(body.bone_names)  # every joint of SMPL-X has a humanoid name
    joints = dict(zip(body.bone_names, body.with_shape(body.shape_default).joints_rest, strict=True))
    assert joints["left_wrist"][0] > 0.5 and joints["head"][1] > joints["pelvis"][1] > joints["left_ankle"][1]
    assert joints["left_foot"][2] > joints["left_ankle"][2]
    assert float(body.height_m(body.shape_default)) == pytest.approx(1.70, abs=1e-4)
    whole = body.with_shape(body.shape_default + 0.05).vertices_rest[:, 1]
    assert float(body.height_m(body.shape_default + 0.05)) == pytest.approx(float(whole.max() - whole.min()), abs=1e-5)
    vt = model_arrays("smplx")["vt"]
    np.testing.assert_allclose(body.uv.numpy(), np.stack([vt[:, 0], 1.0 - vt[:, 1]], 1), atol=1e-6)
    with pytest.raises(ShapeError, match=r"shape must have 10 values \(beta_0"):
        body.with_shape(torch.zeros(3))


def test_gradients_reach_shape_and_pose(body: SmplBody) -> None:
    small = body.restricted(torch.tensor([0, 500, 9000])).to(dtype=torch.float64)
    shape = small.shape_default.clone().requires_grad_()
    rotvecs = random(55, 3, scale=0.3).double().requires_grad_()

    def points(shape: torch.Tensor, rotvecs: torch.Tensor) -> torch.Tensor:
        pose = Pose(rotvecs=rotvecs, translation_world_m=torch.zeros(3, dtype=torch.float64))
        return small.with_shape(shape).with_pose(pose).vertices()

    assert torch.autograd.gradcheck(points, (shape, rotvecs), eps=1e-6, atol=1e-6, fast_mode=True)


def test_a_restricted_body_is_the_whole_one_there(body: SmplBody) -> None:
    ids = torch.tensor([9000, 3, 700, 701, 702])
    pose = Pose(rotvecs=random(2, 55, 3, scale=0.3), translation_world_m=torch.zeros(2, 3))
    expression = torch.rand(52, generator=torch.Generator().manual_seed(1))
    whole = body.with_shape(body.shape_default).with_expression(expression).with_pose(pose).vertices()
    small = body.restricted(ids)
    part = small.with_shape(small.shape_default).with_expression(expression).with_pose(pose).vertices()
    torch.testing.assert_close(part, whole[:, ids], rtol=0, atol=1e-6)
    torch.testing.assert_close(small.height_m(small.shape_default), body.height_m(body.shape_default))
    with pytest.raises(ShapeError, match=r"vertex_ids must lie in \[0, 10475\)"):
        body.restricted(torch.tensor([10475]))


# --- wrong files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"weights": np.ones((300, 16)) / 16}, "weights are for 16 joints"),
        ({"posedirs": np.zeros((300, 3, 207))}, r"posedirs has the shape \(300, 3, 207\), expected \(300, 3, 486\)"),
        ({"v_template": np.full((300, 3), np.nan)}, "v_template holds values that are not finite"),
        ({"f": np.full((100, 3), 300, np.uint32)}, "f has entries that are not whole numbers from 0 to 299"),
        ({"kintree_table": np.zeros((2, 55), np.int64)}, "kintree_table is not the tree of smplx"),
        ({"weights": np.ones((300, 55))}, "weights do not sum to 1"),
        ({"J_regressor": np.array({"a": 1}, dtype=object)}, "Python objects"),
        ({"shapedirs": np.zeros((300, 3, 0))}, "shapedirs has no components"),
    ],
)  # fmt: skip
def test_other_layouts_are_refused(tmp_path: Path, change: dict, text: str, our_checks_alone: None) -> None:
    file = tmp_path / "wrong.npz"
    np.savez(file, **(tiny_arrays() | change))
    with pytest.raises(InputError, match=text) as caught:
        read_smpl_file(file)
    if "objects" not in text:
        assert "Expected v_template (n, 3), shapedirs" in str(caught.value) and "55 (SMPL-X)" in str(caught.value)


def test_short_and_missing_files_are_refused(tmp_path: Path, smplx_file: Path) -> None:
    cut = tmp_path / "cut.npz"
    with smplx_file.open("rb") as whole:
        cut.write_bytes(whole.read(2_000_000))
    with pytest.raises(InputError, match=r"not a readable \.npz"):
        read_smpl_file(cut)
    with pytest.raises(InputError, match="model file of SMPL or SMPL-X that you were given on registering"):
        read_smpl_file(tmp_path / "nothing.npz")
    np.savez(tmp_path / "other.npz", poses=np.zeros(3))
    with pytest.raises(InputError, match=r"there is no v_template \(there are poses\)"):
        read_smpl_file(tmp_path / "other.npz")
    (tmp_path / "list.pkl").write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(InputError, match="the pickle holds a list"):
        read_smpl_file(tmp_path / "list.pkl")


def test_pickles_run_nothing(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "touched",))

    (tmp_path / "trap.pkl").write_bytes(pickle.dumps({"v_template": Trap()}, 2))
    with pytest.raises(InputError, match="is not opened"):
        read_smpl_file(tmp_path / "trap.pkl")
    assert not (tmp_path / "touched").exists()


def test_a_short_file_has_ten_components_of_each(tmp_path: Path) -> None:
    shapes = np.random.default_rng(0).normal(size=(300, 3, 20)).astype(np.float32)
    np.savez(tmp_path / "v10.npz", **(tiny_arrays() | {"shapedirs": shapes}))
    found = read_smpl_file(tmp_path / "v10.npz", num_shapes=16, num_expressions=50)
    np.testing.assert_allclose(found.shapes_m, shapes[..., :10])
    np.testing.assert_allclose(found.expressions_m, shapes[..., 10:])


def test_what_was_carried_over_is_kept(body: SmplBody, smplx_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bodydouble.body.transfer.cache_folder", lambda: smplx_file.parent / "cache")
    monkeypatch.setattr("bodydouble.body.transfer.map_over", lambda *args: pytest.fail("carried over again"))
    key = f"{body.file_sha256[:20]}-10"
    assert carried_file(key).is_file()
    again = carry_over(body, key=key)
    assert body.carried is not None
    torch.testing.assert_close(again.action_deltas_m, body.carried.action_deltas_m)
