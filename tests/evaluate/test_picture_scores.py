"""Picture protocols: every switch is described and moves the figures it should."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from metric_images import image_pair

from bodydouble.core.errors import ConfigError
from bodydouble.evaluate.lpips import Lpips
from bodydouble.evaluate.picture_protocol import METRICS, DetailRule, LpipsRule, PictureProtocol, PictureRule
from bodydouble.evaluate.picture_scores import (
    FilmedFrame,
    LandmarkBoxes,
    Pair,
    predicted_picture,
    score_pair,
    truth_picture,
)
from bodydouble.evaluate.protocols import (
    BODYDOUBLE_V1,
    EVA,
    NEUMAN,
    PEOPLESNAPSHOT_INSTANTAVATAR,
    PICTURE_PROTOCOLS,
    PROTOCOLS,
    WILDAVATAR,
    find_protocol,
)
from bodydouble.evaluate.regions import Box
from bodydouble.evaluate.splits import EveryNth, EverySecondOne, NeumanSplit, SubjectRanges

SIZE = (150, 110)


def person() -> np.ndarray:
    """A soft-edged mask."""
    y, x = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
    inside = 1.2 - np.hypot((x - 52) / 26, (y - 74) / 55)
    return (np.clip(inside / 0.4, 0, 1) * 255).astype(np.uint8)


def pair_of(seed: int = 0, *, before: bool = True, **changes: Any) -> Pair:
    image, truth = image_pair(seed, *SIZE)
    mask = person()
    alpha = np.roll(mask, 3, axis=1)
    rgba = np.concatenate([np.round(image * 255).astype(np.uint8), alpha[..., None]], axis=-1)
    frame = FilmedFrame(index=7, rgb=np.round(truth * 255).astype(np.uint8), mask=mask)
    parts = LandmarkBoxes(
        hands=(Box(x0=30, y0=60, x1=45, y1=75), Box(x0=65, y0=60, x1=80, y1=75)),
        face=(Box(x0=44, y0=22, x1=60, y1=40),),
    )
    earlier = (dataclasses.replace(frame, index=6), rgba)
    values: dict[str, Any] = {"frame": frame, "rgba": rgba, "parts": parts, "before": earlier if before else None}
    return Pair(**{**values, **changes})


def figures(protocol: PictureProtocol, pair: Pair | None = None, lpips: Lpips | None = None) -> dict[str, float]:
    return dict(zip(protocol.metrics, score_pair(pair or pair_of(), protocol, lpips), strict=True))


def with_picture(protocol: PictureProtocol, **changes: Any) -> PictureProtocol:
    return dataclasses.replace(protocol, picture=dataclasses.replace(protocol.picture, **changes))


# --- the protocols themselves ---


def other_value(value: Any) -> Any:
    """A different value of the same kind."""
    alternatives = {
        "pooled": "channels", "channels": "pooled", "soft": "binary", "binary": "any", "any": "soft", "none": "truth",
        "truth": "none", "area": "bilinear", "bilinear": "area", "gaussian": "uniform", "uniform": "gaussian",
        "population": "sample", "sample": "population", "mirror": "zero", "zero": "mirror", "inside": "zero",
        "alex": "vgg", "vgg": "alex",
    }  # fmt: skip
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return alternatives.get(value, value + " changed")
    if isinstance(value, int):
        return value + 2
    if isinstance(value, float):
        return value + 0.25
    if isinstance(value, EveryNth):
        return EverySecondOne(first=1)
    if isinstance(value, EverySecondOne | NeumanSplit | SubjectRanges):
        return EveryNth(every=5, remainder=1)
    if isinstance(value, tuple) and value and isinstance(value[0], float):
        return (0.25, *value[1:])
    if isinstance(value, tuple):
        return value[:-1]
    return None


def changed_protocols(protocol: PictureProtocol) -> list[tuple[str, PictureProtocol]]:
    """The protocol with each field of it and of its rules changed, one at a time."""
    found = []
    for field in dataclasses.fields(protocol):
        value = getattr(protocol, field.name)
        if isinstance(value, PictureRule | LpipsRule | DetailRule) or field.name == "ssim":
            for inner in dataclasses.fields(value):
                changed = dataclasses.replace(value, **{inner.name: other_value(getattr(value, inner.name))})
                found.append((f"{field.name}.{inner.name}", {field.name: changed}))
        elif field.name != "base":
            found.append((field.name, {field.name: other_value(value)}))
    return [
        (name, dataclasses.replace(protocol, **change))
        for name, change in found
        if not (name == "picture.scale" and protocol.name == BODYDOUBLE_V1.name)  # refused: see below
    ]


@pytest.mark.parametrize("protocol", PICTURE_PROTOCOLS, ids=lambda p: p.name)
def test_every_switch_is_in_the_text(protocol: PictureProtocol) -> None:
    silent = {
        "lpips.network",
        "detail.foot_growth",
        "detail.boundary_tolerance_heights",
        "detail.flip_pixels_per_degree",
    }
    for name, changed in changed_protocols(protocol):
        if protocol is not BODYDOUBLE_V1 and name in silent - {"lpips.network"}:
            assert changed.describe() == protocol.describe()  # without such figures the switch moves nothing
        else:
            assert changed.describe() != protocol.describe(), name


def test_all_named_protocols_are_there_and_found() -> None:
    names = [p.name for p in PROTOCOLS]
    assert names == [
        "bodydouble-v1", "eva", "wildavatar", "neuman", "peoplesnapshot-instantavatar", "vid2avatar-geometry", "heldout-v1",
    ]  # fmt: skip
    assert all(find_protocol(name).name == name for name in names)
    with pytest.raises(ConfigError, match=r"no evaluation protocol named 'best'; expected one of: bodydouble-v1, eva"):
        find_protocol("best")


def test_protocols_that_contradict_themselves_are_refused() -> None:
    with pytest.raises(ConfigError, match="there is no figure 'psnr_nose'"):
        dataclasses.replace(EVA, metrics=("psnr_nose",))
    with pytest.raises(ConfigError, match=r"figures of regions need scale 1, got 0.5"):
        with_picture(BODYDOUBLE_V1, scale=0.5)
    with pytest.raises(ConfigError, match="needs a map as large as the picture"):
        dataclasses.replace(BODYDOUBLE_V1, ssim=NEUMAN.ssim)


# --- splits ---


def test_splits_are_those_of_their_sources() -> None:
    assert WILDAVATAR.split.test_frames(list(range(100, 120)), "") == list(range(101, 120, 2))
    assert len(EVA.split.test_frames(list(range(280)), "")) == 140
    frames = list(range(103))  # NeuMan: 20 kept of 103, step 5, from 2 on; the first half of 21 is tested on
    assert NEUMAN.split.test_frames(frames, "") == [2, 7, 12, 17, 22, 27, 32, 37, 42, 47]
    people = PEOPLESNAPSHOT_INSTANTAVATAR.split
    chosen = people.test_frames(list(range(648)), "/data/female-3-casual/images")
    assert (chosen[0], chosen[1], chosen[-1], len(chosen)) == (446, 450, 646, 51)
    with pytest.raises(ConfigError, match=r"defined for female-3-casual, .*; the capture is named 'me.mp4'"):
        people.test_frames(frames, "me.mp4")
    with pytest.raises(ConfigError, match=r"tested on frames 446 to 647, this capture has 103"):
        people.test_frames(frames, "female-3-casual")
    with pytest.raises(ConfigError, match="needs at least 10 frames, this capture has 8"):
        NEUMAN.split.test_frames(frames[:8], "")


# --- figures ---


def test_bodydouble_v1_has_every_figure_it_promises() -> None:
    found = figures(BODYDOUBLE_V1)
    assert set(found) <= set(METRICS)
    unknown = {name for name, value in found.items() if math.isnan(value)}
    assert unknown == {"lpips_box", "psnr_feet", "ssim_feet", "flip_feet"}  # no weights, no feet seen
    assert math.isnan(figures(BODYDOUBLE_V1, pair_of(before=False))["flicker_box"])


def test_a_perfect_prediction_scores_perfectly() -> None:
    pair = pair_of()
    for protocol in PICTURE_PROTOCOLS:
        alpha = pair.frame.mask
        if protocol.picture.truth_mask != "soft":  # a soft edge cannot be a hard one
            alpha = np.where(truth_alpha(pair, protocol), 255, 0).astype(np.uint8)
        found = figures(protocol, dataclasses.replace(pair, rgba=np.dstack([pair.frame.rgb, alpha])))
        # Halving mask and frame apart is not halving the picture, and a box cuts off the mask's faintest edge.
        rough = protocol.picture.prediction_box or protocol.picture.scale != 1.0
        assert found["psnr_full"] > (35.0 if rough else 80.0), protocol.name
        assert found["ssim_full"] > (0.97 if rough else 0.9999), protocol.name
    exact = figures(BODYDOUBLE_V1, dataclasses.replace(pair, rgba=np.dstack([pair.frame.rgb, pair.frame.mask])))
    assert exact["psnr_box"] == 100.0 and exact["flip_box"] == pytest.approx(0.0, abs=1e-6)
    assert exact["mask_f1"] == exact["boundary_f"] == 1.0


def truth_alpha(pair: Pair, protocol: PictureProtocol) -> np.ndarray:
    return pair.frame.mask > (0 if protocol.picture.truth_mask == "any" else 127.5)


def test_full_figures_are_those_of_the_two_pictures() -> None:
    """Independent: EVA's protocol written out for this pair."""
    pair = pair_of()
    mask = pair.frame.mask[..., None] / 255.0
    truth = pair.frame.rgb / 255.0 * mask
    image = pair.rgba[..., :3] / 255.0 * (pair.rgba[..., 3:] / 255.0)
    rows, columns = np.nonzero(mask[..., 0] > 0.5)
    y0, y1, x0, x1 = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    dy, dx = 0.05 * (y1 - y0), 0.05 * (x1 - x0)
    inside = np.zeros_like(mask)
    inside[max(0, math.floor(y0 - dy)) : math.ceil(y1 + dy), max(0, math.floor(x0 - dx)) : math.ceil(x1 + dx)] = 1.0
    mse = ((image * inside - truth) ** 2).reshape(-1, 3).mean(axis=0)
    assert figures(EVA)["psnr_full"] == pytest.approx(np.mean(-10 * np.log10(mse)), abs=1e-4)


def test_cutting_the_prediction_by_the_mask_of_the_truth_flatters() -> None:
    cut, honest = figures(NEUMAN)["psnr_full"], figures(with_picture(NEUMAN, prediction_mask="none"))["psnr_full"]
    assert cut > honest + 0.3


def test_backgrounds_show_through_alpha_alone() -> None:
    pair = pair_of()
    for color in ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.2, 0.5, 0.9)):
        protocol = with_picture(NEUMAN, background=color, eight_bit=False)
        for picture in (truth_picture(pair.frame, protocol), predicted_picture(pair.rgba, pair.frame, protocol)):
            np.testing.assert_allclose(picture[0, 0], color, atol=1e-6)


def test_scale_halves_both_pictures_and_eight_bits_round_them() -> None:
    pair = pair_of()
    small = predicted_picture(pair.rgba, pair.frame, PEOPLESNAPSHOT_INSTANTAVATAR)
    assert small.shape == (75, 55, 3) == truth_picture(pair.frame, PEOPLESNAPSHOT_INSTANTAVATAR).shape
    np.testing.assert_allclose(small * 255.0, np.round(small * 255.0), atol=1e-4)
    whole = predicted_picture(pair.rgba, pair.frame, with_picture(PEOPLESNAPSHOT_INSTANTAVATAR, scale=1.0))
    np.testing.assert_allclose(small, whole.reshape(75, 2, 55, 2, 3).mean(axis=(1, 3)), atol=3 / 255)


def test_truth_masks_differ_at_soft_edges_only() -> None:
    frame = pair_of().frame
    soft, binary, anywhere = (
        truth_picture(frame, with_picture(EVA, truth_mask=kind)) for kind in ("soft", "binary", "any")
    )
    sure = (frame.mask == 0) | (frame.mask == 255)
    np.testing.assert_allclose(soft[sure], binary[sure], atol=1e-6)
    np.testing.assert_allclose(soft[sure], anywhere[sure], atol=1e-6)
    edge = ~sure
    assert soft[edge].mean() < anywhere[edge].mean() and edge.sum() > 50


def test_regions_see_only_their_own_pixels() -> None:
    pair = pair_of()
    rgba = pair.rgba.copy()
    rgba[22:40, 44:60, :3] = 255  # spoils the face and nothing else
    spoilt = figures(BODYDOUBLE_V1, dataclasses.replace(pair, rgba=rgba))
    before = figures(BODYDOUBLE_V1, pair)
    assert spoilt["psnr_face"] < before["psnr_face"] - 1.0 and spoilt["flip_face"] > before["flip_face"] + 0.02
    assert spoilt["psnr_hands"] == pytest.approx(before["psnr_hands"])
    assert spoilt["mask_iou"] == before["mask_iou"]


def test_flicker_counts_change_beside_the_truth() -> None:
    pair = pair_of()
    assert figures(BODYDOUBLE_V1, pair)["flicker_box"] == pytest.approx(0.0, abs=1e-7)
    shaken = np.roll(pair.rgba, 2, axis=0)
    assert pair.before is not None
    moved = dataclasses.replace(pair, before=(pair.before[0], shaken))
    assert figures(BODYDOUBLE_V1, moved)["flicker_box"] > 0.01


def test_lpips_is_fed_and_scaled_as_the_protocol_says(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def distance(self: Lpips, image: np.ndarray, truth: np.ndarray, *, expects_signed: bool) -> float:
        asked.append((image.shape, expects_signed))
        return 0.05

    monkeypatch.setattr(Lpips, "distance", distance)
    network = Lpips(network="vgg", weights=(), biases=(), linear=())
    assert figures(EVA, lpips=network)["lpips_full"] == pytest.approx(50.0)
    assert figures(NEUMAN, lpips=network)["lpips_full"] == pytest.approx(0.05)
    assert [signed for _, signed in asked] == [False, True]
