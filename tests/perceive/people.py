"""Made-up findings of the networks, for testing what judges them."""

from __future__ import annotations

import numpy as np

from bodydouble.perceive.mediapipe_holistic import BODY_INDEX, BODY_NAMES, HAND_NAMES, HolisticResult

_SKELETON_M = {
    "nose": (0.0, -0.62, -0.22), "eye_inner": (0.02, -0.65, -0.2), "eye": (0.035, -0.65, -0.19),
    "eye_outer": (0.05, -0.65, -0.18), "ear": (0.075, -0.63, -0.1), "mouth": (0.025, -0.58, -0.2),
    "shoulder": (0.18, -0.47, 0.0), "elbow": (0.25, -0.2, 0.0), "wrist": (0.28, 0.03, -0.05), "pinky": (0.3, 0.1, -0.06),
    "index": (0.28, 0.12, -0.07), "thumb": (0.26, 0.08, -0.08), "hip": (0.1, 0.0, 0.0), "knee": (0.11, 0.4, 0.0),
    "ankle": (0.11, 0.8, 0.02), "heel": (0.11, 0.84, 0.06), "foot_index": (0.12, 0.86, -0.1),
}  # fmt: skip
"""The left half of somebody who stands in front of the camera, relative to the mid hip, camera axes."""


def standing_xyz(yaw_rad: float = 0.0) -> np.ndarray:
    """33 landmarks in camera axes; yaw 0 faces the camera, pi turns the back to it."""
    points = np.zeros((33, 3), np.float32)
    for i, name in enumerate(BODY_NAMES):
        side = "left" if "left" in name else "right"
        x, y, z = _SKELETON_M[name.replace(f"{side}_", "").replace(f"_{side}", "")]
        points[i] = (x if side == "left" else -x, y, z)
    c, s = np.cos(yaw_rad), np.sin(yaw_rad)
    return (points @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]], np.float32).T).astype(np.float32)


def standing(yaw_rad: float = 0.0, scale_px: float = 300.0, size_px: tuple[int, int] = (640, 720)) -> HolisticResult:
    """A whole person in the middle of the image, with hands and a face where they belong."""
    xyz = standing_xyz(yaw_rad)
    xy = (xyz[:, :2] * scale_px + np.array([size_px[0] / 2, size_px[1] * 0.48])).astype(np.float32)
    c, s = np.cos(yaw_rad), np.sin(yaw_rad)
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(478, 3))
    directions[:, 2] = -np.abs(directions[:, 2])
    face = directions / np.linalg.norm(directions, axis=1, keepdims=True) * 0.1
    face[1], face[454], face[234] = (0.0, 0.0, -0.12), (0.075, -0.01, 0.0), (-0.075, -0.01, 0.0)
    face = face + np.array([0.0, -0.62, -0.1])
    face = face @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]).T
    face_px = (face * scale_px + np.array([size_px[0] / 2, size_px[1] * 0.48, 0.0])).astype(np.float32)

    def hand(side: str) -> np.ndarray:
        wrist = xy[BODY_INDEX[f"{side}_wrist"]]
        points = np.zeros((len(HAND_NAMES), 3), np.float32)
        for finger in range(5):
            for joint in range(4):
                reach = (joint + 1) * 0.045 * scale_px
                points[1 + 4 * finger + joint] = ((finger - 2) * 0.1 * reach, reach, 0.0)
        return (points + np.array([*wrist, 0.0], np.float32)).astype(np.float32)

    return HolisticResult(
        body_xy_px=xy,
        body_xyz_camera_m=xyz,
        body_visibility=np.full(33, 0.99, np.float32),
        left_hand_px=hand("left"),
        right_hand_px=hand("right"),
        face_px=face_px,
        mask=np.zeros((size_px[1], size_px[0]), np.float32),
    )
