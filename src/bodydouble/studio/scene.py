"""From what a viewer is shown to a picture: pose, splats or mesh, the stage around or the video's frame beside."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from bodydouble.avatar.drive import PosedAvatar, pose_avatar
from bodydouble.avatar.motion import Motion
from bodydouble.avatar.picture import picture_of
from bodydouble.avatar.values import Avatar, Splats
from bodydouble.body.protocol import Pose
from bodydouble.core.cameras import Camera
from bodydouble.core.errors import InputError
from bodydouble.core.geometry import rotvec_to_matrix
from bodydouble.render.protocol import Rasterizer
from bodydouble.render.sh import mean_rgb, rgb_to_sh
from bodydouble.studio.footage import Footage, Shot
from bodydouble.studio.motions import pose_at
from bodydouble.studio.poses import Poser
from bodydouble.studio.state import Layer, Shown

_SEEN_RGB = torch.tensor([0.235, 0.725, 0.640])
_UNSEEN_RGB = torch.tensor([0.960, 0.480, 0.230])
_CLAY_RGB = 0.72
_SHADOW_MIN_M = 0.22
_LETTERBOX = np.array([18, 19, 23], dtype=np.uint8)
_WIPE_LINE = np.array([240, 242, 246], dtype=np.uint8)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where on the stage the double is, for cameras and shadows; metres."""

    centre_m: tuple[float, float, float]
    height_m: float
    face_m: tuple[float, float, float]


class Scene:
    """Draws one avatar. Nothing in it changes, so that several threads may draw at once."""

    def __init__(self, avatar: Avatar, rasterizer: Rasterizer, footage: Footage | None = None) -> None:
        """
        Args:
            avatar: With splats, a mesh, or both.
            rasterizer: Draws splats.
            footage: The video it was made from.
        Raises:
            InputError: When there is nothing to draw.
        """
        if avatar.splats is None and avatar.mesh is None:
            raise InputError("The avatar holds neither splats nor a mesh: there is nothing to show.")
        self.avatar = avatar
        self.footage = footage
        self._rasterizer = rasterizer
        try:
            self.poser: Poser | None = Poser(avatar.rig)
        except InputError:  # a rig without a human's bones can still play and turn
            self.poser = None
        self._layers: dict[Layer, Avatar] = {}
        splats = avatar.splats
        if splats is not None:
            self._layers["splats"] = dataclasses.replace(avatar, mesh=None)
            self._layers["seen"] = dataclasses.replace(avatar, mesh=None, splats=coverage_splats(splats))
        if avatar.mesh is not None:
            self._layers["mesh"] = self._layers["clay"] = dataclasses.replace(avatar, splats=None)
            self._welded = _first_of_equals(avatar.mesh.vertices_rest_m)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """What can be drawn of this avatar."""
        return tuple(self._layers)

    def posed(self, shown: Shown, motion: Motion, shot: Shot | None = None) -> tuple[Pose, Float[Tensor, " actions"]]:
        """Pose and facial actions that are shown, the viewer's own added.

        Args:
            shown: Time, pose controls, facial actions.
            motion: On the avatar's rig.
            shot: The frame of the video whose pose takes the place of the motion's.
        """
        pose, actions = (shot.pose, shot.expression) if shot is not None else pose_at(motion, shown.time_s)
        if shown.pose and self.poser is not None:
            pose = pose.replace(rotvecs=self.poser.apply(pose.rotvecs, dict(shown.pose)))
        if shown.face:
            from bodydouble.avatar.expressions import expression_tensor

            actions = (actions + expression_tensor(dict(shown.face))).clamp(0.0, 1.0)
        return pose, actions

    def picture(self, shown: Shown, motion: Motion, camera: Camera) -> UInt8[np.ndarray, "height width 3"]:
        """What the viewer sees.

        Args:
            shown: What is shown.
            motion: The one that it names, on the avatar's rig.
            camera: Of the viewer on the stage; of it only the size matters when the double is compared with the video.
        """
        with torch.no_grad():
            if shown.view != "stage" and self.footage is not None:
                return self._compared(shown, motion, camera)
            pose, actions = self.posed(shown, motion)
            turned = turned_camera(camera, shown.turn_rad)
            rgb, alpha = self._drawn(shown.layer, pose, actions, turned)
            return _on_stage(rgb, alpha, camera, _spot(self.avatar, pose), shown.turn_rad)

    def place(self, motion: Motion) -> Place:
        """Where the double is at the beginning of a motion."""
        with torch.no_grad():
            drawn = next(iter(self._layers.values()))
            posed = pose_avatar(drawn, motion.pose(0))
        points = _points(posed)
        low, high = points.amin(0), points.amax(0)
        middle = (low + high) / 2
        head = self.avatar.rig.humanoid.get("head")
        face = middle.clone()
        face[1] = high[1] - 0.07 * (high[1] - low[1])
        if head is not None:
            face = posed.joints_world_m[self.avatar.rig.bone_names.index(head)]
        return Place(
            centre_m=(float(middle[0]), float(middle[1]), float(middle[2])),
            height_m=float(high[1] - low[1]),
            face_m=(float(face[0]), float(face[1]), float(face[2])),
        )

    # --- inside ---

    def _drawn(self, layer: Layer, pose: Pose, actions: Tensor, camera: Camera) -> tuple[Tensor, Tensor]:
        """Colour times opacity, and opacity."""
        drawn = self._layers.get(layer)
        if drawn is None:
            drawn = next(iter(self._layers.values()))
        posed = pose_avatar(drawn, pose, actions)
        vertices = posed.vertices_world_m
        if layer == "clay" and drawn.mesh is not None and vertices is not None:
            # Vertices on the seams of a texture are doubled: the surface is shaded as if they were one.
            faces = self._welded[drawn.mesh.faces.long()]
            posed = posed.replace(vertex_colors=_clay_colors(vertices, faces)[self._welded])
            drawn = dataclasses.replace(drawn, mesh=drawn.mesh.replace(texture=None))
        image = picture_of(drawn, posed, camera, self._rasterizer)
        return image.rgb.cpu(), image.alpha.cpu()

    def _compared(self, shown: Shown, motion: Motion, camera: Camera) -> UInt8[np.ndarray, "height width 3"]:
        """The double over or beside the frame of the video, from the video's camera, fitted into the viewer's window."""
        footage = self.footage
        assert footage is not None
        canvas = np.broadcast_to(_LETTERBOX, (camera.height_px, camera.width_px, 3)).copy()
        width, height = footage.size_px
        scale = min(camera.width_px / width, camera.height_px / height)
        size = (max(1, int(width * scale)), max(1, int(height * scale)))
        left, top = (camera.width_px - size[0]) // 2, (camera.height_px - size[1]) // 2
        shot = footage.shot(shown.time_s)
        frame = _LETTERBOX if shot is None else _resized(shot.picture, size)
        view = footage.camera.cropped(0.0, 0.0, (float(width), float(height)), size)
        pose, actions = self.posed(shown, motion, shot)
        rgb, alpha = self._drawn(shown.layer, pose, actions, view) if shot is not None else (None, None)
        canvas[top : top + size[1], left : left + size[0]] = _compare(shown, frame, rgb, alpha, size)
        return canvas


def coverage_splats(splats: Splats) -> Splats:
    """Splats coloured by how much the video showed of them: what is invented in orange, what was seen in green."""
    seen = splats.seen.clamp(0.0, 1.0)[:, None]
    grey = mean_rgb(splats.sh).clamp(0.0, 1.0).mean(1, keepdim=True)
    color = (_UNSEEN_RGB * (1.0 - seen) + _SEEN_RGB * seen) * (0.45 + 0.75 * grey)
    return splats.replace(sh=rgb_to_sh(color))


def turned_camera(camera: Camera, turn_rad: float) -> Camera:
    """The camera that sees a double as `camera` would see it after a turn about the stage's middle, to its left."""
    if turn_rad == 0.0:
        return camera
    T = camera.T_camera_world.clone()
    T[:3, :3] = T[:3, :3] @ rotvec_to_matrix(torch.tensor([0.0, turn_rad, 0.0])).to(T)
    return camera.replace(T_camera_world=T)


def stage_camera(
    wxyz: np.ndarray, position_world: np.ndarray, *, fov_rad: float, width_px: int, height_px: int
) -> Camera:
    """A viewer's camera.

    Args:
        wxyz: Turn from camera axes (OpenCV) to the world's.
        position_world: Of the eye, metres.
        fov_rad: Angle of view, top to bottom.
        width_px, height_px: Size of the picture.
    """
    from bodydouble.core.cameras import video_camera
    from bodydouble.core.geometry import quat_wxyz_to_matrix

    R_world_camera = quat_wxyz_to_matrix(torch.as_tensor(np.asarray(wxyz), dtype=torch.float64))
    T = torch.eye(4, dtype=torch.float64)
    T[:3, :3] = R_world_camera.T
    T[:3, 3] = -R_world_camera.T @ torch.as_tensor(np.asarray(position_world), dtype=torch.float64)
    focal_px = 0.5 * height_px / math.tan(0.5 * min(max(fov_rad, 0.05), 3.0))
    return video_camera(width_px, height_px, focal_px).replace(T_camera_world=T.float())


def _points(posed: PosedAvatar) -> Tensor:
    if posed.splats is None:
        assert posed.vertices_world_m is not None
        return posed.vertices_world_m
    solid = posed.splats.means_world[posed.splats.opacities > 0.3]
    return solid if len(solid) else posed.splats.means_world


def _spot(avatar: Avatar, pose: Pose) -> tuple[float, float, float]:
    """Middle (x, z) and radius of the shadow, by the joints."""
    from bodydouble.core.kinematics import fast_bone_transforms

    rig = avatar.rig
    R, t = fast_bone_transforms(
        pose.rotvecs[None].float(), rig.joints_rest_m, pose.translation_world_m[None].float(), rig.bone_parents
    )
    joints = (R[0] @ rig.joints_rest_m[:, :, None])[..., 0] + t[0]
    low = joints[joints[:, 1] <= joints[:, 1].min() + 0.45 * (joints[:, 1].max() - joints[:, 1].min())]
    middle = (low.amin(0) + low.amax(0)) / 2
    radius = float((low - middle)[:, [0, 2]].norm(dim=1).max()) + _SHADOW_MIN_M
    return float(middle[0]), float(middle[2]), radius


def _on_stage(
    rgb: Tensor, alpha: Tensor, camera: Camera, spot: tuple[float, float, float], turn_rad: float
) -> UInt8[np.ndarray, "height width 3"]:
    from bodydouble.render.threads import kernel_threads, run_kernel
    from bodydouble.studio import backdrop_kernels

    T = camera.T_camera_world.double().numpy()
    eye = -T[:3, :3].T @ T[:3, 3]
    focal, center = camera.focal_px.double().numpy(), camera.center_px.double().numpy()
    facts = np.concatenate([T[:3, :3].ravel(), eye, focal, center])
    planes = np.ascontiguousarray(rgb.permute(2, 0, 1).numpy(), dtype=np.float32)
    picture = np.empty((*alpha.shape, 3), dtype=np.uint8)
    run_kernel(
        backdrop_kernels.compose, kernel_threads(), planes, np.ascontiguousarray(alpha.numpy(), dtype=np.float32),
        facts, np.array([*spot, turn_rad]), picture,
    )  # fmt: skip
    return picture


def _clay_colors(vertices: Tensor, faces: Tensor) -> Float[Tensor, "verts 3"]:
    """Grey under a key light from the front left and a weak one from behind."""
    from bodydouble.core.normals import vertex_normals

    key = torch.nn.functional.normalize(torch.tensor([0.35, 0.75, 0.55]), dim=0)
    fill = torch.nn.functional.normalize(torch.tensor([-0.8, 0.2, -0.3]), dim=0)
    normals = vertex_normals(vertices, faces)
    shade = 0.30 + 0.62 * (normals @ key).clamp(min=0) + 0.22 * (normals @ fill).clamp(min=0)
    return _CLAY_RGB * shade[:, None] * torch.tensor([1.0, 0.985, 0.965])


def _first_of_equals(points: Float[Tensor, "n 3"]) -> Int[Tensor, " n"]:
    """For each point the index of the first one at the same place."""
    _, group = torch.unique(points, dim=0, return_inverse=True)
    first = torch.full((int(group.max()) + 1,), len(points)).scatter_reduce(0, group, torch.arange(len(points)), "amin")
    return first[group]


def _resized(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    import cv2

    if (picture.shape[1], picture.shape[0]) == size:
        return picture
    smaller = size[0] < picture.shape[1]
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)


def _compare(
    shown: Shown, frame: np.ndarray, rgb: Tensor | None, alpha: Tensor | None, size: tuple[int, int]
) -> UInt8[np.ndarray, "height width 3"]:
    """The double over the frame, or to the right of a border on a plain ground."""
    below = np.broadcast_to(frame, (size[1], size[0], 3))
    if rgb is None or alpha is None:
        return below.copy()
    strength = shown.opacity if shown.view == "overlay" else 1.0
    ground = below if shown.view == "overlay" else np.broadcast_to(_LETTERBOX * np.uint8(2), below.shape)
    mixed = ground * (1.0 - strength * alpha.numpy()[..., None]) + rgb.numpy() * (255.0 * strength)
    drawn = np.clip(mixed + 0.5, 0.0, 255.0).astype(np.uint8)
    if shown.view == "overlay":
        return drawn
    border = round(shown.wipe * size[0])
    drawn[:, :border] = below[:, :border]
    drawn[:, max(0, border - 1) : border + 1] = _WIPE_LINE
    return drawn


def empty_stage(camera: Camera) -> UInt8[np.ndarray, "height width 3"]:
    """The stage before anybody is on it."""
    nothing = torch.zeros(camera.height_px, camera.width_px)
    return _on_stage(nothing[..., None].expand(-1, -1, 3), nothing, camera, (0.0, 0.0, 1e-3), 0.0)
