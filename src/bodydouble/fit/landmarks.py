"""Which point of the body each landmark stands for.

A landmark rides on one bone. Its place in that bone's rest frame is a combination of joints (or of surface vertices, for
the face) plus an offset: estimators mark shoulders above the joint, ankles above the ankle, tips before the tip. The
offsets were learnt once per body from renders with known pose (`scripts/learn_landmark_offsets.py`) and are stored as
shares of the body's height, so that they grow with it. Bodies without a table of their own get Anny's, carried over by
what lies where on their surface (`body.transfer`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources

import numpy as np
import torch
from jaxtyping import Float, Int

from bodydouble.body.anny import load_anny
from bodydouble.body.humanoid import SIDES
from bodydouble.body.protocol import BodyModel
from bodydouble.body.transfer import Carried, carry_points, nearest_on_surface
from bodydouble.core.errors import InputError
from bodydouble.fit.controls import Controls
from bodydouble.fit.kinematics import Rest

BODY_POINTS: dict[str, tuple[str, tuple[tuple[str, float], ...]]] = {
    "shoulder": ("Shoulder", (("UpperArm", 1.0),)),
    "elbow": ("UpperArm", (("LowerArm", 1.0),)),
    "wrist": ("LowerArm", (("Hand", 1.0),)),
    "pinky": ("Hand", (("LittleProximal", 1.0),)),
    "index": ("Hand", (("IndexProximal", 1.0),)),
    "thumb": ("ThumbProximal", (("ThumbDistal", 1.0),)),
    "hip": ("hips", (("UpperLeg", 1.0),)),
    "knee": ("UpperLeg", (("LowerLeg", 1.0),)),
    "ankle": ("LowerLeg", (("Foot", 1.0),)),
    "heel": ("Foot", (("Foot", 1.0),)),
    "foot_index": ("Foot", (("Toes", 1.0),)),
}
"""Sided body landmark -> the bone it rides on and the joints whose weighted mean it stands at (humanoid names)."""

HEAD_POINTS: tuple[str, ...] = (
    "nose", "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye", "right_eye_outer",
    "left_ear", "right_ear", "mouth_left", "mouth_right",
)  # fmt: skip
"""Body landmarks of the head: the mean of both eye joints plus an offset."""

HAND_FINGERS = {"thumb": "Thumb", "index": "Index", "middle": "Middle", "ring": "Ring", "pinky": "Little"}
_OFFSETS_FILE = "landmark_offsets.json"
_SHOES = {"heel": (0.0, -0.012, 0.0), "foot_index": (0.0, -0.009, 0.006)}
"""In body heights, added to what was learnt from bare feet: people in videos wear shoes, and networks see their soles."""


@dataclass(frozen=True)
class LandmarkModel:
    """Rest places of the landmarks that are fitted."""

    names: tuple[str, ...]
    bones: Int[np.ndarray, " points"]
    joint_weights: Float[np.ndarray, "points bones"]
    vertex_ids: Int[np.ndarray, " vertices"]
    vertex_weights: Float[np.ndarray, "points vertices"]
    offsets: Float[np.ndarray, "points 3"]
    """Added in the rest frame, in body heights."""

    def index(self, name: str) -> int:
        """Position of a landmark, by name."""
        return self.names.index(name)


def load_learnt(body_name: str) -> dict:
    """The learnt table of a body, in shoes: `offsets` by landmark (body heights) and `face` points as weighted vertices.

    A body without a learnt table gets an empty one: its landmarks then stand at the bare joints.
    """
    text = resources.files("bodydouble.fit").joinpath(_OFFSETS_FILE).read_text(encoding="utf-8")
    table = json.loads(text).get(body_name, {"offsets": {}, "face": {}})
    for name, offset in table["offsets"].items():
        shoe = _SHOES.get(name.partition("_")[2], (0.0, 0.0, 0.0))
        table["offsets"][name] = [a + b for a, b in zip(offset, shoe, strict=True)]
    return table


def carried_table(body: BodyModel, carried: Carried) -> dict:
    """Anny's learnt table for another body: the same points of a person, by that body's joints and surface.

    Args:
        body: The other body, whole.
        carried: What it has from Anny.
    """
    anny = load_anny()
    ours = build_landmarks(anny)
    shaped = anny.with_shape(anny.shape_default)
    vertices = shaped.vertices_rest.double().numpy()
    points = ours.joint_weights @ shaped.joints_rest.double().numpy() + ours.vertex_weights @ vertices[ours.vertex_ids]
    points += ours.offsets * float(anny.height_m(anny.shape_default))
    places = carry_points(carried, points, ours.bones)
    theirs = body.with_shape(body.shape_default)
    surface, faces = theirs.vertices_rest.double().numpy(), body.faces.numpy()
    head = np.isin(body.vertex_parts.numpy(), [body.part_names.index(p) for p in ("face", "head", "mouth")])
    corners, shares = nearest_on_surface(places, surface, faces[head[faces].all(1)])
    bare = build_landmarks(body, {"offsets": {}, "face": {}})
    joints = bare.joint_weights @ theirs.joints_rest.double().numpy()
    height = float(body.height_m(body.shape_default))
    place = {name: i for i, name in enumerate(ours.names)}
    return {
        "offsets": {n: (places[place[n]] - joint) / height for n, joint in zip(bare.names, joints, strict=True)},
        "face": {
            name.removeprefix("face/"): {"vertices": corners[i], "weights": shares[i]}
            for name, i in place.items()
            if name.startswith("face/")
        },
    }


def build_landmarks(body: BodyModel, learnt: dict | None = None) -> LandmarkModel:
    """The landmark model of a body.

    Args:
        body: Any body; joints are found through its humanoid map. Landmarks of fingers that it lacks are left out.
        learnt: A table as `load_learnt` gives it. By default that one, or Anny's carried over to the body.
    """
    if learnt is None:
        carried = getattr(body, "carried", None)
        learnt = load_learnt(body.name) if carried is None else carried_table(body, carried)
    table = learnt
    rows: list[tuple[str, str, tuple[tuple[str, float], ...]]] = [
        (f"body/{name}", "head", (("leftEye", 0.5), ("rightEye", 0.5))) for name in HEAD_POINTS
    ]
    for side in SIDES:
        for name, (bone, parts) in BODY_POINTS.items():
            rows.append((f"body/{side}_{name}", _sided(bone, side), tuple((_sided(j, side), w) for j, w in parts)))
    rows = [_without_absent(row, body.humanoid) for row in rows]
    for side in SIDES:
        if f"{side}IndexProximal" in body.humanoid:
            rows += _hand_rows(side)
    face = sorted(table["face"].items(), key=lambda item: int(item[0]))
    names = tuple(r[0] for r in rows) + tuple(f"face/{i}" for i, _ in face)
    place = {name: i for i, name in enumerate(body.bone_names)}
    bones = np.array([place[body.humanoid[r[1]]] for r in rows] + [place[body.humanoid["head"]]] * len(face))
    joint_weights = np.zeros((len(names), len(body.bone_names)))
    for i, (_, _, parts) in enumerate(rows):
        for joint, weight in parts:
            joint_weights[i, place[body.humanoid[joint]]] += weight
    vertex_ids = np.unique([v for _, point in face for v in point["vertices"]]).astype(np.int64)
    vertex_weights = np.zeros((len(names), len(vertex_ids)))
    for i, (_, point) in enumerate(face):
        vertex_weights[len(rows) + i, np.searchsorted(vertex_ids, point["vertices"])] = point["weights"]
    offsets = np.array([table["offsets"].get(name, (0.0, 0.0, 0.0)) for name in names])
    return LandmarkModel(names, bones, joint_weights, vertex_ids, vertex_weights, offsets)


def _without_absent(
    row: tuple[str, str, tuple[tuple[str, float], ...]], humanoid: dict[str, str]
) -> tuple[str, str, tuple[tuple[str, float], ...]]:
    """The row of a body that lacks its joints: it stands at the bone's own joint, a finger's at the hand's."""
    name, bone, parts = row
    if bone not in humanoid:
        bone = f"{'left' if bone.startswith('left') else 'right'}Hand"
    return name, bone, parts if all(joint in humanoid for joint, _ in parts) else ((bone, 1.0),)


def _sided(name: str, side: str) -> str:
    return name if name == "hips" else f"{side}{name}"


def _hand_rows(side: str) -> list[tuple[str, str, tuple[tuple[str, float], ...]]]:
    rows = [(f"{side}_hand/wrist", f"{side}Hand", ((f"{side}Hand", 1.0),))]
    for name, finger in HAND_FINGERS.items():
        if name == "thumb":
            joints, labels = ("Metacarpal", "Proximal", "Distal"), ("cmc", "mcp", "ip")
        else:
            joints, labels = ("Proximal", "Intermediate", "Distal"), ("mcp", "pip", "dip")
        bones = [f"{side}{finger}{j}" for j in joints]
        carriers = [f"{side}Hand", *bones[:2]]
        for label, carrier, bone in zip(labels, carriers, bones, strict=True):
            rows.append((f"{side}_hand/{name}_{label}", carrier, ((bone, 1.0),)))
        # No joint ends a finger: its tip continues the last segment.
        rows.append((f"{side}_hand/{name}_tip", bones[2], ((bones[2], 1.9), (bones[1], -0.9))))
    return rows


def rest_geometry(body: BodyModel, landmarks: LandmarkModel, controls: Controls, shape: np.ndarray) -> Rest:
    """Rest joints and landmark points of a shape, with their derivatives by it (central differences).

    Args:
        body: The body; where it can be restricted to a few vertices it is, which makes this fast.
        shape: Shape values.
    """
    step = 1e-2
    shapes = np.concatenate([shape[None], shape + step * np.eye(len(shape)), shape - step * np.eye(len(shape))])
    joints, points = _rest_of(body, landmarks, shapes)
    nodes = joints[:, controls.node_bones]
    count = len(shape)

    def slope(values: np.ndarray) -> np.ndarray:
        return np.moveaxis(values[1 : count + 1] - values[count + 1 :], 0, -1) / (2.0 * step)

    return Rest(nodes[0], points[0], slope(nodes), slope(points))


def _rest_of(body: BodyModel, landmarks: LandmarkModel, shapes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    shaped_tensor = torch.as_tensor(shapes, dtype=body.shape_default.dtype)
    restricted = getattr(body, "restricted", None)
    ids = torch.as_tensor(landmarks.vertex_ids)
    with torch.no_grad():
        heights = body.height_m(shaped_tensor).double().numpy()
        small = body if restricted is None else restricted(ids)
        shaped = small.with_shape(shaped_tensor)
        joints = shaped.joints_rest.double().numpy()
        vertices = shaped.vertices_rest if restricted is not None else shaped.vertices_rest[..., ids, :]
    points = landmarks.joint_weights @ joints + landmarks.vertex_weights @ vertices.double().numpy()
    return joints, points + landmarks.offsets * heights[:, None, None]


def landmark_columns(landmarks: LandmarkModel, observed_names: tuple[str, ...]) -> Int[np.ndarray, " points"]:
    """Where each modelled landmark stands in the observations.

    Raises:
        InputError: When the observations lack one of them.
    """
    place = {name: i for i, name in enumerate(observed_names)}
    missing = [name for name in landmarks.names if name not in place]
    if missing:
        raise InputError(
            f"The observations lack {len(missing)} landmarks that fitting needs, such as {missing[0]}; expected names "
            "like body/left_shoulder, left_hand/wrist and face/1. Observe the video again."
        )
    return np.array([place[name] for name in landmarks.names])
