"""A person before a wall, filmed, fitted without error, and seen by a careless network."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from tracks import save_filmed

from bodydouble.body.anny import load_anny
from bodydouble.body.protocol import Pose
from bodydouble.capture.folder import Capture
from bodydouble.capture.video import probe
from bodydouble.capture.video_write import VideoWriter
from bodydouble.core.cameras import video_camera
from bodydouble.evaluate.masks import mask_iou
from bodydouble.render.mesh import rasterize_mesh

FRAMES, WIDTH, HEIGHT, FOCAL, FPS = 12, 192, 256, 300.0, 12.0


class Film:
    """A person who turns and shifts before a striped wall, and what a careless network makes of it."""

    def __init__(self, folder: Path, *, spoil: bool = True) -> None:
        body = load_anny()
        shaped = body.with_shape(body.shape_default)
        rest = shaped.vertices_rest.detach()
        rotvecs = body.relaxed_rotvecs.detach().clone().expand(FRAMES, -1, 3).clone()
        rotvecs[:, 0, 1] = torch.linspace(-0.4, 0.4, FRAMES)
        middle = 0.5 * (rest.amin(0) + rest.amax(0))
        translation = (torch.tensor([0.0, 0.0, -2.6]) - middle).expand(FRAMES, 3).clone()
        translation[:, 0] += torch.linspace(-0.25, 0.25, FRAMES)
        rng = np.random.default_rng(0)
        wall = cv2.resize(rng.random((16, 12, 3)).astype(np.float32), (WIDTH, HEIGHT))
        wall[..., 0] *= 0.3
        self.wall = wall
        camera, self.truth, self.folder = video_camera(WIDTH, HEIGHT, FOCAL), [], folder
        seen = []
        with VideoWriter(folder / "person.mp4", FPS, WIDTH, HEIGHT, crf=8) as out:
            for f in range(FRAMES):
                pose = Pose(rotvecs=rotvecs[f], translation_world_m=translation[f])
                image = rasterize_mesh(shaped.with_pose(pose).vertices().detach(), body.faces, camera)
                there = image.mask.numpy()
                picture = np.where(there[..., None], np.array([0.85, 0.25, 0.2], np.float32), wall)
                out.write((picture * 255).round().astype(np.uint8))
                self.truth.append(there)
                seen.append(spoilt(there, f) if spoil else there)
        self.capture = Capture.create(folder / "capture", probe(folder / "person.mp4"))
        for f, mask in enumerate(seen):
            self.capture.save_mask(f, mask.astype(np.uint8) * 255)
        save_filmed(self.capture, body, rotvecs, translation, FOCAL)
        self.capture, self.body = Capture.open(folder / "capture"), body

    def agreement(self, masks) -> float:
        """Mean overlap with the truth."""
        found = [mask_iou(masks(f) > 127, there) for f, there in enumerate(self.truth)]
        return float(np.mean(found))


def spoilt(there: np.ndarray, frame: int) -> np.ndarray:
    """Without what is lowest in two thirds of the frames, and with a block of the wall beside the chest."""
    rows, columns = np.nonzero(there)
    seen = there.copy()
    if frame % 3:
        seen[rows.max() - 14 :] = False
    top = rows.min() + (rows.max() - rows.min()) // 3
    if frame % 4 == 0:
        seen[top : top + 30, columns.max() : columns.max() + 14] = True
    return seen
