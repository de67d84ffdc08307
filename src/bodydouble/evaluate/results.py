"""What an evaluation found, as values that can be written, read back and printed."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bodydouble.core.errors import InputError
from bodydouble.core.files import atomic_path, read_json
from bodydouble.evaluate.protocol import HELDOUT_V1, HeldoutProtocol

_NAN = float("nan")
_RESULT_FILE = "heldout.json"
EXAMPLE_IMAGES = ("frame", "fit", "registered", "difference")


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Held-out figures of one frame, or their means. NaN where a figure does not exist. PSNR in dB."""

    psnr_box: float = _NAN
    psnr_box_outlined: float = _NAN
    psnr_box_interpolated: float = _NAN
    psnr_box_registered: float = _NAN
    psnr_box_native: float = _NAN
    psnr_box_native_outlined: float = _NAN
    psnr_box_native_registered: float = _NAN
    ssim_box: float = _NAN
    ssim_box_outlined: float = _NAN
    ssim_box_registered: float = _NAN
    psnr_full: float = _NAN
    psnr_full_outlined: float = _NAN
    psnr_full_registered: float = _NAN
    mask_iou: float = _NAN
    mask_iou_outlined: float = _NAN
    mask_iou_registered: float = _NAN
    psnr_hands: float = _NAN
    psnr_hands_outlined: float = _NAN
    psnr_hands_registered: float = _NAN
    psnr_face: float = _NAN
    psnr_face_outlined: float = _NAN
    psnr_face_registered: float = _NAN


FIGURE_NAMES: tuple[str, ...] = tuple(f.name for f in dataclasses.fields(Figures))


@dataclass(frozen=True, kw_only=True)
class FrameScore:
    """One held-out frame."""

    frame_index: int
    time_s: float
    speed_heights_per_s: float
    """Median speed of the body landmarks; NaN where unknown."""
    moving: bool | None
    """None where the speed is unknown."""
    native_crop_px: int
    """Side of the person crop in the video's own pixels."""
    figures: Figures


@dataclass(frozen=True, kw_only=True)
class MeanFigures:
    """Means over some frames; frames without a figure are left out of its mean."""

    frames: int
    frames_with_hands: int
    frames_with_face: int
    figures: Figures


@dataclass(frozen=True, kw_only=True)
class HeldoutExample:
    """Pictures of one held-out frame for people to look at, as JPEG files in memory."""

    frame_index: int
    time_s: float
    label: str
    """Why it was chosen: `best`, `median`, `worst`, or empty."""
    frame_jpeg: bytes
    fit_jpeg: bytes
    registered_jpeg: bytes
    difference_jpeg: bytes
    """Between the registered render and the frame."""


@dataclass(frozen=True, kw_only=True)
class HeldoutResult:
    """Everything a held-out evaluation says."""

    protocol: HeldoutProtocol
    rows: tuple[FrameScore, ...]
    skipped: tuple[int, ...]
    """Held-out frames that cannot be scored: nobody in view, or an empty mask."""
    examples: tuple[HeldoutExample, ...] = ()
    seconds: float = _NAN

    def mean(self) -> MeanFigures:
        """Over all scored frames."""
        return mean_figures(self.rows)

    def still(self) -> MeanFigures:
        """Over the frames in which the person stands still."""
        return mean_figures(row for row in self.rows if row.moving is False)

    def moving(self) -> MeanFigures:
        """Over the frames in which the person moves."""
        return mean_figures(row for row in self.rows if row.moving is True)

    def to_json(self) -> dict:
        """JSON-ready: means under their own names, `still`, `moving`, `rows`, and the protocol in words. NaN is null."""
        native = sorted(row.native_crop_px for row in self.rows)
        return {
            "protocol": self.protocol.name,
            **_means_json(self.mean()),
            "crop_px": self.protocol.crop_px,
            "native_crop_px_median": native[len(native) // 2] if native else None,
            "still": _means_json(self.still()),
            "moving": _means_json(self.moving()),
            "skipped_frames": list(self.skipped),
            "seconds": null_for_nan(self.seconds),
            "rows": [_row_json(row) for row in self.rows],
            "protocol_text": list(self.protocol.describe()),
        }


def mean_figures(rows: Iterable[FrameScore]) -> MeanFigures:
    """Means of each figure over the rows that have it; NaN where none has."""
    figures = [row.figures for row in rows]
    return MeanFigures(
        frames=len(figures),
        frames_with_hands=sum(not math.isnan(f.psnr_hands) for f in figures),
        frames_with_face=sum(not math.isnan(f.psnr_face) for f in figures),
        figures=Figures(**{name: nan_mean([getattr(f, name) for f in figures]) for name in FIGURE_NAMES}),
    )


def null_for_nan(value: float) -> float | None:
    """JSON has no NaN and no infinity: both become null."""
    return float(value) if math.isfinite(value) else None


def save_heldout(result: HeldoutResult, folder: Path) -> None:
    """Write a result and its pictures as a folder, whole or not at all."""
    with atomic_path(folder) as partial:
        partial.mkdir(parents=True)
        index = {**result.to_json(), "examples": []}
        for example in result.examples:
            index["examples"].append(
                {"frame_index": example.frame_index, "time_s": example.time_s, "label": example.label}
            )
            for image in EXAMPLE_IMAGES:
                name = f"{image}_{example.frame_index:06d}.jpg"
                (partial / name).write_bytes(getattr(example, f"{image}_jpeg"))
        (partial / _RESULT_FILE).write_text(json.dumps(index, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def load_heldout(folder: Path) -> HeldoutResult:
    """Read what `save_heldout` wrote.

    Raises:
        InputError: When the folder is missing, damaged or of another version.
    """
    index = read_json(folder / _RESULT_FILE)
    try:
        rows = tuple(_row_from_json(row) for row in index["rows"])
        examples = tuple(
            HeldoutExample(
                frame_index=int(e["frame_index"]),
                time_s=float(e["time_s"]),
                label=str(e["label"]),
                **{
                    f"{im}_jpeg": (folder / f"{im}_{int(e['frame_index']):06d}.jpg").read_bytes()
                    for im in EXAMPLE_IMAGES
                },
            )
            for e in index["examples"]
        )
        return HeldoutResult(
            protocol={p.name: p for p in (HELDOUT_V1,)}[index["protocol"]],
            rows=rows,
            skipped=tuple(int(i) for i in index["skipped_frames"]),
            examples=examples,
            seconds=_nan_for_null(index["seconds"]),
        )
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise InputError(
            f"{folder} does not hold a held-out evaluation that this version can read ({error!r}). Evaluate again."
        ) from error


def format_table(result: HeldoutResult) -> str:
    """The figures as a plain text table, followed by the protocol in words."""
    groups = (("all", result.mean()), ("still", result.still()), ("moving", result.moving()))
    lines = [f"{'':28}" + "".join(f"{name + f' ({m.frames})':>14}" for name, m in groups)]
    for name in FIGURE_NAMES:
        digits = 3 if name.startswith(("ssim", "mask")) else 2
        cells = (getattr(m.figures, name) for _, m in groups)
        lines.append(f"{name:28}" + "".join(f"{'-' if math.isnan(c) else format(c, f'.{digits}f'):>14}" for c in cells))
    mean = result.mean()
    lines.append(
        f"hands were seen in {mean.frames_with_hands} and a face in {mean.frames_with_face} of {mean.frames} frames"
    )
    return "\n".join([*lines, "", *result.protocol.describe()])


def _means_json(mean: MeanFigures) -> dict:
    figures = {name: null_for_nan(getattr(mean.figures, name)) for name in FIGURE_NAMES}
    return {
        "frames": mean.frames,
        "frames_with_hands": mean.frames_with_hands,
        "frames_with_face": mean.frames_with_face,
        **figures,
    }


def _row_json(row: FrameScore) -> dict:
    return {
        "frame_index": row.frame_index,
        "time_s": row.time_s,
        "speed_heights_per_s": null_for_nan(row.speed_heights_per_s),
        "moving": row.moving,
        "native_crop_px": row.native_crop_px,
        **{name: null_for_nan(getattr(row.figures, name)) for name in FIGURE_NAMES},
    }


def _row_from_json(row: dict) -> FrameScore:
    return FrameScore(
        frame_index=int(row["frame_index"]),
        time_s=float(row["time_s"]),
        speed_heights_per_s=_nan_for_null(row["speed_heights_per_s"]),
        moving=row["moving"],
        native_crop_px=int(row["native_crop_px"]),
        figures=Figures(**{name: _nan_for_null(row.get(name)) for name in FIGURE_NAMES}),
    )


def _nan_for_null(value: float | None) -> float:
    return _NAN if value is None else float(value)


def nan_mean(values: Iterable[float]) -> float:
    """The mean of what is not NaN; NaN if nothing is."""
    known = [v for v in values if not math.isnan(v)]
    return sum(known) / len(known) if known else _NAN
