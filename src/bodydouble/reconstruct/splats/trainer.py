"""The trainer: some frames a step, splats and poses together, with registration rounds and density control in between.

It is a generator of events. Everything it knows is in `checkpoint.safetensors`, so a killed run continues from the last
one to the same result: which frames and backgrounds a step uses depends on the seed and the step alone.
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

from bodydouble.avatar.correctives import brightened
from bodydouble.avatar.drive import pose_splats
from bodydouble.avatar.glb import save_avatar
from bodydouble.avatar.values import Avatar, Rig, Splats
from bodydouble.body.protocol import BodyModel
from bodydouble.capture.folder import Capture
from bodydouble.core.events import PREVIEW_SHARE, Checkpointed, Densified, Event, Previewed, Progress, Step
from bodydouble.core.files import read_tensors, write_tensors
from bodydouble.core.kinematics import fast_bone_transforms
from bodydouble.core.seeds import torch_rng
from bodydouble.evaluate.lpips import find_lpips
from bodydouble.fit.features import rest_person
from bodydouble.fit.held import landmark_trust
from bodydouble.fit.pose_problem import PoseProblem, active_bones
from bodydouble.fit.register import register_poses
from bodydouble.reconstruct.onto import RestSurface, laid_onto
from bodydouble.reconstruct.splats.appearance import FrameAppearance, frame_gains
from bodydouble.reconstruct.splats.bake import bake, splat_action_deltas, spread_colors
from bodydouble.reconstruct.splats.confidence import Confidence, Judgement
from bodydouble.reconstruct.splats.config import SplatsConfig
from bodydouble.reconstruct.splats.correctives import CorrectiveLeaves
from bodydouble.reconstruct.splats.density import (
    DensityHistory,
    SplatEvidence,
    control_density,
    no_evidence,
    no_history,
)
from bodydouble.reconstruct.splats.frames import Target, TrainingFrames, choose_frames, frame_of_step
from bodydouble.reconstruct.splats.log import ConfidenceMap, TrainingLog, spread_places, write_log
from bodydouble.reconstruct.splats.look import Look, gradients_of, mean_terms, sighting_of, summed
from bodydouble.reconstruct.splats.objective import (
    find_neighbours,
    image_loss,
    part_weights,
    splat_loss,
)
from bodydouble.reconstruct.splats.optimizer import PoseAdam, SplatAdam
from bodydouble.reconstruct.splats.parts import PartSurfaces, face_groups, group_maps, vertex_groups
from bodydouble.reconstruct.splats.posing import as_splats, posed_cloud, preview
from bodydouble.reconstruct.splats.reach import hair_reach_m, reach_of_groups
from bodydouble.reconstruct.splats.result import AVATAR, CHECKPOINT, load_result, save_poses, under
from bodydouble.reconstruct.splats.seed import LEARNT, SplatState, birth_normals, seed_splats
from bodydouble.reconstruct.splats.sight import observed_colors, seen_shares, shown_outside
from bodydouble.render.protocol import Rasterizer, SplatCloud
from bodydouble.render.select import make_rasterizer
from bodydouble.render.sh import rgb_to_sh
from bodydouble.render.threads import side_by_side

__all__ = ["Trainer", "load_result", "reconstruct"]
_HOLD_EVERY = 4
"""Steps from one look at heights and thickness to the next: they cost half as much as a picture and change slowly."""


class Trainer:
    """One training run in memory. `run` yields events; `avatar` and `refined_track` give the result."""

    def __init__(
        self,
        capture: Capture,
        body: BodyModel,
        config: SplatsConfig,
        rasterizer: Rasterizer,
        checkpoint_dir: Path,
        onto: RestSurface | None = None,
    ) -> None:
        self.capture, self.body, self.config, self.rasterizer = capture, body, config, rasterizer
        self.checkpoint = checkpoint_dir / CHECKPOINT
        self.track = capture.track()
        self.frames = TrainingFrames(
            capture, self.track, choose_frames(capture, self.track, config.max_frames), config.size_px
        )
        self.rest = rest_person(body, self.track, capture.observations(), self.frames.rows)
        self.joints_rest = self.rest.joints_rest
        self.rig = Rig(
            bone_names=body.bone_names,
            bone_parents=body.bone_parents,
            joints_rest_m=self.joints_rest,
            humanoid=body.humanoid,
        )
        self.prior_rotvecs = self.track.rotvecs[self.frames.rows].clone()
        self.prior_translation = self.track.translation_world_m[self.frames.rows].clone()
        self.rotvecs, self.translation = self.prior_rotvecs.clone(), self.prior_translation.clone()
        self.state = seed_splats(body, self.rest.vertices_rest, config.num_seeds, config.seed)
        if onto is not None:
            self.state = self.state.replace(means=laid_onto(self.state.means, onto))
        self.expression = self.track.expression[self.frames.rows].float()
        self.groups_of_faces = face_groups(body)
        self.surfaces = PartSurfaces(self.rest.vertices_rest, vertex_groups(body))
        hair_m = hair_reach_m(body, self.track, self.frames.rows, self.frames.full)
        self.reach_m = reach_of_groups(hair_m, config.loss)
        self.group_weights = part_weights(config.loss)
        if self.group_weights is not None:
            self.frames.groups = group_maps(body, self.track, self.frames.rows, self.frames.full)
        self.confidence = Confidence(config.confidence, config.seed) if config.confidence.use else None
        self.lpips = find_lpips("alex") if config.loss.lpips > 0.0 else None
        self.appearance = FrameAppearance(
            body, self.rest.vertices_rest, self.rig, config.correctives, config.exposure, config.seed
        )
        self._bind()
        self.adam = SplatAdam(self.state)
        self.rotvec_adam, self.translation_adam = PoseAdam(self.rotvecs), PoseAdam(self.translation)
        self.evidence, self.history, self.log = no_evidence(len(self.state.means)), no_history(), TrainingLog()
        self.step = 0
        self.trainable = torch.zeros(len(body.bone_names), 1)
        self.trainable[active_bones(self.rig, fingers=True)] = 1.0

    # --- one step -------------------------------------------------------------------------------------------------

    def _background(self, picture: int) -> Float[Tensor, "3"]:
        """A plain colour drawn anew each time: what is not the person must be transparent to match every one of them."""
        return torch.rand(3, generator=torch_rng(self.config.seed, f"background {picture}"))

    def _bind(self) -> None:
        """Find the splats that facial actions move, by how much, and who is beside whom; anew when the set changes."""
        deltas = splat_action_deltas(self.body, self.state.faces, self.state.barycentric)
        self.action_splats = torch.nonzero((deltas.abs() > 1e-4).any(2).any(0))[:, 0]
        self.action_deltas = deltas[:, self.action_splats].flatten(1)
        self.appearance.bind(self.state.faces, self.state.barycentric)
        self.neighbours = find_neighbours(
            self.state,
            birth_normals(self.state, self.rest.vertices_rest, self.body.faces),
            self.groups_of_faces[self.state.faces],
            self.config.loss,
            self.reach_m,
        )

    def _pose_cloud(
        self,
        fields: dict[str, Tensor],
        rotvecs: Float[Tensor, "bones 3"],
        translation: Float[Tensor, "3"],
        place: int,
        leaves: CorrectiveLeaves | None = None,
    ) -> SplatCloud:
        R, t = fast_bone_transforms(rotvecs[None], self.joints_rest, translation[None], self.body.bone_parents)
        acted = (self.expression[place] @ self.action_deltas).reshape(-1, 3)
        rest, gain = self.appearance.apply(fields["means"], R[0], place, leaves)
        cloud = posed_cloud(fields, self.state, R[0], t[0], rest.index_add(0, self.action_splats, acted))
        return cloud if gain is None else cloud.replace(sh=brightened(cloud.sh, gain))

    def _cloud_at(self, fields: dict[str, Tensor], place: int) -> SplatCloud:
        return self._pose_cloud(fields, self.rotvecs[place], self.translation[place], place)

    def _pixel_weights(self, target: Target, judged: Judgement | None) -> Tensor | None:
        """What each pixel counts in the photometric terms: by the part it shows and by the noise that is usual there."""
        weights = None
        if self.group_weights is not None and target.groups is not None:
            weights = self.group_weights[target.groups.long()]
        if judged is not None and self.step >= self.config.confidence.start * self.config.num_steps:
            weights = judged.weights if weights is None else weights * judged.weights
        return weights

    def _learnt_fields(self) -> dict[str, Tensor]:
        """Fresh leaves of what is learnt; a residual that is not learnt stays out of the graph."""
        fields = {name: getattr(self.state, name).detach() for name in LEARNT}
        for name, field in fields.items():
            field.requires_grad_(name != "skin_deltas" or self.config.rates.skin_deltas > 0.0)
        return fields

    def _look(self, picture: int) -> Look:
        """What one picture says of splats and poses. Changes nothing: pictures are looked at side by side."""
        config = self.config
        place = frame_of_step(picture, len(self.frames), config.seed)
        background = self._background(picture)
        target = self.frames.target(place, half=self._coarse, background=background)
        fields = self._learnt_fields()
        rotvecs = self.rotvecs[place].clone().requires_grad_()
        translation = self.translation[place].clone().requires_grad_()
        leaves = self.appearance.leaves(place)
        cloud = self._pose_cloud(fields, rotvecs, translation, place, leaves)
        cloud.means_world.retain_grad()
        image = self.rasterizer(cloud, target.camera, background)
        target = target.agreeing_beyond(image)
        judged = None if self.confidence is None else self.confidence.judge(image, target.rgb, target.mask)
        loss, terms = image_loss(image, target, config.loss, self._pixel_weights(target, judged))
        if self.lpips is not None:
            loss = loss + config.loss.lpips * self.lpips.loss(image.rgb, target.rgb, expects_signed=True)
        loss = loss + self.appearance.penalty(leaves)
        loss.backward()
        if judged is not None:
            terms |= {"likelihood": judged.likelihood}
        return Look(
            place=place, target=target, image=image.map(Tensor.detach), loss=float(loss.detach()), terms=terms,
            gradients=gradients_of(fields), rotvecs=rotvecs.grad, translation=translation.grad, leaves=leaves,
            judged=judged, sighting=sighting_of(cloud, target),
        )  # fmt: skip

    def _train_step(self) -> Step:
        config, step = self.config, self.step
        each = config.pictures_per_step
        looks = side_by_side(lambda k: self._look(each * step + k), each)
        fields = self._learnt_fields()
        held = splat_loss(
            fields, self.state, config.loss, max_scale_m=config.density.max_scale_m, neighbours=self.neighbours,
            hold=0.0 if step % _HOLD_EVERY else float(_HOLD_EVERY),
        )  # fmt: skip
        held.backward()
        decay = config.rates.final_share ** (step / config.num_steps)
        self.adam.step(self.state, summed(gradients_of(fields), looks), config.rates, decay)
        self.appearance.step([look.leaves for look in looks if look.leaves is not None], decay)
        for look in looks:
            self._pose_step(look, decay)
            self._note_sighting(look)
            self.appearance.observe(look.place, look.image, look.target)
            if self.confidence is not None and look.judged is not None:
                self.confidence.learn(look.judged)
        self.step += 1
        loss = float(held.detach()) + sum(look.loss for look in looks) / each
        return Step(step=self.step, num_steps=config.num_steps, loss=loss, terms=mean_terms(looks))

    @property
    def _coarse(self) -> bool:
        return self.step < self.config.coarse_share * self.config.num_steps

    def _pose_step(self, look: Look, decay: float) -> None:
        if look.rotvecs is None or look.translation is None:
            return
        rates, place = self.config.rates, look.place
        pull = self.config.loss.pose * (self.rotvecs[place] - self.prior_rotvecs[place])
        gradient = (look.rotvecs + pull) * self.trainable
        self.rotvec_adam.step(self.rotvecs, place, gradient, rates.rotvecs_rad * decay)
        self.translation_adam.step(self.translation, place, look.translation, rates.translation_m * decay)

    def _note_sighting(self, look: Look) -> None:
        if look.sighting is not None:
            self.evidence.gradient_sum.add_(look.sighting.gradient)
            self.evidence.sightings.add_(look.sighting.seen)
            self.evidence.outside.add_(look.sighting.outside)

    # --- what happens between steps -------------------------------------------------------------------------------

    def _density_event(self) -> Densified:
        groups = self.groups_of_faces[self.state.faces]
        outcome = control_density(
            self.state,
            self.evidence,
            groups,
            self.surfaces.distance_m(self.state.means, groups),
            self.history,
            self.config.density,
            max_splats=self.config.max_splats,
            step=self.step,
            generator=torch_rng(self.config.seed, f"density {self.step}"),
        )
        self.state, self.history = outcome.state, outcome.history
        self._bind()
        self.adam.follow(outcome.origin)
        self.evidence = no_evidence(len(outcome.origin))
        self.log.append(outcome.event)
        return outcome.event

    def _open_view_dependence(self) -> None:
        """From here on colour may depend on the direction of view."""
        more = (self.config.sh_degree + 1) ** 2 - 1
        self.state = self.state.replace(sh_rest=torch.zeros(len(self.state.means), more, 3))
        self.adam.restart("sh_rest", self.state.sh_rest)

    def _registration_round(self) -> None:
        """Move every training pose onto its frame; the pull is to the landmark fit."""
        config = self.config.register
        if self.step > round(self.config.register_at[0] * self.config.num_steps):
            config = dataclasses.replace(config, rounds=0)  # flow finds the way from afar; from here it is near
        problem = PoseProblem(
            self.rig, self.frames.half, self.frames.times_s, self.rotvecs, self.translation,
            config, prior_rotvecs=self.prior_rotvecs, prior_translation_m=self.prior_translation, dress=self._dress,
            held=landmark_trust(self.rig, self.track, self.frames.rows),
        )  # fmt: skip
        register_poses(problem, as_splats(self.state), self.rasterizer)
        if not self.appearance.correctives.active:  # they know poses by where these are now
            problem.centre()
        self.rotvecs, self.translation = problem.rotvecs, problem.translation
        self.rotvec_adam.reset()
        self.translation_adam.reset()

    def _dress(self, splats: Splats, R_world_rest: Tensor, place: int) -> Splats:
        """The splats at rest as a training frame shows them: facial actions, correctives, exposure."""
        acted = (self.expression[place] @ self.action_deltas).reshape(-1, 3)
        rest, gain = self.appearance.apply(splats.means_rest_m, R_world_rest, place)
        sh = splats.sh if gain is None else brightened(splats.sh, gain)
        return splats.replace(means_rest_m=rest.index_add(0, self.action_splats, acted), sh=sh)

    def _color_seeds(self) -> None:
        colors, weight = observed_colors(self.state, self.frames, self._cloud_at, self.rasterizer)
        colors = spread_colors(colors, (weight / 1.0).clamp(max=1.0), self.state.means)
        self.state = self.state.replace(sh=rgb_to_sh(colors.clamp(0.02, 0.98)))

    # --- the run --------------------------------------------------------------------------------------------------

    def run(self) -> Iterator[Event]:
        """Train to the end, from the last checkpoint where there is one."""
        config = self.config
        if not self._load_checkpoint():
            self._color_seeds()
        register_steps = {round(share * config.num_steps) for share in config.register_at}
        density = config.density
        every = max(1, round(density.every * config.num_steps))
        opening = round(config.sh_from * config.num_steps) if config.sh_degree else -1
        save_every = max(1, round(config.checkpoint_every * config.num_steps))
        show_every = max(1, round(PREVIEW_SHARE * config.num_steps))
        while self.step < config.num_steps:
            if self.appearance.begin_due(self.step, config.num_steps, self.frames, self.rotvecs):
                self._bind()
            yield self._train_step()
            if self.step % show_every == 0:
                take = functools.partial(preview, self.state, self.rig)
                yield Previewed(step=self.step, num_steps=config.num_steps, take=take)
            progress = self.step / config.num_steps
            if density.start <= progress <= density.stop and self.step % every == 0:
                yield self._density_event()
            if self.step == opening:
                self._open_view_dependence()
            if self.step in register_steps:
                yield Progress(stage="register", done=self.step, total=config.num_steps)
                self._registration_round()
            if self.step % save_every == 0 or self.step == config.num_steps:
                self._save_checkpoint()
                yield Checkpointed(step=self.step, path=str(self.checkpoint))

    def confidence_maps(self, count: int = 6) -> tuple[ConfidenceMap, ...]:
        """The learnt noise in some frames spread over the video; none where it was not learnt."""
        if self.confidence is None:
            return ()
        maps, fields = [], {name: getattr(self.state, name) for name in LEARNT}
        for place in spread_places(len(self.frames), count):
            target = self.frames.target(place, half=False, background=torch.zeros(3))
            with torch.no_grad():
                image = self.rasterizer(self._cloud_at(fields, place), target.camera)
                noise = self.confidence.noise(image)
            picture = (image.rgb.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8)
            index = self.frames.full[place].frame_index
            maps.append(ConfidenceMap(frame_index=index, rendered=picture, noise=noise))
        return tuple(maps)

    def avatar(self) -> Avatar:
        """The baked result."""
        normals = birth_normals(self.state, self.rest.vertices_rest, self.body.faces)
        shares = seen_shares(self.state, normals, self.frames, self._cloud_at, self.rasterizer)
        correctives = self.appearance.baked(self.state.faces, self.state.barycentric, self.rotvecs)
        return bake(
            self.state, shares, self.body, self.rest, self.capture.info.sha256, correctives, self._shown_outside
        )  # fmt: skip

    def _shown_outside(self, laid: Splats) -> Float[Tensor, " m"]:
        """How much of splats laid over the trained ones the frames would show beside the person."""

        def laid_at(place: int) -> SplatCloud:
            rotvecs, translation = self.rotvecs[place][None], self.translation[place][None]
            R, t = fast_bone_transforms(rotvecs, self.joints_rest, translation, self.body.bone_parents)
            return pose_splats(laid, R[0], t[0])

        return shown_outside(self.state, laid_at, self.frames, self._cloud_at, self.rasterizer)

    # --- checkpoints ----------------------------------------------------------------------------------------------

    def _fingerprint(self) -> str:
        """Changes when a checkpoint of another configuration or track must not be continued."""
        digest = hashlib.sha256(json.dumps(dataclasses.asdict(self.config), sort_keys=True).encode())
        digest.update(b"checkpoint 4")
        digest.update(self.prior_rotvecs.numpy().tobytes())
        return digest.hexdigest()

    def _save_checkpoint(self) -> None:
        tensors = {f"state.{f.name}": getattr(self.state, f.name) for f in dataclasses.fields(self.state)}
        tensors |= {f"evidence.{f.name}": getattr(self.evidence, f.name) for f in dataclasses.fields(self.evidence)}
        tensors |= {"rotvecs": self.rotvecs, "translation": self.translation, "history": self.history.gradient}
        for label, part in self._kept_parts():
            tensors |= {f"{label}.{name}": value for name, value in part.tensors().items()}
        facts = {"step": str(self.step), "fingerprint": self._fingerprint(), "log": self.log.to_json()}
        write_tensors(self.checkpoint, tensors, facts)

    def _kept_parts(self) -> list[tuple[str, Any]]:
        """What writes and restores itself, by its name in the checkpoint."""
        parts: list[tuple[str, Any]] = [
            ("rotvec_adam", self.rotvec_adam),
            ("translation_adam", self.translation_adam),
            ("adam", self.adam),
        ]
        parts.append(("appearance", self.appearance))
        return parts if self.confidence is None else [*parts, ("confidence", self.confidence)]

    def _load_checkpoint(self) -> bool:
        if not self.checkpoint.exists():
            return False
        tensors, metadata = read_tensors(self.checkpoint)
        if metadata.get("fingerprint") != self._fingerprint():
            return False
        self.step = int(metadata["step"])
        self.state = SplatState(**under("state", tensors))
        self.evidence = SplatEvidence(**under("evidence", tensors))
        self.history = DensityHistory(gradient=tensors["history"])
        self.log = TrainingLog.from_json(metadata["log"])
        self._bind()
        for label, part in self._kept_parts():
            part.restore(under(label, tensors))
        self.appearance.bind(self.state.faces, self.state.barycentric)
        self.rotvecs, self.translation = tensors["rotvecs"], tensors["translation"]
        return True


def reconstruct(
    capture: Capture,
    body: BodyModel,
    config: SplatsConfig,
    checkpoint_dir: Path,
    device: str,
    *,
    onto: RestSurface | None = None,
) -> Iterator[Event]:
    """Train the splat avatar of a capture; the result lies in `checkpoint_dir` for `load_result` when the events end.

    Args:
        capture: With observations, masks and a fitted track.
        body: The body of that track.
        config: Hyper-parameters.
        checkpoint_dir: Where checkpoints and the result go; an interrupted run continues from there.
        device: `auto`, `cpu` or `cuda`.
        onto: A clothed surface on which the splats begin, instead of on the bare body.
    """
    trainer = Trainer(capture, body, config, make_rasterizer(device), checkpoint_dir, onto)
    yield from trainer.run()
    save_poses(
        checkpoint_dir,
        trainer.frames.rows,
        trainer.rotvecs,
        trainer.translation,
        gains=frame_gains(trainer.appearance, len(trainer.frames)),
    )
    write_log(checkpoint_dir, trainer.log, trainer.confidence_maps())
    save_avatar(trainer.avatar(), checkpoint_dir / AVATAR)
