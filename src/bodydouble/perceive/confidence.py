"""How far a landmark can be trusted, judged by geometry: the networks' own scores do not say when they hallucinate.

Face points go on through the back of the head with a visibility near 1, and a lost hand may be found on the other arm.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from bodydouble.perceive.mediapipe_holistic import BODY_INDEX, HolisticResult

_LEFT_EAR_FACE, _RIGHT_EAR_FACE, _NOSE_FACE = 454, 234, 1
"""Points of the face mesh beside the subject's left and right ear, and the nose tip."""


def smoothstep(x: np.ndarray | float, low: float, high: float) -> np.ndarray:
    """0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((np.asarray(x, np.float32) - low) / (high - low), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t))


def inside_image(xy_px: Float32[np.ndarray, "n 2"], shape: tuple[int, ...]) -> Float32[np.ndarray, " n"]:
    """1 for points in the image, 0 for those beyond its border, which nobody has seen."""
    inside = (xy_px >= 0.0).all(1) & (xy_px[:, 0] <= shape[1]) & (xy_px[:, 1] <= shape[0])
    return inside.astype(np.float32)


def facing_camera(xyz_camera_m: Float32[np.ndarray, "33 3"]) -> tuple[float, float]:
    """Cosines between the way to the camera and where the head and the torso point; -1 is a back view."""
    p, i = xyz_camera_m, BODY_INDEX
    head = p[i["nose"]] - 0.5 * (p[i["left_ear"]] + p[i["right_ear"]])
    across = p[i["left_shoulder"]] - p[i["right_shoulder"]]
    up = 0.5 * (p[i["left_shoulder"]] + p[i["right_shoulder"]]) - 0.5 * (p[i["left_hip"]] + p[i["right_hip"]])
    # Subject's left x up points forward out of the chest, in a right-handed frame.
    chest = np.cross(across, up)
    horizontal = head * np.array([1.0, 0.0, 1.0], np.float32)
    return _cos_to_camera(horizontal), _cos_to_camera(chest)


def _cos_to_camera(direction: np.ndarray) -> float:
    return float(-direction[2] / max(float(np.linalg.norm(direction)), 1e-9))


def face_confidence(result: HolisticResult) -> Float32[np.ndarray, " 478"]:
    """Confidence of each face point: high on the side of a head that is turned to the camera."""
    if result.face_px is None:
        return np.zeros(478, np.float32)
    face, i = result.face_px, BODY_INDEX
    head_cos, chest_cos = facing_camera(result.body_xyz_camera_m)
    turned = float(smoothstep(head_cos, 0.0, 0.45) * smoothstep(chest_cos, -0.75, -0.35))
    # The mesh must lie where the body landmarks see nose and eyes.
    size_px = max(float(np.ptp(face[:, 1])), 1.0)
    nose_gap = float(np.linalg.norm(face[_NOSE_FACE, :2] - result.body_xy_px[i["nose"]])) / size_px
    agrees = 1.0 - float(smoothstep(nose_gap, 0.25, 0.6))
    sharp = float(smoothstep(size_px, 12.0, 48.0)) * 0.7 + 0.3
    # Points on the far side of the head are the network's guess.
    centre = 0.5 * (face[_LEFT_EAR_FACE] + face[_RIGHT_EAR_FACE])
    outward = face - centre
    toward = -outward[:, 2] / np.maximum(np.linalg.norm(outward, axis=1), 1e-6)
    return (turned * agrees * sharp * (0.15 + 0.85 * smoothstep(toward, -0.25, 0.2))).astype(np.float32)


def hand_confidence(hand_px: Float32[np.ndarray, "21 3"] | None, result: HolisticResult, side: str) -> float:
    """Confidence of a whole hand: it must sit at the end of its own arm and have a plausible size."""
    if hand_px is None:
        return 0.0
    body, i = result.body_xy_px, BODY_INDEX
    wrist = body[i[f"{side}_wrist"]]
    scale_px = body_scale_px(result.body_xy_px, result.body_xyz_camera_m)
    hand_length_px = 0.19 * scale_px
    gap = float(np.linalg.norm(hand_px[0, :2] - wrist)) / max(hand_length_px, 1e-6)
    other = body[i["right_wrist" if side == "left" else "left_wrist"]]
    other_gap = float(np.linalg.norm(hand_px[0, :2] - other)) / max(hand_length_px, 1e-6)
    size = float(np.linalg.norm(hand_px[:, :2].max(0) - hand_px[:, :2].min(0))) / max(hand_length_px, 1e-6)
    at_wrist = 1.0 - float(smoothstep(gap, 0.5, 1.1))
    plausible = float(smoothstep(size, 0.2, 0.4)) * (1.0 - float(smoothstep(size, 1.8, 2.6)))
    resolved = 0.3 + 0.7 * float(smoothstep(hand_length_px, 10.0, 40.0))
    stolen = 0.2 if other_gap < 0.5 * gap and gap > 0.35 else 1.0
    return at_wrist * plausible * resolved * stolen


def body_scale_px(body_xy_px: Float32[np.ndarray, "33 2"], xyz_camera_m: Float32[np.ndarray, "33 3"]) -> float:
    """Pixels per metre at the subject, from the spread of well-placed landmarks (weak perspective)."""
    core = [
        BODY_INDEX[n]
        for n in ("left_shoulder", "right_shoulder", "left_hip", "right_hip", "nose", "left_elbow", "right_elbow")
    ]
    pixels = body_xy_px[core] - body_xy_px[core].mean(0)
    metres = xyz_camera_m[core, :2] - xyz_camera_m[core, :2].mean(0)
    return float(np.sqrt((pixels**2).sum() / max(float((metres**2).sum()), 1e-9)))
