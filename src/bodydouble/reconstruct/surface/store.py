"""A surface double on disk: one file of tensors, and the plate as a picture."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bodydouble.capture.values import BodyTrack
from bodydouble.core.errors import InputError
from bodydouble.core.files import read_tensors, write_tensors
from bodydouble.core.struct import TensorStruct
from bodydouble.reconstruct.surface.plate import PlateWorld
from bodydouble.reconstruct.surface.values import (
    Decoder,
    Grid,
    SkinVolume,
    SurfaceField,
    SurfaceLog,
    SurfaceResult,
    World,
)

SURFACE = "surface.safetensors"
_FORMAT = "bodydouble-surface 2"
_NESTED = {"sdf": Grid, "features": Grid, "decoder": Decoder, "skin": SkinVolume}


def save_surface(folder: Path, result: SurfaceResult) -> None:
    """Write what training arrived at into a folder; of the world, a clean plate.

    Raises:
        OutputError: When it cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    plain: dict[str, Any] = {}
    _flatten("field", result.field, tensors, plain)
    _flatten("track", result.track, tensors, plain)
    tensors["frame_indices"] = torch.from_numpy(result.frame_indices.astype(np.int64))
    if isinstance(result.world, PlateWorld):
        tensors |= {
            "world.plate": result.world.plate.half(),
            "world.seen": result.world.seen_map.half(),
            "world.gains": result.world.gains,
        }
        plain["world.scale"] = result.world.scale
    plain["log"] = dataclasses.asdict(result.log)
    # Half precision is a tenth of a millimetre at 20 cm, and halves the file.
    for name in (
        "field.sdf.values",
        "field.features.values",
        "field.skin.weights",
        "field.limb_radius_m",
        "field.seen",
    ):
        tensors[name] = tensors[name].half()
    tensors["field.skin.joints"] = tensors["field.skin.joints"].to(torch.int16)
    write_tensors(
        folder / SURFACE,
        {k: v.contiguous() for k, v in tensors.items()},
        {"format": _FORMAT, "plain": json.dumps(plain)},
    )


def load_surface(folder: Path, world: World | None = None) -> SurfaceResult:
    """What `save_surface` wrote.

    Args:
        folder: Where it lies.
        world: The world, where it is no clean plate.
    Raises:
        InputError: When the file is missing, damaged or of another version.
    """
    path = folder / SURFACE
    if not path.exists():
        raise InputError(f"{folder} holds no surface double yet ({SURFACE} is missing): train one first.")
    tensors, metadata = read_tensors(path)
    if metadata.get("format") != _FORMAT:
        raise InputError(f"{path} must be {_FORMAT!r}, found {metadata.get('format')!r}. Train the surface again.")
    try:
        tensors = {k: v.float() if v.dtype == torch.float16 else v for k, v in tensors.items()}
        plain = json.loads(metadata["plain"])
        field = _restored(SurfaceField, "field", tensors, plain)
        track = _restored(BodyTrack, "track", tensors, plain)
        indices = tensors["frame_indices"].numpy()
        if world is None:
            frames = [int(i) for i in indices]
            world = PlateWorld(
                tensors["world.plate"], tensors["world.seen"], frames, tensors["world.gains"], plain["world.scale"]
            )
        log = SurfaceLog(**{k: tuple(v) for k, v in plain["log"].items()})
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error}). Train the surface again.") from error
    return SurfaceResult(field=field, world=world, track=track, frame_indices=indices, log=log)


def _flatten(label: str, value: TensorStruct, tensors: dict[str, Tensor], plain: dict[str, Any]) -> None:
    for entry in dataclasses.fields(value):
        item, name = getattr(value, entry.name), f"{label}.{entry.name}"
        if isinstance(item, TensorStruct):
            _flatten(name, item, tensors, plain)
        elif isinstance(item, Tensor):
            tensors[name] = item.detach()
        else:
            plain[name] = item


def _restored(kind: type, label: str, tensors: dict[str, Tensor], plain: dict[str, Any]) -> Any:
    values: dict[str, Any] = {}
    for entry in dataclasses.fields(kind):
        name = f"{label}.{entry.name}"
        if entry.name in _NESTED and label == "field":
            values[entry.name] = _restored(_NESTED[entry.name], name, tensors, plain)
        elif name in tensors:
            values[entry.name] = tensors[name]
        else:
            item = plain[name]
            values[entry.name] = tuple(item) if isinstance(item, list) else item
    return kind(**values)
