"""The trainer: person and world explain the frames together, one frame and a few thousand rays a step.

A generator of events like that of the splats. Rays are drawn where the person could be (the band around the posed body),
walked through the field as it is, and only their samples near the surface are differentiated.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.avatar.values import Avatar, Rig
from bodydouble.body.protocol import BodyModel, Pose
from bodydouble.capture.folder import Capture
from bodydouble.capture.values import BodyTrack
from bodydouble.core.events import PREVIEW_SHARE, Event, Previewed, Progress, Step, Warned
from bodydouble.core.kinematics import fast_bone_transforms
from bodydouble.core.seeds import numpy_rng, torch_rng
from bodydouble.evaluate.interpolate import interpolated_track
from bodydouble.reconstruct.surface.carving import carvable, carved, world_shares
from bodydouble.reconstruct.surface.config import Level, SurfaceConfig
from bodydouble.reconstruct.surface.decoder import FIELDS, decode, new_decoder, pose_bones
from bodydouble.reconstruct.surface.field import canonical_bones, canonical_vertices
from bodydouble.reconstruct.surface.first_look import FirstLook, first_look
from bodydouble.reconstruct.surface.frames import VideoFrames, choose_frames
from bodydouble.reconstruct.surface.lattice import (
    BodyDistance,
    box_around,
    limb_radius,
    refined,
    skin_nodes,
    skin_volume,
)
from bodydouble.reconstruct.surface.objective import RayClasses, field_terms, ray_terms, silhouette_term
from bodydouble.reconstruct.surface.plate import is_plain
from bodydouble.reconstruct.surface.posed import March, PosedCells, Puppet, bone_maps
from bodydouble.reconstruct.surface.poses import PoseRefinement, movable_bones
from bodydouble.reconstruct.surface.preview import preview
from bodydouble.reconstruct.surface.regions import bare_silhouette
from bodydouble.reconstruct.surface.shoes import in_shoes
from bodydouble.reconstruct.surface.store import save_surface
from bodydouble.reconstruct.surface.values import Grid, SurfaceField, SurfaceLog, SurfaceResult, World
from bodydouble.render.grid import GridOptimizer, sample_grid
from bodydouble.render.volume import composite, tie_to_bones, tied_places

_SKIN_VOXEL_M = 0.025
_MOVED_M = 0.015
"""By how much a joint must have moved before the cells around the body are made anew."""


class SurfaceTrainer:
    """One training run in memory. `run` yields events; `result` gives what it arrived at.

    Args:
        capture: With observations and a fitted track; masks are used if the configuration says so.
        body: The body of that track.
        config: Hyper-parameters.
        world: What is behind the person; by default a clean plate, for a camera that does not move.
    """

    def __init__(self, capture: Capture, body: BodyModel, config: SurfaceConfig, world: World | None = None) -> None:
        self.capture, self.body, self.config = capture, body, config
        self.track = capture.track()
        shaped = self.shaped = in_shoes(body, body.with_shape(self.track.shape.float()))
        self.joints_rest = shaped.joints_rest.detach().float()
        self.canonical = canonical_bones(body, shaped)
        vertices = canonical_vertices(body, shaped).float()
        self.box = box_around(vertices, config.margin_m)
        self.body_distance = BodyDistance(vertices, body.faces, self.box)
        self.skin = skin_volume(body, vertices, self.box, voxel_m=_SKIN_VOXEL_M, band_m=config.margin_m + 0.04)
        self.puppet = Puppet(body, vertices, skin_nodes(self.skin))
        rows = {int(i): r for r, i in enumerate(self.track.frame_indices)}
        chosen = choose_frames(capture, self.track, config.max_frames)
        self.rows = torch.tensor([rows[i] for i in chosen])
        self.frames = VideoFrames(capture, chosen, config.size_px, masks=config.masks != "none")
        self.poses = PoseRefinement(
            self.track.rotvecs[self.rows].float(), self.track.translation_world_m[self.rows].float(),
            movable_bones(body), prior=config.loss.pose, temporal=config.loss.temporal,
        )  # fmt: skip
        self.log_focal = torch.log(self.track.focal_px.float()).clone().requires_grad_(config.rates.focal > 0.0)
        self.posed_bones = pose_bones(body)
        self.decoder = new_decoder(config.features, len(self.posed_bones), config.hidden, config.seed)
        self.decoder_adam = torch.optim.Adam(
            [getattr(self.decoder, f).requires_grad_() for f in FIELDS], lr=config.rates.decoder
        )
        self.log_beta = torch.tensor(float(np.log(config.beta_m[0])), requires_grad=True)
        self.beta_adam = torch.optim.Adam([self.log_beta], lr=config.rates.beta)
        self.focal_adam = torch.optim.Adam([self.log_focal], lr=config.rates.focal)
        self.step = 0
        self.known_version = 0
        self._cells: dict[int, tuple[int, PosedCells, np.ndarray, Tensor]] = {}
        self._log: list[tuple[int, float, dict[str, float], float]] = []
        self.region_now = np.zeros(0, bool)
        self._start_level(config.levels[0])
        look = self._look(world)
        self.evidence, self.world, self.plain, self.band_m = look.evidence, look.world, look.plain, look.band_m

    # --- the field ------------------------------------------------------------------------------------------------

    def _start_level(self, level: Level) -> None:
        """Begin with the bare body, or refine what is there."""
        body_sdf = self.body_distance.lattice(level.voxel_m)
        if self.step == 0:
            values = torch.zeros(*body_sdf.shape, 1 + self.config.features)
            values[..., 0] = body_sdf
            values[..., 4:] = 0.1 * torch.randn(
                values[..., 4:].shape, generator=torch_rng(self.config.seed, "features")
            )
        else:
            values = refined(self.values, self._body_sdf, self.level.voxel_m, body_sdf, level.voxel_m, self.box)
        self.level, self.values, self._body_sdf = level, values, body_sdf
        if self.step > 0:
            self._carve()
        self.limb_radius = limb_radius(body_sdf, level.voxel_m)
        self.optimizer = GridOptimizer(self.values)
        self.seen = torch.zeros(body_sdf.shape)
        self._refresh()

    def _carve(self) -> None:
        """Take from the person what many frames surely see the world through."""
        at = torch.nonzero(carvable(self.values[..., 0], self._body_sdf, self.level.voxel_m))
        points = self.box.low_m + at.float() * self.level.voxel_m

        def nodes_of(place: int) -> Tensor:
            with torch.no_grad():
                return self.puppet.maps(self._bones(self.poses.rotvecs[place], self.poses.translation[place]))[0]

        shares = world_shares(points, self.puppet.skin, nodes_of, self.evidence, 0.5 * self._focal())
        i, j, k = at.unbind(1)
        self.values[i, j, k, 0] = carved(self.values[i, j, k, 0], shares, self.config.carve, self.level.voxel_m)

    def _refresh(self) -> None:
        """Take the present surface as the known one."""
        self.known = self.values[..., 0].clone()
        self.known_version += 1

    @property
    def lattice(self) -> tuple[Tensor, float]:
        """Origin and spacing of the field's samples."""
        return self.box.low_m, self.level.voxel_m

    # --- frames ---------------------------------------------------------------------------------------------------

    def _bones(self, rotvecs: Tensor, translation: Tensor) -> Float[Tensor, "bones 12"]:
        R, t = fast_bone_transforms(rotvecs[None], self.joints_rest, translation[None], self.body.bone_parents)
        return bone_maps(R[0], t[0], *self.canonical[1:])

    def _posed(self, place: int) -> tuple[PosedCells, np.ndarray]:
        """Cells around a frame's body, and the working pixels where it could be, as of the last refresh."""
        kept = self._cells.get(place)
        if kept is not None and kept[0] == self.known_version:
            return kept[1], kept[2]
        with torch.no_grad():
            posed = self.shaped.with_pose(
                Pose(rotvecs=self.poses.rotvecs[place], translation_world_m=self.poses.translation[place])
            )
            joints = posed.joints_world
            if kept is None or float((joints - kept[3]).norm(dim=1).max()) > _MOVED_M:
                bones = self._bones(self.poses.rotvecs[place], self.poses.translation[place])
                vertices = self.puppet.vertices_world(self.puppet.maps(bones)[1])
                cells = self.puppet.cells(vertices, self.band_m)
                _, away = self._silhouette(place)
                region = np.flatnonzero(away < self.band_m).astype(np.int32)
                kept = (self.known_version, cells, region, joints)
        _, cells, region, joints = kept
        self._cells[place] = (self.known_version, cells, region, joints)
        return cells, region

    def _silhouette(self, place: int) -> tuple[np.ndarray, np.ndarray]:
        """Of the bare body, and distances from it, at half the working size."""
        pose = Pose(rotvecs=self.poses.rotvecs[place], translation_world_m=self.poses.translation[place])
        with torch.no_grad():
            vertices = self.shaped.with_pose(pose).vertices()
        size = (self.frames.width // 2, self.frames.height // 2)
        return bare_silhouette(vertices, self.body.faces, 0.5 * self._focal(), size)

    def _focal(self) -> float:
        """Focal length in working pixels."""
        return float(self.log_focal.detach().exp()) * self.frames.scale

    def _look(self, world: World | None) -> FirstLook:
        """What the pictures tell before training."""
        found = [self._silhouette(place) for place in range(len(self.frames))]
        bare, away = (np.stack(part) for part in zip(*found, strict=True))
        return first_look(self.frames, bare, away, self.config, world)

    def _draw(self, place: int) -> np.ndarray:
        """Random pixels (column, row) of the level's size in the region where the person could be."""
        _, region = self._posed(place)
        rng = numpy_rng(self.config.seed, f"rays {self.step}")
        pick = region[rng.integers(0, len(region), self.config.num_rays)]
        width = self.frames.width // 2
        pixels = np.stack([pick % width, pick // width], axis=1)
        return pixels if self.level.half else 2 * pixels + rng.integers(0, 2, pixels.shape)

    # --- one step -------------------------------------------------------------------------------------------------

    def _train_step(self) -> Step:
        config, progress = self.config, self.step / self.config.num_steps
        order = torch.randperm(
            len(self.frames), generator=torch_rng(config.seed, f"epoch {self.step // len(self.frames)}")
        )
        place = int(order[self.step % len(self.frames)])
        frame_index = self.frames.frame_indices[place]
        pixels = self._draw(place)
        target = self.frames.colors_at(place, pixels, half=self.level.half)
        video_pixels = self.frames.video_pixels(pixels, half=self.level.half)
        rotvecs = self.poses.rotvecs[place].clone().requires_grad_()
        translation = self.poses.translation[place].clone().requires_grad_()
        bones = self._bones(rotvecs, translation)
        maps = self.puppet.maps(bones)
        directions = self._directions(video_pixels)
        beta = self._beta(progress)
        plan = March(step_m=0.5 * self.level.voxel_m)
        rays = self.puppet.march(
            torch.zeros(3), directions.detach(), torch.rand(len(pixels), generator=torch_rng(config.seed, f"jitter {self.step}")),
            self._posed(place)[0], maps, self.values, self.lattice, self.known, self.limb_radius, float(beta.detach()), plan,
        )  # fmt: skip
        x, inverse = rays.points_canonical, rays.inverse_jacobian
        refine = progress >= config.pose_from
        if refine and len(x):
            points = rays.depths_m[:, None] * directions[rays.ray_of_sample]
            x = tie_to_bones(x, inverse, points, bones, self.puppet.skin)
        out, gradient = sample_grid(self.values, *self.lattice, x, self.optimizer)
        normals = torch.nn.functional.normalize(
            (inverse.reshape(-1, 3, 3) * gradient.detach()[:, :, None]).sum(1), dim=1
        )
        pose = self.poses.rotvecs[place][self.posed_bones].reshape(-1)
        rgb = decode(self.decoder, out[:, 1:], normals, pose)
        colors, alpha, weights = composite(out[:, 0] + rays.sunk_m, rgb, rays.starts, rays.step_m, beta)
        behind = self.world.colors_at(frame_index, video_pixels).requires_grad_()
        classes = RayClasses.of(rays.least_m, config.off_surface_m)
        mask = self.frames.mask_values(place, pixels, half=self.level.half)
        terms = ray_terms(colors + (1.0 - alpha[:, None]) * behind, alpha, target, classes, mask, progress, config)
        terms |= field_terms(
            self.values, self.lattice, rays.points_canonical, gradient, self.optimizer, config, self.step
        )
        tied = (maps[0], bones) if refine else None
        person, confidence = self._told(place, pixels)
        terms |= self._motion_term(person, confidence, rays.nearest_canonical, tied, progress)
        loss = torch.stack(list(terms.values())).sum()
        loss.backward()
        decay = config.rates.final_share**progress
        self._note(x.detach(), weights)
        self._update(decay, progress)
        if refine and rotvecs.grad is not None and translation.grad is not None:
            rates = (config.rates.rotvecs_rad * decay, config.rates.translation_m * decay)
            self.poses.step(place, rotvecs.grad, translation.grad, rates)
        if behind.grad is not None:
            # Where the person surely is, the world learns nothing: it would take shoes that never move for its own.
            behind.grad *= (1.0 - person * confidence)[:, None]
            self.world.learn(frame_index, video_pixels, behind.grad, config.rates.world * decay)
        self.step += 1
        told = {name: float(value.detach()) for name, value in terms.items()}
        told |= {
            "beta_mm": 1e3 * float(beta.detach()),
            "samples": float(len(x)),
            "opacity": float(alpha.detach().mean()),
        }
        return Step(step=self.step, num_steps=config.num_steps, loss=float(loss.detach()), terms=told)

    def _beta(self, progress: float) -> Float[Tensor, ""]:
        """Scale of the density: learnt, under a ceiling that comes down, so that the surface becomes one."""
        first, last = self.config.beta_m
        return self.log_beta.exp().clamp(max=first * (last / first) ** progress)

    def _told(self, place: int, pixels: np.ndarray) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
        """What the evidence says of pixels of the level's size: whether they are the person's, and how surely."""
        here = pixels if self.level.half else pixels // 2
        person, confidence = self.evidence.person[place], self.evidence.confidence[place]
        at = here[:, 1], here[:, 0]
        return torch.from_numpy(person[at]), torch.from_numpy(confidence[at])

    def _motion_term(
        self, person: Tensor, confidence: Tensor, nearest: Tensor, tied: tuple[Tensor, Tensor] | None, progress: float
    ) -> dict[str, Tensor]:
        """What motion tells about this step's rays; of the pose, too, if the maps of nodes and bones are given."""
        first, last = self.config.loss.motion
        weight = first * (last / first) ** progress if last > 0.0 else first * (1.0 - progress)
        asked = (confidence > 0.0) & nearest[:, 0].isfinite()
        if weight <= 0.0 or not bool(asked.any()):
            return {}
        num_rays = len(person)
        x, person, confidence = nearest[asked], person[asked], confidence[asked]
        if tied is not None:
            x, found = tied_places(x, self.puppet.skin, *tied)
            person, confidence = person[found], confidence[found]
        least = sample_grid(self.values, *self.lattice, x, self.optimizer)[0][:, 0]
        width = max(0.01, self.level.voxel_m)
        return {"motion": weight * silhouette_term(least, person, confidence, width, num_rays)}

    def _directions(self, video_pixels: Float[Tensor, "n 2"]) -> Float[Tensor, "n 3"]:
        """Unit directions in the world of the fit: the camera at the origin looks along -Z."""
        centre = torch.tensor([self.track.width_px / 2.0, self.track.height_px / 2.0])
        slope = (video_pixels - centre) / self.log_focal.exp()
        d = torch.stack([slope[:, 0], -slope[:, 1], -torch.ones(len(slope))], dim=1)
        return d / d.norm(dim=1, keepdim=True)

    def _update(self, decay: float, progress: float) -> None:
        config = self.config
        rates = torch.full((1 + config.features,), config.rates.features * decay)
        rates[0] = config.rates.sdf_voxels * self.level.voxel_m * decay if progress >= config.color_first else 0.0
        self.optimizer.step(rates)
        self.decoder_adam.step()
        self.decoder_adam.zero_grad()
        if progress >= config.color_first:
            self.beta_adam.step()
        self.beta_adam.zero_grad()
        if self.log_focal.grad is not None:
            self.focal_adam.step()
            self.focal_adam.zero_grad()

    def _note(self, x: Tensor, weights: Tensor) -> None:
        """Remember how much light each sample of the lattice explained."""
        at = ((x - self.box.low_m) / self.level.voxel_m).round().long()
        shape = self.seen.shape
        flat = (at[:, 0] * shape[1] + at[:, 1]) * shape[2] + at[:, 2]
        self.seen.view(-1).index_add_(0, flat.clamp(0, self.seen.numel() - 1), weights)

    # --- the run --------------------------------------------------------------------------------------------------

    def run(self) -> Iterator[Event]:
        """Train to the end."""
        config = self.config
        if is_plain(self.plain):
            yield Warned(
                code="plain-background",
                message="The background around the person has hardly any texture: person and world cannot be told apart by "
                "themselves there.",
                advice="Use --masks soft or trust, or film before something with more detail.",
            )
        refresh = {round(share * config.num_steps) for share in np.arange(config.refresh, 1.0, config.refresh)}
        show_every = max(1, round(PREVIEW_SHARE * config.num_steps))
        begun, sums, count = time.perf_counter(), {}, 0
        yield Progress(stage="surface", done=0, total=config.num_steps)
        while self.step < config.num_steps:
            due = next(level for level in config.levels if self.step < round(level.until * config.num_steps))
            if due is not self.level:
                self._start_level(due)
            elif self.step in refresh:
                self._refresh()
            event = self._train_step()
            for name, value in event.terms.items():
                sums[name] = sums.get(name, 0.0) + value
            count += 1
            if count == max(1, config.num_steps // 50) or self.step == config.num_steps:
                means = {name: value / count for name, value in sums.items()}
                self._log.append((self.step, time.perf_counter() - begun, means, self.level.voxel_m))
                sums, count = {}, 0
            yield event
            if self.step == config.num_steps:
                self._carve()
            if self.step % show_every == 0:
                yield Previewed(step=self.step, num_steps=config.num_steps, take=self.preview)

    def preview(self) -> Avatar:
        """The person as it is now, coarse, to look at."""
        return preview(self.field(), self.rig())

    def rig(self) -> Rig:
        """The skeleton, as avatars have it."""
        body = self.body
        return Rig(
            bone_names=body.bone_names,
            bone_parents=body.bone_parents,
            joints_rest_m=self.joints_rest,
            humanoid=dict(body.humanoid),
        )

    def field(self) -> SurfaceField:
        """The person as it is now."""
        return SurfaceField(
            body=self.body.name,
            shape=self.track.shape,
            canonical_rotvecs=self.canonical[0],
            R_canonical_rest=self.canonical[1],
            t_canonical_rest=self.canonical[2],
            sdf=Grid(origin_canonical_m=self.box.low_m, voxel_m=self.level.voxel_m, values=self.values[..., :1]),
            features=Grid(origin_canonical_m=self.box.low_m, voxel_m=self.level.voxel_m, values=self.values[..., 1:]),
            decoder=self.decoder.detach(),
            pose_bones=self.posed_bones,
            beta_m=self._beta(1.0).detach(),
            skin=self.skin,
            limb_radius_m=self.limb_radius,
            seen=self.seen,
        )

    def refined_track(self) -> BodyTrack:
        """The capture's track with what training made of it; frames between those trained on follow them."""
        rotvecs, translation = self.track.rotvecs.clone(), self.track.translation_world_m.clone()
        rotvecs[self.rows] = self.poses.rotvecs.to(rotvecs)
        translation[self.rows] = self.poses.translation.to(translation)
        refined = self.track.replace(rotvecs=rotvecs, translation_world_m=translation)
        trained = self.frames.frame_indices
        others = sorted(set(self.track.frame_indices.tolist()) - set(trained))
        between = interpolated_track(self.track, refined, trained, others)
        return refined.replace(
            rotvecs=between.rotvecs.index_copy(0, self.rows, rotvecs[self.rows]),
            translation_world_m=between.translation_world_m.index_copy(0, self.rows, translation[self.rows]),
            focal_px=self.log_focal.detach().exp(),
        )

    def result(self) -> SurfaceResult:
        """What training arrived at."""
        return SurfaceResult(
            field=self.field(),
            world=self.world,
            track=self.refined_track(),
            frame_indices=np.array(self.frames.frame_indices),
            log=SurfaceLog(
                steps=tuple(entry[0] for entry in self._log),
                seconds=tuple(entry[1] for entry in self._log),
                terms=tuple(entry[2] for entry in self._log),
                voxels_m=tuple(entry[3] for entry in self._log),
            ),
        )


def train_surface(
    capture: Capture, body: BodyModel, config: SurfaceConfig, checkpoint_dir: Path, world: World | None = None
) -> Iterator[Event]:
    """Train the surface double of a capture; the result lies in `checkpoint_dir` for `load_surface` when the events end.

    Args:
        capture: With observations and a fitted track.
        body: The body of that track.
        config: Hyper-parameters.
        checkpoint_dir: Where the result goes.
        world: What is behind the person; by default a clean plate, for a camera that does not move.
    """
    trainer = SurfaceTrainer(capture, body, config, world)
    yield from trainer.run()
    save_surface(checkpoint_dir, trainer.result())
