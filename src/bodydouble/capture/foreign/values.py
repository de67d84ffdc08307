"""What a foreign capture says, in one form for all layouts. Numbers stay the source's; frames and names are ours.

Where a body stands is told in three steps, each exact:

    p_source = scale * (body model's output about its pivot) + translation      `ForeignBody`, the source's own terms
    p_world  = T_world_source @ p_source                                        metres, +Y up (a similarity)
    p_camera = T_camera_world @ p_world                                         OpenCV axes, metres
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from bodydouble.body.smplx_names import JOINT_NAMES, joint_parents
from bodydouble.capture.foreign.pictures import MaskMeaning, read_mask, read_rgb
from bodydouble.core.struct import TensorStruct, tensor_struct


@tensor_struct
class ForeignCameras(TensorStruct):
    """One camera per frame, pinhole with OpenCV's lens distortion."""

    focal_px: Float[Tensor, "frames 2"]
    center_px: Float[Tensor, "frames 2"]
    """Principal point; the centre of the top left pixel is (0.5, 0.5)."""
    distortion: Float[Tensor, "frames 5"]
    """k1, k2, p1, p2, k3 of OpenCV; all 0 where the pictures are free of distortion."""
    T_camera_world: Float[Tensor, "frames 4 4"]
    """World (+Y up, metres) to camera (OpenCV axes)."""
    T_world_source: Float[Tensor, "frames 4 4"]
    """The source's world to ours; carries the factor from the source's unit to metres."""
    shared_world: bool
    """Whether all frames share one world. Otherwise each frame has its own, and only what the camera sees is known."""


@tensor_struct
class ForeignBody(TensorStruct):
    """Parameters of a body model of the SMPL family, as the source gives them."""

    model: str
    """`smpl` or `smplx`."""
    gender: str
    """`neutral`, `male`, `female` or `unknown`."""
    joint_names: tuple[str, ...]
    rotvecs: Float[Tensor, "frames joints 3"]
    """Axis-angle of each joint relative to its parent; the first is the global orientation in the source's world."""
    betas: Float[Tensor, "frames betas"]
    expression: Float[Tensor, "frames expressions"]
    translation: Float[Tensor, "frames 3"]
    """Added to the posed body, in the source's unit."""
    scale: Float[Tensor, " frames"]
    """Multiplies the posed body (metres) before the translation."""
    pivot: str
    """What the global orientation turns about: `pelvis` (the root joint, as in smplx) or `origin` (as in EasyMocap)."""
    hands: str
    """`none`, `flat` (relative to straight fingers) or `mean` (relative to the model's mean hands)."""
    valid: Bool[Tensor, " frames"]
    """False where the source gives no body."""


@dataclass(frozen=True, kw_only=True)
class ForeignFrame:
    """One frame on disk."""

    name: str
    """As the source calls it, without folder and suffix."""
    number: int
    """Number of the frame in the source's own counting."""
    image: Path
    mask: Path | None
    time_s: float
    """Since the source's frame 0; a guess where the rate is one."""
    split: str = ""
    """`train`, `val` or `test` where the source says so."""


@dataclass(frozen=True, kw_only=True)
class ForeignCapture:
    """A capture in somebody else's layout: facts in memory, pictures on disk until they are asked for."""

    layout: str
    folder: Path
    sequence: str
    """Which camera or take of the folder; empty where there is only one."""
    frames: tuple[ForeignFrame, ...]
    width_px: int
    height_px: int
    """Of every image."""
    fps_hz: float
    fps_known: bool
    """False where the layout does not say and 30 or a given rate was taken."""
    mask_meaning: MaskMeaning
    cameras: ForeignCameras | None
    body: ForeignBody | None
    coarse_masks: bool = False
    """Whether the masks are known to be wider than the person."""
    notes: tuple[str, ...] = ()
    """What was odd and how it was read, for the user."""

    @property
    def num_frames(self) -> int:
        """Number of frames."""
        return len(self.frames)

    def rgb(self, index: int) -> UInt8[np.ndarray, "height width 3"]:
        """Decode one frame, sRGB.

        Raises:
            InputError: When the file is damaged or has another size than it had.
        """
        return read_rgb(self.frames[index].image, self.width_px, self.height_px)

    def mask(self, index: int) -> UInt8[np.ndarray, "height width"] | None:
        """Decode one mask (255 = surely the person), at the size of the images; None where the source has none.

        Raises:
            InputError: When the file is damaged or its shape does not go with the images.
        """
        path = self.frames[index].mask
        return None if path is None else read_mask(path, self.width_px, self.height_px, self.mask_meaning)


def smpl_joint_names(model: str) -> tuple[str, ...]:
    """Joint names of a model of the SMPL family, parents first: 24 of `smpl`, 55 of `smplx`."""
    return JOINT_NAMES[model]


def smpl_joint_parents(model: str) -> tuple[int, ...]:
    """Parent of each joint of `smpl_joint_names`, -1 for the pelvis."""
    return joint_parents(JOINT_NAMES[model])
