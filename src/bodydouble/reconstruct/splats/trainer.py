"""The trainer: one frame a step, splats and poses together, with registration rounds and density control in between.

It is a generator of events. Everything it knows is in `checkpoint.safetensors`, so a killed run continues from the last
one to the same result: which frame, background and jitter a step uses depends on the seed and the step alone.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.avatar.glb import load_avatar, save_avatar
from bodydouble.avatar.values import Avatar, Rig, Splats
from bodydouble.body.protocol import BodyModel
from bodydouble.capture.folder import Capture
from bodydouble.capture.values import BodyTrack
from bodydouble.core.cameras import Camera
from bodydouble.core.events import Checkpointed, Densified, Event, Progress, Step
from bodydouble.core.files import read_tensors, write_tensors
from bodydouble.core.geometry import quat_wxyz_to_matrix
from bodydouble.core.kinematics import fast_bone_transforms
from bodydouble.core.seeds import torch_rng
from bodydouble.fit.register import PoseProblem, active_bones, register_poses
from bodydouble.reconstruct.splats.bake import bake, color_to_sh, splat_action_deltas, spread_colors
from bodydouble.reconstruct.splats.config import SplatsConfig
from bodydouble.reconstruct.splats.density import control_density
from bodydouble.reconstruct.splats.frames import Target, TrainingFrames, choose_frames
from bodydouble.reconstruct.splats.optimizer import PoseAdam, SplatAdam
from bodydouble.reconstruct.splats.seed import LEARNT, SH_C0, SplatState, seed_splats
from bodydouble.render.adam import AdamMoments
from bodydouble.render.losses import photometric_loss
from bodydouble.render.protocol import Rasterizer, RenderedSplats, SplatCloud
from bodydouble.render.select import make_rasterizer
from bodydouble.render.skin import skin_splats

_CHECKPOINT = "checkpoint.safetensors"
_POSES = "poses.safetensors"
_AVATAR = "avatar.glb"


def as_splats(state: SplatState) -> Splats:
    """The training state as an avatar's splats (no facial actions, nothing marked unseen)."""
    return Splats(
        means_rest_m=state.means,
        quats_wxyz=state.quats,
        scales_m=state.log_scales.exp(),
        opacities=torch.sigmoid(state.logit_opacities),
        sh=state.sh,
        joints=state.joints,
        weights=state.weights,
        seen=torch.ones(len(state.means)),
    )


class Trainer:
    """One training run in memory. `run` yields events; `avatar` and `refined_track` give the result."""

    def __init__(
        self, capture: Capture, body: BodyModel, config: SplatsConfig, rasterizer: Rasterizer, checkpoint_dir: Path
    ) -> None:
        self.capture, self.body, self.config, self.rasterizer = capture, body, config, rasterizer
        self.checkpoint = checkpoint_dir / _CHECKPOINT
        self.track = capture.track()
        shaped = body.with_shape(self.track.shape)
        self.joints_rest = shaped.joints_rest.detach().float()
        self.rig = Rig(
            bone_names=body.bone_names,
            bone_parents=body.bone_parents,
            joints_rest_m=self.joints_rest,
            humanoid=body.humanoid,
        )
        self.frames = TrainingFrames(
            capture, self.track, choose_frames(capture, self.track, config.max_frames), config.size_px
        )
        self.prior_rotvecs = self.track.rotvecs[self.frames.rows].clone()
        self.prior_translation = self.track.translation_world_m[self.frames.rows].clone()
        self.rotvecs, self.translation = self.prior_rotvecs.clone(), self.prior_translation.clone()
        self.state = seed_splats(body, shaped.vertices_rest.detach().float(), config.num_seeds, config.seed)
        self.expression = self.track.expression[self.frames.rows].float()
        self._bind_actions()
        self.adam = SplatAdam(self.state)
        self.rotvec_adam, self.translation_adam = PoseAdam(self.rotvecs), PoseAdam(self.translation)
        self.gradient_sum = torch.zeros(len(self.state.means))
        self.gradient_count = torch.zeros(len(self.state.means))
        self.step = 0
        self.trainable = torch.zeros(len(body.bone_names), 1)
        self.trainable[active_bones(self.rig, fingers=True)] = 1.0

    # --- one step -------------------------------------------------------------------------------------------------

    def _frame_of_step(self, step: int) -> int:
        """Every frame once per epoch, in an order drawn for the epoch."""
        epoch, place = divmod(step, len(self.frames))
        order = torch.randperm(len(self.frames), generator=torch_rng(self.config.seed, f"epoch {epoch}"))
        return int(order[place])

    def _background(self, step: int) -> Float[Tensor, "3"]:
        """A plain colour drawn anew each step: what is not the person must be transparent to match every one of them."""
        return torch.rand(3, generator=torch_rng(self.config.seed, f"background {step}"))

    def _bind_actions(self) -> None:
        """Find the splats that facial actions move, and by how much; anew whenever the set of splats changes."""
        deltas = splat_action_deltas(self.body, self.state.faces, self.state.barycentric)
        self.action_splats = torch.nonzero((deltas.abs() > 1e-4).any(2).any(0))[:, 0]
        self.action_deltas = deltas[:, self.action_splats].flatten(1)

    def _pose_cloud(
        self, fields: dict[str, Tensor], rotvecs: Float[Tensor, "bones 3"], translation: Float[Tensor, "3"], place: int
    ) -> SplatCloud:
        R, t = fast_bone_transforms(rotvecs[None], self.joints_rest, translation[None], self.body.bone_parents)
        acted = (self.expression[place] @ self.action_deltas).reshape(-1, 3)
        means, quats = skin_splats(
            fields["means"].index_add(0, self.action_splats, acted),
            fields["quats"],
            R[0],
            t[0],
            self.state.joints,
            self.state.weights,
        )
        return SplatCloud(
            means_world=means,
            quats_wxyz=quats,
            scales_m=fields["log_scales"].exp(),
            opacities=torch.sigmoid(fields["logit_opacities"]),
            sh=fields["sh"],
        )

    def _loss(
        self, image: RenderedSplats, target: Target, fields: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, float]]:
        weights, density = self.config.loss, self.config.density
        photometric = photometric_loss(
            image.rgb, target.rgb, l1_weight=1.0 - weights.ssim, ssim_weight=weights.ssim
        ).total
        if weights.squared > 0.0:
            photometric = photometric + weights.squared * ((image.rgb - target.rgb) ** 2).mean()
        mask = (image.alpha - target.mask).abs().mean()
        drift = ((fields["means"] - self.state.anchors) ** 2).sum(1).mean()
        excess = torch.relu(fields["log_scales"] - float(torch.tensor(density.max_scale_m).log())).mean()
        loss = photometric + weights.mask * mask + weights.anchor * drift + weights.scale * excess
        return loss, {"photometric": float(photometric.detach()), "mask": float(mask.detach())}

    def _train_step(self) -> Step:
        config, step = self.config, self.step
        half = step < config.coarse_share * config.num_steps
        place = self._frame_of_step(step)
        background = self._background(step)
        target = self.frames.target(place, half=half, background=background)
        fields = {name: getattr(self.state, name).detach().requires_grad_() for name in LEARNT}
        rotvecs = self.rotvecs[place].clone().requires_grad_()
        translation = self.translation[place].clone().requires_grad_()
        cloud = self._pose_cloud(fields, rotvecs, translation, place)
        cloud.means_world.retain_grad()
        image = self.rasterizer(cloud, target.camera, background)
        loss, terms = self._loss(image, target, fields)
        loss.backward()
        self._note_gradient(cloud, target)
        decay = config.rates.final_share ** (step / config.num_steps)
        gradients = {name: field.grad for name, field in fields.items() if field.grad is not None}
        self.adam.step(self.state, gradients, config.rates, decay)
        self._pose_step(place, rotvecs, translation, decay)
        self.step += 1
        return Step(step=self.step, num_steps=config.num_steps, loss=float(loss.detach()), terms=terms)

    def _pose_step(self, place: int, rotvecs: Tensor, translation: Tensor, decay: float) -> None:
        if rotvecs.grad is None or translation.grad is None:
            return
        rates = self.config.rates
        pull = self.config.loss.pose * (rotvecs.detach() - self.prior_rotvecs[place])
        gradient = (rotvecs.grad + pull) * self.trainable
        self.rotvec_adam.step(self.rotvecs, place, gradient, rates.rotvecs_rad * decay)
        self.translation_adam.step(self.translation, place, translation.grad, rates.translation_m * decay)

    def _note_gradient(self, cloud: SplatCloud, target: Target) -> None:
        """Accumulate the screen-space gradient of each seen splat: a shift of one pixel moves the centre depth / focal."""
        gradient = cloud.means_world.grad
        if gradient is None:
            return
        with torch.no_grad():
            depth = target.camera.project(cloud.means_world)[1]
            size = gradient.norm(dim=1) * depth / target.camera.focal_px[0] * target.camera.width_px
            self.gradient_sum += size
            self.gradient_count += size > 0

    # --- what happens between steps -------------------------------------------------------------------------------

    def _density_event(self) -> Densified:
        mean = self.gradient_sum / self.gradient_count.clamp_min(1.0)
        generator = torch_rng(self.config.seed, f"density {self.step}")
        self.state, origin, event = control_density(
            self.state, mean, self.config.density, self.config.max_splats, self.step, generator
        )
        self._bind_actions()
        self.adam.follow(origin)
        self.gradient_sum = torch.zeros(len(origin))
        self.gradient_count = torch.zeros(len(origin))
        return event

    def _registration_round(self) -> None:
        """Move every training pose onto its frame; the pull is to the landmark fit."""
        half = self.step < self.config.coarse_share * self.config.num_steps
        problem = PoseProblem(
            self.rig, self.frames.half if half else self.frames.full, self.frames.times_s, self.rotvecs, self.translation,
            self.config.register, prior_rotvecs=self.prior_rotvecs, prior_translation_m=self.prior_translation,
        )  # fmt: skip
        register_poses(problem, as_splats(self.state), self.rasterizer)
        self.rotvecs, self.translation = problem.rotvecs, problem.translation
        self.rotvec_adam.reset()
        self.translation_adam.reset()

    def _observed_colors(self, max_views: int = 24) -> tuple[Float[Tensor, "n 3"], Float[Tensor, " n"]]:
        """Mean colour of each splat over the frames that show it from the front, and the weight of that evidence."""
        total = torch.zeros(len(self.state.means), 3)
        weight = torch.zeros(len(self.state.means))
        stride = max(1, len(self.frames) // max_views)
        for place in range(0, len(self.frames), stride):
            crop = self.frames.half[place]
            with torch.no_grad():
                fields = {name: getattr(self.state, name) for name in LEARNT}
                cloud = self._pose_cloud(fields, self.rotvecs[place], self.translation[place], place)
                image = self.rasterizer(cloud, crop.camera)
                share = _visible_share(cloud, image, crop.camera)
                at, _ = crop.camera.project(cloud.means_world)
                column = at[:, 0].long().clamp(0, crop.rgb.shape[1] - 1)
                row = at[:, 1].long().clamp(0, crop.rgb.shape[0] - 1)
                inside = torch.from_numpy(crop.mask)[row, column] > 200
                evidence = share * inside
                total += torch.from_numpy(crop.rgb)[row, column].float() / 255.0 * evidence[:, None]
                weight += evidence
        return total / weight.clamp_min(1e-6)[:, None], weight

    def _color_seeds(self) -> None:
        colors, weight = self._observed_colors()
        colors = spread_colors(colors, (weight / 1.0).clamp(max=1.0), self.state.means)
        self.state = self.state.replace(sh=color_to_sh(colors.clamp(0.02, 0.98)))

    def seen(self) -> Float[Tensor, " n"]:
        """How much the training frames show of each splat: its blending weight summed over pixels, against its own area
        in the image, best view counting. In [0, 1]."""
        best = torch.zeros(len(self.state.means))
        for place in range(0, len(self.frames), max(1, len(self.frames) // 40)):
            crop = self.frames.half[place]
            fields = {name: getattr(self.state, name) for name in LEARNT}
            fields["sh"] = torch.zeros_like(fields["sh"]).requires_grad_()
            cloud = self._pose_cloud(fields, self.rotvecs[place], self.translation[place], place)
            image = self.rasterizer(cloud, crop.camera)
            inside = torch.from_numpy(crop.mask).float()[..., None] / 255.0
            (image.rgb * inside).sum().backward()
            assert fields["sh"].grad is not None
            pixels = fields["sh"].grad[:, 0, 0] / SH_C0
            depth = crop.camera.project(cloud.means_world)[1].detach().clamp_min(0.1)
            two_largest = cloud.scales_m.detach().topk(2, dim=1).values * crop.camera.focal_px[0] / depth[:, None]
            area = 2.0 * torch.pi * cloud.opacities.detach() * (two_largest**2 + 0.3).sqrt().prod(1)
            best = torch.maximum(best, pixels / area.clamp_min(1e-3))
        return best.clamp(0.0, 1.0)

    # --- the run --------------------------------------------------------------------------------------------------

    def run(self) -> Iterator[Event]:
        """Train to the end, from the last checkpoint where there is one."""
        config = self.config
        if not self._load_checkpoint():
            self._color_seeds()
        register_steps = {round(share * config.num_steps) for share in config.register_at}
        density = config.density
        every = max(1, round(density.every * config.num_steps))
        save_every = max(1, round(config.checkpoint_every * config.num_steps))
        while self.step < config.num_steps:
            yield self._train_step()
            progress = self.step / config.num_steps
            if density.start <= progress <= density.stop and self.step % every == 0:
                yield self._density_event()
            if self.step in register_steps:
                yield Progress(stage="register", done=self.step, total=config.num_steps)
                self._registration_round()
            if self.step % save_every == 0 or self.step == config.num_steps:
                self._save_checkpoint()
                yield Checkpointed(step=self.step, path=str(self.checkpoint))

    def avatar(self) -> Avatar:
        """The baked result."""
        return bake(self.state, self.seen(), self.body, self.track.shape, self.capture.info.sha256)

    # --- checkpoints ----------------------------------------------------------------------------------------------

    def _fingerprint(self) -> str:
        """Changes when a checkpoint of another configuration or track must not be continued."""
        digest = hashlib.sha256(json.dumps(dataclasses.asdict(self.config), sort_keys=True).encode())
        digest.update(self.prior_rotvecs.numpy().tobytes())
        return digest.hexdigest()

    def _save_checkpoint(self) -> None:
        tensors = {f"state.{f.name}": getattr(self.state, f.name) for f in dataclasses.fields(self.state)}
        for name in LEARNT:
            moments = self.adam.moments[name]
            tensors[f"adam.first.{name}"], tensors[f"adam.second.{name}"] = moments.first, moments.second
        for label, adam in (("rotvecs", self.rotvec_adam), ("translation", self.translation_adam)):
            tensors[f"{label}.first"], tensors[f"{label}.second"] = adam.first, adam.second
            tensors[f"{label}.visits"] = adam.visits
        tensors |= {
            "rotvecs": self.rotvecs, "translation": self.translation,
            "gradient_sum": self.gradient_sum, "gradient_count": self.gradient_count,
        }  # fmt: skip
        write_tensors(self.checkpoint, tensors, {"step": str(self.step), "fingerprint": self._fingerprint()})

    def _load_checkpoint(self) -> bool:
        if not self.checkpoint.exists():
            return False
        tensors, metadata = read_tensors(self.checkpoint)
        if metadata.get("fingerprint") != self._fingerprint():
            return False
        self.step = int(metadata["step"])
        self.state = SplatState(**{f.name: tensors[f"state.{f.name}"] for f in dataclasses.fields(self.state)})
        self._bind_actions()
        self.adam.step_count = self.step
        for name in LEARNT:
            self.adam.moments[name] = AdamMoments(
                first=tensors[f"adam.first.{name}"], second=tensors[f"adam.second.{name}"]
            )
        for label, adam in (("rotvecs", self.rotvec_adam), ("translation", self.translation_adam)):
            adam.first, adam.second = tensors[f"{label}.first"], tensors[f"{label}.second"]
            adam.visits = tensors[f"{label}.visits"]
        self.rotvecs, self.translation = tensors["rotvecs"], tensors["translation"]
        self.gradient_sum, self.gradient_count = tensors["gradient_sum"], tensors["gradient_count"]
        return True


def _visible_share(cloud: SplatCloud, image: RenderedSplats, camera: Camera) -> Float[Tensor, " n"]:
    """1 for splats at the rendered surface that face the camera, fading to 0 at grazing angles and behind it."""
    at, depth = camera.project(cloud.means_world)
    height, width = image.alpha.shape
    column, row = at[:, 0].long().clamp(0, width - 1), at[:, 1].long().clamp(0, height - 1)
    surface = image.depth[row, column] / image.alpha[row, column].clamp_min(1e-3)
    inside = (at >= 0).all(1) & (at[:, 0] < width) & (at[:, 1] < height) & (image.alpha[row, column] > 0.5)
    normal = quat_wxyz_to_matrix(cloud.quats_wxyz)[..., 2]
    eye_world = -camera.T_camera_world[:3, :3].T @ camera.T_camera_world[:3, 3]
    view = torch.nn.functional.normalize(eye_world - cloud.means_world, dim=1)
    facing = (normal * view).sum(1).clamp_min(0.0)
    return facing**2 * (inside & ((depth - surface).abs() < 0.02))


def reconstruct(
    capture: Capture, body: BodyModel, config: SplatsConfig, checkpoint_dir: Path, device: str
) -> Iterator[Event]:
    """Train the splat avatar of a capture; the result lies in `checkpoint_dir` for `load_result` when the events end.

    Args:
        capture: With observations, masks and a fitted track.
        body: The body of that track.
        config: Hyper-parameters.
        checkpoint_dir: Where checkpoints and the result go; an interrupted run continues from there.
        device: `auto`, `cpu` or `cuda`.
    """
    trainer = Trainer(capture, body, config, make_rasterizer(device), checkpoint_dir)
    yield from trainer.run()
    write_tensors(
        checkpoint_dir / _POSES,
        {"rows": trainer.frames.rows, "rotvecs": trainer.rotvecs, "translation_world_m": trainer.translation},
    )
    save_avatar(trainer.avatar(), checkpoint_dir / _AVATAR)


def load_result(checkpoint_dir: Path, capture: Capture) -> tuple[Avatar, BodyTrack]:
    """The trained avatar, and the capture's track with the training frames' poses as training left them."""
    avatar = load_avatar(checkpoint_dir / _AVATAR)
    tensors, _ = read_tensors(checkpoint_dir / _POSES)
    track = capture.track()
    rotvecs, translation = track.rotvecs.clone(), track.translation_world_m.clone()
    rotvecs[tensors["rows"]] = tensors["rotvecs"]
    translation[tensors["rows"]] = tensors["translation_world_m"]
    return avatar, track.replace(rotvecs=rotvecs, translation_world_m=translation)
