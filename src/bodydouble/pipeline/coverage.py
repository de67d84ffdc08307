"""How much of the body's surface the video ever showed, per vertex and per part, as figures, pictures and warnings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from bodydouble.body.protocol import BodyModel
from bodydouble.capture.folder import Capture
from bodydouble.capture.values import BodyTrack
from bodydouble.core.cameras import look_at_camera, video_camera
from bodydouble.core.events import Warned
from bodydouble.core.normals import vertex_normals
from bodydouble.core.struct import TensorStruct, tensor_struct
from bodydouble.render.mesh import rasterize_mesh, visible_vertices

_MAX_FRAMES = 40
"""Frames that are looked at, spread evenly over those with the subject in view."""
_LONGEST_SIDE_PX = 640
_GRAZING_COS = 0.2
"""Surface that is seen at a flatter angle (78 degrees) counts as not seen: it smears over too few pixels."""
_DEPTH_TOLERANCE_M = 0.015
_SURE_FRAMES = 3
"""Seen in this many looked-at frames (or all of fewer) is seen for sure; one is luck at an outline."""
UNSEEN_BELOW = 0.02
LITTLE_BELOW = 0.35
_HIDDEN_PARTS = ("eyes", "mouth")

_REGION_OF_HUMANOID: dict[str, str] = {
    "hips": "torso", "spine": "torso", "chest": "torso", "upperChest": "torso", "neck": "head", "head": "head",
    "jaw": "head", "Shoulder": "torso", "UpperArm": "upper arm", "LowerArm": "forearm", "Hand": "hand",
    "UpperLeg": "thigh", "LowerLeg": "lower leg", "Foot": "foot", "Toes": "foot", "Eye": "head",
}  # fmt: skip
REGION_NAMES: tuple[str, ...] = (
    "face", "head", "torso, front", "torso, back", "left upper arm", "right upper arm", "left forearm", "right forearm",
    "left hand", "right hand", "left thigh", "right thigh", "left lower leg", "right lower leg", "left foot",
    "right foot",
)  # fmt: skip
_SEEN_RGB = np.array([[214, 234, 230], [20, 130, 122]], dtype=np.float32) / 255.0
_UNSEEN_RGB = np.array([226, 112, 58], dtype=np.float32) / 255.0


@tensor_struct
class Coverage(TensorStruct):
    """What a video showed of a body."""

    seen_share: Float[Tensor, " verts"]
    """Share of the looked-at frames in which the vertex was in plain view."""
    ever_seen: Bool[Tensor, " verts"]
    frames: int
    """How many frames were looked at."""
    region_names: tuple[str, ...]
    region_seen: Float[Tensor, " regions"]
    """Share of the region's area that was ever seen, in [0, 1]."""
    total_seen: float
    """Share of the whole surface (without eye sockets and mouth cavity)."""

    def unseen(self) -> tuple[str, ...]:
        """Regions that were never seen."""
        return tuple(n for n, s in zip(self.region_names, self.region_seen.tolist(), strict=True) if s < UNSEEN_BELOW)

    def little_seen(self) -> tuple[str, ...]:
        """Regions of which less than a third was seen, but something."""
        pairs = zip(self.region_names, self.region_seen.tolist(), strict=True)
        return tuple(n for n, s in pairs if UNSEEN_BELOW <= s < LITTLE_BELOW)


def body_coverage(capture: Capture, body: BodyModel, track: BodyTrack) -> Coverage:
    """Look at frames spread over the video and mark which vertices are in plain view.

    A vertex is in plain view when it projects into the image and into the subject's mask (> 0.5), nothing of the body
    is in front of it, and its surface faces the camera by more than 12 degrees.

    Args:
        capture: Masks.
        body: The body of the track.
        track: Poses; frames without the subject are not looked at.
    """
    rows = torch.nonzero(track.valid)[:, 0].tolist()
    rows = [rows[i] for i in np.unique(np.linspace(0, len(rows) - 1, min(_MAX_FRAMES, len(rows))).round().astype(int))]
    shaped = body.with_shape(track.shape)
    camera = video_camera(track.width_px, track.height_px, track.focal_px)
    scale = min(1.0, _LONGEST_SIDE_PX / max(track.width_px, track.height_px))
    size = (max(1, round(track.width_px * scale)), max(1, round(track.height_px * scale)))
    small = camera.cropped(0.0, 0.0, (float(track.width_px), float(track.height_px)), size)
    count = torch.zeros(len(shaped.vertices_rest))
    looked = 0
    for row in rows:
        mask = capture.mask(int(track.frame_indices[row]))
        if mask is None:
            continue
        looked += 1
        pose = track.pose(row)
        with torch.no_grad():
            verts = shaped.with_pose(pose).vertices()
        image = rasterize_mesh(verts, body.faces, small)
        seen = visible_vertices(image, verts, small, tolerance_m=_DEPTH_TOLERANCE_M)
        seen &= _facing_cos(verts, body.faces) > _GRAZING_COS
        seen &= _in_mask(verts, camera.project(verts)[0], mask)
        count += seen
    sure = min(_SURE_FRAMES, looked)
    return _coverage(body, shaped.vertices_rest, count, ever=count >= max(sure, 1), frames=looked)


def surface_regions(body: BodyModel, verts_rest: Float[Tensor, "verts 3"]) -> Int[Tensor, " verts"]:
    """Index into `REGION_NAMES` of each vertex; -1 for eyeballs and the mouth's cavity, which are mostly hidden.

    A vertex belongs to the humanoid bone that its strongest bone is, or descends from. The torso is divided by which
    way its surface faces, the face is the body model's own part.
    """
    humanoid_of = {bone: name for name, bone in body.humanoid.items()}
    region_of_bone: list[str] = []
    for index, bone in enumerate(body.bone_names):
        parent = body.bone_parents[index]
        inherited = region_of_bone[parent] if parent >= 0 else "torso"
        region_of_bone.append(_region_of(humanoid_of[bone]) if bone in humanoid_of else inherited)
    strongest = body.skin_joints.gather(1, body.skin_weights.argmax(1, keepdim=True).long())[:, 0]
    forward = vertex_normals(verts_rest, body.faces)[:, 2]
    parts = [body.part_names[p] for p in body.vertex_parts.tolist()]
    found: list[int] = []
    for vertex, bone in enumerate(strongest.tolist()):
        region = region_of_bone[bone]
        if parts[vertex] in _HIDDEN_PARTS:
            found.append(-1)
            continue
        if parts[vertex] == "face":
            region = "face"
        elif region == "torso":
            region = "torso, front" if forward[vertex] >= 0 else "torso, back"
        found.append(REGION_NAMES.index(region))
    return torch.tensor(found)


def coverage_warnings(coverage: Coverage, track: BodyTrack) -> tuple[Warned, ...]:
    """What to tell the user about parts the video never showed, or no estimator could follow."""
    warnings: list[Warned] = []
    unseen, little = coverage.unseen(), coverage.little_seen()
    if unseen:
        warnings.append(
            Warned(
                code="never_seen",
                message=f"Never seen in the video: {_listed(merged_sides(unseen))}. What the double shows there is invented.",
                advice="Film the whole person and let them turn around once, slowly.",
            )
        )
    if little:
        warnings.append(
            Warned(
                code="little_seen",
                message=f"Hardly seen in the video: {_listed(merged_sides(little))}.",
                advice="Film from more sides: a slow turn in place shows everything.",
            )
        )
    errors = track.limb_error_px
    lost = [n.replace("_", " ") for k, n in enumerate(track.limb_names) if bool(torch.isnan(errors[:, k]).all())]
    if lost and len(lost) < len(track.limb_names):  # with none at all, the body does not come from landmarks
        warnings.append(
            Warned(
                code="never_tracked",
                message=f"No landmarks were ever found on: {_listed(merged_sides(lost))}. The pose there is a neutral guess.",
                advice="Show it larger, unobstructed and in good light.",
            )
        )
    return tuple(warnings)


def merged_sides(names: Sequence[str]) -> tuple[str, ...]:
    """`left x` and `right x` become `both xs`; `torso, front` and `torso, back` become `torso`."""
    merged: list[str] = []
    for name in names:
        if name.startswith("left ") and name.replace("left ", "right ", 1) in names:
            thing = name.removeprefix("left ")
            merged.append("both " + ("feet" if thing == "foot" else thing + "s"))
        elif name.startswith("right ") and name.replace("right ", "left ", 1) in names:
            continue
        elif name == "torso, front" and "torso, back" in names:
            merged.append("torso")
        elif name == "torso, back" and "torso, front" in names:
            continue
        else:
            merged.append(name)
    return tuple(merged)


def coverage_picture(
    coverage: Coverage, body: BodyModel, verts_rest: Float[Tensor, "verts 3"], *, back: bool, height_px: int = 560
) -> UInt8[np.ndarray, "height width 4"]:
    """The body from the front or the back, coloured by how much each point was seen, on a transparent ground (RGBA).

    Orange was never seen; pale to dark teal was seen in few to many frames.
    """
    low, high = verts_rest.min(0).values, verts_rest.max(0).values
    centre, extent = (low + high) / 2, high - low
    distance = 4.0 * float(extent[1])
    eye = centre + torch.tensor([0.0, 0.0, -distance if back else distance])
    over = 2  # drawn at twice the size, then averaged: smooth outlines
    width_px = int(np.ceil(height_px * float(extent[0] / extent[1]) * 1.06))
    camera = look_at_camera(
        eye,
        centre,
        width_px=over * width_px,
        height_px=over * height_px,
        focal_px=over * height_px * (distance - float(extent[2]) / 2) / float(extent[1]) * 0.97,
    )
    share = (coverage.seen_share / coverage.seen_share.max().clamp_min(1e-6)).sqrt().numpy()[:, None]
    colors = np.where(
        coverage.ever_seen.numpy()[:, None], _SEEN_RGB[0] * (1 - share) + _SEEN_RGB[1] * share, _UNSEEN_RGB
    )
    light = torch.nn.functional.normalize(eye - centre + torch.tensor([0.3, 0.5, 0.0]) * distance, dim=0)
    shade = (vertex_normals(verts_rest, body.faces) @ light).clamp(0, 1).numpy()[:, None] * 0.45 + 0.62
    image = rasterize_mesh(
        verts_rest, body.faces, camera, colors=torch.from_numpy((colors * shade).clip(0, 1).astype(np.float32))
    )
    assert image.rgb is not None
    rgba = np.concatenate([image.rgb.numpy(), image.mask.numpy()[..., None]], axis=-1)
    blocks = rgba.reshape(height_px, over, width_px, over, 4)
    alpha = blocks[..., 3].mean((1, 3))
    rgb = blocks[..., :3].sum((1, 3)) / np.maximum(blocks[..., 3:].sum((1, 3)), 1)
    return (np.concatenate([rgb, alpha[..., None]], axis=-1) * 255).round().astype(np.uint8)


def _facing_cos(verts_world: Tensor, faces: Tensor) -> Tensor:
    """Cosine between the surface's normal and the direction to a camera at the world's origin."""
    to_camera = torch.nn.functional.normalize(-verts_world, dim=-1)
    return (vertex_normals(verts_world, faces) * to_camera).sum(-1)


def _in_mask(verts_world: Tensor, pixels: Tensor, mask: np.ndarray) -> Tensor:
    height, width = mask.shape
    column, row = pixels[:, 0].floor(), pixels[:, 1].floor()
    inside = (verts_world[:, 2] < 0) & (column >= 0) & (row >= 0) & (column < width) & (row < height)
    values = torch.from_numpy(mask)[
        row.clamp(0, height - 1).nan_to_num().long(), column.clamp(0, width - 1).nan_to_num().long()
    ]
    return inside & (values > 127)


def _coverage(body: BodyModel, verts_rest: Tensor, count: Tensor, *, ever: Tensor, frames: int) -> Coverage:
    a, b, c = (verts_rest[body.faces[:, k].long()] for k in range(3))
    face_area = torch.linalg.cross(b - a, c - a).norm(dim=-1) / 6
    area = torch.zeros(len(verts_rest))
    for k in range(3):
        area.index_add_(0, body.faces[:, k].long(), face_area)
    region = surface_regions(body, verts_rest)
    present = sorted(set(region.tolist()) - {-1})
    shares = [float((area * ever)[region == r].sum() / area[region == r].sum().clamp_min(1e-12)) for r in present]
    counted = region >= 0
    return Coverage(
        seen_share=count / max(frames, 1),
        ever_seen=ever,
        frames=frames,
        region_names=tuple(REGION_NAMES[r] for r in present),
        region_seen=torch.tensor(shares),
        total_seen=float((area * ever)[counted].sum() / area[counted].sum().clamp_min(1e-12)),
    )


def _region_of(humanoid_name: str) -> str:
    for side in ("left", "right"):
        if humanoid_name.startswith(side):
            kind = _REGION_OF_HUMANOID.get(humanoid_name.removeprefix(side), "hand")  # the rest are fingers
            return kind if kind in ("torso", "head") else f"{side} {kind}"
    return _REGION_OF_HUMANOID.get(humanoid_name, "torso")


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
