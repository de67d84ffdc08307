"""LPIPS, where its weights are on the machine. They do not come with this program and are never fetched.

Zhang, Isola, Efros, Shechtman, Wang, "The unreasonable effectiveness of deep features as a perceptual metric", 2018,
version 0.1 of the linear weights. A folder must hold, for the network in question, two files of state dictionaries:

    alex: alexnet*.pth (torchvision's) and alex.pth (the linear weights)
    vgg:  vgg16*.pth and vgg.pth
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from bodydouble.core.errors import InputError
from bodydouble.evaluate.psnr import check_same_shape

LPIPS_FOLDER_VARIABLE = "BODYDOUBLE_LPIPS_DIR"
Network = Literal["alex", "vgg"]
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""The networks' input normalisation for images in [-1, 1]."""


@dataclass(frozen=True, kw_only=True)
class _Layer:
    """A convolution with ReLU; `tap` says that its output is compared, `pool` is the max pooling before it."""

    index: int
    """In torchvision's `features`."""
    stride: int = 1
    padding: int = 1
    pool: tuple[int, int] | None = None
    tap: bool = False


_LAYERS: dict[Network, tuple[_Layer, ...]] = {
    "alex": (
        _Layer(index=0, stride=4, padding=2, tap=True),
        _Layer(index=3, padding=2, pool=(3, 2), tap=True),
        _Layer(index=6, pool=(3, 2), tap=True),
        _Layer(index=8, tap=True),
        _Layer(index=10, tap=True),
    ),
    "vgg": tuple(
        _Layer(
            index=index, pool=(2, 2) if index in (5, 10, 17, 24) else None, tap=index in (2, 7, 14, 21, 28)
        )
        for index in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    ),
}  # fmt: skip
_FILES: dict[Network, tuple[str, str]] = {"alex": ("alexnet*.pth", "alex.pth"), "vgg": ("vgg16*.pth", "vgg.pth")}


@dataclass(frozen=True, kw_only=True)
class Lpips:
    """A loaded network."""

    network: Network
    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    linear: tuple[Tensor, ...]
    """Per compared layer 1 x channels x 1 x 1, not negative."""

    def distance(
        self,
        image: Float[np.ndarray, "height width 3"],
        truth: Float[np.ndarray, "height width 3"],
        *,
        expects_signed: bool = True,
    ) -> float:
        """Perceptual distance of two sRGB images in [0, 1]; 0 where equal.

        Args:
            expects_signed: Map [0, 1] to [-1, 1] first, as the network was trained. False repeats the slip of programs
                that hand in [0, 1]: lower figures.
        """
        check_same_shape("lpips", image, truth)
        features = []
        for values in (image, truth):
            x = torch.from_numpy(np.clip(values, 0.0, 1.0).astype(np.float32)).permute(2, 0, 1)[None]
            features.append(self._features(2.0 * x - 1.0 if expects_signed else x))
        total = 0.0
        for a, b, linear in zip(*features, self.linear, strict=True):
            difference = (_unit(a) - _unit(b)).square()
            total += float(F.conv2d(difference, linear).mean())
        return total

    def loss(
        self, image: Float[Tensor, "height width 3"], truth: Float[Tensor, "height width 3"], *, expects_signed: bool
    ) -> Float[Tensor, ""]:
        """`distance` for training: of tensors, not clipped, differentiable in `image`."""
        with torch.no_grad():
            wanted = self._prepared(truth, expects_signed)
        total = torch.zeros(())
        for a, b, linear in zip(self._taps(self._prepared(image, expects_signed)), self._taps(wanted), self.linear,
                                strict=True):  # fmt: skip
            total = total + F.conv2d((_unit(a) - _unit(b).detach()).square(), linear).mean()
        return total

    @staticmethod
    def _prepared(image: Float[Tensor, "height width 3"], expects_signed: bool) -> Float[Tensor, "1 3 height width"]:
        x = image.permute(2, 0, 1)[None]
        return 2.0 * x - 1.0 if expects_signed else x

    @torch.no_grad()
    def _features(self, x: Tensor) -> list[Tensor]:
        return self._taps(x)

    def _taps(self, x: Tensor) -> list[Tensor]:
        x = (x - torch.tensor(_SHIFT)[None, :, None, None]) / torch.tensor(_SCALE)[None, :, None, None]
        taps = []
        for layer, weight, bias in zip(_LAYERS[self.network], self.weights, self.biases, strict=True):
            if layer.pool is not None:
                x = F.max_pool2d(x, *layer.pool)
            x = F.relu(F.conv2d(x, weight, bias, stride=layer.stride, padding=layer.padding))
            if layer.tap:
                taps.append(x)
        return taps


def find_lpips(network: Network, folder: Path | None = None) -> Lpips | None:
    """The network, if its weights are in `folder` or in the folder that BODYDOUBLE_LPIPS_DIR names; else None.

    Raises:
        InputError: When the files are there but do not hold such a network, or `folder` was given and they are not.
    """
    given = folder or (Path(os.environ[LPIPS_FOLDER_VARIABLE]) if os.environ.get(LPIPS_FOLDER_VARIABLE) else None)
    if given is None:
        return None
    backbones, heads = sorted(given.glob(_FILES[network][0])), sorted(given.glob(_FILES[network][1]))
    if not backbones or not heads:
        if folder is None:
            return None
        raise InputError(
            f"{folder} does not hold the LPIPS weights of {network}: expected {_FILES[network][0]} and "
            f"{_FILES[network][1]}. Put both there, or leave --lpips out."
        )
    return _load(network, backbones[0], heads[0])


def _load(network: Network, backbone: Path, head: Path) -> Lpips:
    indices = [layer.index for layer in _LAYERS[network]]
    features = _read(backbone, [f"features.{i}.{kind}" for i in indices for kind in ("weight", "bias")])
    taps = sum(layer.tap for layer in _LAYERS[network])
    linear = _read(head, [f"lin{k}.model.1.weight" for k in range(taps)])
    channels = [features[2 * k].shape[0] for k, layer in enumerate(_LAYERS[network]) if layer.tap]
    if [tuple(w.shape) for w in linear] != [(1, c, 1, 1) for c in channels]:
        raise InputError(
            f"{head} must hold linear weights for {channels} channels, found {[tuple(w.shape) for w in linear]}. "
            "Use the file of the same network."
        )
    return Lpips(network=network, weights=tuple(features[0::2]), biases=tuple(features[1::2]), linear=tuple(linear))


def _read(path: Path, names: Sequence[str]) -> list[Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return [state[name].float() for name in names]
    except Exception as error:  # torch raises many kinds for a foreign file
        raise InputError(
            f"{path} is not a state dictionary with {names[0]} ... {names[-1]} ({type(error).__name__}: {error}). "
            "Use the original file, or leave --lpips out."
        ) from error


def _unit(features: Tensor) -> Tensor:
    return features / (features.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)
