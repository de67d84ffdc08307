"""Animations of .glb files (Mixamo, Blender, this program's own) as motions of their skeleton."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from bodydouble.avatar.bvh import SourceMotion
from bodydouble.avatar.glb_foreign import global_transforms, local_transform, node_parents
from bodydouble.avatar.gltf_reader import GlbFile
from bodydouble.avatar.humanoid import guess_humanoid
from bodydouble.body.protocol import ARKIT_ACTIONS
from bodydouble.core.geometry import quat_wxyz_to_matrix, quat_xyzw_to_wxyz

MAX_FRAMES = 100_000
MAX_NODES = 4096
_MAX_CELLS = 8_000_000
"""Frames times nodes that may be sampled: each takes 128 bytes, and some copies are made."""


def read_glb_motion(path: Path, clip: str = "") -> SourceMotion:
    """Read an animation of the first skinned skeleton in a .glb (or .vrm).

    The zero pose is the pose of the file; joints get world axes there, so rest rotations, scaled parents and nodes
    between joints are all accounted for. Morph weights with ARKit's names become the expression.

    Args:
        path: The file; may be damaged or hostile.
        clip: Name of the animation; the longest if none is named.
    Raises:
        InputError: When the file is damaged, or has no skeleton or no such animation.
    """
    file = GlbFile(Path(path))
    nodes = file.objects("nodes")
    if len(nodes) > MAX_NODES:
        file.fail(f"it has {len(nodes)} nodes; at most {MAX_NODES} can be animated")
    animation, name, duration = _choose(file, clip)
    channels = _channels(file, animation, len(nodes))
    rate = _rate(file, channels)
    frames = round(duration * rate) + 1
    if frames > MAX_FRAMES or frames * len(nodes) > _MAX_CELLS:
        file.fail(f"its animation has {frames} frames for {len(nodes)} nodes, more than can be read; cut it")
    times = np.arange(frames) / rate
    parents = node_parents(file, nodes)
    rest = global_transforms(file, nodes, parents)
    moving = _animated(file, nodes, parents, channels, times)
    joints = _joints(file, nodes, parents)
    known = set(joints)
    above = [next((j for j in _line(parents, node) if j in known), -1) for node in joints]
    order, above = _one_tree(file, joints, above)
    order, above = _from_the_hips(nodes, order, above)
    names = _names(nodes, order)
    place = {node: i for i, node in enumerate(order)}
    W = _rotation(rest[order])
    R_world = np.stack([_rotation(moving[:, node]) @ W[i].T for i, node in enumerate(order)], 1)
    R_local = R_world.copy()
    offsets = np.zeros((len(order), 3))
    for i, parent in enumerate(above):
        if parent >= 0:
            R_local[:, i] = R_world[:, place[parent]].transpose(0, 2, 1) @ R_world[:, i]
            offsets[i] = rest[order[i], :3, 3] - rest[parent, :3, 3]
    tips = _tips(nodes, rest, order, above)
    return SourceMotion(
        name=name,
        fps_hz=float(rate),
        joint_names=names,
        joint_parents=tuple(place[p] if p >= 0 else -1 for p in above),
        offsets=torch.from_numpy(offsets).float(),
        tips=torch.from_numpy(tips).float(),
        R_parent_joint=torch.from_numpy(R_local).float(),
        root_position=torch.from_numpy(moving[:, order[0], :3, 3]).float(),
        expression=_expression(file, nodes, channels, times),
    )


def _choose(file: GlbFile, wanted: str) -> tuple[dict[str, Any], str, float]:
    """The animation, its name and its length in seconds."""
    animations = file.objects("animations")
    if not animations:
        file.fail("it holds no animation; export it with one")
    found: list[tuple[float, str, dict[str, Any]]] = []
    for index, animation in enumerate(animations[:1024]):
        name = animation.get("name")
        name = name if isinstance(name, str) and name else f"animation_{index}"
        if not wanted or name == wanted:
            ends = [0.0]
            for sampler in file.object_list(animation, "samplers", f"animation {index}"):
                times = _input(file, sampler)
                ends.append(float(times[-1]))
            found.append((max(ends), name, animation))
    if not found:
        known = ", ".join(str(a.get("name", i)) for i, a in enumerate(animations[:20]))
        file.fail(f"it has no animation {wanted!r:.60}; it has: {known:.400}")
    length, name, animation = max(found, key=lambda entry: entry[0])
    if not length <= 36_000.0:
        file.fail(f"its animation lasts {length:g} s; at most ten hours can be read")
    return animation, name, length


def _input(file: GlbFile, sampler: dict[str, Any]) -> np.ndarray:
    index = file.index(sampler, "input", len(file.objects("accessors")), "a sampler")
    times = file.array(index, width=1)[:, 0].astype(np.float64)
    if times[0] < 0 or (np.diff(times) < 0).any():
        file.fail("the times of an animation must ascend from 0")
    return times


def _channels(file: GlbFile, animation: dict[str, Any], count: int) -> dict[tuple[int, str], tuple[np.ndarray, ...]]:
    """(node, path) -> times, values [keys, width] and the kind of interpolation as an array of one string."""
    samplers = file.object_list(animation, "samplers", "an animation")
    channels = {}
    for channel in file.object_list(animation, "channels", "an animation"):
        target = file.child(channel, "target", "a channel")
        path = target.get("path")
        if "node" not in target or path not in ("rotation", "translation", "scale", "weights"):
            continue
        node = file.index(target, "node", count, "a channel")
        sampler = samplers[file.index(channel, "sampler", len(samplers), "a channel")]
        times = _input(file, sampler)
        kind = sampler.get("interpolation", "LINEAR")
        index = file.index(sampler, "output", len(file.objects("accessors")), "a sampler")
        width = {"rotation": 4, "translation": 3, "scale": 3, "weights": 1}[path]
        values = file.array(index, width=width).astype(np.float64)
        per_key = 3 if kind == "CUBICSPLINE" else 1
        if len(values) % (per_key * len(times)):
            file.fail("a sampler has as many values as it should have at none of its times")
        values = values.reshape(len(times), per_key, -1)[:, per_key // 2]  # a spline's own values, without its tangents
        channels[node, path] = (times, values, np.array([kind]))
    return channels


def _rate(file: GlbFile, channels: dict[tuple[int, str], tuple[np.ndarray, ...]]) -> float:
    """Frames per second: that of the most closely set keys."""
    gaps = [float(np.median(np.diff(times))) for times, _, _ in channels.values() if len(times) > 1]
    gaps = [gap for gap in gaps if gap > 1e-4]
    if not channels:
        file.fail("its animation moves no node")
    rate = 1.0 / min(gaps) if gaps else 30.0
    nearest = min((24.0, 25.0, 30.0, 50.0, 60.0, 100.0, 120.0), key=lambda r: abs(r - rate))
    return nearest if abs(nearest - rate) < 0.02 * nearest else min(max(rate, 10.0), 240.0)


def _sampled(channel: tuple[np.ndarray, ...], times: np.ndarray, *, turning: bool) -> np.ndarray:
    """Values [frames, width] at the given times."""
    keys, values, kind = channel
    if len(keys) == 1:
        return np.repeat(values, len(times), 0)
    low = np.clip(np.searchsorted(keys, times, side="right") - 1, 0, len(keys) - 2)
    gap = np.maximum(keys[low + 1] - keys[low], 1e-9)
    share = np.clip((times - keys[low]) / gap, 0.0, 1.0)[:, None]
    if kind[0] == "STEP":
        share = np.floor(share)
    a, b = values[low], values[low + 1]
    if not turning:
        return a * (1 - share) + b * share
    a = a / np.maximum(np.linalg.norm(a, axis=1, keepdims=True), 1e-12)
    b = b / np.maximum(np.linalg.norm(b, axis=1, keepdims=True), 1e-12)
    cosine = (a * b).sum(1, keepdims=True)
    b, cosine = np.where(cosine < 0, -b, b), np.abs(cosine)
    angle = np.arccos(np.clip(cosine, 0.0, 1.0))
    sine = np.sin(angle)
    near = sine < 1e-4
    safe = np.where(near, 1.0, sine)
    first = np.where(near, 1 - share, np.sin((1 - share) * angle) / safe)
    second = np.where(near, share, np.sin(share * angle) / safe)
    out = a * first + b * second
    return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)


def _animated(
    file: GlbFile,
    nodes: list[dict[str, Any]],
    parents: list[int],
    channels: dict[tuple[int, str], tuple[np.ndarray, ...]],
    times: np.ndarray,
) -> np.ndarray:
    """World transforms [frames, nodes, 4, 4]."""
    frames = len(times)
    world = np.zeros((frames, len(nodes), 4, 4))
    done = np.zeros(len(nodes), bool)
    for start in range(len(nodes)):
        line = [start, *_line(parents, start)]
        for node in reversed(line):
            if done[node]:
                continue
            local = np.repeat(local_transform(file, nodes[node], node)[None], frames, 0)
            moved = {path: channels.get((node, path)) for path in ("translation", "rotation", "scale")}
            if any(c is not None for c in moved.values()):
                scale = np.linalg.norm(local[:, :3, :3], axis=1)
                if moved["rotation"] is not None:
                    quats_xyzw = torch.from_numpy(_sampled(moved["rotation"], times, turning=True))
                    turn = quat_wxyz_to_matrix(quat_xyzw_to_wxyz(quats_xyzw)).numpy()
                else:
                    turn = local[:, :3, :3] / np.maximum(scale[:, None], 1e-12)
                if moved["scale"] is not None:
                    scale = _sampled(moved["scale"], times, turning=False)
                local[:, :3, :3] = turn * scale[:, None]
                if moved["translation"] is not None:
                    local[:, :3, 3] = _sampled(moved["translation"], times, turning=False)
            world[:, node] = world[:, parents[node]] @ local if parents[node] >= 0 else local
            done[node] = True
    if not np.isfinite(world).all() or np.abs(world).max() > 1e9:
        file.fail("its animation moves nodes beyond all bounds")
    return world


def _rotation(T: np.ndarray) -> np.ndarray:
    """The rotation of transforms [n, 4, 4] whose scale is the same along all axes (or nearly so)."""
    u, _, vt = np.linalg.svd(T[:, :3, :3])
    flip = np.linalg.det(u @ vt)
    u[:, :, 2] *= flip[:, None]
    return u @ vt


def _line(parents: list[int], node: int) -> list[int]:
    """Nodes above a node, from its parent up."""
    line = []
    while parents[node] >= 0:
        node = parents[node]
        line.append(node)
    return line


def _joints(file: GlbFile, nodes: list[dict[str, Any]], parents: list[int]) -> list[int]:
    """Nodes of the skin with most joints; without skins, all nodes that hold no mesh. Parents come first."""
    listed: list[list[int]] = []
    for index, skin in enumerate(file.objects("skins")):
        joints = skin.get("joints")
        if not isinstance(joints, list) or not joints:
            file.fail(f"skin {index} must have a list of joints")
        listed.append(sorted({file.number(j, 0, len(nodes) - 1, f"a joint of skin {index}") for j in joints}))
    chosen = max(listed, key=len) if listed else [i for i, node in enumerate(nodes) if "mesh" not in node]
    if all(above < node for node in chosen for above in _line(parents, node)):
        return sorted(chosen)  # as they are in the file
    return sorted(chosen, key=lambda node: (len(_line(parents, node)), node))


def _one_tree(file: GlbFile, joints: list[int], above: list[int]) -> tuple[list[int], list[int]]:
    """The largest tree among the joints, its root first."""
    root_of: dict[int, int] = {}
    for joint, parent in zip(joints, above, strict=True):
        root_of[joint] = joint if parent < 0 else root_of[parent]
    roots = list(root_of.values())
    if not roots:
        file.fail("it has no skeleton; export it with its armature")
    root = max(set(roots), key=lambda r: (roots.count(r), -r))
    kept = [(j, p) for j, p in zip(joints, above, strict=True) if root_of[j] == root]
    return [j for j, _ in kept], [p for _, p in kept]


def _from_the_hips(nodes: list[dict[str, Any]], order: list[int], above: list[int]) -> tuple[list[int], list[int]]:
    """The part of the tree at and below the hips, if both legs and the head are there.

    Only the first joint of a motion is moved, and in many files that is not a bone on the floor but the hips below it.
    """
    names = _names(nodes, order)
    place = {node: i for i, node in enumerate(order)}
    human = guess_humanoid(names, [place[p] if p >= 0 else -1 for p in above])
    needed = [human.get(h) for h in ("hips", "leftUpperLeg", "rightUpperLeg")] + [human.get("head", human.get("neck"))]
    if None in needed:
        return order, above
    hips = names.index(str(needed[0]))
    below = {order[hips]}
    for node, parent in zip(order, above, strict=True):
        if parent in below:
            below.add(node)
    if not all(order[names.index(str(n))] in below for n in needed):
        return order, above
    kept = [(n, p if n != order[hips] else -1) for n, p in zip(order, above, strict=True) if n in below]
    return [n for n, _ in kept], [p for _, p in kept]


def _names(nodes: list[dict[str, Any]], order: list[int]) -> tuple[str, ...]:
    names: list[str] = []
    for node in order:
        name = nodes[node].get("name")
        name = name if isinstance(name, str) and name else f"joint_{node}"
        names.append(name if name not in names else f"{name}#{node}")
    return tuple(names)


def _tips(nodes: list[dict[str, Any]], rest: np.ndarray, order: list[int], above: list[int]) -> np.ndarray:
    """Ends of joints without joints below, from nodes that hang on them; 0 where there are none."""
    tips = np.zeros((len(order), 3))
    for i, node in enumerate(order):
        children = nodes[node].get("children", [])
        if node not in above and children:
            tips[i] = rest[children[0], :3, 3] - rest[node, :3, 3]
    return tips


def _expression(
    file: GlbFile,
    nodes: list[dict[str, Any]],
    channels: dict[tuple[int, str], tuple[np.ndarray, ...]],
    times: np.ndarray,
) -> torch.Tensor | None:
    meshes = file.objects("meshes")
    out = np.zeros((len(times), len(ARKIT_ACTIONS)))
    found = False
    for (node, path), channel in channels.items():
        if path != "weights" or "mesh" not in nodes[node]:
            continue
        mesh = meshes[file.index(nodes[node], "mesh", len(meshes), "a node")]
        names = file.optional(mesh, "extras").get("targetNames")
        if not isinstance(names, list) or len(names) != channel[1].shape[1]:
            continue
        values = np.clip(_sampled(channel, times, turning=False), 0.0, 1.0)
        for column, name in enumerate(names):
            if name in ARKIT_ACTIONS:
                place = ARKIT_ACTIONS.index(name)
                out[:, place] = np.maximum(out[:, place], values[:, column])
                found = True
    return torch.from_numpy(out).float() if found else None
