"""Times the render kernels against their budgets, and against plain torch in the same run.

    python benchmarks/kernels.py                 table
    python benchmarks/kernels.py --json out.json  the same figures for machines
    python benchmarks/kernels.py --gate           exit with 1 if a ratio to torch fell below the committed baseline
    python benchmarks/kernels.py --update         write the committed baseline (a deliberate act)

Budgets are for two otherwise idle x86 cores with AVX2 or better. Milliseconds depend on the machine and on its other
work; the ratios to torch code that runs in the same minutes, one thread each, hardly do: the gate looks at these alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line sets it, before torch is loaded

import gsplat_torch
import torch
from scenes import figure_camera, figure_splats, rotated_bones

from bodydouble.core.cameras import look_at_camera
from bodydouble.render.adam import adam_step, zero_moments
from bodydouble.render.cpu import CpuRasterizer, hot_kernels
from bodydouble.render.losses import photometric_loss, photometric_loss_reference, planar
from bodydouble.render.mesh import rasterize_mesh
from bodydouble.render.protocol import RenderedSplats, SplatCloud
from bodydouble.render.reference import rasterize_reference
from bodydouble.render.skin import skin_splats, skin_splats_reference
from bodydouble.render.warm_up import warm_up

BASELINE = Path(__file__).with_name("baseline.json")
GATE_TOLERANCE = 0.4
"""A ratio may fall this far below the baseline: noise of a busy machine is half of that."""
FIELDS = ("means_world", "quats_wxyz", "scales_m", "opacities", "sh")


@dataclass(frozen=True, kw_only=True)
class Timing:
    """One line of the table."""

    name: str
    median_ms: float
    best_ms: float
    budget_ms: float | None = None


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """How much faster than torch; higher is better."""

    name: str
    ours_ms: float
    torch_ms: float
    times_faster: float


def measure(work: Callable[[], object], *, seconds: float, least: int = 5) -> list[float]:
    """Milliseconds of repeated runs, after one that is thrown away."""
    work()
    times: list[float] = []
    deadline = time.perf_counter() + seconds
    while len(times) < least or time.perf_counter() < deadline:
        start = time.perf_counter()
        work()
        times.append(1e3 * (time.perf_counter() - start))
    return times


def timing(name: str, work: Callable[[], object], *, budget_ms: float | None = None, seconds: float = 2.0) -> Timing:
    """Measure one piece of work."""
    times = measure(work, seconds=seconds)
    return Timing(name=name, median_ms=statistics.median(times), best_ms=min(times), budget_ms=budget_ms)


def ratio(name: str, ours: Callable[[], object], theirs: Callable[[], object], *, rounds: int = 3) -> Ratio:
    """Measure two pieces of work in turn, so that both see the same machine."""
    a: list[float] = []
    b: list[float] = []
    for _ in range(rounds):
        a += measure(ours, seconds=0.3, least=3)
        b += measure(theirs, seconds=0.3, least=2)
    x, y = statistics.median(a), statistics.median(b)
    return Ratio(name=name, ours_ms=x, torch_ms=y, times_faster=y / x)


def leaves(splats: SplatCloud) -> SplatCloud:
    """A copy that collects gradients."""
    return splats.map(lambda t: t.clone().requires_grad_())


def backward(splats: SplatCloud, image: RenderedSplats, weights: tuple[torch.Tensor, ...]) -> None:
    """Gradients of all splat tensors for given gradients of colour and alpha."""
    outputs = [image.rgb, image.alpha]
    torch.autograd.grad(outputs, [getattr(splats, name) for name in FIELDS], list(weights))


def raster_jobs(num_splats: int, size_px: int) -> tuple[Callable[[], object], Callable[[], object]]:
    """Forward, and forward with backward, of the CPU rasteriser."""
    rasterize, camera = CpuRasterizer(), figure_camera(size_px)
    plain = figure_splats(num_splats)
    splats = leaves(plain)
    weights = (planar(torch.randn(size_px, size_px, 3)), torch.randn(size_px, size_px))
    return lambda: rasterize(plain, camera), lambda: backward(splats, rasterize(splats, camera), weights)


class TrainingStep:
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


def mesh_job() -> Callable[[], object]:
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


def time_budgets() -> list[Timing]:
    """The lines with a budget, and other sizes for orientation."""
    forward, both = raster_jobs(20_000, 512)
    rows = [
        timing("rasterise 20k splats at 512², forward", forward, budget_ms=6.0),
        timing("rasterise 20k splats at 512², forward + backward", both, budget_ms=12.0),
        timing("full training step, 20k splats at 512²", TrainingStep(20_000, 512), budget_ms=30.0, seconds=3.0),
        timing("z-buffer, 30k triangles at 720p", mesh_job(), budget_ms=30.0),
    ]
    for num_splats, size_px in ((5_000, 256), (20_000, 256), (100_000, 512), (20_000, 1024)):
        forward, both = raster_jobs(num_splats, size_px)
        rows.append(
            timing(f"rasterise {num_splats // 1000}k splats at {size_px}², forward + backward", both, seconds=1.0)
        )
    return rows


def ratio_to_reference() -> Ratio:
    """Against our own reference, on a scene that it can bear: it evaluates every splat at every pixel."""
    splats, camera = leaves(figure_splats(500)), figure_camera(64)
    weights = (planar(torch.randn(64, 64, 3)), torch.randn(64, 64))
    ours = CpuRasterizer()
    return ratio(
        "rasterise f+b, 500 at 64²: our slow reference",
        lambda: backward(splats, ours(splats, camera), weights),
        lambda: backward(splats, rasterize_reference(splats, camera), weights),
    )


def ratio_to_gsplat() -> Ratio | str:
    """Against gsplat's torch reference, on the scene of the budgets; or why it cannot be measured."""
    missing = gsplat_torch.why_not()
    if missing:
        return missing
    camera, splats = figure_camera(512), leaves(figure_splats(20_000))
    pairs = gsplat_torch.visible_pairs(splats, camera)
    image, _ = gsplat_torch.rasterize(splats, camera, pairs)
    ours = CpuRasterizer()
    expected = ours(splats, camera)
    worst = float((image[..., :3] - expected.rgb).detach().abs().max())
    if worst > 0.02:
        raise AssertionError(f"gsplat's image differs from ours by {worst:.3f}: the comparison would mean nothing.")
    weights = (planar(torch.randn(512, 512, 3)), torch.randn(512, 512))
    inputs = [getattr(splats, name) for name in FIELDS]

    def theirs() -> None:
        image, alpha = gsplat_torch.rasterize(splats, camera, pairs)
        torch.autograd.grad([image[..., :3], alpha], inputs, list(weights))

    return ratio(
        "rasterise f+b, 20k at 512²: gsplat's torch reference",
        lambda: backward(splats, ours(splats, camera), weights),
        theirs,
        rounds=2,
    )


def other_ratios() -> list[Ratio]:
    """Loss, skinning and Adam against torch."""
    rendered, target = planar(torch.rand(512, 512, 3)).requires_grad_(), planar(torch.rand(512, 512, 3))
    step = TrainingStep(20_000, 32)
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
        ratio(
            "L1 + SSIM f+b at 512²: separable convolutions",
            lambda: photometric_loss(rendered, target).total.backward(),
            lambda: photometric_loss_reference(rendered, target).total.backward(),
        ),
        ratio("skinning f+b, 20k: gathered matrices", skinning(skin_splats), skinning(skin_splats_reference)),
        ratio(
            "Adam, 280k numbers: torch.optim.Adam",
            lambda: adam_step(parameter, gradient, moments, step=5, lr=1e-3),
            lambda: optimiser.step(),
        ),
    ]


def run() -> tuple[dict, list[str]]:
    """All figures as one JSON-able value, and lines for people."""
    warm_up()
    timings = time_budgets()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    gsplat = ratio_to_gsplat()
    ratios = [ratio_to_reference(), *([] if isinstance(gsplat, str) else [gsplat]), *other_ratios()]
    lines = [f"{'':56}{'median':>9}{'best':>9}{'budget':>9}"]
    for row in timings:
        budget = "" if row.budget_ms is None else f"{row.budget_ms:.0f} ms"
        verdict = "" if row.budget_ms is None else ("  kept" if row.median_ms <= row.budget_ms else "  MISSED")
        lines.append(f"{row.name:56}{row.median_ms:6.1f} ms{row.best_ms:6.1f} ms{budget:>9}{verdict}")
    lines += ["", f"{'against torch, one thread each':56}{'ours':>9}{'torch':>10}{'faster':>9}"]
    lines += [f"{r.name:56}{r.ours_ms:6.1f} ms{r.torch_ms:7.1f} ms{r.times_faster:7.1f} x" for r in ratios]
    if isinstance(gsplat, str):
        lines.append(f"gsplat's torch reference: not measured ({gsplat})")
    else:
        lines.append("gsplat's search for pairs is left out of its time, and its CUDA-only scans run in torch.")
    report = {
        "schema": 1,
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "threads_of_timings": threads,
            "kernels": hot_kernels().__name__.rsplit(".", 1)[-1],
            "torch": torch.__version__,
        },
        "timings": [asdict(row) for row in timings],
        "ratios": [asdict(r) for r in ratios],
    }
    return report, lines


def compare(report: dict) -> list[str]:
    """What fell below the committed baseline."""
    baseline = {r["name"]: r["times_faster"] for r in json.loads(BASELINE.read_text())["ratios"]}
    found = {r["name"]: r["times_faster"] for r in report["ratios"]}
    problems = []
    for name, expected in baseline.items():
        if name not in found:
            if "gsplat" not in name:  # optional: it need not be installed
                problems.append(f"{name}: not measured any more")
        elif found[name] < (1.0 - GATE_TOLERANCE) * expected:
            problems.append(f"{name}: {found[name]:.1f} x faster than torch, {expected:.1f} x in the baseline")
    return problems


def main() -> int:
    """Measure, print, and judge if asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--gate", action="store_true", help="fail if a ratio fell below the committed baseline")
    parser.add_argument("--update", action="store_true", help="write the committed baseline")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch and of the kernels")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    report, lines = run()
    print("\n".join(lines))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    if arguments.update:
        BASELINE.write_text(json.dumps(report, indent=2) + "\n")
    if arguments.gate:
        problems = compare(report)
        print("\n".join(["", "gate: passed"] if not problems else ["", "gate: FAILED", *problems]))
        return 1 if problems else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
