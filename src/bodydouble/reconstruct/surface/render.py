"""Pictures of a surface double: any pose, any camera; and the frames it was trained on."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.body.protocol import BodyModel, Pose
from bodydouble.core.cameras import Camera, video_camera
from bodydouble.reconstruct.surface.decoder import decode
from bodydouble.reconstruct.surface.field import canonical_vertices
from bodydouble.reconstruct.surface.lattice import skin_nodes
from bodydouble.reconstruct.surface.posed import March, Puppet, bone_maps
from bodydouble.reconstruct.surface.values import SurfaceField, SurfaceImage, SurfaceResult
from bodydouble.render.grid import sample_grid
from bodydouble.render.volume import composite

_RAYS = 16384
_AROUND_M = 0.04
"""Around the surface, however far from the bare body it is."""


class SurfaceRenderer:
    """Draws one field.

    Args:
        field: The person.
        body: The body model that it names.
    """

    def __init__(self, field: SurfaceField, body: BodyModel) -> None:
        self.field, self.body = field, body
        self.shaped = body.with_shape(field.shape.float())
        self.puppet = Puppet(body, canonical_vertices(body, self.shaped).float(), skin_nodes(field.skin))
        self._values = torch.cat([field.sdf.values, field.features.values], dim=3).contiguous()
        self._known = field.sdf.values[..., 0].contiguous()
        self._band_m = _AROUND_M + self._cloth_m()

    def _cloth_m(self) -> float:
        """How far from the bare body the surface goes."""
        from scipy.spatial import cKDTree

        at = torch.nonzero(self._known.abs() < self.field.sdf.voxel_m).float()
        if not len(at):
            return 0.0
        points = self.field.sdf.origin_canonical_m + at * self.field.sdf.voxel_m
        return float(cKDTree(self.puppet.vertices.numpy()).query(points.numpy())[0].max())

    def draw(
        self, rotvecs: Float[Tensor, "bones 3"], translation_world_m: Float[Tensor, "3"], camera: Camera
    ) -> SurfaceImage:
        """The person in a pose as a camera sees it.

        Args:
            rotvecs, translation_world_m: The pose, since the rest pose.
            camera: Where to look from.
        """
        posed = self.shaped.with_pose(Pose(rotvecs=rotvecs.float(), translation_world_m=translation_world_m.float()))
        bones = bone_maps(
            posed.R_world_rest, posed.t_world_rest, self.field.R_canonical_rest, self.field.t_canonical_rest
        )
        maps = self.puppet.maps(bones)
        cells = self.puppet.cells(self.puppet.vertices_world(maps[1]), self._band_m)
        R_world_camera = camera.T_camera_world[:3, :3].T
        eye = -(R_world_camera @ camera.T_camera_world[:3, 3])
        rows, columns = torch.meshgrid(torch.arange(camera.height_px), torch.arange(camera.width_px), indexing="ij")
        at = torch.stack([columns, rows], dim=-1).reshape(-1, 2) + 0.5
        slope = (at - camera.center_px) / camera.focal_px
        towards = torch.cat([slope, torch.ones(len(slope), 1)], dim=1)
        pose = rotvecs[self.field.pose_bones].reshape(-1).float()
        parts = [
            self._rays(eye, towards[first : first + _RAYS], R_world_camera, cells, maps, pose)
            for first in range(0, len(towards), _RAYS)
        ]
        rgb, alpha, normals, depth = (torch.cat(part) for part in zip(*parts, strict=True))
        size = (camera.height_px, camera.width_px)
        solid = alpha > 0.5
        unit = torch.nn.functional.normalize(normals, dim=1) * solid[:, None]
        far = torch.where(solid, depth / alpha.clamp_min(1e-6), torch.full_like(depth, torch.inf))
        return SurfaceImage(
            rgb=rgb.reshape(*size, 3),
            alpha=alpha.reshape(size),
            normals_world=unit.reshape(*size, 3),
            depth_m=far.reshape(size),
        )

    def _rays(self, eye, towards, R_world_camera, cells, maps, pose) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        field, lattice = self.field, (self.field.sdf.origin_canonical_m, self.field.sdf.voxel_m)
        lengths = towards.norm(dim=1)
        directions = (towards / lengths[:, None]) @ R_world_camera.T
        beta = float(field.beta_m)
        step = min(0.5 * field.sdf.voxel_m, max(beta, 1e-3))
        plan = March(step_m=step, max_samples=96)
        with torch.no_grad():
            rays = self.puppet.march(
                eye, directions, torch.full((len(directions),), 0.5), cells, maps, self._values, lattice, self._known,
                field.limb_radius_m, beta, plan,
            )  # fmt: skip
            out, gradient = sample_grid(self._values, *lattice, rays.points_canonical)
            inverse = rays.inverse_jacobian.reshape(-1, 3, 3)
            normals = torch.nn.functional.normalize((inverse * gradient[:, :, None]).sum(1), dim=1)
            rgb = decode(field.decoder, out[:, 1:], normals, pose)
            color, alpha, weights = composite(out[:, 0] + rays.sunk_m, rgb, rays.starts, step, field.beta_m)
            on = rays.ray_of_sample
            normal = torch.zeros(len(directions), 3).index_add(0, on, weights[:, None] * normals)
            depth = torch.zeros(len(directions)).index_add(0, on, weights * rays.depths_m) / lengths
        return color, alpha, normal, depth


def render_frame(
    result: SurfaceResult, renderer: SurfaceRenderer, frame_index: int, scale: float = 1.0
) -> SurfaceImage:
    """The person as a frame of the video shows it; `alpha` is the frame's mask.

    Args:
        result: Of a training.
        renderer: Of its field.
        frame_index: A source frame of the track.
        scale: Size of the picture, in widths of the video's.
    """
    track = result.track
    row = track.frame_indices.tolist().index(frame_index)
    width, height = round(track.width_px * scale), round(track.height_px * scale)
    camera = video_camera(width, height, track.focal_px * scale)
    camera = camera.replace(center_px=torch.tensor([track.width_px / 2.0, track.height_px / 2.0]) * scale)
    return renderer.draw(track.rotvecs[row], track.translation_world_m[row], camera)
