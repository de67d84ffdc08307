"""What a tracker says about the people in a video, in one form for all trackers.

A row is one person in one frame. Where its body stands is told in two steps:

    p_source = scale * (body model's output about its pivot) + translation      `ForeignBody`, or points as they are
    p_camera = T_camera_source @ p_source                                       OpenCV axes, metres
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bodydouble.capture.foreign.values import ForeignBody
from bodydouble.core.struct import TensorStruct, tensor_struct

IN_CAMERA, IN_WORLD, UNKNOWN = "camera", "world", "unknown"


@tensor_struct
class ForeignEstimate(TensorStruct):
    """A tracker's result."""

    kind: str
    """Name of the tracker, as in `kinds.KINDS`."""
    path: str
    frame_number: Int[Tensor, " rows"]
    """As the tracker counts frames; where it counts from 1 or by file names, those numbers."""
    person: Int[Tensor, " rows"]
    """As the tracker numbers people."""
    tracked: bool
    """Whether a number means the same person in all frames; otherwise it only counts detections of one frame."""
    body: ForeignBody | None
    """Rotations of a body of the SMPL family, a row each; None where only points are given."""
    point_names: tuple[str, ...]
    """As landmarks of `Observations` are named; `mesh/<i>` are vertices of the tracker's own mesh."""
    points_source_m: Float[Tensor, "rows points 3"]
    T_camera_source: Float[Tensor, "rows 4 4"]
    frame: str
    """`camera`: T_camera_source leads to the camera. `world`: it does not, the camera is not known. `unknown`: either."""
    focal_px: Float[Tensor, " rows"]
    """Of the camera in which the row was estimated; NaN where it is not known."""
    center_px: Float[Tensor, "rows 2"]
    """Its principal point in the full image; NaN where it is the middle of the image."""
    size_px: tuple[int, int]
    """Width and height of the images that were looked at; 0 where they are not known."""
    total_frames: int
    """How many frames the tracker was given; 0 where it does not say."""
    guessed_focal: bool
    """Whether the focal length is known to be a guess of the tracker's."""
    notes: tuple[str, ...]
    """What was odd and how it was read, for the user."""

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return len(self.frame_number)

    @property
    def people(self) -> tuple[int, ...]:
        """Numbers of people, those in most frames first."""
        numbers, counts = self.person.unique(return_counts=True)
        order = torch.argsort(counts, descending=True, stable=True)
        return tuple(numbers[order].tolist())

    def rows(self, index: Int[Tensor, " chosen"]) -> ForeignEstimate:
        """Only some of the rows, in this order."""
        return self.map(lambda tensor: tensor[index])


def make_estimate(
    kind: str,
    path: str,
    frame_number: Int[Tensor, " rows"],
    *,
    person: Int[Tensor, " rows"] | None = None,
    tracked: bool = True,
    body: ForeignBody | None = None,
    point_names: tuple[str, ...] = (),
    points_source_m: Float[Tensor, "rows points 3"] | None = None,
    T_camera_source: Float[Tensor, "rows 4 4"] | None = None,
    frame: str = IN_CAMERA,
    focal_px: Float[Tensor, " rows"] | None = None,
    center_px: Float[Tensor, "rows 2"] | None = None,
    size_px: tuple[int, int] = (0, 0),
    total_frames: int = 0,
    guessed_focal: bool = False,
    notes: tuple[str, ...] = (),
) -> ForeignEstimate:
    """An estimate in which what is left out is unknown: one person, the identity, NaN."""
    count = len(frame_number)
    nan = torch.full((count,), torch.nan, dtype=torch.float64)
    return ForeignEstimate(
        kind=kind,
        path=path,
        frame_number=frame_number.long(),
        person=torch.zeros(count, dtype=torch.long) if person is None else person.long(),
        tracked=tracked,
        body=body,
        point_names=point_names,
        points_source_m=torch.zeros(count, 0, 3, dtype=torch.float64) if points_source_m is None else points_source_m,
        T_camera_source=torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
        if T_camera_source is None
        else T_camera_source,
        frame=frame,
        focal_px=nan if focal_px is None else focal_px,
        center_px=torch.stack([nan, nan], 1) if center_px is None else center_px,
        size_px=size_px,
        total_frames=total_frames,
        guessed_focal=guessed_focal,
        notes=notes,
    )
