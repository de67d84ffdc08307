"""Facial actions from the picture itself: the landmark network's points hardly follow brows, cheeks and pursed lips.

The face is laid on the mean face, its light evened out, and put beside the person's own calm face, the median over the
video. A small convolutional network sees both, and is told what the points said and where the face looks. It was learnt
from renders (`scripts/learn_face_actions.py pictures`).
"""

from __future__ import annotations

from functools import lru_cache
from importlib import resources

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from bodydouble.body.protocol import ARKIT_ACTIONS
from bodydouble.fit.face_model import FaceReading, load_face_model, side_inputs

WEIGHTS_FILE = "face_pictures.safetensors"
ACTIONS = (
    "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "browDownLeft", "browDownRight", "cheekPuff", "jawOpen",
    "mouthClose", "mouthFunnel", "mouthPucker", "mouthSmileLeft", "mouthSmileRight",
)  # fmt: skip
"""What the network learnt to tell."""
COLUMNS = tuple(ARKIT_ACTIONS.index(name) for name in ACTIONS)
BELIEVED = tuple(k for k, name in enumerate(ACTIONS) if name.startswith("brow") or name in ("cheekPuff", "mouthPucker"))
"""Which of them are taken from it. The others are truer on renders, too, but doubles of filmed faces are sharper with what
points say of them (docs/faces.md)."""
FEWEST = 10
"""Frames with a face from which their median is a calm face."""
WIDE, HIGH = 96, 112
_PER_UNIT, _LEFT, _TOP = 64.0, -0.75, -0.56
"""Pixels of the crop per distance of the eyes' outer corners, and its corner beside the eyes' middle."""
_MOST_CALM, _BATCH = 400, 64
"""Frames that make the calm face at most, and that are read together."""
_SIDE = 6


@lru_cache(maxsize=1)
def _grid() -> Float[np.ndarray, "pixels 3"]:
    """The crop's pixels on the mean face, in its own axes: depths are smoothed from its points."""
    from scipy.interpolate import RBFInterpolator

    template = load_face_model().template
    middle, points = 0.5 * (template[33, :2] + template[263, :2]), template[:468]
    x, y = np.meshgrid((np.arange(WIDE) + 0.5) / _PER_UNIT + _LEFT, (np.arange(HIGH) + 0.5) / _PER_UNIT + _TOP)
    flat = np.stack([x.ravel(), y.ravel()], 1) + middle
    depth = RBFInterpolator(points[:, :2], points[:, 2], smoothing=0.01, neighbors=40, kernel="linear")(flat)
    return np.concatenate([flat, depth[:, None]], 1)


def face_crop(
    rgb: UInt8[np.ndarray, "height width 3"], points_px: Float[np.ndarray, "points 3"]
) -> Float[np.ndarray, "rows columns"]:
    """The face from the forehead to the chin as the mean face would show it, its light evened out.

    Args:
        rgb: The picture.
        points_px: x, y and relative depth of all 478 points.
    """
    import cv2

    model = load_face_model()
    face = model.align(points_px[None])
    size, R = float(face.size_px[0]), face.R_camera_face[0]
    centre = points_px[model.rigid].mean(0)
    at = (size * (_grid() - model.template[model.rigid].mean(0)) @ R.T + centre)[:, :2]
    limit = np.array([rgb.shape[1], rgb.shape[0]])
    low = np.clip(np.floor(at.min(0)).astype(int) - 2, 0, limit - 2)
    high = np.clip(np.ceil(at.max(0)).astype(int) + 3, low + 2, limit)
    cut = cv2.cvtColor(np.ascontiguousarray(rgb[low[1] : high[1], low[0] : high[0]]), cv2.COLOR_RGB2GRAY)
    shrink = min(1.0, 1.25 * _PER_UNIT / size)
    if shrink < 0.8:
        cut = cv2.resize(cut, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    else:
        shrink = 1.0
    x, y = ((at - low) * shrink - 0.5).astype(np.float32).T.reshape(2, HIGH, WIDE)
    return even_light(
        cv2.remap(cut, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).astype(np.float32) / 255.0
    )


def even_light(grey: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, "rows columns"]:
    """Every place with mean 0 and spread 1 around itself."""
    import cv2

    even = grey - cv2.GaussianBlur(grey, (0, 0), 12)
    spread = np.sqrt(cv2.GaussianBlur(even * even, (0, 0), 16))
    return even / (spread + 0.02)


class FacePictureNetwork(nn.Module):
    """Strengths of `ACTIONS`, not clipped, from a crop beside the calm one.

    Args:
        channels: Of the first layer; the others have twice as many.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        more = 2 * channels
        self.look = nn.Sequential(
            nn.Conv2d(3, channels, 5, 2, 2), nn.GELU(), nn.Conv2d(channels, more, 3, 2, 1), nn.GELU(),
            nn.Conv2d(more, more, 3, 2, 1), nn.GELU(), nn.Conv2d(more, more, 3, 2, 1), nn.GELU(), nn.Flatten(),
            nn.Dropout(0.3), nn.Linear(more * (HIGH // 16) * (WIDE // 16), 96),
        )  # fmt: skip
        self.told = nn.Linear(len(ARKIT_ACTIONS) + _SIDE, 32)
        self.judge = nn.Linear(128, len(ACTIONS))

    def forward(
        self,
        crops: Float[Tensor, "frames rows columns"],
        calm: Float[Tensor, "#frames rows columns"],
        told: Float[Tensor, "frames told"],
    ) -> Float[Tensor, "frames actions"]:
        """Read faces.

        Args:
            crops: `face_crop` of each frame.
            calm: The same of the person's calm face.
            told: `told_of` each frame.
        """
        seen = torch.stack([crops, calm.expand_as(crops), crops - calm], dim=1)
        return self.judge(nn.functional.gelu(torch.cat([self.look(seen), self.told(told)], dim=1)))


def told_of(
    actions: Float[np.ndarray, "frames actions"],
    R_camera_face: Float[np.ndarray, "frames 3 3"],
    size_px: Float[np.ndarray, " frames"],
) -> Float[np.ndarray, "frames told"]:
    """What the network knows beside the picture: what the points said, where the face looks, how large it is."""
    return np.concatenate([actions, side_inputs(R_camera_face, size_px, np.zeros(len(size_px)))], axis=1)


def read_pictures(
    crops: Float[np.ndarray, "frames rows columns"], seen: Float[np.ndarray, " frames"], reading: FaceReading
) -> Float[np.ndarray, "frames actions"]:
    """All actions of a reading, those that are `BELIEVED` by the picture where there are enough frames.

    Args:
        crops: `face_crop` of each frame; whatever where there is no face.
        seen: Positive where there is one.
        reading: By the face points.
    """
    there = np.nonzero(seen > 0)[0]
    if len(there) < FEWEST:
        return reading.actions
    typical = there[np.linspace(0, len(there) - 1, min(len(there), _MOST_CALM)).round().astype(int)]
    calm = torch.from_numpy(np.median(crops[typical], axis=0).astype(np.float32))[None]
    out, network, columns = reading.actions.copy(), _network(), [COLUMNS[k] for k in BELIEVED]
    for first in range(0, len(there), _BATCH):
        rows = there[first : first + _BATCH]
        told = told_of(reading.actions[rows], reading.R_camera_face[rows], reading.size_px[rows])
        with torch.no_grad():
            found = network(torch.from_numpy(crops[rows].astype(np.float32)), calm, torch.from_numpy(told).float())
        out[rows[:, None], columns] = found[:, list(BELIEVED)].clamp(0.0, 1.0).double().numpy()
    return out


@lru_cache(maxsize=1)
def _network() -> FacePictureNetwork:
    """The network that is part of the package."""
    from safetensors.torch import load

    stored = load(resources.files("bodydouble.fit").joinpath(WEIGHTS_FILE).read_bytes())
    network = FacePictureNetwork(stored["look.0.weight"].shape[0]).eval().requires_grad_(False)
    network.load_state_dict({name: value.float() for name, value in stored.items()})
    return network
