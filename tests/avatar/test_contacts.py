"""Limbs whose ends are moved, feet that stay, hands that meet, and the figures that say so."""

from __future__ import annotations

import itertools

import pytest
import torch
from avatar_fakes import humanoid_rig
from hypothesis import given, settings
from hypothesis import strategies as st

from bodydouble.avatar.builtin import builtin_motion
from bodydouble.avatar.clips.rigs import as_source
from bodydouble.avatar.contacts import planted_feet
from bodydouble.avatar.limb_ik import joint_places, move_limb_end
from bodydouble.avatar.motion import Motion
from bodydouble.avatar.motion_quality import motion_quality
from bodydouble.avatar.performer import read_performer
from bodydouble.avatar.retarget import retarget
from bodydouble.avatar.values import Rig

RIG = humanoid_rig()
BONE = {name: i for i, name in enumerate(RIG.bone_names)}
LEG = (BONE["leftUpperLeg"], BONE["leftLowerLeg"], BONE["leftFoot"])
LEFT = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)


def still(frames: int) -> Motion:
    return Motion(
        name="still",
        fps_hz=30.0,
        rotvecs=torch.zeros(frames, len(BONE), 3),
        translation_world_m=torch.zeros(frames, 3),
        expression=torch.zeros(frames, 52),
    )


def longer(rig: Rig, legs: float, arms: float) -> Rig:
    """The rig with other proportions of arms and legs, its soles still at y = 0."""
    joints = rig.joints_rest_m.clone()
    for bone, parent in enumerate(rig.bone_parents):
        if parent >= 0:
            name = rig.bone_names[bone]
            scale = legs if name.endswith("LowerLeg") else 1.0  # thighs alone, so that angles put feet elsewhere
            scale = arms if name.endswith(("LowerArm", "Hand")) else scale
            joints[bone] = joints[parent] + scale * (rig.joints_rest_m[bone] - rig.joints_rest_m[parent])
    joints[:, 1] += 0.09 - joints[BONE["leftFoot"], 1]
    return rig.replace(joints_rest_m=joints)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 100_000), reach=st.floats(0.0, 0.15))
def test_the_end_of_a_limb_goes_where_it_is_sent_and_nothing_else_moves(seed: int, reach: float) -> None:
    rng = torch.Generator().manual_seed(seed)
    rotvecs = 0.4 * torch.randn(3, len(BONE), 3, generator=rng, dtype=torch.float64)
    rotvecs[:, LEG[1]] = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64) * (0.6 + torch.rand(3, 1, generator=rng))
    root = torch.randn(3, 3, generator=rng, dtype=torch.float64)
    shift = torch.nn.functional.normalize(torch.randn(3, 3, generator=rng, dtype=torch.float64), dim=-1) * reach
    out = move_limb_end(rotvecs, root, RIG, LEG, shift, LEFT)
    (R, p), (R_new, p_new) = joint_places(rotvecs, root, RIG), joint_places(out, root, RIG)
    length = sum(float((p[0, b] - p[0, a]).norm()) for a, b in itertools.pairwise(LEG))
    within = (p[:, LEG[2]] + shift - p[:, LEG[0]]).norm(dim=-1) < 0.999 * length
    assert ((p_new - p)[:, LEG[2]] - shift)[within].abs().max() < 1e-6 if bool(within.any()) else True
    assert (p_new[:, LEG[2]] - p[:, LEG[0]]).norm(dim=-1).max() <= length + 1e-9
    kept = [b for b in range(len(BONE)) if b not in (LEG[1], LEG[2], BONE["leftToes"])]
    assert (p_new - p)[:, kept].abs().max() < 1e-9
    turned = [b for b in range(len(BONE)) if b not in LEG[:2]]
    assert (R_new - R)[:, turned].abs().max() < 1e-6  # the foot keeps its orientation, and so do its toes
    if reach == 0.0:
        assert torch.equal(out, rotvecs)


def test_a_straight_knee_bends_forwards() -> None:
    straight = RIG.joints_rest_m.clone()
    straight[LEG[1]] = (straight[LEG[0]] + straight[LEG[2]]) / 2
    rig = RIG.replace(joints_rest_m=straight)
    zero = torch.zeros(1, len(BONE), 3, dtype=torch.float64)
    up = torch.tensor([[0.0, 0.1, 0.0]], dtype=torch.float64)
    out = move_limb_end(zero, torch.zeros(1, 3, dtype=torch.float64), rig, LEG, up, LEFT)
    _, p = joint_places(out, torch.zeros(1, 3, dtype=torch.float64), rig)
    assert float(p[0, LEG[1], 2] - straight[LEG[1], 2]) > 0.1  # in front
    assert float(p[0, LEG[2], 1] - straight[LEG[2], 1]) == pytest.approx(0.1, abs=1e-5)


def test_a_knee_never_snaps_to_its_other_side() -> None:
    """Its plane turns slowly past the right angle to the hinge, as twisted thighs make it: the knee follows as slowly."""
    frames = 60
    rotvecs = torch.zeros(frames, len(BONE), 3, dtype=torch.float64)
    bend = 0.35
    away = torch.linspace(0.6, 2.2, frames, dtype=torch.float64)  # of the bending axis from the hinge, rad
    rotvecs[:, LEG[1]] = bend * torch.stack([away.cos(), 0 * away, away.sin()], 1)
    root = torch.zeros(frames, 3, dtype=torch.float64)
    shift = torch.tensor([0.0, 0.04, 0.0], dtype=torch.float64).expand(frames, 3)
    _, before = joint_places(rotvecs, root, RIG)
    _, p = joint_places(move_limb_end(rotvecs, root, RIG, LEG, shift, LEFT), root, RIG)
    steps, own = ((x[1:, LEG[i]] - x[:-1, LEG[i]]).norm(dim=-1).max() for x, i in ((p, 1), (before, 2)))
    assert own > 0.003 and steps < 2.0 * own
    # A knee that is overstretched by a little bends forwards all the same.
    rotvecs[:, LEG[1]] = torch.tensor([-0.15, 0.0, 0.0], dtype=torch.float64)
    _, p = joint_places(move_limb_end(rotvecs, root, RIG, LEG, shift, LEFT), root, RIG)
    line = (p[:, LEG[1]] - p[:, LEG[0]], p[:, LEG[2]] - p[:, LEG[1]])
    assert (torch.linalg.cross(*line) @ LEFT).min() > 0.0


def test_a_foot_that_stands_neither_turns_nor_tips() -> None:
    """Standing on both feet while the capture lets one of them wobble about all axes."""
    frames = 90
    rng = torch.Generator().manual_seed(5)
    motion = still(frames)
    rotvecs = motion.rotvecs.clone()
    wobble = torch.nn.functional.interpolate(torch.randn(1, 3, 10, generator=rng), frames, mode="linear")[0].T
    rotvecs[:, BONE["leftFoot"]] = 0.06 * wobble
    source = as_source(motion.replace(rotvecs=rotvecs), RIG)
    planted = planted_feet(read_performer(source), 1.0)
    assert bool(planted.heel.all()) and bool(planted.ball.all())
    held = retarget(source, RIG, floor_rest_m=0.0)
    R, _ = joint_places(held.rotvecs.double(), held.translation_world_m.double(), RIG)
    turned, free = (
        x[:, BONE["leftFoot"]] for x in (R, joint_places(rotvecs.double(), motion.translation_world_m, RIG)[0])
    )
    across = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)  # where the toes point in the rest pose
    pointing, before = turned @ across, free.double() @ across
    assert before[:, 0].std() > 0.02 and pointing[:, 0].std() < 0.1 * before[:, 0].std()
    assert before[:, 1].abs().max() > 0.05 and pointing[:, 1].abs().max() < 0.15 * before[:, 1].abs().max()


def test_standing_feet_stay_on_other_proportions() -> None:
    source = as_source(builtin_motion("dance", RIG, floor_rest_m=0.0), RIG)
    other = longer(RIG, 1.3, 1.0)
    performer = read_performer(source)
    planted = planted_feet(performer, 1.0)
    stands = torch.stack([planted.heel, planted.ball], 1)
    assert float(stands.double().mean()) > 0.9  # this dance never lifts its feet
    plain = retarget(source, other, floor_rest_m=0.0, contacts=False)
    held = retarget(source, other, floor_rest_m=0.0)
    before, after = (motion_quality(m, other, stands, floor_rest_m=0.0) for m in (plain, held))
    assert before.slide_cm_s > 1.0 and after.slide_cm_s < 0.2 * before.slide_cm_s
    assert after.slide_worst_cm < 0.3 * before.slide_worst_cm and after.peak_m_s2 < 1.5 * before.peak_m_s2
    assert after.penetration_mean_cm < 0.2 and after.hover_cm < 1.0
    assert after.limits_share == 0.0 and after.jitter_m_s3 < 1.2 * before.jitter_m_s3


def test_clasped_hands_are_clasped_by_longer_arms() -> None:
    zero = torch.zeros(40, len(BONE), 3, dtype=torch.float64)
    root = torch.zeros(40, 3, dtype=torch.float64)
    rotvecs = zero
    for side, sign in (("left", 1.0), ("right", -1.0)):
        arm = tuple(BONE[f"{side}{b}"] for b in ("UpperArm", "LowerArm", "Hand"))
        goal = torch.tensor([0.03 * sign, 1.2, 0.3], dtype=torch.float64)
        hinge = torch.tensor([0.0, -sign, 0.0], dtype=torch.float64)
        shift = (goal - RIG.joints_rest_m[arm[2]].double()).expand(40, 3)
        rotvecs = move_limb_end(rotvecs, root, RIG, (arm[0], arm[1], arm[2]), shift, hinge)
    motion = still(40).replace(rotvecs=rotvecs.float())
    source = as_source(motion, RIG)
    other = longer(RIG, 1.0, 1.3)

    def gap(result: Motion) -> float:
        _, p = joint_places(result.rotvecs.double(), result.translation_world_m.double(), other)
        return float((p[:, BONE["leftHand"]] - p[:, BONE["rightHand"]]).norm(dim=-1).mean())

    _, p = joint_places(rotvecs, root, RIG)
    wanted = float((p[0, BONE["leftHand"]] - p[0, BONE["rightHand"]]).norm())
    plain, met = gap(retarget(source, other, contacts=False)), gap(retarget(source, other))
    assert wanted == pytest.approx(0.06, abs=1e-3) and abs(plain - wanted) > 0.03
    assert abs(met - wanted) < 0.01


def test_figures_of_motions_whose_figures_are_known() -> None:
    stands = torch.ones(31, 2, 2, dtype=torch.bool)
    rest = motion_quality(still(31), RIG, stands, floor_rest_m=0.0)
    assert rest.slide_cm_s == rest.penetration_max_cm == rest.limits_share == rest.jitter_m_s3 == 0.0
    assert rest.contact_share == 1.0 and rest.hover_cm == pytest.approx(0.0, abs=1e-4)
    time = torch.arange(31) / 30.0
    walk = still(31).replace(translation_world_m=torch.stack([0.1 * time, 0 * time - 0.02, 0 * time], 1))
    found = motion_quality(walk, RIG, stands, floor_rest_m=0.0)
    assert found.slide_cm_s == pytest.approx(10.0, abs=0.01) and found.slide_worst_cm == pytest.approx(10.0, abs=0.01)
    assert found.penetration_mean_cm == found.penetration_max_cm == pytest.approx(2.0, abs=1e-3)
    cube = still(31).replace(translation_world_m=torch.stack([time**3, 0 * time, 0 * time], 1))
    assert motion_quality(cube, RIG, stands, floor_rest_m=0.0).jitter_m_s3 == pytest.approx(6.0, rel=0.05)
    assert rest.peak_m_s2 == 0.0
    parabola = still(31).replace(translation_world_m=torch.stack([0 * time, 2.0 * time**2, 0 * time], 1))
    assert motion_quality(parabola, RIG, stands, floor_rest_m=0.0).peak_m_s2 == pytest.approx(4.0, rel=0.01)
    backwards = torch.zeros(31, len(BONE), 3)
    backwards[:, BONE["leftLowerLeg"], 0] = -0.5  # a knee bent to the front
    bad = motion_quality(still(31).replace(rotvecs=backwards), RIG, stands, floor_rest_m=0.0)
    assert bad.limits_share == pytest.approx(0.25)
