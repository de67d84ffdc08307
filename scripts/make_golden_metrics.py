"""Figures of other people's programs for the metric tests: writes tests/evaluate/golden_metrics.json.

Run it where scikit-image, flip-evaluator, pytorch-msssim and two versions of torchmetrics are at hand; the project
itself needs none of them:

    python scripts/make_golden_metrics.py --torchmetrics-old FOLDER

where FOLDER holds torchmetrics 1.4.0 (pip install --no-deps --target FOLDER torchmetrics==1.4.0): up to that version
its SSIM left the border out, later ones count it.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

TESTS = Path(__file__).resolve().parents[1] / "tests" / "evaluate"
SEEDS = (0, 1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description="Figures of other people's programs for the metric tests.")
    parser.add_argument("--torchmetrics-old", type=Path, required=True)
    old = parser.parse_args().torchmetrics_old
    sys.path.insert(0, str(TESTS))
    pairs = [importlib.import_module("metric_images").image_pair(seed) for seed in SEEDS]
    document: dict[str, Any] = {
        "versions": {
            name: importlib.metadata.version(name)
            for name in ("scikit-image", "flip-evaluator", "pytorch-msssim", "torchmetrics")
        },
        "seeds": list(SEEDS),
        **skimage_figures(pairs),
        **flip_figures(pairs),
        "ms_ssim": [ms_ssim_figure(*pair) for pair in pairs],
        "ssim_torchmetrics_new": torchmetrics_figures(pairs),
    }
    for name in [n for n in sys.modules if n.split(".")[0] == "torchmetrics"]:
        del sys.modules[name]
    sys.path.insert(0, str(old))
    document["ssim_torchmetrics_1.4"] = torchmetrics_figures(pairs)
    text = json.dumps(document, indent=1)
    (TESTS / "golden_metrics.json").write_text(text + "\n", encoding="utf-8")
    print(text)


def skimage_figures(pairs: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, list[float]]:
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    found: dict[str, list[float]] = {"psnr": [], "ssim_range_1": [], "ssim_range_2": [], "ssim_gaussian": []}
    for image, truth in pairs:
        x, y = image.astype(np.float64), truth.astype(np.float64)
        gaussian = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        found["psnr"].append(float(peak_signal_noise_ratio(y, x, data_range=1.0)))
        found["ssim_range_1"].append(float(structural_similarity(x, y, channel_axis=2, data_range=1.0)))
        found["ssim_range_2"].append(float(structural_similarity(x, y, channel_axis=2, data_range=2.0)))
        found["ssim_gaussian"].append(float(structural_similarity(x, y, channel_axis=2, data_range=1.0, **gaussian)))
    return found


def flip_figures(pairs: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, list[Any]]:
    import flip_evaluator

    found: dict[str, list[Any]] = {"flip_67": [], "flip_40": [], "flip_67_pixels": []}
    for image, truth in pairs:
        for ppd in (67.0, 40.0):
            pixels, mean, _ = flip_evaluator.evaluate(
                truth, image, "LDR", inputsRGB=True, applyMagma=False, computeMeanError=True, parameters={"ppd": ppd}
            )
            found[f"flip_{ppd:.0f}"].append(float(mean))
            if ppd == 67.0:
                found["flip_67_pixels"].append([round(float(v), 6) for v in pixels[5::50, 3::40, 0].ravel()])
    return found


def ms_ssim_figure(image: np.ndarray, truth: np.ndarray) -> float:
    from pytorch_msssim import ms_ssim

    x, y = (_nchw(v).double() for v in (image, truth))
    return float(ms_ssim(x, y, data_range=1.0))


def torchmetrics_figures(pairs: list[tuple[np.ndarray, np.ndarray]]) -> list[float]:
    metric = importlib.import_module("torchmetrics.image").StructuralSimilarityIndexMeasure(data_range=1.0)
    return [float(metric(_nchw(image).double(), _nchw(truth).double())) for image, truth in pairs]


def _nchw(image: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(image).permute(2, 0, 1)[None]


if __name__ == "__main__":
    main()
