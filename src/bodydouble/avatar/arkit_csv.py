"""Facial motion as the comma separated table that the Live Link Face app records.

One row for each frame: a timecode `HH:MM:SS:FF.fff` whose last part counts frames, the number of values, the 52 actions,
and yaw, pitch and roll of head and eyes in radians. Columns are found by name, whatever their order and case; the app's
newer versions leave some out.
"""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import torch

from bodydouble.avatar.face_motion import FaceMotion
from bodydouble.body.protocol import ARKIT_ACTIONS
from bodydouble.core.errors import InputError
from bodydouble.core.files import write_text

MAX_FILE_BYTES = 256 << 20
MAX_FRAMES = 1_000_000
APP_RATE_HZ = 60.0
"""The app's usual frame rate; short clips do not tell theirs."""
_RATES_HZ = (24, 25, 30, 48, 50, 60, 90, 100, 120, 240)
_SIDE = ("EyeBlink", "EyeLookDown", "EyeLookIn", "EyeLookOut", "EyeLookUp", "EyeSquint", "EyeWide")
_MIDDLE = (
    "JawForward", "JawRight", "JawLeft", "JawOpen", "MouthClose", "MouthFunnel", "MouthPucker", "MouthRight", "MouthLeft",
    "MouthSmileLeft", "MouthSmileRight", "MouthFrownLeft", "MouthFrownRight", "MouthDimpleLeft", "MouthDimpleRight",
    "MouthStretchLeft", "MouthStretchRight", "MouthRollLower", "MouthRollUpper", "MouthShrugLower", "MouthShrugUpper",
    "MouthPressLeft", "MouthPressRight", "MouthLowerDownLeft", "MouthLowerDownRight", "MouthUpperUpLeft",
    "MouthUpperUpRight", "BrowDownLeft", "BrowDownRight", "BrowInnerUp", "BrowOuterUpLeft", "BrowOuterUpRight", "CheekPuff",
    "CheekSquintLeft", "CheekSquintRight", "NoseSneerLeft", "NoseSneerRight", "TongueOut",
)  # fmt: skip
ACTION_COLUMNS = (*(f"{n}Left" for n in _SIDE), *(f"{n}Right" for n in _SIDE), *_MIDDLE)
TURN_COLUMNS = tuple(f"{part}{turn}" for part in ("Head", "LeftEye", "RightEye") for turn in ("Yaw", "Pitch", "Roll"))
COLUMNS = ("Timecode", "BlendShapeCount", *ACTION_COLUMNS, *TURN_COLUMNS)
"""As the app writes them."""


def write_arkit_csv(path: Path, face: FaceMotion) -> None:
    """Write a face's clip as the app would.

    Args:
        path: The file; it appears only when it is whole.
        face: Its clock starts at 0. The timecode counts frames of the nearest whole rate, with fractions.
    """
    order = [ARKIT_ACTIONS.index(name[0].lower() + name[1:]) for name in ACTION_COLUMNS]
    counted_hz = max(1, round(face.fps_hz))
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(COLUMNS)
    for frame in range(face.num_frames):
        turns = torch.cat([face.head_rad[frame], face.eyes_rad[frame].reshape(-1)]).tolist()
        values = face.expression[frame][order].tolist() + turns
        rows.writerow([_timecode(frame / face.fps_hz, counted_hz), 61, *(f"{v:.8g}" for v in values)])
    write_text(path, out.getvalue())


def read_arkit_csv(path: Path, *, rate_hz: float | None = None) -> FaceMotion:
    """Read a clip that the app (or `write_arkit_csv`) has written.

    Rows in which the app had lost the face (no values) repeat the one before. Strengths are clipped to [0, 1]. Turns
    beyond a full turn are taken for degrees.

    Args:
        path: The .csv.
        rate_hz: What the timecode's last part counts; found from the timecodes if none, else `APP_RATE_HZ`.
    Returns:
        The clip at an even frame rate, starting at 0.
    Raises:
        InputError: With the number of the line, when the file is missing, damaged or another kind of table.
    """
    path = Path(path)
    columns, rows = _read_table(path)
    found = {name: columns[name.lower()] for name in (*ACTION_COLUMNS, *TURN_COLUMNS) if name.lower() in columns}
    missing = [name for name in ACTION_COLUMNS if name not in found and name != "TongueOut"]
    if missing or "timecode" not in columns:
        lacking = ", ".join(["Timecode"] * ("timecode" not in columns) + missing[:4])
        raise InputError(
            f"{path} is no recording of facial actions: it has no column {lacking}. Expected a table with the columns "
            "Timecode, BlendShapeCount, EyeBlinkLeft, ... as the Live Link Face app writes it."
        )
    values = torch.zeros(len(rows), len(found))
    place = list(found.values())
    lost = {row for row, (_, words) in enumerate(rows) if all(not words[i].strip() for i in place)}
    if len(lost) == len(rows):
        raise InputError(f"{path} holds no row with a face. Record it again.")
    for row, (number, words) in enumerate(rows):
        if row not in lost:
            values[row] = _numbers(path, number, [words[i] for i in place])
    seen = torch.tensor([row for row in range(len(rows)) if row not in lost])
    held = torch.searchsorted(seen, torch.arange(len(rows)), right=True).sub(1).clamp(min=0)
    values = values[seen[held]]
    times, fps_hz = _clock(path, [(number, words[columns["timecode"]]) for number, words in rows], rate_hz)
    if not float(times[-1]) * fps_hz < MAX_FRAMES:
        raise InputError(
            f"{path} lasts {float(times[-1]):.6g} s at {fps_hz:.6g} frames per second; at most {MAX_FRAMES} frames can be "
            "read. Is a timecode damaged? Else cut the recording."
        )
    return _evenly(path.stem, times, fps_hz, {name: values[:, k] for k, name in enumerate(found)})


def _read_table(path: Path) -> tuple[dict[str, int], list[tuple[int, list[str]]]]:
    """Place of each column by lower-case name, and the rows with their line numbers."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InputError(f"{path} has more than {MAX_FILE_BYTES} bytes; cut the recording into pieces.")
        text = path.read_bytes().decode("utf-8-sig", errors="replace")
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; expected facial motion (.csv). Check the path.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}. Expected facial motion (.csv).") from error
    table = csv.reader(io.StringIO(text.replace("\0", "")))
    rows: list[tuple[int, list[str]]] = []
    columns: dict[str, int] | None = None
    try:
        for words in table:
            if not any(w.strip() for w in words):
                continue
            if columns is None:
                columns = {name.strip().lower(): place for place, name in enumerate(words)}
            elif len(words) < len(columns):
                raise InputError(
                    f"{path}, line {table.line_num}: {len(columns)} values were expected, found {len(words)}; "
                    "the file may be truncated."
                )
            else:
                rows.append((table.line_num, words))
    except csv.Error as error:
        raise InputError(
            f"{path}, line {table.line_num}: this is no table of values separated by commas. Record or export it again."
        ) from error
    if columns is None or not rows:
        raise InputError(f"{path} holds no rows; expected a header and one row for each frame.")
    return columns, rows


def _numbers(path: Path, number: int, words: list[str]) -> torch.Tensor:
    try:
        values = [float(w) for w in words]
    except ValueError:
        values = [math.nan]
    if not all(map(math.isfinite, values)):
        odd = next((w for w in words if not _finite(w)), "")
        raise InputError(f"{path}, line {number}: finite numbers were expected, found {odd[:40]!r}.")
    return torch.tensor(values)


def _finite(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False


def _timecode(time_s: float, counted_hz: int) -> str:
    whole = int(time_s + 1e-9)
    frames = round(max(0.0, (time_s - whole) * counted_hz), 3)
    if frames >= counted_hz:  # rounded up to the next second
        whole, frames = whole + 1, 0.0
    return f"{whole // 3600 % 24:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}:{frames:06.3f}"


def _clock(path: Path, codes: list[tuple[int, str]], rate_hz: float | None) -> tuple[torch.Tensor, float]:
    """Times from the first row, strictly ascending, and the frame rate."""
    parts = []
    for number, code in codes:
        try:
            hours, minutes, seconds, frames = (float(w) for w in code.strip().split(":"))
        except ValueError:
            hours = minutes = seconds = frames = math.nan
        if not all(map(math.isfinite, (hours, minutes, seconds, frames))):
            raise InputError(f"{path}, line {number}: a timecode HH:MM:SS:FF.fff was expected, found {code[:40]!r}.")
        parts.append((hours * 3600.0 + minutes * 60.0 + seconds, frames))
    if rate_hz is None:
        whole_seconds = len({second for second, _ in parts}) > 1
        most = max(frames for _, frames in parts)
        fitting = [rate for rate in _RATES_HZ if rate > most]
        rate_hz = float(fitting[0]) if whole_seconds and fitting else max(APP_RATE_HZ, math.floor(most) + 1.0)
    times = torch.tensor([second + frames / rate_hz for second, frames in parts], dtype=torch.float64)
    days = torch.cumsum((torch.diff(times, prepend=times[:1]) < -43200).double(), 0)  # past midnight
    times = times + 86400.0 * days - times[0]
    steps = torch.diff(times)
    if len(steps) and bool((steps <= 0).any()):
        line = codes[int(torch.nonzero(steps <= 0)[0, 0]) + 1][0]
        raise InputError(f"{path}, line {line}: the timecode does not grow; expected one row after the other.")
    return times, 1.0 / float(steps.median()) if len(steps) else rate_hz


def _evenly(name: str, times: torch.Tensor, fps_hz: float, columns: dict[str, torch.Tensor]) -> FaceMotion:
    """Values at even times, linear between the recorded ones; frames that the app dropped are bridged."""
    count = int(float(times[-1]) * fps_hz + 0.5) + 1
    at = (torch.arange(count, dtype=torch.float64) / fps_hz).clamp(max=float(times[-1]))
    high = (
        torch.searchsorted(times, at).clamp(1, max(len(times) - 1, 1)) if len(times) > 1 else torch.zeros(count).long()
    )
    low = (high - 1).clamp(min=0)
    span = (times[high] - times[low]).clamp(min=1e-9)
    share = ((at - times[low]) / span).clamp(0.0, 1.0).float()

    def even(column: str) -> torch.Tensor:
        values = columns.get(column)
        return torch.zeros(count) if values is None else values[low] * (1 - share) + values[high] * share

    turns = torch.stack([even(column) for column in TURN_COLUMNS], dim=1).reshape(count, 3, 3)
    if float(turns.abs().max()) > 2.0 * math.pi:
        turns = torch.deg2rad(turns)
    expression = torch.stack([even(n[0].upper() + n[1:]) for n in ARKIT_ACTIONS], dim=1)
    return FaceMotion(
        name=name,
        fps_hz=float(fps_hz),
        expression=expression.clamp(0.0, 1.0),
        head_rad=turns[:, 0],
        eyes_rad=turns[:, 1:],
    )
