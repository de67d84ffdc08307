"""Clothes, shoes and hair for a body, made from its own surface in the rest pose.

A garment is the part of the skin it covers, cut where its hems are, pushed outwards, smoothed as cloth hangs, folded
and given a thickness. It is skinned by the body's own weights, smoothed. Shoes are hulls of the feet.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from bodydouble.core.normals import vertex_normals_array
from bodydouble.synth.coordinates import cloth_coordinates
from bodydouble.synth.looks import HairStyle, Look, Material, Silhouette
from bodydouble.synth.mannequin import NUM_COORDINATES, Mannequin, Piece
from bodydouble.synth.noise import noise_at
from bodydouble.synth.surface import (
    Smoother,
    Surface,
    compact,
    cut,
    reach_around,
    refine,
    smoothstep,
    with_hems,
)


def shoes(body: Mannequin, look: Look) -> list[Piece]:
    """A pair of sneakers."""
    return [_shoe(body, look, side) for side in ("left", "right")]


def hairdo(body: Mannequin, look: Look) -> list[Piece]:
    """Hair of the look's style; the first piece covers the scalp, and is left off a shaved head."""
    pieces = [_hair(body, look)]
    if look.hair_style == HairStyle.BUN:
        pieces.append(_bun(body))
    if look.hair_style == HairStyle.BOB:
        pieces.append(_bob(body, look))
    return pieces


def _arm_frame(body: Mannequin, side: str) -> tuple[ndarray, ndarray, float]:
    """Shoulder, unit direction of the upper arm, and its length."""
    shoulder, elbow = body.joints[f"{side}UpperArm"], body.joints[f"{side}LowerArm"]
    length = float(np.linalg.norm(elbow - shoulder))
    return shoulder, (elbow - shoulder) / length, length


def _along_arm(body: Mannequin, points: ndarray) -> ndarray:
    """Distance from the shoulder joint along the arm, over the elbow, metres (of the nearer side)."""
    distance = np.zeros(len(points))
    for side, here in (("left", points[:, 0] > 0), ("right", points[:, 0] <= 0)):
        shoulder, upper, length = _arm_frame(body, side)
        elbow, wrist = body.joints[f"{side}LowerArm"], body.joints[f"{side}Hand"]
        lower = (wrist - elbow) / np.linalg.norm(wrist - elbow)
        s_upper, s_lower = (points - shoulder) @ upper, length + (points - elbow) @ lower
        distance = np.where(here, np.where(s_lower > length, s_lower, np.minimum(s_upper, length)), distance)
    return distance


def _garment_surface(body: Mannequin, coordinates: ndarray, field: ndarray) -> tuple[Surface, ndarray]:
    """The cut and refined skin under a garment, and its normals there (attributes: weights and coordinates)."""
    on_skin = np.zeros(len(body.points), bool)
    on_skin[body.skin] = True
    attributes = np.concatenate([body.weights, body.normals, coordinates], axis=1)
    whole = Surface(points=body.points, faces=body.faces[on_skin[body.faces].all(1)], attributes=attributes)
    surface = refine(cut(whole, field))
    bones = body.weights.shape[1]
    normals = surface.attributes[:, bones : bones + 3]
    normals = normals / np.linalg.norm(normals, axis=1, keepdims=True)
    kept = np.delete(surface.attributes, np.s_[bones : bones + 3], axis=1)
    return Surface(points=surface.points, faces=surface.faces, attributes=kept), normals


def _hang(
    surface: Surface, normals: ndarray, *, offset_m: ndarray, clearance_m: float, rounds: int, folds_m: ndarray
) -> Surface:
    """Push skin outwards, smooth it as cloth, keep it clear of the body, and fold it."""
    smoother = Smoother(surface.faces, len(surface.points))
    skin = surface.points
    points = skin + normals * smoother(offset_m[:, None], 8)
    for _ in range(3):
        points = smoother(points, rounds)
        depth = ((points - skin) * normals).sum(1)
        points = points + normals * np.maximum(clearance_m - depth, 0.0)[:, None]
    points = smoother(points, 2)
    outwards = vertex_normals_array(points, surface.faces)
    points = points + outwards * folds_m[:, None]
    depth = ((points - skin) * normals).sum(1)
    points = points + normals * np.maximum(0.6 * clearance_m - depth, 0.0)[:, None]
    bones = surface.attributes.shape[1] - NUM_COORDINATES
    weights = smoother(surface.attributes[:, :bones], 12)
    attributes = np.concatenate([weights, surface.attributes[:, bones:]], axis=1)
    return Surface(points=points, faces=surface.faces, attributes=attributes)


def _finish(surface: Surface, thickness_m: float) -> Surface:
    return with_hems(surface, vertex_normals_array(surface.points, surface.faces), thickness_m)


def shirt(body: Mannequin, look: Look, *, tucked: bool) -> Piece:
    """A shirt, or the upper part of a dress or a coat.

    Args:
        tucked: It ends at the waist, where something else begins.
    """
    p = body.points
    neck, hip = body.joints["neck"], body.joints["leftUpperLeg"]
    along = _along_arm(body, p)
    _, _, upper_length = _arm_frame(body, "left")
    wrist_at = upper_length + np.linalg.norm(body.joints["leftHand"] - body.joints["leftLowerArm"])
    sleeve_end = wrist_at - 0.012 if look.long_sleeves else 0.62 * upper_length
    on_arm = body.arm_share > 0.5
    collar_normal = np.array([0.0, 0.88, 0.47])
    below_collar = -(p - (neck + np.array([0.0, -0.012, 0.03]))) @ collar_normal
    hem = hip[1] + 0.040 if tucked else body.crotch_m + 0.030
    above_hem = p[:, 1] - hem
    field = np.minimum(below_collar, np.where(on_arm, sleeve_end - along, above_hem))

    shoulder = body.joints["leftUpperArm"]
    coordinates = np.zeros((len(p), NUM_COORDINATES))
    coordinates[:, 3] = np.where(on_arm, along - sleeve_end, hem - p[:, 1])  # up to 0 at the hem
    coordinates[:, 4] = below_collar
    coordinates[:, 5] = on_arm
    surface, normals = _garment_surface(body, coordinates, field)

    q, c = surface.points, surface.attributes[:, -NUM_COORDINATES:]
    arm = c[:, 5]
    drop = smoothstep(shoulder[1] - 0.05, hip[1], q[:, 1])
    loose = np.where(arm > 0.5, 0.006 + 0.012 * smoothstep(-0.2, 0.0, c[:, 3]), 0.010 + 0.012 * drop)
    offset = 0.006 + look.looseness * loose * smoothstep(0.0, 0.05, c[:, 4])
    waves = noise_at(q * [16, 7, 16] + 11.0) + 0.6 * noise_at(q * [9, 22, 9] + 3.0)
    folds = 0.0035 * waves * smoothstep(0.0, 0.08, c[:, 4])
    # Below the armpits cloth leaves the body sideways only, so that the hem hangs level.
    normals = normals * np.stack(
        [np.ones(len(q)), smoothstep(hip[1], shoulder[1] - 0.1, q[:, 1]) + 0.05, np.ones(len(q))], 1
    )
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    hung = _hang(surface, normals, offset_m=offset, clearance_m=0.010, rounds=10, folds_m=folds)
    c = hung.attributes[:, -NUM_COORDINATES:]
    edge = np.minimum(np.abs(c[:, 3]), np.maximum(c[:, 4], 0.0))
    c[:] = cloth_coordinates(body, hung.points, on_arm=c[:, 5], on_leg=np.zeros(len(c)), hem_m=edge)
    done = _finish(hung, 0.006)
    return Piece(surface=done, material=np.full(len(done.faces), Material.SHIRT), covers=field)


def trousers(body: Mannequin, look: Look) -> Piece:
    """Long trousers, or shorts."""
    p = body.points
    hip, ankle, knee = body.joints["leftUpperLeg"], body.joints["leftFoot"], body.joints["leftLowerLeg"]
    waist = hip[1] + 0.055
    cuff = knee[1] - 0.02 if look.silhouette == Silhouette.SHORTS else ankle[1] - 0.018
    field = np.minimum(waist - p[:, 1], p[:, 1] - cuff)
    field = np.where(body.arm_share > 0.02, -1.0, field)
    coordinates = np.zeros((len(p), NUM_COORDINATES))
    coordinates[:, :3] = p
    coordinates[:, 3] = waist - p[:, 1]
    leg_x = np.where(p[:, 0] > 0, 1.0, -1.0) * (
        hip[0] + (knee[0] - hip[0]) * np.clip((hip[1] - p[:, 1]) / (hip[1] - knee[1]), 0, 2)
    )
    coordinates[:, 4] = p[:, 0] - leg_x  # across the leg
    surface, normals = _garment_surface(body, coordinates, field)
    q = surface.points
    lower = smoothstep(hip[1] - 0.05, ankle[1] + 0.1, q[:, 1])
    offset = 0.005 + look.looseness * (0.006 + 0.020 * lower)
    near_knee = np.exp(-(((q[:, 1] - knee[1]) / 0.10) ** 2)) + np.exp(-(((q[:, 1] - ankle[1] - 0.05) / 0.07) ** 2))
    folds = (0.0015 + 0.003 * near_knee) * noise_at(q * [11, 30, 11] + 5.0)
    hung = _hang(surface, normals, offset_m=offset, clearance_m=0.005, rounds=9, folds_m=folds)
    done = _finish(hung, 0.004)
    return Piece(surface=done, material=np.full(len(done.faces), Material.TROUSERS), covers=field)


def _hair(body: Mannequin, look: Look) -> Piece:
    p = body.points
    eye, head = (body.joints["leftEye"] + body.joints["rightEye"]) / 2, body.joints["head"]
    center = np.array([0.0, eye[1] + 0.03, (eye[2] + head[2]) / 2 - 0.03])
    azimuth = np.degrees(np.abs(np.arctan2(p[:, 0] - center[0], p[:, 2] - center[2])))
    hairline = np.interp(azimuth, [0, 30, 52, 66, 80, 96, 115, 180], look.hairline_m)
    field = p[:, 1] - (eye[1] + hairline) + 0.004 * noise_at(p * 120)
    field = np.where(p[:, 1] < body.joints["neck"][1], -1.0, field)
    field = np.minimum(field, 0.02 - 0.05 * body.ears)
    coordinates = np.zeros((len(p), NUM_COORDINATES))
    coordinates[:, :3] = p
    crown = center + np.array([0.0, 0.10, -0.03])
    outward = p - crown
    # Strands run from the crown: thin across, long along. Two smooth coordinates across have no seam.
    flat = outward[:, [0, 2]] / np.maximum(np.linalg.norm(outward[:, [0, 2]], axis=1, keepdims=True), 1e-3)
    coordinates[:, 3:5] = flat
    coordinates[:, 5] = np.linalg.norm(outward, axis=1)
    coordinates[:, 6] = field
    surface, normals = _garment_surface(body, coordinates, field)
    surface, normals = _refined(surface, normals)
    q, c = surface.points, surface.attributes[:, -NUM_COORDINATES:]
    top = smoothstep(eye[1], eye[1] + 0.12, q[:, 1])
    curls = look.hair_style == HairStyle.CURLS
    volume = 2.4 * look.hair_volume_m * (0.8 + 0.2 * top) if curls else look.hair_volume_m * (0.45 + 0.55 * top)
    offset = 0.002 + volume * smoothstep(-0.002, 0.035, c[:, 6])
    strands = noise_at(np.stack([c[:, 3] * 9, c[:, 4] * 9, c[:, 5] * 14], 1)) + 0.5 * noise_at(q * 70)
    if curls:
        strands = noise_at(q * 55) + 0.6 * noise_at(q * 130)
    folds = (0.0045 if curls else 0.0028) * strands * smoothstep(0.0, 0.02, c[:, 6])
    hung = _hang(surface, normals, offset_m=offset, clearance_m=0.002, rounds=6, folds_m=folds)
    done = _finish(hung, 0.0015)
    return Piece(surface=done, material=np.full(len(done.faces), Material.HAIR), covers=field - 0.02)


def _refined(surface: Surface, normals: ndarray) -> tuple[Surface, ndarray]:
    """`refine` a surface together with its normals."""
    columns = surface.attributes.shape[1]
    both = refine(
        Surface(
            points=surface.points,
            faces=surface.faces,
            attributes=np.concatenate([surface.attributes, normals], axis=1),
        )
    )
    normals = both.attributes[:, columns:]
    return (
        Surface(points=both.points, faces=both.faces, attributes=both.attributes[:, :columns]),
        normals / np.linalg.norm(normals, axis=1, keepdims=True),
    )


def _rigid_attributes(body: Mannequin, points: ndarray, bone: str) -> ndarray:
    """Attributes of points that follow one bone."""
    attributes = np.zeros((len(points), body.weights.shape[1] + NUM_COORDINATES))
    attributes[:, body.bone_place[bone]] = 1.0
    attributes[:, -NUM_COORDINATES:][:, :3] = points
    return attributes


def _bun(body: Mannequin) -> Piece:
    """A knot of hair at the back of the head: an ellipsoid."""
    eye, head = body.joints["leftEye"], body.joints["head"]
    center = np.array([0.0, eye[1] + 0.075, head[2] - 0.135])
    u, v = np.meshgrid(np.linspace(0, 2 * np.pi, 29), np.linspace(0.02, np.pi - 0.02, 15), indexing="ij")
    ball = np.stack([np.sin(v) * np.cos(u), np.cos(v), np.sin(v) * np.sin(u)], -1).reshape(-1, 3)
    points = center + ball * [0.043, 0.040, 0.036] * (1 + 0.10 * noise_at(ball * 3.5)[:, None])
    attributes = _rigid_attributes(body, points, "head")
    attributes[:, -NUM_COORDINATES:][:, 3:6] = np.stack([ball[:, 0], ball[:, 2], 0.05 * ball[:, 1]], 1)
    faces = _grid_faces(29, 15, flip=False)
    surface = compact(Surface(points=points, faces=faces, attributes=attributes))
    return Piece(surface=surface, material=np.full(len(faces), Material.HAIR), covers=np.full(len(body.points), -1.0))


def _bob(body: Mannequin, look: Look) -> Piece:
    """Hair that falls from the crown around the back and the sides of the head to the neck."""
    eye, neck = body.joints["leftEye"], body.joints["neck"]
    p = body.points[body.skin]
    head = p[(p[:, 1] > neck[1] + 0.03) & (body.ears[body.skin] < 0.3)]
    middle = np.array([0.0, 0.0, (head[:, 2].min() + eye[2]) / 2])
    azimuth = np.radians(np.linspace(68, 292, 57))
    heights = np.linspace(eye[1] + 0.088, neck[1] + 0.020, 26)
    out = np.stack([np.sin(azimuth), np.zeros_like(azimuth), np.cos(azimuth)], 1)
    grid, radius = [], np.zeros(len(azimuth))
    edge = smoothstep(0.0, 0.3, azimuth - azimuth[0]) * smoothstep(0.0, 0.3, azimuth[-1] - azimuth)
    depths = smoothstep(0.0, 0.09, heights[0] - heights)
    for height, depth in zip(heights, depths, strict=True):
        near = np.abs(head[:, 1] - height) < 0.012
        # Below the ears it hangs freely: neck and shoulders do not shape it.
        free = height < eye[1] - 0.03 or near.sum() < 8
        here = radius if free else reach_around((head[near] - middle)[:, [0, 2]], azimuth)
        radius = np.maximum(here, 0.99 * radius)  # hair hangs from where the head is widest
        # It emerges from the hair on the crown.
        away = radius - 0.008 + (0.015 + look.hair_volume_m) * depth * (0.35 + 0.65 * edge)
        grid.append(middle + out * away[:, None] + [0.0, height, 0.0])
    points = np.stack(grid)
    for _ in range(3):
        points[1:-1] = (points[:-2] + 2 * points[1:-1] + points[2:]) / 4
        points[:, 1:-1] = (points[:, :-2] + 2 * points[:, 1:-1] + points[:, 2:]) / 4
    flat = points.reshape(-1, 3)
    strands = np.stack([np.repeat(out[None, :, axis], len(heights), 0).ravel() for axis in (0, 2)], 1)
    flat = flat + np.stack([strands[:, 0], np.zeros(len(flat)), strands[:, 1]], 1) * (
        0.004 * noise_at(np.concatenate([strands * 14, flat[:, 1:2] * 9], 1))[:, None]
    )
    attributes = _rigid_attributes(body, flat, "head")
    attributes[:, -NUM_COORDINATES:][:, 3:5] = strands
    attributes[:, -NUM_COORDINATES:][:, 5] = heights[0] - flat[:, 1]
    faces = _grid_faces(len(heights), len(azimuth), flip=True)
    surface = Surface(points=flat, faces=faces, attributes=attributes)
    done = _finish(surface, 0.012)
    return Piece(surface=done, material=np.full(len(done.faces), Material.HAIR), covers=np.full(len(body.points), -1.0))


def _grid_faces(rows: int, columns: int, *, flip: bool, closed: bool = False) -> Int[ndarray, "f 3"]:
    """Triangles of a grid of `rows` times `columns` vertices; `closed` joins the last column to the first."""
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(columns if closed else columns - 1), indexing="ij")
    following = (j + 1) % columns
    a, b = (i * columns + j).ravel(), (i * columns + following).ravel()
    c, d = ((i + 1) * columns + following).ravel(), ((i + 1) * columns + j).ravel()
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    return faces[:, ::-1].copy() if flip else faces


def _shoe(body: Mannequin, look: Look, side: str) -> Piece:
    """A sneaker: convex outlines of the foot at several heights, on a sole, open around the ankle."""
    ankle, toes = body.joints[f"{side}Foot"], body.joints[f"{side}Toes"]
    sign = 1.0 if side == "left" else -1.0
    p = body.points
    foot = p[(np.sign(p[:, 0]) == sign) & (p[:, 1] < ankle[1] + 0.045) & (body.arm_share < 0.02)]
    ground, top = foot[:, 1].min(), ankle[1] + 0.030
    sole_m, gap_m, columns = look.sole_m, 0.007, 56
    widest = _outline(foot[foot[:, 1] < ground + 0.05], gap_m, columns)
    heights = np.concatenate([[-sole_m, -sole_m * 0.4, 0.012], np.linspace(0.022, top - ground, 10)])
    rings = []
    for k, height in enumerate(heights):
        if k < 3:
            grow = np.array([0.004, 0.007, 0.007])[k]
            middle = widest.mean(0)
            ring = middle + (widest - middle) * (1 + grow / 0.05)
        else:
            level = ground + height
            near = foot[np.abs(foot[:, 1] - level) < 0.018]
            above = foot[foot[:, 1] >= level - 0.006]
            ring = _outline(near if len(near) > 8 else above, gap_m, columns)
        rings.append(np.stack([ring[:, 0], np.full(columns, ground + height), ring[:, 1]], 1))
    grid = np.stack(rings)
    for _ in range(2):  # smooth the upper from ring to ring
        grid[4:-1] = (grid[3:-2] + 2 * grid[4:-1] + grid[5:]) / 4
    lip = grid[-1].mean(0) + (grid[-1] - grid[-1].mean(0)) * 0.90 - [0, 0.012, 0]
    bottom = np.broadcast_to(grid[0].mean(0), grid[0].shape)
    grid = np.concatenate([bottom[None], grid[:1], grid[:3], grid[2:], lip[None]])  # doubled rings keep edges sharp
    points = grid.reshape(-1, 3)
    attributes = _rigid_attributes(body, points, f"{side}Foot")
    attributes[:, -4] = points[:, 1] - ground
    attributes[:, -3] = points[:, 0] - np.interp(points[:, 2], [ankle[2], toes[2]], [ankle[0], toes[0]])
    attributes[:, -2] = points[:, 2] - ankle[2]
    faces = _grid_faces(len(grid), columns, flip=False, closed=True)
    ring_of_face = (faces // columns).min(1)
    material = np.where(ring_of_face <= 4, Material.SOLE, Material.SHOE)
    surface = Surface(points=points, faces=faces, attributes=attributes)
    covers = np.where((np.sign(p[:, 0]) == sign) & (body.arm_share < 0.02), top - 0.012 - p[:, 1], -1.0)
    return Piece(surface=surface, material=material, covers=covers, on_ground=True)


def _outline(points: ndarray, gap_m: float, count: int) -> Float[ndarray, "count 2"]:
    """The convex outline seen from above, widened, as a closed ring of `count` points from the heel."""
    from scipy.spatial import ConvexHull

    flat = points[:, [0, 2]]
    hull = flat[ConvexHull(flat).vertices]
    following = np.roll(hull, -1, axis=0)
    dense = np.concatenate(
        [hull + (following - hull) * t for t in np.linspace(0, 1, 12, endpoint=False)[:, None, None]]
    )
    middle = hull.mean(0)
    angle = np.arctan2(dense[:, 0] - middle[0], dense[:, 1] - middle[1])
    dense = dense[np.argsort(angle)]
    closed = np.concatenate([dense, dense[:1]])
    at = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))])
    wanted = np.linspace(0, at[-1], count, endpoint=False)
    ring = np.stack([np.interp(wanted, at, closed[:, k]) for k in (0, 1)], 1)
    outward = ring - middle
    return ring + gap_m * outward / np.linalg.norm(outward, axis=1, keepdims=True)
