"""LPIPS with made-up weights against the plain formula, and what is said when there are none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from metric_images import image_pair
from torch import nn

from bodydouble.core.errors import InputError
from bodydouble.evaluate.lpips import LPIPS_FOLDER_VARIABLE, find_lpips


def alexnet_features() -> nn.Sequential:
    """The convolutions as torchvision numbers them."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
    )  # fmt: skip


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Sequential, list[torch.Tensor]]:
    folder = tmp_path_factory.mktemp("lpips")
    torch.manual_seed(0)
    features = alexnet_features().eval()
    heads = [torch.rand(1, c, 1, 1) for c in (64, 192, 384, 256, 256)]
    torch.save({f"features.{k}": v for k, v in features.state_dict().items()}, folder / "alexnet-made-up.pth")
    torch.save({f"lin{k}.model.1.weight": head for k, head in enumerate(heads)}, folder / "alex.pth")
    return folder, features, heads


@pytest.mark.parametrize("signed", [True, False])
def test_the_distance_is_the_formula(weights, signed: bool) -> None:
    folder, features, heads = weights
    image, truth = image_pair(0, 80, 64)
    lpips = find_lpips("alex", folder)
    assert lpips is not None
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    taps = []
    with torch.no_grad():
        for values in (image, truth):
            x = torch.from_numpy(values)
            x = (((2 * x - 1 if signed else x) - shift) / scale).permute(2, 0, 1)[None]
            found = []
            for module in features:
                x = module(x)
                if isinstance(module, nn.ReLU):
                    found.append(x / x.norm(dim=1, keepdim=True).clamp_min(1e-10))
            taps.append(found)
    expected = sum(float(((a - b) ** 2 * h).sum(dim=1).mean()) for a, b, h in zip(*taps, heads, strict=True))
    assert lpips.distance(image, truth, expects_signed=signed) == pytest.approx(expected, rel=1e-4)
    assert lpips.distance(truth, truth) == 0.0


def test_without_weights_there_is_no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(LPIPS_FOLDER_VARIABLE, raising=False)
    assert find_lpips("alex") is None
    monkeypatch.setenv(LPIPS_FOLDER_VARIABLE, str(tmp_path))
    assert find_lpips("vgg") is None
    with pytest.raises(InputError, match=r"does not hold the LPIPS weights of vgg: expected vgg16\*.pth and vgg.pth"):
        find_lpips("vgg", tmp_path)


def test_the_environment_names_the_folder(weights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LPIPS_FOLDER_VARIABLE, str(weights[0]))
    assert find_lpips("alex") is not None


def test_foreign_files_are_refused(weights, tmp_path: Path) -> None:
    (tmp_path / "alexnet.pth").write_bytes(b"not a network")
    torch.save({}, tmp_path / "alex.pth")
    with pytest.raises(InputError, match=r"alexnet.pth is not a state dictionary with features.0.weight"):
        find_lpips("alex", tmp_path)
    (tmp_path / "alexnet.pth").write_bytes((weights[0] / "alexnet-made-up.pth").read_bytes())
    torch.save({f"lin{k}.model.1.weight": torch.rand(1, 8, 1, 1) for k in range(5)}, tmp_path / "alex.pth")
    with pytest.raises(InputError, match=r"must hold linear weights for \[64, 192, 384, 256, 256\] channels"):
        find_lpips("alex", tmp_path)


@pytest.mark.parametrize("signed", [True, False])
def test_the_loss_is_the_distance_and_has_a_gradient(weights, signed: bool) -> None:
    lpips = find_lpips("alex", weights[0])
    assert lpips is not None
    image, truth = image_pair(0, 80, 64)
    tensor = torch.from_numpy(image).float().requires_grad_()
    loss = lpips.loss(tensor, torch.from_numpy(truth).float(), expects_signed=signed)
    assert float(loss.detach()) == pytest.approx(lpips.distance(image, truth, expects_signed=signed), rel=1e-4)
    loss.backward()
    with torch.no_grad():
        nearer = tensor - 1e-3 * tensor.grad / tensor.grad.abs().max()
    assert float(lpips.loss(nearer, torch.from_numpy(truth).float(), expects_signed=signed)) < float(loss.detach())
