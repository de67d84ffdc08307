"""Compilation, cache, threads, choice of the rasteriser, CUDA."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from scenes_render import FIELDS, gradients, random_splats, relative_error, small_camera

from bodydouble.core.errors import ConfigError, MissingDependencyError
from bodydouble.core.events import Progress
from bodydouble.render.cpu import CpuRasterizer
from bodydouble.render.cuda import CudaRasterizer, cuda_available
from bodydouble.render.reference import rasterize_reference
from bodydouble.render.select import make_rasterizer
from bodydouble.render.threads import kernel_threads, run_kernel, side_by_side, stream_side_by_side


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}, check=False
    )


def test_importing_the_room_loads_neither_numba_nor_gsplat() -> None:
    code = (
        "import sys; from bodydouble.render import adam, cpu, cuda, losses, mesh, reference, select, sh, skin, warm_up\n"
        "print([m for m in ('numba', 'gsplat', 'llvmlite') if m in sys.modules])"
    )
    result = run_python(code)
    assert result.stdout.strip() == "[]", result.stdout + result.stderr


@pytest.mark.usefixtures("kernels")
def test_warm_up_announces_itself() -> None:
    from bodydouble.render.warm_up import warm_up

    events: list[Progress] = []
    warm_up(events.append)
    assert [e.done for e in events] == list(range(6)) and {e.total for e in events} == {5}


def test_cache_goes_where_it_can_be_written(tmp_path: Path) -> None:
    code = "from bodydouble.core.jit import kernel_cache_dir; print(kernel_cache_dir())"
    chosen = run_python(code, NUMBA_CACHE_DIR=str(tmp_path / "mine")).stdout.strip()
    assert chosen == str(tmp_path / "mine" / "bodydouble" / "kernels") and Path(chosen).is_dir()
    # A file stands where the folder should be: nobody can write there, not even root.
    blocked = tmp_path / "blocked"
    blocked.write_text("not a folder")
    elsewhere = run_python(code, NUMBA_CACHE_DIR=str(blocked), XDG_CACHE_HOME=str(tmp_path / "xdg")).stdout.strip()
    assert elsewhere == str(tmp_path / "xdg" / "bodydouble" / "kernels")


def test_kernels_are_kept_and_found_again(tmp_path: Path) -> None:
    code = (
        "import torch; from bodydouble.render.adam import adam_step, zero_moments\n"
        "p = torch.ones(3); adam_step(p, torch.ones(3), zero_moments(p), step=1, lr=0.1)\n"
        "from bodydouble.render.optimiser_kernels import adam_plain as adam\n"
        "print(round(float(p[0]), 3), sum(adam.stats.cache_hits.values()), sum(adam.stats.cache_misses.values()))"
    )
    places = {"NUMBA_CACHE_DIR": str(tmp_path), "BODYDOUBLE_PLAIN_KERNELS": "1"}
    first, second = (run_python(code, **places).stdout.split() for _ in range(2))
    assert first == ["0.9", "0", "1"] and second == ["0.9", "1", "0"]


@pytest.mark.usefixtures("kernels")
def test_plain_kernels_on_demand() -> None:
    code = "from bodydouble.render.cpu import hot_kernels; print(hot_kernels().__name__.split('.')[-1])"
    assert run_python(code, BODYDOUBLE_PLAIN_KERNELS="1").stdout.strip() == "cpu_plain"
    assert run_python(code, BODYDOUBLE_PLAIN_KERNELS="0").stdout.strip() == "cpu_simd"


@pytest.mark.usefixtures("kernels")
def test_plain_kernels_where_simd_does_not_compile(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from bodydouble.render import cpu

    def fail(hot: object) -> None:
        raise TypeError("no vectors here")

    monkeypatch.setattr(cpu, "_try_out", fail)
    cpu.hot_kernels.cache_clear()
    try:
        assert cpu.hot_kernels().__name__.endswith("cpu_plain")
        assert "no vectors here" in caplog.text
    finally:
        cpu.hot_kernels.cache_clear()


def test_every_worker_runs_once_and_errors_come_back() -> None:
    seen: list[tuple[int, int]] = []
    run_kernel(lambda worker, workers: seen.append((worker, workers)), 3)
    assert sorted(seen) == [(0, 3), (1, 3), (2, 3)]

    def fail_in_the_last(worker: int, workers: int) -> None:
        if worker == workers - 1:
            raise ValueError("worker says no")

    with pytest.raises(ValueError, match="worker says no"):
        run_kernel(fail_in_the_last, 3)


def test_workers_run_at_the_same_time() -> None:
    meeting = threading.Barrier(2, timeout=10)
    run_kernel(lambda worker, workers: meeting.wait(), 2)


@pytest.fixture
def two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_a_stream_is_worked_on_in_order_and_never_read_far_ahead() -> None:
    taken: list[int] = []

    def items():
        for k in range(21):
            taken.append(k)
            yield k

    results = stream_side_by_side(lambda k: k * k, items())
    assert next(results) == 0 and len(taken) <= 8
    assert list(results) == [k * k for k in range(1, 21)] and taken == list(range(21))
    assert list(stream_side_by_side(lambda k: k, [])) == []


@pytest.mark.usefixtures("two_threads")
def test_pieces_run_side_by_side_each_on_one_thread() -> None:
    meeting, threads, told = threading.Barrier(2, timeout=10), {}, []

    def piece(k: int) -> int:
        if k < 2:
            meeting.wait()
        threads[k] = kernel_threads()
        return k * k

    assert side_by_side(piece, 5, told.append) == [0, 1, 4, 9, 16]
    assert threads == dict.fromkeys(range(5), 1) and told == [0, 1, 2, 3, 4]
    assert kernel_threads() == 2
    assert side_by_side(piece, 0) == []


def test_pieces_fewer_than_threads_share_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(8)
        assert side_by_side(lambda _: kernel_threads(), 3) == [2, 2, 2]
    finally:
        torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_a_piece_that_fails_is_heard_of() -> None:
    def fail_at_two(k: int) -> None:
        if k == 2:
            raise ValueError("piece 2 says no")

    with pytest.raises(ValueError, match="piece 2 says no"):
        side_by_side(fail_at_two, 9)


def test_number_of_threads_follows_torch() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert kernel_threads() == 1
    finally:
        torch.set_num_threads(before)
    assert 1 <= kernel_threads() <= (os.cpu_count() or 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_gets_its_own_workers() -> None:
    code = (
        "import os, sys; from bodydouble.render.threads import run_kernel\n"
        "run_kernel(lambda w, n: None, 2)\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    run_kernel(lambda w, n: None, 2); os._exit(7)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
    )
    started = time.monotonic()
    assert run_python(code).stdout.strip() == "7" and time.monotonic() - started < 60


def test_choice_of_the_rasterizer() -> None:
    assert isinstance(make_rasterizer("cpu"), CpuRasterizer)
    assert isinstance(make_rasterizer(), CudaRasterizer if cuda_available() else CpuRasterizer)
    with pytest.raises(ConfigError, match="device must be auto, cpu or cuda, got 'tpu'"):
        make_rasterizer("tpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_without_a_device_is_explained() -> None:
    with pytest.raises(MissingDependencyError, match=r"a CUDA device.*use --device cpu"):
        make_rasterizer("cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not cuda_available(), reason="needs a CUDA device and gsplat")
@pytest.mark.parametrize("degree", [0, 3])
def test_cuda_equals_the_reference(degree: int) -> None:
    splats, camera = random_splats(300, degree=degree, most_opaque=0.5), small_camera(64, 48)
    background = torch.tensor([0.1, 0.2, 0.3])
    found = CudaRasterizer()(splats, camera, background.cuda())
    expected = rasterize_reference(splats, camera, background.double())
    for name in ("rgb", "alpha", "depth"):
        assert (getattr(found, name).cpu() - getattr(expected, name)).abs().median() < 1e-4
    a = gradients(CudaRasterizer(), splats, camera, torch.float32)
    b = gradients(rasterize_reference, splats, camera, torch.float64)
    for name, x, y in zip(FIELDS, a, b, strict=True):
        assert relative_error(x, y) < 1e-2, name
