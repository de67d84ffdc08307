"""Two-bone inverse kinematics in closed form: an arm or a leg whose end is moved a little, everything else kept."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.avatar.anatomy import frame_of, shortest_turn
from bodydouble.avatar.values import Rig
from bodydouble.core.geometry import matrix_to_rotvec, rotvec_to_matrix
from bodydouble.core.skinning import bone_transforms

_REACH = 0.9995
"""Share of its length to which a limb may be stretched."""


def joint_places(
    rotvecs: Float[Tensor, "frames bones 3"], translation_world_m: Float[Tensor, "frames 3"], rig: Rig
) -> tuple[Float[Tensor, "frames bones 3 3"], Float[Tensor, "frames bones 3"]]:
    """World rotation since rest and world position of every joint, in the precision of the rotations."""
    joints = rig.joints_rest_m.to(rotvecs)
    R, t = bone_transforms(rotvecs, joints, translation_world_m, rig.bone_parents)
    return R, (R @ joints[:, :, None])[..., 0] + t


def _bending_axis(
    u: Float[Tensor, "frames 3"], s: Float[Tensor, "frames 3"], hinge: Float[Tensor, "frames 3"]
) -> Float[Tensor, "frames 3"]:
    """The axis about which a limb of upper part `u` and lower part `s` bends; changes steadily where they do.

    A bent limb has a plane of its own, and keeps it: hinges of files are not exact, and thighs and arms twist. A nearly
    straight limb has none, so the hinge takes over; so it does for one that is overstretched by a little.
    """
    across = torch.linalg.cross(u, s)
    sine = across.norm(dim=-1, keepdim=True) / (u.norm(dim=-1, keepdim=True) * s.norm(dim=-1, keepdim=True))
    bent = torch.nn.functional.normalize(across, dim=-1)
    hinge = torch.nn.functional.normalize(hinge, dim=-1)
    forwards = _ramp((bent * hinge).sum(-1, keepdim=True), -0.95, -0.6)
    own = _ramp(sine, 0.0, 0.1) * torch.maximum(forwards, _ramp(sine, 0.35, 0.5))
    n = own * bent + (1.0 - own) * hinge
    return torch.where(n.norm(dim=-1, keepdim=True) > 1e-3, n, hinge)


def _ramp(values: Float[Tensor, "*batch"], low: float, high: float) -> Float[Tensor, "*batch"]:
    """0 below `low`, 1 above `high`, straight in between."""
    return ((values - low) / (high - low)).clamp(0.0, 1.0)


def move_limb_end(
    rotvecs: Float[Tensor, "frames bones 3"],
    translation_world_m: Float[Tensor, "frames 3"],
    rig: Rig,
    limb: tuple[int, int, int],
    shift_world_m: Float[Tensor, "frames 3"],
    hinge_rest: Float[Tensor, "3"],
) -> Float[Tensor, "frames bones 3"]:
    """Local rotations with the end of a limb moved; the end keeps its orientation, the middle joint its plane.

    Args:
        rotvecs, translation_world_m: The motion.
        rig: Whose joints move.
        limb: Upper bone, lower bone and end: thigh, shank and foot, or upper arm, forearm and hand.
        shift_world_m: How far the end is to move; out of reach it goes as far as the limb is long.
        hinge_rest: Axis about which the middle joint bends, in the rest pose: for limbs that are straight.
    """
    upper, lower, end = limb
    R, p = joint_places(rotvecs, translation_world_m, rig)
    start, middle, tip = p[:, upper], p[:, lower], p[:, end]
    u, s = middle - start, tip - middle
    n = _bending_axis(u, s, R[:, upper] @ hinge_rest.to(rotvecs))
    line = tip - start
    goal = line + shift_world_m
    one, two = u.norm(dim=-1), s.norm(dim=-1)
    reach = goal.norm(dim=-1).clamp_min(1e-6)
    far = torch.minimum(reach, _REACH * (one + two)).maximum((one - two).abs() * 1.02 + 1e-4)
    # What moves nowhere stays exactly as it was, whatever the limits of reach say.
    still = shift_world_m.norm(dim=-1) < 1e-9
    far = torch.where(still, line.norm(dim=-1), far)
    goal_direction = goal / reach[:, None]
    turn = shortest_turn(torch.nn.functional.normalize(line, dim=-1), goal_direction)
    n_new = (turn @ n[..., None])[..., 0]
    n_new = n_new - (n_new * goal_direction).sum(-1, keepdim=True) * goal_direction
    n_new = torch.nn.functional.normalize(n_new, dim=-1)
    cosine = ((one**2 + far**2 - two**2) / (2 * one * far)).clamp(-1.0, 1.0)
    angle = torch.acos(cosine)  # to the hinge's own side, so that a knee overstretched in the source bends forwards
    u_new = (rotvec_to_matrix(-n_new * angle[:, None]) @ (goal_direction * one[:, None])[..., None])[..., 0]
    s_new = goal_direction * far[:, None] - u_new
    turn_upper = frame_of(u_new, n_new) @ frame_of(u, n).transpose(1, 2)
    turn_lower = frame_of(s_new, n_new) @ frame_of(s, n).transpose(1, 2)
    local = rotvec_to_matrix(rotvecs)
    parents = rig.bone_parents
    above = R[:, parents[upper]] if parents[upper] >= 0 else torch.eye(3, dtype=R.dtype).expand_as(R[:, upper])
    local[:, upper] = above.transpose(1, 2) @ turn_upper @ R[:, upper]
    local[:, lower] = (turn_upper @ R[:, parents[lower]]).transpose(1, 2) @ turn_lower @ R[:, lower]
    local[:, end] = (turn_lower @ R[:, parents[end]]).transpose(1, 2) @ R[:, end]
    moved = matrix_to_rotvec(local[:, [upper, lower, end]])
    out = rotvecs.clone()
    out[:, [upper, lower, end]] = torch.where(still[:, None, None], out[:, [upper, lower, end]], moved)
    return out
