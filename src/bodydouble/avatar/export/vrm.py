"""Avatars as .vrm 1.0: a glTF file with a humanoid map, expressions, a gaze, and who may do what with the person."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch

from bodydouble.avatar.export.rest_pose import lowest_point_m, t_pose, with_rest_pose
from bodydouble.avatar.expressions import EXPRESSIONS
from bodydouble.avatar.glb_write import avatar_document
from bodydouble.avatar.gltf_buffers import pack_glb
from bodydouble.avatar.values import Avatar, Mesh
from bodydouble.body.humanoid import FINGERS, SIDES, finger_segments
from bodydouble.body.protocol import Pose
from bodydouble.core.errors import ConfigError, InputError

LICENCE_URL = "https://vrm.dev/licenses/1.0/"
REQUIRED_BONES: tuple[str, ...] = (
    "hips", "spine", "head",
    "leftUpperLeg", "leftLowerLeg", "leftFoot", "rightUpperLeg", "rightLowerLeg", "rightFoot",
    "leftUpperArm", "leftLowerArm", "leftHand", "rightUpperArm", "rightLowerArm", "rightHand",
)  # fmt: skip

PRESETS: dict[str, dict[str, float]] = {
    "happy": EXPRESSIONS["smile"],
    "angry": EXPRESSIONS["angry"],
    "sad": EXPRESSIONS["sad"],
    "relaxed": {"mouthSmileLeft": 0.35, "mouthSmileRight": 0.35, "eyeBlinkLeft": 0.25, "eyeBlinkRight": 0.25},
    "surprised": EXPRESSIONS["surprise"],
    "aa": {"jawOpen": 0.6},
    "ih": {"jawOpen": 0.15, "mouthStretchLeft": 0.5, "mouthStretchRight": 0.5},
    "ou": {"mouthPucker": 0.6, "jawOpen": 0.1},
    "ee": {"mouthSmileLeft": 0.45, "mouthSmileRight": 0.45, "jawOpen": 0.12},
    "oh": {"mouthFunnel": 0.65, "jawOpen": 0.3},
    "blink": {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0},
    "blinkLeft": {"eyeBlinkLeft": 1.0},
    "blinkRight": {"eyeBlinkRight": 1.0},
    "lookUp": {"eyeLookUpLeft": 1.0, "eyeLookUpRight": 1.0},
    "lookDown": {"eyeLookDownLeft": 1.0, "eyeLookDownRight": 1.0},
    "lookLeft": {"eyeLookOutLeft": 1.0, "eyeLookInRight": 1.0},
    "lookRight": {"eyeLookInLeft": 1.0, "eyeLookOutRight": 1.0},
    "neutral": {},
}
"""VRM's preset expressions as strengths of ARKit actions."""

_OVERRIDES: dict[str, dict[str, str]] = {
    # An emotion and speech at once pull the mouth apart: readers are told to let the emotion go while the mouth speaks.
    **{name: {"overrideMouth": "blend"} for name in ("happy", "angry", "sad", "surprised")},
}
_VRM_BONES = frozenset(
    (
        *REQUIRED_BONES,
        "chest",
        "upperChest",
        "neck",
        "leftEye",
        "rightEye",
        "jaw",
        "leftToes",
        "rightToes",
        "leftShoulder",
        "rightShoulder",
        *(f"{side}{finger}{segment}" for side in SIDES for finger in FINGERS for segment in finger_segments(finger)),
    )
)


@dataclass(frozen=True, kw_only=True)
class VrmMeta:
    """Name, authors and permissions, as VRM 1.0 writes them. Unless told otherwise, nobody but the author may use it."""

    name: str = "bodydouble avatar"
    authors: tuple[str, ...] = ()
    copyright: str = ""
    contact: str = ""
    avatar_permission: Literal["onlyAuthor", "onlySeparatelyLicensedPerson", "everyone"] = "onlyAuthor"
    commercial_usage: Literal["personalNonProfit", "personalProfit", "corporation"] = "personalNonProfit"
    modification: Literal["prohibited", "allowModification", "allowModificationRedistribution"] = "prohibited"
    allow_redistribution: bool = False
    credit: Literal["required", "unnecessary"] = "required"
    consent: str = ""
    """What the person who was filmed has agreed to, in words."""

    def to_json(self) -> dict[str, Any]:
        """The `meta` object. Violent, sexual, political, religious and hateful use are never allowed by default."""
        if not self.name.strip() or not self.authors or not all(a.strip() for a in self.authors):
            raise ConfigError(
                "A .vrm must name its author: a VRM file says who may use the likeness of a person. Give --author NAME."
            )
        consent = self.consent.strip() or "No consent of the filmed person is recorded; ask before using this avatar."
        meta: dict[str, Any] = {
            "name": self.name,
            "authors": list(self.authors),
            "licenseUrl": LICENCE_URL,
            "thirdPartyLicenses": f"Likeness of a real person. {consent}",
            "avatarPermission": self.avatar_permission,
            "commercialUsage": self.commercial_usage,
            "creditNotation": self.credit,
            "modification": self.modification,
            "allowRedistribution": self.allow_redistribution,
        }
        for key in ("ExcessivelyViolentUsage", "ExcessivelySexualUsage", "PoliticalOrReligiousUsage"):
            meta[f"allow{key}"] = False
        meta["allowAntisocialOrHateUsage"] = False
        if self.copyright:
            meta["copyrightInformation"] = self.copyright
        if self.contact:
            meta["contactInformation"] = self.contact
        return meta


def avatar_to_vrm(avatar: Avatar, meta: VrmMeta) -> bytes:
    """The bytes of a .vrm 1.0 of an avatar's mesh, in a T-pose on the floor as VRM asks for; splats are left out.

    Args:
        avatar: With a mesh and the bones in `REQUIRED_BONES`.
        meta: Must name an author.
    Raises:
        InputError: When the avatar has no mesh or lacks a bone.
        ConfigError: When nobody is named as author.
    """
    if avatar.mesh is None:
        raise InputError("The avatar has no mesh, and VRM knows no splats: export it --to ply or spz instead.")
    missing = [bone for bone in REQUIRED_BONES if bone not in avatar.rig.humanoid]
    if missing:
        raise InputError(f"The avatar's rig has no {', '.join(missing)} in its humanoid map; VRM cannot do without.")
    extension_meta = meta.to_json()
    posed = standing_in_t_pose(Avatar(rig=avatar.rig, mesh=avatar.mesh, splats=None, provenance=avatar.provenance))
    rig = posed.rig
    document, binary = avatar_document(posed)
    body_node = len(rig.bone_names)
    bones = {
        human: {"node": rig.bone_names.index(bone)}
        for human, bone in sorted(rig.humanoid.items())
        if human in _VRM_BONES
    }
    assert posed.mesh is not None
    document["extensionsUsed"].append("VRMC_vrm")
    document["extensions"] = {
        "VRMC_vrm": {
            "specVersion": "1.0",
            "meta": extension_meta,
            "humanoid": {"humanBones": bones},
            "firstPerson": {"meshAnnotations": [{"node": body_node, "type": "auto"}]},
            "lookAt": _look_at(posed, set(bones)),
            "expressions": _expressions(posed.mesh, body_node),
        }
    }
    return pack_glb(document, binary)


def standing_in_t_pose(avatar: Avatar) -> Avatar:
    """The avatar with the T-pose as its rest pose, its soles on y = 0 and its hips over the origin."""
    posed = with_rest_pose(avatar, t_pose(avatar.rig))
    hips = posed.rig.joints_rest_m[posed.rig.bone_names.index(posed.rig.humanoid["hips"])]
    shift = torch.stack([-hips[0], -torch.tensor(lowest_point_m(posed)), -hips[2]])
    return with_rest_pose(posed, Pose(rotvecs=torch.zeros_like(posed.rig.joints_rest_m), translation_world_m=shift))


def _expressions(mesh: Mesh, node: int) -> dict[str, Any]:
    """Presets that the mesh's morph targets can make, and every morph target by its own name."""
    place = {morph.name: index for index, morph in enumerate(mesh.morphs)}
    moving = {morph.name for morph in mesh.morphs if morph.indices.numel()}

    def expression(strengths: dict[str, float]) -> dict[str, Any]:
        binds = [{"node": node, "index": place[a], "weight": w} for a, w in strengths.items() if a in place]
        return {"morphTargetBinds": binds, "isBinary": False}

    presets = {
        name: {**expression(strengths), **_OVERRIDES.get(name, {})}
        for name, strengths in PRESETS.items()
        if set(strengths) <= moving
    }
    return {"preset": presets, "custom": {name: expression({name: 1.0}) for name in place if name not in PRESETS}}


def _look_at(avatar: Avatar, bones: set[str]) -> dict[str, Any]:
    """Gaze by the bones of the eyes where there are two, else by expressions."""
    rig = avatar.rig
    head = rig.joints_rest_m[rig.bone_names.index(rig.humanoid["head"])]
    offset = torch.tensor([0.0, 0.06, 0.08])
    by_bones = {"leftEye", "rightEye"} <= bones
    if by_bones:
        eyes = [rig.joints_rest_m[rig.bone_names.index(rig.humanoid[e])] for e in ("leftEye", "rightEye")]
        offset = (eyes[0] + eyes[1]) / 2 - head
    # Eyes turn by at most 25 to 30 degrees; as an expression, fully at 30 degrees.
    scale = 25.0 if by_bones else 1.0
    span = {"inputMaxValue": 90.0 if by_bones else 30.0, "outputScale": scale}
    names = ("rangeMapHorizontalInner", "rangeMapHorizontalOuter", "rangeMapVerticalDown", "rangeMapVerticalUp")
    return {
        "type": "bone" if by_bones else "expression",
        "offsetFromHeadBone": [round(float(x), 6) for x in offset],
        **{name: dict(span) for name in names},
    }
