"""The Capture on disk: what was found out about one video, in one folder.

    capture.json               schema version, source (path, hash, frame times), chosen span, warnings, stage records
    observations.safetensors   landmarks, confidences, boxes (`Observations`)
    masks/000123.png           the network's soft 8-bit mask of the subject at full size, by source frame index
    mattes/000123.png          the same told anew once the body is known, where that was done
    body.safetensors           the fitted body (`BodyTrack`)

The video itself stays where it is; it is recognised by its hash. Every file is whole or absent.
"""

from __future__ import annotations

import dataclasses
import json
import os
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import UInt8

from bodydouble.capture.values import BodyTrack, Observations, VideoInfo
from bodydouble.capture.video import Frame, read_frames
from bodydouble.core.errors import InputError, OutputError
from bodydouble.core.files import file_sha256, output_error, read_json, read_tensors, write_json, write_tensors
from bodydouble.core.struct import TensorStruct

SCHEMA_VERSION = 1
HELDOUT_EVERY = 8
"""Every 8th source frame (7, 15, ...) is kept away from photometric training."""

_INDEX = "capture.json"
_OBSERVATIONS = "observations.safetensors"
_TRACK = "body.safetensors"
_MASKS = "masks"
MATTES = "mattes"
_S = TypeVar("_S", bound=TensorStruct)


def is_heldout(frame_index: int) -> bool:
    """Whether a source frame is held out of training, for every capture alike."""
    return frame_index % HELDOUT_EVERY == HELDOUT_EVERY - 1


def mask_name(frame_index: int) -> str:
    """File name of a frame's mask inside a masks folder."""
    if frame_index < 0:
        raise InputError(f"A frame number cannot be negative, got {frame_index}.")
    return f"{frame_index:06d}.png"


class Capture:
    """One capture folder. Make one with `create` or `open`."""

    def __init__(self, folder: Path, info: VideoInfo, document: dict[str, Any]) -> None:
        self.folder = folder
        self.info = info
        self._document = document
        self._source_checked = False

    # --- making and opening ---

    @classmethod
    def create(cls, folder: Path | str, info: VideoInfo) -> Capture:
        """Start a capture of this video in a folder that holds none yet.

        Raises:
            OutputError: When the folder already holds a capture, or cannot be written.
        """
        folder = Path(folder)
        if (folder / _INDEX).exists():
            raise OutputError(
                f"{folder} already holds a capture ({_INDEX}). Choose a new folder, or continue it with --resume."
            )
        document = {
            "schema_version": SCHEMA_VERSION,
            "source": info_to_json(info),
            "span": None,
            "warnings": [],
            "stages": {},
        }
        capture = cls(folder, info, document)
        capture._save_document()
        return capture

    @classmethod
    def open(cls, folder: Path | str) -> Capture:
        """Open an existing capture.

        Raises:
            InputError: When there is none, it is damaged, or it comes from another version.
        """
        folder = Path(folder)
        if not (folder / _INDEX).exists():
            raise InputError(
                f"{folder} is not a capture folder ({_INDEX} is missing). Name the 'capture' folder of a run."
            )
        document = read_json(folder / _INDEX)
        version = document.get("schema_version")
        if version != SCHEMA_VERSION:
            raise InputError(
                f"{folder / _INDEX} has schema version {version!r}; this program reads {SCHEMA_VERSION}. "
                "Make the capture again, or use the program that wrote it."
            )
        try:
            info = info_from_json(document["source"])
            _check_document(document)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{folder / _INDEX} is damaged ({error}). Make the capture again.") from error
        return cls(folder, info, document)

    # --- facts ---

    @property
    def span(self) -> tuple[int, int] | None:
        """First and one-past-last source frame that were chosen, if they were."""
        span = self._document.get("span")
        return None if span is None else (int(span[0]), int(span[1]))

    def set_span(self, first: int, stop: int) -> None:
        """Record which run of source frames was chosen."""
        self._document["span"] = [int(first), int(stop)]
        self._save_document()

    @property
    def warnings(self) -> tuple[dict[str, str], ...]:
        """Warnings of all stages so far: code, message, advice."""
        return tuple(dict(w) for w in self._document.get("warnings", []))

    def add_warning(self, code: str, message: str, advice: str = "") -> None:
        """Record a warning once (the same code with the same message is kept once)."""
        entry = {"code": code, "message": message, "advice": advice}
        if entry not in self._document["warnings"]:
            self._document["warnings"].append(entry)
            self._save_document()

    def record_stage(self, name: str, record: Mapping[str, Any]) -> None:
        """Store what a stage wants to remember about itself (JSON values)."""
        self._document["stages"][name] = dict(record)
        self._save_document()

    def stage(self, name: str) -> dict[str, Any] | None:
        """What a stage stored, or None."""
        return self._document.get("stages", {}).get(name)

    # --- observations, masks, body ---

    def has_observations(self) -> bool:
        return (self.folder / _OBSERVATIONS).exists()

    def observations(self) -> Observations:
        """What estimators saw. Raises InputError when that stage has not run."""
        return self._load(Observations, _OBSERVATIONS, "observations", "run `bodydouble capture` first")

    def save_observations(self, observations: Observations) -> None:
        """Write the observations; the last thing the perceive stage does."""
        save_struct(self.folder / _OBSERVATIONS, observations)

    def has_track(self) -> bool:
        return (self.folder / _TRACK).exists()

    def track(self) -> BodyTrack:
        """The fitted body. Raises InputError when that stage has not run."""
        return self._load(BodyTrack, _TRACK, "a fitted body", "run `bodydouble capture` first")

    def save_track(self, track: BodyTrack) -> None:
        """Write the fitted body."""
        save_struct(self.folder / _TRACK, track)

    @property
    def masks_folder(self) -> Path:
        return self.folder / _MASKS

    @property
    def mattes_folder(self) -> Path:
        return self.folder / MATTES

    def mask(self, frame_index: int) -> UInt8[np.ndarray, "height width"] | None:
        """Soft mask of the subject (255 = surely the subject) at full size, or None where there is none: the best there is."""
        matte = read_mask(self.mattes_folder, frame_index, (self.info.height_px, self.info.width_px))
        return self.observed_mask(frame_index) if matte is None else matte

    def observed_mask(self, frame_index: int) -> UInt8[np.ndarray, "height width"] | None:
        """As `mask`, but what was seen before any body was fitted."""
        return read_mask(self.masks_folder, frame_index, (self.info.height_px, self.info.width_px))

    def save_mask(self, frame_index: int, mask: UInt8[np.ndarray, "height width"]) -> None:
        """Write one mask."""
        if mask.shape != (self.info.height_px, self.info.width_px):
            raise InputError(
                f"Capture.save_mask: expected {self.info.height_px} rows x {self.info.width_px} columns, got {mask.shape}; "
                "masks have the full size of the upright video."
            )
        write_mask(self.masks_folder, frame_index, mask)

    # --- frames ---

    def frames(self, indices: Sequence[int] | None = None, *, threads: int = 0) -> Iterator[Frame]:
        """Decode source frames in ascending order; None for all observed (or else all) frames.

        Raises:
            InputError: When the source video has moved or changed.
        """
        if indices is None and self.has_observations():
            indices = self.observations().frame_indices.tolist()
        return read_frames(self.source_path(), indices, self.info, threads=threads)

    def source_path(self) -> Path:
        """The source video, after making sure (once) that it is the same file.

        Raises:
            InputError: When it has moved or changed.
        """
        path = Path(self.info.path)
        if not self._source_checked:
            if not path.is_file():
                beside = self.folder / path.name
                if not beside.is_file():
                    raise InputError(
                        f"The video of this capture is gone: {path} does not exist. Move it back, or put a copy at {beside}."
                    )
                path = beside
            if self.info.sha256 and file_sha256(path) != self.info.sha256:
                raise InputError(
                    f"{path} is not the video this capture was made from (its content has changed). "
                    "Put the original back, or make the capture again."
                )
            self.info = dataclasses.replace(self.info, path=str(path))
            self._source_checked = True
        return path

    def heldout_indices(self) -> list[int]:
        """Source indices of the observed frames with the subject in view that are held out of training (7, 15, ...)."""
        return [i for i in self._present_indices() if is_heldout(i)]

    def train_indices(self) -> list[int]:
        """Source indices of the observed frames with the subject in view that may be trained on."""
        return [i for i in self._present_indices() if not is_heldout(i)]

    def _present_indices(self) -> list[int]:
        observations = self.observations()
        return observations.frame_indices[observations.present].tolist()

    # --- inside ---

    def _save_document(self) -> None:
        write_json(self.folder / _INDEX, self._document)

    def _load(self, kind: type[_S], name: str, what: str, advice: str) -> _S:
        path = self.folder / name
        if not path.exists():
            raise InputError(f"{self.folder} holds no {what.removeprefix('a ')} yet ({name} is missing): {advice}.")
        return load_struct(kind, path)


# --- files -----------------------------------------------------------------------------------------------------------


def read_mask(folder: Path, frame_index: int, size_px: tuple[int, int]) -> UInt8[np.ndarray, "height width"] | None:
    """One mask of a folder of masks, or None where there is none.

    Args:
        folder: Of 8-bit PNGs.
        frame_index: Source frame.
        size_px: Height and width that it must have.
    """
    path = folder / mask_name(frame_index)
    if not path.exists():
        return None
    mask = decode_png(path.read_bytes())
    if mask is None or mask.shape != size_px:
        found = "no picture" if mask is None else f"{mask.shape[1]}x{mask.shape[0]}"
        raise InputError(
            f"{path} must be an 8-bit {size_px[1]}x{size_px[0]} PNG, found {found}. Make the capture again."
        )
    return mask


def write_mask(folder: Path, frame_index: int, mask: UInt8[np.ndarray, "height width"]) -> None:
    """Write one mask into a folder of masks: whole or absent, but not flushed to the disk one by one."""
    path = folder / mask_name(frame_index)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(encode_png(mask))
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise output_error(path, partial, error) from error


def encode_png(image: UInt8[np.ndarray, "height width"]) -> bytes:
    """A quickly packed PNG of an 8-bit grey image.

    Masks are mostly flat: run lengths pack them as well as a search for patterns would, in a third of the time that
    general encoders spend on choosing filters.
    """
    height, width = image.shape
    rows = np.zeros((height, width + 1), np.uint8)  # each row begins with its filter: none
    rows[:, 1:] = image
    packer = zlib.compressobj(1, zlib.DEFLATED, 15, 8, zlib.Z_RLE)
    packed = packer.compress(rows.tobytes()) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", packed), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def decode_png(data: bytes) -> np.ndarray | None:
    """An 8-bit grey image, or None when the data are damaged."""
    import cv2

    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    except cv2.error:  # nothing at all, or more pixels announced than any picture has
        return None


def save_struct(path: Path, struct: TensorStruct) -> None:
    """Write a flat struct: tensors as tensors, everything else as JSON in the file's metadata."""
    tensors: dict[str, torch.Tensor] = {}
    plain: dict[str, Any] = {}
    for field in dataclasses.fields(struct):
        value = getattr(struct, field.name)
        if isinstance(value, torch.Tensor):
            tensors[field.name] = value
        else:
            plain[field.name] = value
    write_tensors(
        path,
        tensors,
        {"schema_version": str(SCHEMA_VERSION), "kind": type(struct).__name__, "plain": json.dumps(plain)},
    )


def load_struct(kind: type[_S], path: Path) -> _S:
    """What `save_struct` wrote.

    Raises:
        InputError: When the file is missing, damaged or holds another kind.
    """
    tensors, metadata = read_tensors(path)
    if metadata.get("kind") != kind.__name__ or metadata.get("schema_version") != str(SCHEMA_VERSION):
        raise InputError(
            f"{path} must hold {kind.__name__} of schema version {SCHEMA_VERSION}, found {metadata.get('kind')!r} of version "
            f"{metadata.get('schema_version')!r}. Make the capture again."
        )
    try:
        plain = {k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(metadata["plain"]).items()}
        return kind(**tensors, **plain)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error}). Make the capture again.") from error


def _check_document(document: Mapping[str, Any]) -> None:
    """Raises TypeError or ValueError when the parts of capture.json beside the source are not what `Capture` writes."""
    span, warnings, stages = document.get("span"), document.get("warnings"), document.get("stages")
    if span is not None and not (isinstance(span, list) and len(span) == 2 and all(isinstance(n, int) for n in span)):
        raise ValueError(f"the span must be two frame numbers, found {span!r}")
    if not isinstance(warnings, list) or not all(isinstance(w, dict) for w in warnings):
        raise TypeError("the warnings must be a list of objects")
    if not isinstance(stages, dict):
        raise TypeError("the stages must be an object")


def info_to_json(info: VideoInfo) -> dict[str, Any]:
    """A video's facts as JSON values."""
    document = dataclasses.asdict(info)
    document["times_s"] = [round(t, 6) for t in info.times_s]
    return document


def info_from_json(document: Mapping[str, Any]) -> VideoInfo:
    """A video's facts from what `info_to_json` gave. Raises KeyError, TypeError or ValueError when they are damaged."""
    known = {f.name for f in dataclasses.fields(VideoInfo)}
    values = {k: v for k, v in document.items() if k in known}
    values["times_s"] = tuple(float(t) for t in values["times_s"])
    info = VideoInfo(**values)
    if len(info.times_s) != info.num_frames:
        raise ValueError(f"{info.num_frames} frames but {len(info.times_s)} times")
    return info
