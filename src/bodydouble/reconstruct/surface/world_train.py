"""Learning a moving camera's world from what is surely background, in about two minutes on two cores.

Gaussian splatting (Kerbl et al. 2023) without spherical harmonics: seeds cover all that was seen (`world_seed`), then
Adam on places, sizes, turns, opacities and colours; splats on which errors stay are split in two now and then. The
person's outline, widened, takes no part: there other frames must tell. Each frame has a gain per channel.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.body.protocol import BodyModel
from bodydouble.capture.camera_motion import CameraMotion
from bodydouble.capture.folder import Capture
from bodydouble.capture.values import BodyTrack
from bodydouble.core.errors import InputError
from bodydouble.core.events import Done, Evaluated, Event, Progress, Step
from bodydouble.core.seeds import torch_rng
from bodydouble.fit.camera_cover import body_cover
from bodydouble.reconstruct.surface.world_config import WorldConfig
from bodydouble.reconstruct.surface.world_seed import seed_world, shrunk
from bodydouble.reconstruct.surface.world_splats import MovingWorld, WorldSplats, filled
from bodydouble.render.adam import AdamMoments, adam_step, zero_moments
from bodydouble.render.protocol import Rasterizer, RenderedSplats
from bodydouble.render.select import make_rasterizer

Emit = Callable[[Event], None]
_SEED_FRAMES = 16
_TOLD_EVERY = 25
_SSIM_SHARE = 0.2
_GAIN_SHARE = 0.1
"""Of the way to the gain that a frame asks for, each time it is looked at."""
_MOST_GAIN = 0.5
_FIELDS = ("means_world", "log_scales", "quats_wxyz", "logit_opacities", "colors")


@dataclass(frozen=True)
class _View:
    row: int
    target: Float[Tensor, "height width 3"]
    weight: Float[Tensor, "height width"]


def learn_world(
    capture: Capture,
    track: BodyTrack,
    body: BodyModel,
    motion: CameraMotion,
    emit: Emit,
    config: WorldConfig | None = None,
    *,
    device: str = "auto",
) -> MovingWorld:
    """The world behind the person, from the frames that are open to training.

    Args:
        capture: Gives the frames.
        track: The fitted body: where the person is.
        body: Its model.
        motion: The cameras (`fit.camera_find.find_camera_motion`), of the track's frames.
        emit: Told about progress.
        config: How.
        device: Of the rasteriser.
    Raises:
        InputError: When no frame shows the background.
    """
    config = config or WorldConfig()
    started = time.monotonic()
    rasterizer = make_rasterizer(device)
    views = _views(capture, track, body, motion, config, emit)
    chosen = views[:: max(1, len(views) // _SEED_FRAMES)]
    splats = seed_world(
        {v.row: (v.target * 255.0).round().to(torch.uint8).numpy() for v in chosen},
        {v.row: (v.weight > 0.5).numpy() for v in chosen},
        motion,
        rasterizer,
        step_px=config.seed_step_px,
        most_splats=config.most_seeds,
    )
    if not len(splats.means_world):
        raise InputError(
            f"{capture.folder}: no frame shows any background beside the person; a moving camera's world cannot be learnt."
        )
    trainer = _Trainer(splats, views, motion, rasterizer, config)
    trainer.run(emit)
    emit(Done(stage="world", seconds=time.monotonic() - started))
    return MovingWorld(trainer.splats, motion, rasterizer)


def _views(
    capture: Capture, track: BodyTrack, body: BodyModel, motion: CameraMotion, config: WorldConfig, emit: Emit
) -> list[_View]:
    import cv2

    cover = body_cover(track, body, margin=config.cover_margin)
    allowed = set(capture.train_indices())
    row_of = {int(index): row for row, index in enumerate(track.frame_indices.tolist())}
    rows = [row for index, row in row_of.items() if index in allowed and bool(motion.seen[row])]
    rows = [rows[k] for k in np.unique(np.linspace(0, len(rows) - 1, min(len(rows), config.max_frames)).astype(int))]
    wanted = {int(track.frame_indices[row]): row for row in rows}
    shrink = min(1.0, config.size_px / max(track.width_px, track.height_px))
    size = (round(track.width_px * shrink), round(track.height_px * shrink))
    views = []
    for frame in capture.frames(sorted(wanted)):
        row = wanted[frame.index]
        target = cv2.resize(frame.rgb, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255.0
        planes = torch.from_numpy(np.ascontiguousarray(target.transpose(2, 0, 1)))  # as renders lie in memory
        weight = 1.0 - cv2.resize(cover(row).astype(np.float32), size, interpolation=cv2.INTER_AREA)
        views.append(_View(row, planes.permute(1, 2, 0), torch.from_numpy((weight > 0.99).astype(np.float32))))
        emit(Progress(stage="world: frames", done=len(views), total=len(rows), unit="frames"))
    return [view for view in views if float(view.weight.mean()) > 0.02]


class _Trainer:
    def __init__(
        self,
        splats: WorldSplats,
        views: list[_View],
        motion: CameraMotion,
        rasterizer: Rasterizer,
        config: WorldConfig,
    ) -> None:
        self.splats = splats.map(lambda t: t.contiguous().clone())
        self._views, self._motion, self._rasterizer, self._config = views, motion, rasterizer, config
        self._moments = {name: zero_moments(getattr(self.splats, name)) for name in _FIELDS}
        self._pull = torch.zeros(len(splats.means_world))
        self._rng = torch_rng(config.seed, "world")
        eyes = motion.eyes_world().float()
        self._extent = float((splats.means_world - eyes.mean(0)).norm(dim=-1).median())

    def run(self, emit: Emit) -> None:
        config = self._config
        splits = {max(1, round(share * config.num_steps)) for share in config.split_at}
        order: list[int] = []
        losses: list[float] = []
        for step in range(1, config.num_steps + 1):
            if not order:
                order = torch.randperm(len(self._views), generator=self._rng).tolist()
            losses.append(self._step(self._views[order.pop()], step))
            if step in splits:
                self._split()
            if step % _TOLD_EVERY == 0 or step == config.num_steps:
                emit(Step(step=step, num_steps=config.num_steps, loss=float(np.mean(losses))))
                losses = []
        emit(Evaluated(step=config.num_steps, figures={"world_psnr": self.psnr()}))

    def psnr(self) -> float:
        """Mean over trained views, where they are background, dB."""
        found = []
        with torch.no_grad():
            for view in self._views[:: max(1, len(self._views) // 8)]:
                image = self._drawn(view, self.splats, torch.zeros(3))
                shown = filled(image.rgb.contiguous(), image.alpha) * self.splats.log_gains[view.row].exp()
                error = ((shown - view.target) ** 2).mean(-1)
                found.append(-10.0 * float(((error * view.weight).sum() / view.weight.sum()).log10()))
        return float(np.mean(found))

    def _drawn(self, view: _View, splats: WorldSplats, behind: Float[Tensor, "3"]) -> RenderedSplats:
        height, width = view.target.shape[:2]
        camera = shrunk(self._motion.camera(view.row), width, height)
        return self._rasterizer(splats.cloud(), camera, behind)

    def _step(self, view: _View, step: int) -> float:
        from bodydouble.render.losses import photometric_loss

        learnt = {name: getattr(self.splats, name).requires_grad_() for name in _FIELDS}
        # Another colour behind it each time: what was seen must be opaque, or dark lines would be gaps.
        behind = torch.rand(3, generator=self._rng)
        image = self._drawn(view, self.splats.replace(**learnt), behind)
        shown = image.rgb * self.splats.log_gains[view.row].exp()
        # Behind the person the picture is taken for right: there it pulls at nothing.
        weight = view.weight[..., None]
        target = view.target * weight + shown.detach() * (1.0 - weight)
        loss = photometric_loss(
            shown, target, l1_weight=1.0 - _SSIM_SHARE, ssim_weight=_SSIM_SHARE, pixel_map=view.weight
        ).total
        loss.backward()
        self._learn_gain(view, shown.detach())
        share = step / self._config.num_steps
        rates = self._rates(share)
        with torch.no_grad():
            for name, value in learnt.items():
                gradient = value.grad
                assert gradient is not None
                value.requires_grad_(False)
                value.grad = None
                if name == "means_world":
                    self._pull += gradient.norm(dim=-1)
                adam_step(value, gradient, self._moments[name], step=step, lr=rates[name], eps=1e-15)
            self.splats.log_scales.clamp_(max=float(np.log(0.5 * self._extent)))
        return float(loss.detach())

    def _rates(self, share: float) -> dict[str, float]:
        c = self._config
        sinking = 0.1**share
        return {
            "means_world": c.rate_means * self._extent * 0.01**share,
            "log_scales": c.rate_scales * sinking,
            "quats_wxyz": c.rate_quats * sinking,
            "logit_opacities": c.rate_opacities * sinking,
            "colors": c.rate_colors * sinking,
        }

    def _learn_gain(self, view: _View, shown: Float[Tensor, "height width 3"]) -> None:
        """The gain that the frame asks for, as a ratio of means; all gains together stay around one."""
        weight = view.weight[..., None]
        there, here = (view.target * weight).sum((0, 1)) + 1e-3, (shown * weight).sum((0, 1)) + 1e-3
        gains = self.splats.log_gains
        gains[view.row] += _GAIN_SHARE * (there / here).log().clamp(-_MOST_GAIN, _MOST_GAIN)
        rows = torch.tensor([v.row for v in self._views])
        gains[rows] -= gains[rows].mean(0)
        gains.clamp_(-_MOST_GAIN, _MOST_GAIN)

    def _split(self) -> None:
        """The splats that are pulled most become two, side by side along their longest axis."""
        from bodydouble.core.geometry import quat_wxyz_to_matrix

        n = len(self.splats.means_world)
        count = min(round(self._config.split_share * n), self._config.most_splats - n)
        if count <= 0:
            return
        worst = self._pull.topk(count).indices
        splats = self.splats
        axes = quat_wxyz_to_matrix(torch.nn.functional.normalize(splats.quats_wxyz[worst], dim=-1))
        sizes = splats.log_scales[worst].exp()
        longest = sizes.argmax(dim=-1)
        along = axes[torch.arange(count), :, longest] * sizes.gather(1, longest[:, None])
        kept = {name: getattr(splats, name) for name in _FIELDS}
        kept["means_world"][worst] -= 0.5 * along
        kept["log_scales"][worst, longest] += float(np.log(0.6))
        born = {name: value[worst].clone() for name, value in kept.items()}
        born["means_world"] += along
        self.splats = splats.replace(**{name: torch.cat([kept[name], born[name]]).contiguous() for name in _FIELDS})
        self._moments = {
            name: AdamMoments(first=_with_zeros(m.first, count), second=_with_zeros(m.second, count))
            for name, m in self._moments.items()
        }
        self._pull = torch.zeros(n + count)


def _with_zeros(values: Tensor, count: int) -> Tensor:
    return torch.cat([values, torch.zeros(count, *values.shape[1:])])
