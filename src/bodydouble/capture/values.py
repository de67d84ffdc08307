"""What is known about a video: its facts, what estimators saw in it, and the body that was fitted to it."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor

from bodydouble.body.protocol import Pose
from bodydouble.core.struct import TensorStruct, tensor_struct


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """Facts of a decoded video, after rotation tags were applied."""

    path: str
    width_px: int
    height_px: int
    num_frames: int
    """Frames that can be decoded (counted, not believed from the header)."""
    fps_hz: float
    """Median frame rate from the frame times."""
    times_s: tuple[float, ...]
    """Presentation time of each frame, from the first."""
    rotation_deg: int
    """Clockwise turn that was applied to the stored frames: 0, 90, 180 or 270."""
    codec: str
    focal_px: float | None = None
    """From metadata, where a phone wrote it (35 mm equivalent focal length)."""
    sha256: str = ""
    damage: str = ""
    """What could not be read, in words; empty for a sound file."""


@tensor_struct
class Observations(TensorStruct):
    """What estimators saw, for a chosen run of frames. Fitting never knows which network a landmark came from.

    Landmark names are `body/<name>` (33, the names of BlazePose: `body/left_shoulder`, ...), `left_hand/<name>` and
    `right_hand/<name>` (21 each: `wrist`, `thumb_cmc`, `thumb_mcp`, `thumb_ip`, `thumb_tip`, `index_mcp`, `index_pip`,
    `index_dip`, `index_tip`, `middle_*`, `ring_*`, `pinky_*`), and `face/<i>` (478 mesh points, by index).
    Left and right are the subject's own.
    """

    frame_indices: Int[Tensor, " frames"]
    """Index of each observed frame in the source video, ascending."""
    times_s: Float[Tensor, " frames"]
    width_px: int
    height_px: int
    landmark_names: tuple[str, ...]
    xy_px: Float[Tensor, "frames landmarks 2"]
    """Position in the full image, pixels."""
    xyz_camera_m: Float[Tensor, "frames landmarks 3"]
    """3D estimate in camera axes (+X right, +Y down, +Z forward): body relative to the mid hip, metres; hands relative to
    their wrist and face relative to its centre, both up to an unknown scale per group."""
    confidence: Float[Tensor, "frames landmarks"]
    """In [0, 1]; 0 where the landmark was not found (its coordinates are then 0)."""
    present: Bool[Tensor, " frames"]
    """Whether the subject was found in the frame."""
    box_px: Float[Tensor, "frames 4"]
    """x0, y0, x1, y1 of the subject (mask and landmarks), clipped to the image; 0 where absent."""


@tensor_struct
class BodyTrack(TensorStruct):
    """A body model fitted to a run of frames: one shape, one focal length, a pose and an expression for each frame."""

    body: str
    """Name of the body model, such as `anny`."""
    frame_indices: Int[Tensor, " frames"]
    times_s: Float[Tensor, " frames"]
    shape: Float[Tensor, " shape"]
    rotvecs: Float[Tensor, "frames bones 3"]
    translation_world_m: Float[Tensor, "frames 3"]
    expression: Float[Tensor, "frames actions"]
    focal_px: Float[Tensor, ""]
    focal_source: str
    """`given`, `metadata` or `estimated`."""
    height_source: str
    """`given` or `prior`."""
    width_px: int
    height_px: int
    valid: Bool[Tensor, " frames"]
    """False where the subject was absent: such poses are interpolated."""
    limb_names: tuple[str, ...]
    """torso, head, left_arm, right_arm, left_hand, right_hand, left_leg, right_leg."""
    limb_error_px: Float[Tensor, "frames limbs"]
    """Median reprojection error of the limb's seen landmarks; NaN where none was seen."""
    frame_quality: Float[Tensor, " frames"]
    """In [0, 1]: 1 is a fit within 1 % of the person's height in pixels, 0 one beyond 10 % or an absent subject."""
    looks: Float[Tensor, "frames coeffs"] | None = None
    """Coefficients of an avatar's correctives beyond those of the pose, once frames are registered to it; not of the
    fit, and in no file."""

    def pose(self, row: int | slice = slice(None)) -> Pose:
        """The pose of a row, or the poses of several; of all if none is named."""
        return Pose(rotvecs=self.rotvecs[row], translation_world_m=self.translation_world_m[row])
