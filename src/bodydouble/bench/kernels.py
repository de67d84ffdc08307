"""Suite `kernels`: the render kernels against their budgets, and against plain torch in the same run.

Budgets are for two otherwise idle x86 cores with AVX2 or better. Milliseconds depend on the machine and on its other
work; the ratios to torch code that runs in the same minutes, one thread each, hardly do: the gate looks at these alone.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from bodydouble.bench import gsplat_torch
from bodydouble.bench.measure import Ratio, ratio, timing
from bodydouble.bench.rows import Row
from bodydouble.bench.scenes import figure_camera, figure_splats, rotated_bones
from bodydouble.core.cameras import look_at_camera
from bodydouble.core.events import Event, Progress
from bodydouble.render.adam import adam_step, zero_moments
from bodydouble.render.cpu import CpuRasterizer
from bodydouble.render.grid import GridOptimizer, sample_grid, sample_grid_reference
from bodydouble.render.losses import photometric_loss, photometric_loss_reference, planar
from bodydouble.render.mesh import rasterize_mesh
from bodydouble.render.protocol import RenderedSplats, SplatCloud
from bodydouble.render.reference import rasterize_reference
from bodydouble.render.skin import skin_splats, skin_splats_reference
from bodydouble.render.warm_up import warm_up

SUITE = "kernels"
_RATIO_TOLERANCE = 0.4
"""A ratio may fall this share below the baseline: noise of a busy machine is half of that."""
_FIELDS = ("means_world", "quats_wxyz", "scales_m", "opacities", "sh")


def run(*, quick: bool = False, emit: Callable[[Event], None] = lambda event: None) -> tuple[list[Row], list[str]]:
    """Measure.

    Args:
        quick: Leave out the sizes that have no budget, and gsplat's reference.
        emit: Told about progress.
    Returns:
        The rows, and remarks on what could not be measured.
    """
    warm_up(emit)
    parts = 2 if quick else 3
    emit(Progress(stage="kernels", done=0, total=parts, unit="parts"))
    rows = _timed(quick)
    emit(Progress(stage="kernels", done=1, total=parts, unit="parts"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rows += [_ratio_row(name, found) for name, found in _ratios()]
        remarks = []
        emit(Progress(stage="kernels", done=2, total=parts, unit="parts"))
        if not quick:
            gsplat = _ratio_to_gsplat()
            if isinstance(gsplat, str):
                remarks.append(f"gsplat's torch reference: not measured ({gsplat})")
            else:
                rows.append(_ratio_row("rasterise f+b, 20k at 512²: gsplat's torch reference", gsplat, optional=True))
                remarks.append("gsplat's search for pairs is left out of its time; its CUDA-only scans run in torch.")
    finally:
        torch.set_num_threads(threads)
    emit(Progress(stage="kernels", done=parts, total=parts, unit="parts"))
    return rows, remarks


def _ratio_row(name: str, found: Ratio, *, optional: bool = False) -> Row:
    return Row(
        suite=SUITE,
        name=f"faster than {name}",
        value=found.times_faster,
        unit="x",
        better="higher",
        tolerance=None if optional else _RATIO_TOLERANCE,
        tolerance_kind="relative",
    )


def _timed(quick: bool) -> list[Row]:
    forward, both = _raster_jobs(20_000, 512)
    jobs: list[tuple[str, Callable[[], object], float | None]] = [
        ("rasterise 20k splats at 512², forward", forward, 6.0),
        ("rasterise 20k splats at 512², forward + backward", both, 12.0),
        ("full training step, 20k splats at 512²", _TrainingStep(20_000, 512), 30.0),
        ("z-buffer, 30k triangles at 720p", _mesh_job(), None),
        ("trilinear grid, 16 channels, 100k points, forward + backward", _grid_job(100_000), 12.0),
    ]
    for num_splats, size_px in () if quick else ((5_000, 256), (20_000, 256), (100_000, 512), (20_000, 1024)):
        _, both = _raster_jobs(num_splats, size_px)
        jobs.append((f"rasterise {num_splats // 1000}k splats at {size_px}², forward + backward", both, None))
    rows = []
    for name, work, budget in jobs:
        found = timing(work, seconds=1.0 if quick else 2.0)
        rows.append(
            Row(suite=SUITE, name=f"{name}, median", value=found.median_ms, unit="ms", better="lower", budget=budget)
        )
        rows.append(Row(suite=SUITE, name=f"{name}, best", value=found.best_ms, unit="ms", better="lower"))
    return rows


def _leaves(splats: SplatCloud) -> SplatCloud:
    """A copy that collects gradients."""
    return splats.map(lambda t: t.clone().requires_grad_())


def _backward(splats: SplatCloud, image: RenderedSplats, weights: tuple[torch.Tensor, ...]) -> None:
    """Gradients of all splat tensors for given gradients of colour and alpha."""
    outputs = [image.rgb, image.alpha]
    torch.autograd.grad(outputs, [getattr(splats, name) for name in _FIELDS], list(weights))


def _raster_jobs(num_splats: int, size_px: int) -> tuple[Callable[[], object], Callable[[], object]]:
    """Forward, and forward with backward, of the CPU rasteriser."""
    rasterize, camera = CpuRasterizer(), figure_camera(size_px)
    plain = figure_splats(num_splats)
    splats = _leaves(plain)
    weights = (planar(torch.randn(size_px, size_px, 3)), torch.randn(size_px, size_px))
    return lambda: rasterize(plain, camera), lambda: _backward(splats, rasterize(splats, camera), weights)


class _TrainingStep:
    """One full step: skin, rasterise, L1 + SSIM, backward, Adam on every tensor of the splats."""

    def __init__(self, num_splats: int, size_px: int) -> None:
        self.rest, self.camera = figure_splats(num_splats), figure_camera(size_px)
        rng = torch.Generator().manual_seed(1)
        self.R, self.t = rotated_bones(100)
        self.joints = torch.randint(0, 100, (num_splats, 4), generator=rng, dtype=torch.int32)
        self.weights = torch.softmax(2.0 * torch.randn(num_splats, 4, generator=rng), dim=1)
        self.values = {
            "means": self.rest.means_world.clone(),
            "quats": self.rest.quats_wxyz.clone(),
            "log_scales": self.rest.scales_m.log(),
            "logits": torch.logit(self.rest.opacities),
            "sh": self.rest.sh.clone(),
        }
        self.moments = {name: zero_moments(value) for name, value in self.values.items()}
        self.target = planar(torch.rand(size_px, size_px, 3, generator=rng))
        self.step = 0

    def __call__(self) -> None:
        self.step += 1
        p = {name: value.requires_grad_() for name, value in self.values.items()}
        R, t = self.R.requires_grad_(), self.t.requires_grad_()
        means, quats = skin_splats(p["means"], p["quats"], R, t, self.joints, self.weights)
        cloud = SplatCloud(
            means_world=means,
            quats_wxyz=quats,
            scales_m=p["log_scales"].exp(),
            opacities=p["logits"].sigmoid(),
            sh=p["sh"],
        )
        image = CpuRasterizer()(cloud, self.camera)
        loss = photometric_loss(image.rgb, self.target).total
        gradients = torch.autograd.grad(loss, [*p.values(), R, t])
        for (name, value), gradient in zip(self.values.items(), gradients, strict=False):
            # A rate of zero: the scene, and with it the work, stays the same from step to step.
            adam_step(value.detach(), gradient, self.moments[name], step=self.step, lr=0.0)


def _mesh_job() -> Callable[[], object]:
    """A sphere of 30,000 triangles that fills half of a 720p image."""
    rings, sectors = 101, 150
    theta = torch.linspace(0.01, 3.13, rings)[:, None]
    phi = torch.arange(sectors) * (2 * torch.pi / sectors)
    vertices = torch.stack(
        [theta.sin() * phi.sin(), theta.cos().expand(-1, sectors), theta.sin() * phi.cos()], dim=-1
    ).reshape(-1, 3)
    r, s = torch.meshgrid(torch.arange(rings - 1), torch.arange(sectors), indexing="ij")
    a, b = r * sectors + s, r * sectors + (s + 1) % sectors
    faces = torch.cat([torch.stack([a, a + sectors, b], -1), torch.stack([b, a + sectors, b + sectors], -1)]).reshape(
        -1, 3
    )
    camera = look_at_camera(
        torch.tensor([0.0, 0.0, 3.0]), torch.zeros(3), width_px=1280, height_px=720, focal_px=1100.0
    )
    return lambda: rasterize_mesh(vertices, faces, camera)


def _grid_job(num_points: int, cells: int = 192, sample: Callable = sample_grid) -> Callable[[], object]:
    """Values and distance gradients near the visible half of a surface, and all their gradients."""
    rng = torch.Generator().manual_seed(2)
    values = torch.randn(cells, cells, cells // 2, 16, generator=rng)
    direction = torch.nn.functional.normalize(torch.randn(num_points, 3, generator=rng), dim=1)
    direction[:, 2] = direction[:, 2].abs()
    height = 0.35 + 0.015 * torch.randn(num_points, 1, generator=rng)
    middle = 0.005 * torch.tensor([cells, cells, 0.0])
    points = (middle + direction * height * cells / 192).requires_grad_()
    incoming = [torch.randn(num_points, 16, generator=rng), torch.randn(num_points, 3, generator=rng)]
    if sample is not sample_grid:
        values.requires_grad_()
        return lambda: torch.autograd.grad(
            list(sample(values, torch.zeros(3), 0.01, points)), [values, points], incoming
        )
    optimizer = GridOptimizer(values)

    def work() -> None:
        found = sample_grid(values, torch.zeros(3), 0.01, points, optimizer)
        torch.autograd.grad(list(found), points, incoming)
        optimizer.forget()

    return work


def _ratio_to_reference() -> Ratio:
    """Against our own reference, on a scene that it can bear: it evaluates every splat at every pixel."""
    splats, camera = _leaves(figure_splats(500)), figure_camera(64)
    weights = (planar(torch.randn(64, 64, 3)), torch.randn(64, 64))
    ours = CpuRasterizer()
    return ratio(
        lambda: _backward(splats, ours(splats, camera), weights),
        lambda: _backward(splats, rasterize_reference(splats, camera), weights),
    )


def _ratio_to_gsplat() -> Ratio | str:
    """Against gsplat's torch reference, on the scene of the budgets; or why it cannot be measured."""
    missing = gsplat_torch.why_not()
    if missing:
        return missing
    camera, splats = figure_camera(512), _leaves(figure_splats(20_000))
    pairs = gsplat_torch.visible_pairs(splats, camera)
    image, _ = gsplat_torch.rasterize(splats, camera, pairs)
    ours = CpuRasterizer()
    expected = ours(splats, camera)
    worst = float((image[..., :3] - expected.rgb).detach().abs().max())
    if worst > 0.02:
        raise AssertionError(f"gsplat's image differs from ours by {worst:.3f}: the comparison would mean nothing.")
    weights = (planar(torch.randn(512, 512, 3)), torch.randn(512, 512))
    inputs = [getattr(splats, name) for name in _FIELDS]

    def theirs() -> None:
        image, alpha = gsplat_torch.rasterize(splats, camera, pairs)
        torch.autograd.grad([image[..., :3], alpha], inputs, list(weights))

    return ratio(
        lambda: _backward(splats, ours(splats, camera), weights),
        theirs,
        rounds=2,
    )


def _ratios() -> list[tuple[str, Ratio]]:
    """Rasteriser, loss, skinning and Adam against torch."""
    rendered, target = planar(torch.rand(512, 512, 3)).requires_grad_(), planar(torch.rand(512, 512, 3))
    step = _TrainingStep(20_000, 32)
    means, quats = step.values["means"].requires_grad_(), step.values["quats"].requires_grad_()
    inputs = [means, quats, step.R.requires_grad_(), step.t.requires_grad_()]
    incoming = [torch.randn_like(means), torch.randn_like(quats)]

    def skinning(skin: Callable) -> Callable[[], object]:
        return lambda: torch.autograd.grad(skin(*inputs, step.joints, step.weights), inputs, incoming)

    parameter = torch.randn(280_000)
    theirs = parameter.clone().requires_grad_()
    theirs.grad = torch.randn_like(parameter)
    optimiser, moments = torch.optim.Adam([theirs], lr=1e-3), zero_moments(parameter)
    gradient = theirs.grad
    return [
        ("rasterise f+b, 500 at 64²: our slow reference", _ratio_to_reference()),
        (
            "L1 + SSIM f+b at 512²: separable convolutions",
            ratio(
                lambda: photometric_loss(rendered, target).total.backward(),
                lambda: photometric_loss_reference(rendered, target).total.backward(),
            ),
        ),
        (
            "skinning f+b, 20k: gathered matrices",
            ratio(skinning(skin_splats), skinning(skin_splats_reference)),
        ),
        (
            "trilinear grid f+b, 20k points in 64 x 64 x 32 cells: plain torch",
            ratio(_grid_job(20_000, 64), _grid_job(20_000, 64, sample_grid_reference)),
        ),
        (
            "Adam, 280k numbers: torch.optim.Adam",
            ratio(
                lambda: adam_step(parameter, gradient, moments, step=5, lr=1e-3),
                lambda: optimiser.step(),
            ),
        ),
    ]
