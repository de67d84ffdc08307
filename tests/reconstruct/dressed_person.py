"""A small film of Anny's mesh in a coat of even thickness before a wall of texture: everything about it is known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tracks import save_filmed

from bodydouble.body.anny import load_anny
from bodydouble.body.protocol import Pose
from bodydouble.capture.folder import Capture
from bodydouble.capture.video import probe
from bodydouble.capture.video_write import VideoWriter
from bodydouble.core.cameras import video_camera
from bodydouble.render.mesh import rasterize_mesh

FRAMES, WIDTH, HEIGHT, FOCAL, FPS = 12, 120, 160, 190.0, 12.0
COAT_M = 0.03


@dataclass(frozen=True)
class Film:
    """The capture, with true poses and no masks, and the truth about its frames."""

    capture: Capture
    masks: np.ndarray
    wall: np.ndarray


def film_dressed_person(folder: Path) -> Film:
    """A person who walks sideways and turns."""
    body = load_anny()
    shaped = body.with_shape(body.shape_default)
    rest = shaped.vertices_rest.detach()
    corners = rest[body.faces]
    across = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = torch.zeros_like(rest).index_add_(0, body.faces.reshape(-1).long(), across.repeat_interleave(3, 0))
    coat = rest + COAT_M * torch.nn.functional.normalize(normals, dim=1)
    colors = torch.tensor([0.75, 0.3, 0.25]) + 0.1 * torch.sin(9.0 * rest + torch.tensor([0.0, 2.0, 4.0]))
    rotvecs = body.relaxed_rotvecs.detach().clone().expand(FRAMES, -1, 3).clone()
    rotvecs[:, 0, 1] = torch.linspace(-0.9, 0.9, FRAMES)
    middle = 0.5 * (rest.amin(0) + rest.amax(0))
    translation = (torch.tensor([0.0, 0.0, -2.9]) - middle).expand(FRAMES, 3).clone()
    translation[:, 0] += torch.linspace(-0.45, 0.45, FRAMES)
    rng = np.random.default_rng(0)
    wall = np.kron(rng.uniform(0.1, 0.9, (HEIGHT // 8, WIDTH // 8, 3)), np.ones((8, 8, 1))).astype(np.float32)
    wall[..., 0] *= 0.5  # the coat is red, the wall is not
    camera = video_camera(WIDTH, HEIGHT, FOCAL)
    masks = []
    with VideoWriter(folder / "person.mp4", FPS, WIDTH, HEIGHT, crf=1) as out:
        for f in range(FRAMES):
            pose = Pose(rotvecs=rotvecs[f], translation_world_m=translation[f])
            dressed = shaped.replace(vertices_rest=coat).with_pose(pose).vertices().detach()
            image = rasterize_mesh(dressed, body.faces, camera, colors=colors)
            assert image.rgb is not None
            mask = image.mask.numpy()
            picture = np.where(mask[..., None], image.rgb.numpy(), wall)
            out.write((picture.clip(0, 1) * 255).round().astype(np.uint8))
            masks.append(mask)
    capture = Capture.create(folder / "capture", probe(folder / "person.mp4"))
    save_filmed(capture, body, rotvecs, translation, FOCAL)
    return Film(capture, np.stack(masks), wall)
