"""Scores an avatar on the frames of its own video that never shaped it photometrically."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from bodydouble.avatar.drive import pose_avatar
from bodydouble.avatar.picture import picture_of
from bodydouble.avatar.values import Avatar
from bodydouble.capture.crops import beyond_image, crop_square, cut_square
from bodydouble.capture.folder import Capture
from bodydouble.capture.values import BodyTrack, Observations
from bodydouble.capture.video import Frame
from bodydouble.core.cameras import Camera, video_camera
from bodydouble.core.events import Event, Progress
from bodydouble.evaluate.interpolate import interpolated_track
from bodydouble.evaluate.masks import mask_iou
from bodydouble.evaluate.pictures import ExampleShelf
from bodydouble.evaluate.protocol import HELDOUT_V1, HeldoutProtocol
from bodydouble.evaluate.psnr import psnr_db
from bodydouble.evaluate.regions import Box, box_in_crop, mask_box
from bodydouble.evaluate.results import Figures, FrameScore, HeldoutResult
from bodydouble.evaluate.seen_parts import frame_speeds, seen_box
from bodydouble.evaluate.ssim import ssim
from bodydouble.fit.outline import DEFAULT_OUTLINE, outline_frames
from bodydouble.fit.pose_problem import RegisterConfig
from bodydouble.fit.register import register_frames
from bodydouble.render.protocol import Rasterizer
from bodydouble.render.threads import side_by_side

DEFAULT_REGISTER = RegisterConfig(rounds=0, sweeps=(1, 1, 1, 0, 0), looks=True)
"""Photometric sweeps alone: held-out poses start close, and a round of flow would move still frames away again."""
_JUDGED_BEHIND = 2
"""Frames whose pictures may wait for their figures."""
_SSIM_MARGIN_PX = 5
"""Half the SSIM window: the map inside a box needs this much around it."""


@dataclass(frozen=True, kw_only=True)
class _Truth:
    """One held-out frame as the protocol sees it; images float32 in [0, 1]."""

    index: int
    rgb: np.ndarray
    on_black: np.ndarray
    mask: np.ndarray
    box: Box
    square: tuple[int, int, int]
    crop: np.ndarray
    crop_box: Box
    hands: tuple[Box, ...]
    face: Box | None
    """Hand and face boxes in crop pixels."""


@dataclass(frozen=True, kw_only=True)
class _Prediction:
    """The avatar in one pose, unmasked on black."""

    crop: np.ndarray
    full: np.ndarray | None
    alpha: np.ndarray | None


@dataclass(frozen=True, kw_only=True)
class _Predictions:
    """The avatar in the poses of `HeldoutProtocol.describe`, as far as they were asked for."""

    fit: _Prediction
    outlined: _Prediction | None
    interpolated: _Prediction
    registered: _Prediction | None


@dataclass(frozen=True)
class _Double:
    """The avatar, and the tracks of poses that it is judged in."""

    avatar: Avatar
    fit: BodyTrack
    outlined: BodyTrack | None
    """The fit with the avatar's outline laid on the masks of held-out frames."""
    between: BodyTrack
    """Held-out frames in poses between those of the training frames around them."""
    registered: BodyTrack | None
    rasterizer: Rasterizer
    protocol: HeldoutProtocol

    def predictions(self, row: int, truth: _Truth) -> _Predictions:
        """One frame in all poses that there are."""
        tracks = ((self.fit, True), (self.between, False), (self.outlined, True), (self.registered, True))

        def draw(k: int) -> _Prediction | None:
            track, full = tracks[k]
            return None if track is None else self._drawn(track, row, truth, full=full)

        fit, mid, out, reg = side_by_side(draw, len(tracks))
        assert fit is not None and mid is not None, "these two tracks always are there"
        if reg is not None and self.avatar.splats is None and _box_psnr(truth, reg) < _box_psnr(truth, mid):
            # Splats stood in for the mesh; a frame that they led astray keeps the pose that it began with.
            reg = self._drawn(self.between, row, truth, full=True)
        return _Predictions(fit=fit, outlined=out, interpolated=mid, registered=reg)

    def _drawn(self, track: BodyTrack, row: int, truth: _Truth, *, full: bool) -> _Prediction:
        camera = video_camera(track.width_px, track.height_px, track.focal_px)
        x0, y0, side = truth.square
        crop_px = self.protocol.crop_px
        with torch.no_grad():
            extra = None if track.looks is None else track.looks[row]
            posed = pose_avatar(self.avatar, track.pose(row), track.expression[row], extra=extra)

            def image(view: Camera) -> tuple[np.ndarray, np.ndarray]:
                rendered = picture_of(self.avatar, posed, view, self.rasterizer)
                return rendered.pixels().clip(0.0, 1.0), rendered.alpha.cpu().numpy()

            crop, _ = image(camera.cropped(float(x0), float(y0), (float(side), float(side)), (crop_px, crop_px)))
            whole, alpha = image(camera) if full else (None, None)
        beyond = beyond_image(track.width_px, track.height_px, truth.square, crop_px)
        if beyond is not None:
            crop[beyond] = 0.0  # as in the truth: no video shows what is there
        return _Prediction(crop=crop, full=whole, alpha=alpha)


def evaluate_heldout(
    capture: Capture,
    avatar: Avatar,
    fit_track: BodyTrack,
    refined_track: BodyTrack,
    rasterizer: Rasterizer,
    emit: Callable[[Event], None],
    *,
    protocol: HeldoutProtocol = HELDOUT_V1,
    register: RegisterConfig | None = DEFAULT_REGISTER,
    outline: RegisterConfig | None = DEFAULT_OUTLINE,
    train_indices: Sequence[int] | None = None,
) -> HeldoutResult:
    """Score an avatar by `protocol` (see `HeldoutProtocol.describe`).

    Args:
        capture: Frames, masks and observations.
        avatar: The finished avatar; its splats are rendered, or its mesh where it has none.
        fit_track: Poses from landmarks and silhouettes alone, for all frames.
        refined_track: Poses as training left them; only those of training frames are read.
        rasterizer: Renders the splats.
        emit: Told about progress.
        register: How held-out poses are registered; None leaves the registered figures out (NaN).
        outline: How the avatar's outline is laid on the held-out frames' masks (`fit.outline`). None leaves those
            figures out, as is right where the capture's masks are the truth and not an estimator's. An avatar that is
            a mesh alone has none.
        train_indices: Source frames that training refined; by default those whose pose differs between the tracks.
    Returns:
        Scores of every held-out frame with the subject in view, and pictures of a few of them.
    Raises:
        InputError: When the avatar has nothing that can be drawn.
    """
    started = time.perf_counter()
    rows = {int(i): k for k, i in enumerate(fit_track.frame_indices)}
    asked = [i for i in capture.heldout_indices() if i in rows and bool(fit_track.valid[rows[i]])]
    train = refined_indices(capture, fit_track, refined_track) if train_indices is None else list(train_indices)
    between = interpolated_track(fit_track, refined_track, train, asked)
    outlined = registered = None
    if outline is not None and asked and avatar.splats is not None:
        outlined = outline_frames(capture, avatar.rig, avatar.splats, fit_track, asked, rasterizer, outline, emit)
    if register is not None and asked:
        registered = register_frames(capture, avatar, between, asked, rasterizer, register, emit)
    double = _Double(avatar, fit_track, outlined, between, registered, rasterizer, protocol)

    observations = capture.observations()
    speeds = frame_speeds(observations, asked, protocol)
    scores: list[FrameScore] = []
    shelf = ExampleShelf()

    def judge(frame: Frame, truth: _Truth, drawn: _Predictions) -> None:
        speed = speeds[frame.index]
        scores.append(
            FrameScore(
                frame_index=frame.index,
                time_s=float(fit_track.times_s[rows[frame.index]]),
                speed_heights_per_s=speed,
                moving=None if np.isnan(speed) else bool(speed >= protocol.still_speed_heights_per_s),
                native_crop_px=truth.square[2],
                figures=_figures(truth, drawn, protocol),
            )
        )
        shelf.offer(
            scores[-1],
            frame=cut_square(frame.rgb, *truth.square, protocol.crop_px),
            truth=truth.crop,
            fit=drawn.fit.crop,
            registered=(drawn.registered or drawn.interpolated).crop,
        )

    # One thread renders while another compares, in the same order: the figures' arrays keep a core busy, too.
    with ThreadPoolExecutor(1, "judge") as beside:
        judged: deque[Future[None]] = deque()
        for done, frame in enumerate(capture.frames(asked) if asked else ()):
            truth = _truth(capture, frame, observations, protocol)
            if truth is not None:
                judged.append(beside.submit(judge, frame, truth, double.predictions(rows[frame.index], truth)))
            while len(judged) > _JUDGED_BEHIND:
                judged.popleft().result()
            emit(Progress(stage="evaluate", done=done + 1, total=len(asked), unit="frames"))
        for rest in judged:
            rest.result()
    scored = {s.frame_index for s in scores}
    return HeldoutResult(
        protocol=protocol,
        rows=tuple(scores),
        skipped=tuple(i for i in observations.frame_indices.tolist() if protocol.holds_out(i) and i not in scored),
        examples=shelf.chosen(),
        seconds=time.perf_counter() - started,
    )


def refined_indices(capture: Capture, fit_track: BodyTrack, refined_track: BodyTrack) -> list[int]:
    """Source frames that may be trained on and whose pose training changed (it need not use every frame)."""
    refined_rows = {int(i): k for k, i in enumerate(refined_track.frame_indices)}
    found: set[int] = set()
    for row, index in enumerate(fit_track.frame_indices.tolist()):
        other = refined_rows.get(index)
        if other is not None and not (
            torch.equal(fit_track.rotvecs[row], refined_track.rotvecs[other])
            and torch.equal(fit_track.translation_world_m[row], refined_track.translation_world_m[other])
        ):
            found.add(index)
    return sorted(found & set(capture.train_indices()))


def _truth(capture: Capture, frame: Frame, observations: Observations, protocol: HeldoutProtocol) -> _Truth | None:
    raw_mask = capture.mask(frame.index)
    square = None if raw_mask is None else crop_square(raw_mask, protocol.box_growth)
    if raw_mask is None or square is None:
        return None
    mask = raw_mask.astype(np.float32) / 255.0
    box = mask_box(mask, protocol)
    assert box is not None, "crop_square and mask_box share their threshold"
    rgb = frame.rgb.astype(np.float32) / 255.0
    on_black = rgb * mask[..., None]
    x0, y0, side = square
    crop_px = protocol.crop_px

    def in_crop(found: Box | None) -> Box | None:
        if found is None:
            return None
        inside = box_in_crop(found, x0_px=x0, y0_px=y0, side_px=side, crop_px=crop_px)
        return None if inside.is_empty else inside

    hands = [in_crop(seen_box(observations, frame.index, f"{s}_hand/", protocol)) for s in ("left", "right")]
    crop_box = in_crop(box)
    assert crop_box is not None, "the square holds the box"
    return _Truth(
        index=frame.index,
        rgb=rgb,
        on_black=on_black,
        mask=mask,
        box=box,
        square=square,
        crop=np.clip(cut_square(on_black, x0, y0, side, crop_px), 0.0, 1.0),
        crop_box=crop_box,
        hands=tuple(h for h in hands if h is not None),
        face=in_crop(seen_box(observations, frame.index, "face/", protocol)),
    )


def _figures(truth: _Truth, drawn: _Predictions, protocol: HeldoutProtocol) -> Figures:
    values = _pose_figures(truth, drawn.fit, protocol)
    values["psnr_box_interpolated"] = _box_psnr(truth, drawn.interpolated)
    for label, prediction in (("outlined", drawn.outlined), ("registered", drawn.registered)):
        if prediction is not None:
            values |= {f"{name}_{label}": value for name, value in _pose_figures(truth, prediction, protocol).items()}
    return Figures(**values)


def _pose_figures(truth: _Truth, prediction: _Prediction, protocol: HeldoutProtocol) -> dict[str, float]:
    assert prediction.full is not None and prediction.alpha is not None
    inside = truth.box.rows_and_columns
    threshold = protocol.mask_threshold
    return {
        "psnr_box": _box_psnr(truth, prediction),
        "psnr_box_native": psnr_db(prediction.full[inside], truth.on_black[inside]),
        "ssim_box": _box_ssim(truth, prediction),
        "psnr_full": psnr_db(prediction.full, truth.on_black),
        "mask_iou": mask_iou(prediction.alpha > threshold, truth.mask > threshold),
        "psnr_hands": _region_psnr(truth, prediction, truth.hands),
        "psnr_face": _region_psnr(truth, prediction, () if truth.face is None else (truth.face,)),
    }


def _box_psnr(truth: _Truth, prediction: _Prediction) -> float:
    inside = truth.crop_box.rows_and_columns
    return psnr_db(prediction.crop[inside], truth.crop[inside])


def _box_ssim(truth: _Truth, prediction: _Prediction) -> float:
    crop_px = truth.crop.shape[0]
    box, m = truth.crop_box, _SSIM_MARGIN_PX
    wide = Box(x0=box.x0 - m, y0=box.y0 - m, x1=box.x1 + m, y1=box.y1 + m).clipped(crop_px, crop_px)
    region = np.zeros(truth.crop.shape[:2], dtype=bool)
    region[box.rows_and_columns] = True
    near = wide.rows_and_columns
    return ssim(prediction.crop[near], truth.crop[near], region[near])


def _region_psnr(truth: _Truth, prediction: _Prediction, boxes: Sequence[Box]) -> float:
    region = np.zeros(truth.crop.shape[:2], dtype=bool)
    for box in boxes:
        region[box.rows_and_columns] = True
    return psnr_db(prediction.crop, truth.crop, region)
