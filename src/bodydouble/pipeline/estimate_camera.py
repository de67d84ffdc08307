"""Rows of a tracker's result as poses of our body, seen by the camera of our video.

Trackers look through cameras of their own: other focal lengths, crops with a camera each, images of another size. What they
saw is kept: a body is moved so that its root lies on the same pixel at the same size, and turned with the line of sight.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.avatar.anatomy import shortest_turn
from bodydouble.body.height import shape_of_height
from bodydouble.body.protocol import BodyModel, Pose
from bodydouble.capture.estimates.values import IN_CAMERA, ForeignEstimate
from bodydouble.core.errors import InputError
from bodydouble.core.geometry import matrix_to_rotvec, rotvec_to_matrix
from bodydouble.fit.invert import InvertConfig, invert_points
from bodydouble.fit.marks import landmark_marks
from bodydouble.fit.track import DEFAULT_FOCAL
from bodydouble.pipeline.foreign_body import placed, stand_in

R_WORLD_CAMERA = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))
"""In the world of a fit the camera is at the origin and looks along -Z, +Y up."""
_THEIR_HEIGHT_M = 1.70
"""Of a tracker's body whose shape we cannot read. What is wrong with it shows in the image, and is corrected there."""
_SAME_SHAPE = 0.02


@dataclass(frozen=True, kw_only=True)
class Lens:
    """The camera of our video: square pixels, principal point in the middle."""

    focal_px: float
    width_px: int
    height_px: int


@dataclass(frozen=True)
class Seen:
    """Our body in the rows of an estimate, in the world of a fit."""

    shape: Float[Tensor, " shape"]
    rotvecs: Float[Tensor, "rows bones 3"]
    root_m: Float[Tensor, "rows 3"]
    """Where the root joint is."""

    def rows(self, index: Tensor) -> Seen:
        """Only some of the rows."""
        return Seen(self.shape, self.rotvecs[index], self.root_m[index])

    def nearer(self, ratio: float) -> Seen:
        """All distances from the camera times a ratio: as a body of another size would look the same."""
        return replace(self, root_m=self.root_m * ratio)

    def translation_m(self, body: BodyModel) -> Float[Tensor, "rows 3"]:
        """For a `Pose`."""
        return self.root_m - _root_rest(body, self.shape)

    def joints_m(self, body: BodyModel, bones: tuple[str, ...]) -> Float[Tensor, "rows bones 3"]:
        """Places of some joints, by their humanoid names."""
        pose = Pose(rotvecs=self.rotvecs.float(), translation_world_m=self.translation_m(body).float())
        joints = body.with_shape(self.shape).with_pose(pose).joints_world.double()
        return joints[:, [body.bone_names.index(body.humanoid[name]) for name in bones]]


def sized_to(estimate: ForeignEstimate, width_px: int, height_px: int) -> ForeignEstimate:
    """The estimate with its cameras in pixels of our video.

    Raises:
        InputError: When the tracker looked at images of other proportions.
    """
    if estimate.guessed_focal:  # those that guess without writing it down take the diagonal
        diagonal = torch.full_like(estimate.focal_px, float(np.hypot(width_px, height_px)))
        estimate = estimate.replace(focal_px=torch.where(torch.isnan(estimate.focal_px), diagonal, estimate.focal_px))
    width, height = estimate.size_px
    if not width or not height or (width, height) == (width_px, height_px):
        return estimate
    fx, fy = width_px / width, height_px / height
    if abs(fx / fy - 1) > _SAME_SHAPE:
        turned = abs(width_px / height * height_px / width - 1) < _SAME_SHAPE**0.5 and (width > height) != (
            width_px > height_px
        )
        raise InputError(
            f"{estimate.path} was made from images of {width}x{height}, this video has {width_px}x{height_px}: "
            + ("it was turned. " if turned else "other proportions, so it was cropped or is another video. ")
            + "Run the tracker on the video as it is."
        )
    scale = torch.tensor([fx, fy], dtype=torch.float64)
    return estimate.replace(focal_px=estimate.focal_px * fx, center_px=estimate.center_px * scale)


def lens_of(estimate: ForeignEstimate, given_px: float | None, width_px: int, height_px: int) -> tuple[Lens, str]:
    """Our camera, and where its focal length comes from: what is given, else the tracker's, else a usual one."""
    longer = max(width_px, height_px)
    if given_px is not None:
        return Lens(focal_px=given_px, width_px=width_px, height_px=height_px), "given"
    known = estimate.focal_px[torch.isfinite(estimate.focal_px)]
    if len(known):
        focal = float(known.median())
        steady = float((known / focal - 1).abs().median()) < 0.05
        if steady and 0.3 * longer < focal < 8 * longer:
            return Lens(focal_px=focal, width_px=width_px, height_px=height_px), "estimated"
    return Lens(focal_px=DEFAULT_FOCAL * longer, width_px=width_px, height_px=height_px), "estimated"


def seen_rows(estimate: ForeignEstimate, body: BodyModel, lens: Lens, height_m: float) -> Seen:
    """Every row as our body of a height, where our camera sees what the tracker's saw.

    Args:
        estimate: Sized to our video (`sized_to`).
        body: Ours.
        lens: Our camera.
        height_m: Of our body.
    """
    if estimate.body is not None:
        shape, rotvecs, root, R = _of_body(estimate, body, height_m)
    else:
        shape, rotvecs, root, R = _of_points(estimate, body, height_m)
    if estimate.frame == IN_CAMERA:
        turn, place = _through(estimate, lens, root)
    else:
        turn, place = torch.eye(3, dtype=torch.float64).expand_as(R), root
    moved = rotvecs.clone()
    at = body.bone_parents.index(-1)
    moved[:, at] = matrix_to_rotvec(R_WORLD_CAMERA @ turn @ R)
    return Seen(shape, moved, place @ R_WORLD_CAMERA)


def _of_body(estimate: ForeignEstimate, body: BodyModel, height_m: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Shape, local rotations, root joint and root rotation in the tracker's camera, at the tracker's own distance."""
    foreign = estimate.body
    assert foreign is not None
    standing = stand_in(body, foreign, torch.arange(estimate.num_rows))
    theirs, translation = placed(body, standing, _THEIR_HEIGHT_M)
    at = body.bone_parents.index(-1)
    root = _root_rest(body, theirs) + translation.double()
    root = foreign.scale[:, None] * root + foreign.translation
    E = estimate.T_camera_source
    place = (E[:, :3, :3] @ root[..., None])[..., 0] + E[:, :3, 3]
    R = E[:, :3, :3] @ rotvec_to_matrix(standing.rotvecs[:, at].double())
    return shape_of_height(body, height_m), standing.rotvecs.double(), place * (height_m / _THEIR_HEIGHT_M), R


def _of_points(estimate: ForeignEstimate, body: BodyModel, height_m: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The same from points, by inversion; distances are those at which our body looks as large."""
    marks, known = landmark_marks(body, estimate.point_names)
    points = (
        torch.einsum("fij,fpj->fpi", estimate.T_camera_source[:, :3, :3], estimate.points_source_m[:, known])
        + estimate.T_camera_source[:, None, :3, 3]
    )
    found = invert_points(body, marks, (points @ R_WORLD_CAMERA).numpy(), config=InvertConfig())
    theirs = torch.as_tensor(found.shape, dtype=body.shape_default.dtype)
    shape = shape_of_height(body, height_m, theirs)
    ratio = height_m / float(body.height_m(theirs))
    rotvecs = torch.from_numpy(found.rotvecs)
    root = (_root_rest(body, theirs) + torch.from_numpy(found.translation_m)) @ R_WORLD_CAMERA
    R = R_WORLD_CAMERA @ rotvec_to_matrix(rotvecs[:, body.bone_parents.index(-1)])
    return shape, rotvecs, root * ratio, R


def _through(
    estimate: ForeignEstimate, lens: Lens, root: Float[Tensor, "rows 3"]
) -> tuple[Float[Tensor, "rows 3 3"], Float[Tensor, "rows 3"]]:
    """Turn and new place of each root, so that our camera sees it as the tracker's did.

    Raises:
        InputError: When people stand behind the tracker's camera.
    """
    behind = int((root[:, 2] <= 0.05).sum())
    if behind > 0.2 * len(root):
        raise InputError(
            f"{estimate.path}: in {behind} of {len(root)} rows the person is behind the camera. The file follows another "
            "convention than its kind does (x right, y down, z forward), or is of another kind."
        )
    middle = torch.tensor([lens.width_px / 2, lens.height_px / 2], dtype=torch.float64)
    center = torch.where(torch.isnan(estimate.center_px), middle, estimate.center_px)
    unknown = torch.full_like(estimate.focal_px, lens.focal_px)
    focal = torch.where(torch.isnan(estimate.focal_px), unknown, estimate.focal_px)
    z = root[:, 2].clamp_min(0.05)
    pixel = root[:, :2] / z[:, None] * focal[:, None] + center
    new_ray = torch.cat([(pixel - middle) / lens.focal_px, torch.ones(len(root), 1, dtype=torch.float64)], dim=1)
    unit = torch.nn.functional.normalize
    turn = shortest_turn(unit(root, dim=1), unit(new_ray, dim=1))
    return turn, new_ray * (z * lens.focal_px / focal)[:, None]


def _root_rest(body: BodyModel, shape: Tensor) -> Float[Tensor, "3"]:
    return body.with_shape(shape).joints_rest[body.bone_parents.index(-1)].double()
