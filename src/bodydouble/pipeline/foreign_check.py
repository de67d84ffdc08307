"""Does a foreign body lie on its masks? A wrong convention is caught here, and named, before anybody trains on it.

The stand-in (`foreign_body`) is projected by the capture's own cameras. Of some frames it is measured which share of the
mask the body covers, and which share of the body is inside the mask. If that is too little, or if another usual reading
of the same numbers (camera to world, transposed rotations, other axes, millimetres, ...) fits clearly better, the capture
is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from bodydouble.body.protocol import BodyModel, Pose
from bodydouble.capture.foreign.rectify import Rectifier
from bodydouble.capture.foreign.values import ForeignBody, ForeignCapture
from bodydouble.core.cameras import Camera
from bodydouble.core.errors import InputError
from bodydouble.pipeline.foreign_body import StandIn, placed, stand_in

MIN_COVERED = 0.50
"""Of the mask by the body: wide clothes, hair and things in hands are not body. Of one in eight of WildAvatar's subjects
the intersection over union of body and mask is below 0.59, by its authors' figures."""
MIN_INSIDE = 0.70
"""Of the body in the mask: a body is within its clothes."""
MIN_COVERED_COARSE = 0.35
"""Where masks are known to be wider than the person."""
CLEARLY_BETTER = 0.05
"""By so much of intersection over union another reading must win to be believed."""
SAMPLED_FRAMES = 8
_WORK_PX = 176
_HEIGHTS_M = (1.45, 1.55, 1.65, 1.75, 1.85, 1.95)
_FEW_HEIGHTS_M = (1.65, 1.85)
_SURE_IOU = 0.5
_HOPELESS_IOU = 0.3


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How a body lies on its masks."""

    frames: tuple[int, ...]
    """Places in the capture that were looked at."""
    covered: tuple[float, ...]
    """Share of each mask that the projected body covers."""
    inside: tuple[float, ...]
    """Share of each projected body that is inside the mask."""
    iou: tuple[float, ...]
    height_m: float
    """Of the stand-in that fits best."""

    @property
    def figures(self) -> dict[str, float]:
        """Medians, as JSON values."""
        return {
            "mask_covered": float(np.median(self.covered)),
            "body_inside": float(np.median(self.inside)),
            "iou": float(np.mean(self.iou)),
            "height_m": self.height_m,
        }


@dataclass(frozen=True, kw_only=True)
class _Reading:
    """Another way to read the same numbers."""

    text: str
    camera: Callable[[Tensor], Tensor] = lambda E: E
    body: Callable[[ForeignBody], ForeignBody] = lambda b: b
    focal: float = 1.0
    inverted: bool = False
    reposes: bool = False
    """Whether the pose itself is read differently."""


def check_body(capture: ForeignCapture, body: BodyModel, rectifier: Rectifier) -> Coverage:
    """Project the capture's body onto its masks.

    Args:
        capture: With cameras and a body.
        body: Ours, for the stand-in.
        rectifier: Of the capture.
    Returns:
        The coverage of the capture as it was read.
    Raises:
        InputError: When no frame has both, the masks show no person, or the body does not lie on them; with the
            reading that would fit, if one does.
    """
    assert capture.cameras is not None and capture.body is not None
    bench = _Bench(capture, body, rectifier)
    given = _Reading(text="")
    as_given = bench.measured(given, _HEIGHTS_M)
    finer = bench.measured(given, (as_given.height_m - 0.05, as_given.height_m, as_given.height_m + 0.05))
    as_given = max(as_given, finer, key=lambda c: float(np.mean(c.iou)))
    few = (as_given.height_m,) if as_given.figures["iou"] > _SURE_IOU else _FEW_HEIGHTS_M
    others = [
        (reading, bench.measured(reading, few)) for reading in _readings(capture) if bench.promising(reading, few)
    ]
    if not others:
        others = [(given, as_given)]
    best, coverage = max(others, key=lambda pair: np.mean(pair[1].iou))
    figures = as_given.figures
    least = MIN_COVERED_COARSE if capture.coarse_masks else MIN_COVERED
    lies_on_masks = figures["mask_covered"] >= least and figures["body_inside"] >= MIN_INSIDE
    better = np.mean(coverage.iou) > figures["iou"] + CLEARLY_BETTER and _fits(coverage, least)
    if lies_on_masks and not better:
        return as_given
    found = (
        f"{capture.folder} ({capture.layout}): the body {'lies badly' if lies_on_masks else 'does not lie'} on the masks. "
        f"Over {len(as_given.frames)} frames it covers {_percent(figures['mask_covered'])} of them (at least {_percent(least)} "
        f"expected), and {_percent(figures['body_inside'])} of it is inside ({_percent(MIN_INSIDE)})."
    )
    if better:
        covered, inside = coverage.figures["mask_covered"], coverage.figures["body_inside"]
        found += f" It would fit ({_percent(covered)}, {_percent(inside)}) if {best.text}: the files follow another convention."
        raise InputError(f"{found} Correct them, or the program that wrote them.")
    raise InputError(
        f"{found} No other usual reading fits either: poses, cameras or masks belong to other frames, or another person. "
        "Check that all come from one release, or import without the body (--without-body)."
    )


def silhouette_iou(
    vertices_camera: Float[Tensor, "verts 3"],
    faces: Tensor,
    camera: Camera,
    mask: Bool[np.ndarray, "height width"],
) -> tuple[float, float, float]:
    """Share of the mask covered, share of the body inside, and intersection over union. 0 where the body is out of view."""
    from bodydouble.render.mesh import rasterize_mesh

    seen = rasterize_mesh(vertices_camera, faces, camera).mask.numpy()
    both, body, wanted = int((seen & mask).sum()), int(seen.sum()), int(mask.sum())
    return both / max(wanted, 1), both / max(body, 1), both / max(body + wanted - both, 1)


def work_camera(rectifier: Rectifier) -> Camera:
    """The rectified camera at the small size in which silhouettes are compared, at the camera's own frame."""
    shrink = min(1.0, _WORK_PX / max(rectifier.width_px, rectifier.height_px))
    width, height = (max(1, round(n * shrink)) for n in (rectifier.width_px, rectifier.height_px))
    scale = torch.tensor([width / rectifier.width_px, height / rectifier.height_px], dtype=torch.float64)
    return Camera(
        width_px=width,
        height_px=height,
        focal_px=rectifier.focal_px * scale,
        center_px=torch.tensor([width / 2.0, height / 2.0], dtype=torch.float64),
        T_camera_world=torch.eye(4, dtype=torch.float64),
    )


def work_mask(capture: ForeignCapture, rectifier: Rectifier, index: int) -> Bool[np.ndarray, "height width"] | None:
    """A frame's mask, rectified and shrunk to the size of `work_camera`; None where there is none or nobody in it."""
    import cv2

    mask = capture.mask(index)
    if mask is None:
        return None
    camera = work_camera(rectifier)
    small = cv2.resize(rectifier(mask, index), (camera.width_px, camera.height_px), interpolation=cv2.INTER_AREA)
    return small > 127 if (small > 127).any() else None


def camera_from_source(capture: ForeignCapture) -> Float[Tensor, "frames 4 4"]:
    """The source's world to camera, as one similarity (metres)."""
    assert capture.cameras is not None
    return capture.cameras.T_camera_world @ capture.cameras.T_world_source


def _sampled(capture: ForeignCapture, rectifier: Rectifier) -> tuple[list[int], list[np.ndarray]]:
    assert capture.body is not None
    usable = [i for i in range(capture.num_frames) if capture.body.valid[i] and capture.frames[i].mask is not None]
    if not usable:
        raise InputError(
            f"{capture.folder} ({capture.layout}) has no frame with both a body and a mask, so its conventions cannot be "
            "checked. Bring the masks, or import without the body (--without-body)."
        )
    places = np.unique(np.linspace(0, len(usable) - 1, SAMPLED_FRAMES).round().astype(int))
    pairs = [(usable[p], work_mask(capture, rectifier, usable[p])) for p in places]
    pairs = [(i, mask) for i, mask in pairs if mask is not None]
    if not pairs:
        raise InputError(
            f"{capture.folder} ({capture.layout}): the masks are empty. Are they of another value than expected?"
        )
    return [i for i, _ in pairs], [mask for _, mask in pairs]


class _Bench:
    """What is measured on: some frames, their masks, and the stand-in in their poses, each computed once."""

    def __init__(self, capture: ForeignCapture, body: BodyModel, rectifier: Rectifier) -> None:
        assert capture.body is not None
        self.frames, self.masks = _sampled(capture, rectifier)
        self._index = torch.tensor(self.frames)
        self._body, self._foreign = body, capture.body
        self._E = camera_from_source(capture)[self._index]
        self._camera = work_camera(rectifier)
        self._standing: dict[str, StandIn] = {}
        self._vertices: dict[tuple[str, float], Tensor] = {}

    def promising(self, reading: _Reading, heights_m: tuple[float, ...]) -> bool:
        """Whether a look at two frames leaves a reading in the running."""
        glance = self.measured(reading, heights_m[:1], looked_at=2)
        return float(np.mean(glance.iou)) > _HOPELESS_IOU

    def measured(self, reading: _Reading, heights_m: tuple[float, ...], *, looked_at: int | None = None) -> Coverage:
        """Coverage under a reading, at the height that fits best; of the first frames only with `looked_at`."""
        foreign = reading.body(self._foreign)
        E = reading.camera(self._E)
        camera = self._camera.replace(focal_px=self._camera.focal_px * reading.focal)
        wanted = [~mask if reading.inverted else mask for mask in self.masks]
        best: Coverage | None = None
        for height_m in heights_m:
            points = in_camera(self._model_vertices(reading, foreign, height_m), foreign, self._index, E)[:looked_at]
            shares = [silhouette_iou(p, self._body.faces, camera, m) for p, m in zip(points, wanted, strict=False)]
            covered, inside, iou = zip(*shares, strict=True)
            if best is None or np.mean(iou) > np.mean(best.iou):
                frames = tuple(self.frames[:looked_at])
                best = Coverage(frames=frames, covered=covered, inside=inside, iou=iou, height_m=height_m)
        assert best is not None
        return best

    def _model_vertices(self, reading: _Reading, foreign: ForeignBody, height_m: float) -> Tensor:
        pose = reading.text if reading.reposes else ""
        if pose not in self._standing:
            self._standing[pose] = stand_in(self._body, foreign, self._index)
        if (pose, height_m) not in self._vertices:
            self._vertices[pose, height_m] = model_vertices(self._body, self._standing[pose], height_m)
        return self._vertices[pose, height_m]


def model_vertices(body: BodyModel, standing: StandIn, height_m: float) -> Float[Tensor, "frames verts 3"]:
    """The stand-in's vertices where the foreign model's would be, before scale and translation, metres."""
    shape, translation = placed(body, standing, height_m)
    pose = Pose(rotvecs=standing.rotvecs, translation_world_m=translation)
    return body.with_shape(shape).with_pose(pose).vertices()


def in_camera(
    vertices: Float[Tensor, "frames verts 3"], foreign: ForeignBody, index: Tensor, E: Float[Tensor, "frames 4 4"]
) -> Float[Tensor, "frames verts 3"]:
    """Vertices of `model_vertices` in camera axes, metres; E is the source's world to camera."""
    turn = E[:, :3, :3] * foreign.scale[index, None, None]
    move = (E[:, :3, :3] @ foreign.translation[index, :, None])[..., 0] + E[:, :3, 3]
    return vertices @ turn.transpose(1, 2).to(vertices) + move[:, None].to(vertices)


def _readings(capture: ForeignCapture) -> list[_Reading]:
    """The usual mistakes."""

    def flipped(*signs: float) -> Callable[[Tensor], Tensor]:
        return lambda E: torch.diag(torch.tensor([*signs, 1.0], dtype=E.dtype)) @ E

    def turned(sign: float) -> Callable[[Tensor], Tensor]:
        turn = torch.tensor([[1.0, 0, 0, 0], [0, 0, -sign, 0], [0, sign, 0, 0], [0, 0, 0, 1]], dtype=torch.float64)
        return lambda E: E @ turn

    def further(factor: float) -> Callable[[Tensor], Tensor]:
        return lambda E: torch.cat([E[:, :, :3], E[:, :, 3:] * torch.tensor([[factor]] * 3 + [[1.0]]).to(E)], dim=2)

    def moved(factor: float) -> Callable[[ForeignBody], ForeignBody]:
        return lambda b: b.replace(translation=b.translation * factor)

    other_pivot = "origin" if capture.body is not None and capture.body.pivot == "pelvis" else "pelvis"
    return [
        _Reading(text="the camera matrices were read as camera to world", camera=_inverted),
        _Reading(text="the cameras' rotations were transposed", camera=_transposed),
        _Reading(text="the cameras looked along -Z with +Y up (OpenGL's axes)", camera=flipped(1.0, -1.0, -1.0)),
        _Reading(text="the cameras had +X left and +Y up (PyTorch3D's axes)", camera=flipped(-1.0, -1.0, 1.0)),
        _Reading(text="left and right of the pictures were exchanged", camera=flipped(-1.0, 1.0, 1.0)),
        _Reading(text="the source's world had another axis up (Y and Z exchanged)", camera=turned(1.0)),
        _Reading(text="the source's world had another axis up (Y and Z exchanged, Z down)", camera=turned(-1.0)),
        _Reading(text="the cameras' translations were in millimetres", camera=further(0.001)),
        _Reading(text="the cameras' translations were in metres where millimetres are read", camera=further(1000.0)),
        _Reading(text="the body's translations were in millimetres", body=moved(0.001)),
        _Reading(text="the body's translations were in centimetres", body=moved(0.01)),
        _Reading(text="the focal length were twice as long (images of twice the size)", focal=2.0),
        _Reading(text="the focal length were half as long (images of half the size)", focal=0.5),
        _Reading(
            text="the body's rotations were inverted (transposed)",
            body=lambda b: b.replace(rotvecs=-b.rotvecs),
            reposes=True,
        ),
        _Reading(
            text=f"the body turned about {'the origin' if other_pivot == 'origin' else 'its pelvis'}",
            body=lambda b: b.replace(pivot=other_pivot),
            reposes=True,
        ),
        _Reading(text="the masks were inverted", inverted=True),
    ]


def _inverted(E: Tensor) -> Tensor:
    """The inverse of the rigid part, at the same scale."""
    size = torch.linalg.det(E[:, :3, :3]).clamp_min(1e-12) ** (1 / 3)
    rigid = E.clone()
    rigid[:, :3] = E[:, :3] / size[:, None, None]
    inverse = torch.linalg.inv(rigid)
    inverse[:, :3] = inverse[:, :3] * size[:, None, None]
    return inverse


def _transposed(E: Tensor) -> Tensor:
    result = E.clone()
    result[:, :3, :3] = E[:, :3, :3].transpose(1, 2)
    return result


def _fits(coverage: Coverage, least: float) -> bool:
    return coverage.figures["mask_covered"] >= least and coverage.figures["body_inside"] >= MIN_INSIDE


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
