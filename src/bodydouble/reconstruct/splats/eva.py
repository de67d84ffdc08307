"""EVA's published recipe on our captures, for comparison: `bodydouble create --recipe eva`.

As published: one splat on each of the body's vertices, 2,000 steps, its losses and rates, skinning and pose nets, its
density events and its confidence. Poses are those of the fit; where the original aligns SMPL-X before, our fit stands.
Differences that our body, our file format and a CPU ask for:

- Anny instead of SMPL-X, so its rest pose instead of the big pose, its bones (eyes, no jaw) and its number of vertices;
- four bones a splat, person crops instead of whole frames, view-dependent colour in the rest frame: as in our files;
- the nearest vertex is searched for every 10 steps, and the skinning net is stepped every 10 at ten times its rate;
- LPIPS counts only where its weights are on the machine.

Skinning weights and colours are baked. Pose nets cannot be: what they make of the fitted poses is written beside the
avatar for all frames, held-out ones too, and evaluation drives the avatar with those (`driven_track`).
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.avatar.glb import save_avatar
from bodydouble.avatar.values import Avatar, Rig
from bodydouble.body.protocol import BodyModel
from bodydouble.capture.folder import Capture
from bodydouble.core.events import PREVIEW_SHARE, Checkpointed, Densified, Event, Previewed, Step
from bodydouble.core.files import read_tensors, write_tensors
from bodydouble.core.kinematics import fast_bone_transforms
from bodydouble.core.seeds import torch_rng
from bodydouble.evaluate.lpips import find_lpips
from bodydouble.fit.features import rest_body
from bodydouble.reconstruct.splats.bake import bake
from bodydouble.reconstruct.splats.config import Rates
from bodydouble.reconstruct.splats.eva_config import EvaConfig
from bodydouble.reconstruct.splats.eva_density import eva_control, eva_parts
from bodydouble.reconstruct.splats.eva_nets import ConfidenceNet, Learner, PoseCorrection, SkinNet
from bodydouble.reconstruct.splats.eva_scene import body_boxes, pose_net_bones, template_of, vertex_splats
from bodydouble.reconstruct.splats.frames import Target, TrainingFrames, choose_frames, frame_of_step
from bodydouble.reconstruct.splats.log import TrainingLog, write_log
from bodydouble.reconstruct.splats.optimizer import SplatAdam
from bodydouble.reconstruct.splats.parts import PartSurfaces, vertex_groups
from bodydouble.reconstruct.splats.posing import posed_cloud, preview
from bodydouble.reconstruct.splats.result import CHECKPOINT, save_poses, under
from bodydouble.reconstruct.splats.seed import LEARNT, SplatState, birth_normals
from bodydouble.reconstruct.splats.sight import seen_shares
from bodydouble.render.losses import photometric_loss
from bodydouble.render.protocol import Rasterizer, RenderedSplats, SplatCloud
from bodydouble.render.select import make_rasterizer

_BLACK = torch.zeros(3)


class EvaTrainer:
    """One run of the recipe in memory. `run` yields events."""

    def __init__(
        self, capture: Capture, body: BodyModel, config: EvaConfig, rasterizer: Rasterizer, checkpoint_dir: Path
    ) -> None:
        from scipy.spatial import cKDTree

        self.capture, self.body, self.config, self.rasterizer = capture, body, config, rasterizer
        self.checkpoint = checkpoint_dir / CHECKPOINT
        self.track = capture.track()
        self.rest = rest_body(body, self.track.shape)
        self.joints_rest = self.rest.joints_rest
        self.rig = Rig(
            bone_names=body.bone_names,
            bone_parents=body.bone_parents,
            joints_rest_m=self.joints_rest,
            humanoid=body.humanoid,
        )
        chosen = choose_frames(capture, self.track, config.max_frames)
        self.frames = TrainingFrames(capture, self.track, chosen, config.size_px)
        self.boxes = body_boxes(body, self.track, self.frames, config.loss.box_margin_m)
        self.template = template_of(body, self.rest.vertices_rest)
        self.tree = cKDTree(self.template.vertices_rest.numpy())
        self.vertex_actions = body.action_deltas.flatten(1)
        vertex_parts = eva_parts(vertex_groups(body))
        self.surfaces = PartSurfaces(self.template.vertices_rest, vertex_parts)
        self.state, self.parts = vertex_splats(self.template, config.opacity), vertex_parts
        self.nearest = torch.arange(len(self.parts))
        self.adam = SplatAdam(self.state)
        self.skin = Learner(lambda: SkinNet(len(body.bone_names)), config.seed, "skin")
        self.poses = PoseCorrection(pose_net_bones(self.rig), config.seed)
        self.confidence = Learner(ConfidenceNet, config.seed, "confidence") if config.confidence else None
        self.lpips = find_lpips("vgg") if config.loss.lpips > 0.0 else None
        self.gradient_sum, self.sightings = torch.zeros(len(self.parts)), torch.zeros(len(self.parts))
        self.history: Float[Tensor, "3"] | None = None
        self.log = TrainingLog()
        self.skin_gradient = torch.zeros(len(self.parts), 4)
        self.step = 0
        self._judge_skinning()

    # --- one step -------------------------------------------------------------------------------------------------

    def _cloud(
        self, fields: dict[str, Tensor], place: int, rotvecs: Float[Tensor, "bones 3"] | None = None
    ) -> SplatCloud:
        """Splats in the pose of a training frame, by default as the nets correct it."""
        row = int(self.frames.rows[place])
        if rotvecs is None:
            with torch.no_grad():
                rotvecs = self.poses(self.track.rotvecs[row])
        translation = self.track.translation_world_m[row]
        R, t = fast_bone_transforms(rotvecs[None], self.joints_rest, translation[None], self.body.bone_parents)
        acted = (self.track.expression[row].float() @ self.vertex_actions).reshape(-1, 3)[self.nearest]
        return posed_cloud(fields, self.state, R[0], t[0], fields["means"] + acted)

    def _train_step(self) -> Step:
        place = frame_of_step(self.step, len(self.frames), self.config.seed)
        target = self.frames.target(place, half=False, background=_BLACK)
        fields = {name: getattr(self.state, name).detach().requires_grad_() for name in LEARNT}
        rotvecs = self.poses(self.track.rotvecs[int(self.frames.rows[place])])
        cloud = self._cloud(fields, place, rotvecs)
        cloud.means_world.retain_grad()
        image = self.rasterizer(cloud, target.camera, _BLACK)
        target = target.agreeing_beyond(image)
        loss, terms = self._loss(image, target, self.boxes[place])
        loss.backward()
        self._note_gradient(cloud, target)
        self._update(fields)
        self.step += 1
        return Step(step=self.step, num_steps=self.config.num_steps, loss=float(loss.detach()), terms=terms)

    def _loss(self, image: RenderedSplats, target: Target, box: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Everything inside the body's box: weighted L1, the matte, SSIM and, where there is one, LPIPS."""
        weights = self.config.loss
        region = box.bool() if bool(box.any()) else torch.ones_like(box, dtype=torch.bool)
        error = (image.rgb - target.rgb).abs()
        if self.confidence is not None:
            error = error * self.confidence.net(image.rgb, image.depth)[..., None]
        color, mask = error[region].mean(), ((image.alpha - target.mask) ** 2)[region].mean()
        rows, columns = (torch.nonzero(region.any(k))[:, 0] for k in (1, 0))
        y, x = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
        rgb, wanted = image.rgb[y, x], target.rgb[y, x]
        loss = color + weights.mask * mask
        loss = loss + photometric_loss(rgb, wanted, l1_weight=0.0, ssim_weight=weights.ssim).total
        if self.lpips is not None:
            loss = loss + weights.lpips * self.lpips.loss(rgb, wanted, expects_signed=False)
        return loss, {"photometric": float(color.detach()), "mask": float(mask.detach())}

    def _note_gradient(self, cloud: SplatCloud, target: Target) -> None:
        gradient = cloud.means_world.grad
        if gradient is None:
            return
        with torch.no_grad():
            camera = target.camera
            _, depth = camera.project(cloud.means_world)
            across = (gradient @ camera.T_camera_world[:3, :3].T)[:, :2].norm(dim=1)
            size = across * depth / camera.focal_px[0] * (0.5 * camera.width_px)
            self.gradient_sum += size
            self.sightings += size > 0

    def _update(self, fields: dict[str, Tensor]) -> None:
        config, rates = self.config, self.config.rates
        share = min(self.step / rates.decay_steps, 1.0)
        now = Rates(
            means_m=rates.means_m[0] * (rates.means_m[1] / rates.means_m[0]) ** share,
            log_scales=rates.log_scales, quats=rates.quats, logit_opacities=rates.logit_opacities, sh=rates.sh,
            sh_rest=rates.sh_rest, skin_deltas=0.0,
        )  # fmt: skip
        gradients = {name: field.grad for name, field in fields.items() if field.grad is not None}
        self.skin_gradient += gradients["skin_deltas"]
        self.adam.step(self.state, gradients, now, decay=1.0)
        begun = min(self.step / rates.pose_delay_steps, 1.0)
        delay = rates.pose_delay_share + (1.0 - rates.pose_delay_share) * float(
            torch.tensor(torch.pi / 2 * begun).sin()
        )
        pose_rate = delay * rates.pose[0] * (rates.pose[1] / rates.pose[0]) ** share
        self.poses.step(pose_rate, rates.pose_details_share)
        if self.confidence is not None:
            self.confidence.step(rates.confidence)
        if (self.step + 1) % config.skinning_every == 0:
            residuals = self._skin_residuals()
            residuals.backward(self.skin_gradient)
            self.skin.step(rates.skinning * config.skinning_every)
            self._judge_skinning()

    # --- what happens between steps -------------------------------------------------------------------------------

    def _skin_residuals(self) -> Float[Tensor, "n 4"]:
        return self.skin.net(self.state.means).gather(1, self.state.joints)

    def _judge_skinning(self) -> None:
        """What the skinning net says of the splats as they are now."""
        with torch.no_grad():
            self.state = self.state.replace(skin_deltas=self._skin_residuals())
        self.skin_gradient = torch.zeros_like(self.state.skin_deltas)

    def _find_nearest(self) -> None:
        """Skinning, facial actions and place on the body come from the nearest vertex."""
        _, index = self.tree.query(self.state.means.numpy(), workers=-1)
        self.nearest = torch.from_numpy(index).long()
        template = self.template
        self.state = self.state.replace(
            joints=template.joints[self.nearest],
            weights=template.weights[self.nearest],
            faces=template.faces[self.nearest],
            barycentric=template.barycentric[self.nearest],
        )

    def _density_event(self) -> Densified:
        outcome = eva_control(
            self.state, self.gradient_sum / self.sightings.clamp_min(1.0), self.parts, self.history,
            self.config.density, max_splats=self.config.max_splats, step=self.step,
            generator=torch_rng(self.config.seed, f"density {self.step}"), distance_m=self.surfaces.distance_m,
        )  # fmt: skip
        self.state, self.parts, self.history = outcome.state, outcome.parts, outcome.history
        self.adam.follow(outcome.origin)
        self.gradient_sum, self.sightings = torch.zeros(len(self.parts)), torch.zeros(len(self.parts))
        self._find_nearest()
        self._judge_skinning()
        self.log.append(outcome.event)
        return outcome.event

    def run(self) -> Iterator[Event]:
        """Train to the end, from the last checkpoint where there is one."""
        config, density = self.config, self.config.density
        self._load_checkpoint()
        show_every = max(1, round(PREVIEW_SHARE * config.num_steps))
        while self.step < config.num_steps:
            yield self._train_step()
            if self.step % show_every == 0:
                take = functools.partial(preview, self.state, self.rig)
                yield Previewed(step=self.step, num_steps=config.num_steps, take=take)
            if density.after < self.step < density.before and self.step % density.every == 0:
                yield self._density_event()
            elif self.step % config.nearest_every == 0:
                self._find_nearest()
            if self.step == config.sh_degree_from:
                self.state = self.state.replace(sh_rest=torch.zeros(len(self.parts), 3, 3))
                self.adam.restart("sh_rest", self.state.sh_rest)
            if self.step % config.checkpoint_every == 0 or self.step == config.num_steps:
                self._save_checkpoint()
                yield Checkpointed(step=self.step, path=str(self.checkpoint))

    def avatar(self) -> Avatar:
        """The baked result."""
        normals = birth_normals(self.state, self.rest.vertices_rest, self.body.faces)
        shares = seen_shares(self.state, normals, self.frames, self._cloud, self.rasterizer)
        # The recipe removes no floaters at the end.
        all_kept = dataclasses.replace(shares, supported=torch.ones_like(shares.supported))
        return bake(self.state, all_kept, self.body, self.rest, self.capture.info.sha256)

    def driven_rotvecs(self) -> Float[Tensor, "frames bones 3"]:
        """Every frame's fitted pose as the nets correct it."""
        with torch.no_grad():
            return self.poses(self.track.rotvecs)

    # --- checkpoints ----------------------------------------------------------------------------------------------

    def _fingerprint(self) -> str:
        digest = hashlib.sha256(json.dumps(["eva", dataclasses.asdict(self.config)], sort_keys=True).encode())
        digest.update(self.track.rotvecs.numpy().tobytes())
        return digest.hexdigest()

    def _kept_parts(self) -> list[tuple[str, Any]]:
        kept = [("adam", self.adam), ("skin", self.skin)]
        kept += [(f"pose{k}", learner) for k, learner in enumerate(self.poses.learners)]
        return kept if self.confidence is None else [*kept, ("confidence", self.confidence)]

    def _save_checkpoint(self) -> None:
        tensors = {f"state.{f.name}": getattr(self.state, f.name) for f in dataclasses.fields(self.state)}
        for label, part in self._kept_parts():
            tensors |= {f"{label}.{name}": value for name, value in part.tensors().items()}
        tensors |= {
            "parts": self.parts, "nearest": self.nearest, "gradient_sum": self.gradient_sum,
            "sightings": self.sightings, "skin_gradient": self.skin_gradient,
        }  # fmt: skip
        if self.history is not None:
            tensors["history"] = self.history
        facts = {"step": str(self.step), "fingerprint": self._fingerprint(), "log": self.log.to_json()}
        write_tensors(self.checkpoint, tensors, facts)

    def _load_checkpoint(self) -> None:
        if not self.checkpoint.exists():
            return
        tensors, metadata = read_tensors(self.checkpoint)
        if metadata.get("fingerprint") != self._fingerprint():
            return
        self.step, self.log = int(metadata["step"]), TrainingLog.from_json(metadata["log"])
        self.state = SplatState(**under("state", tensors))
        for label, part in self._kept_parts():
            part.restore(under(label, tensors))
        self.parts, self.nearest = tensors["parts"], tensors["nearest"]
        self.gradient_sum, self.sightings = tensors["gradient_sum"], tensors["sightings"]
        self.skin_gradient, self.history = tensors["skin_gradient"], tensors.get("history")


def reconstruct_eva(
    capture: Capture, body: BodyModel, config: EvaConfig, checkpoint_dir: Path, device: str
) -> Iterator[Event]:
    """Run the recipe; the result lies in `checkpoint_dir` for `result.load_result` and `result.driven_track`.

    Args:
        capture: With observations, masks and a fitted track.
        body: The body of that track.
        config: The published figures.
        checkpoint_dir: Where checkpoints and the result go; an interrupted run continues from there.
        device: `auto`, `cpu` or `cuda`.
    """
    trainer = EvaTrainer(capture, body, config, make_rasterizer(device), checkpoint_dir)
    yield from trainer.run()
    driven, rows = trainer.driven_rotvecs(), trainer.frames.rows
    save_poses(checkpoint_dir, rows, driven[rows], trainer.track.translation_world_m[rows], driven_rotvecs=driven)
    write_log(checkpoint_dir, trainer.log, ())
    save_avatar(trainer.avatar(), checkpoint_dir / "avatar.glb")
