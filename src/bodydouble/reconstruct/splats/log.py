"""What a training run says about itself for the report: density control event by event, and where it had doubts."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from bodydouble.core.events import Densified, PartDensity
from bodydouble.core.files import read_tensors, write_tensors
from bodydouble.core.struct import TensorStruct, tensor_struct

_FILE = "log.safetensors"


@tensor_struct
class ConfidenceMap(TensorStruct):
    """One training frame as it is rendered, and the noise that is believed of it."""

    frame_index: int
    rendered: UInt8[Tensor, "height width 3"]
    noise: Float[Tensor, "rows columns"]
    """Scale of the Laplace distribution of errors, in units of colour; 0 off the person."""


class TrainingLog:
    """The events of density control so far."""

    def __init__(self, events: list[Densified] | None = None) -> None:
        self.events = list(events or [])

    def append(self, event: Densified) -> None:
        """Add an event."""
        self.events.append(event)

    def to_json(self) -> str:
        """As text; what is unknown is null."""
        plain = [dataclasses.asdict(event) for event in self.events]
        for event in plain:
            for part in event["parts"]:
                part.update({k: None for k, v in part.items() if isinstance(v, float) and math.isnan(v)})
        return json.dumps(plain)

    @staticmethod
    def from_json(text: str) -> TrainingLog:
        """What `to_json` wrote."""
        events = []
        for event in json.loads(text):
            parts = tuple(
                PartDensity(**{k: math.nan if v is None else v for k, v in part.items()}) for part in event["parts"]
            )
            events.append(Densified(**{**event, "parts": parts}))
        return TrainingLog(events)


def spread_places(total: int, count: int) -> list[int]:
    """At most `count` places from the first to the last of `total`."""
    return np.unique(np.linspace(0, total - 1, min(count, total)).round().astype(int)).tolist()


def write_log(checkpoint_dir: Path, log: TrainingLog, maps: tuple[ConfidenceMap, ...]) -> None:
    """Write the log beside the checkpoint."""
    tensors = {"frames": torch.tensor([m.frame_index for m in maps], dtype=torch.long)}
    for k, found in enumerate(maps):
        tensors |= {f"rendered.{k}": found.rendered, f"noise.{k}": found.noise}
    write_tensors(checkpoint_dir / _FILE, tensors, {"events": log.to_json()})


def read_log(checkpoint_dir: Path) -> tuple[TrainingLog, tuple[ConfidenceMap, ...]]:
    """What `write_log` wrote; empty where there is none."""
    path = checkpoint_dir / _FILE
    if not path.exists():
        return TrainingLog(), ()
    tensors, metadata = read_tensors(path)
    maps = tuple(
        ConfidenceMap(frame_index=index, rendered=tensors[f"rendered.{k}"], noise=tensors[f"noise.{k}"])
        for k, index in enumerate(tensors["frames"].tolist())
    )
    return TrainingLog.from_json(metadata["events"]), maps
