"""A video becomes an avatar: perceive, fit, matte, reconstruct, report, as stages over one run folder.

DIR/avatar.glb        the result
DIR/capture/          what was found out about the video (`capture.folder`)
DIR/report.html       for people; DIR/report.json has the same figures
DIR/turntable.mp4
DIR/run.json          the ledger: settings, versions, seed, hashes, timings
DIR/checkpoints/      of the training, and the held-out scores
DIR/surface/          of methods with a surface: masks, the empty scene, the video without the person
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bodydouble.capture.folder import MATTES, Capture
from bodydouble.capture.values import VideoInfo
from bodydouble.core.errors import ConfigError, OutputError
from bodydouble.core.events import Warned
from bodydouble.core.files import remove_tree
from bodydouble.pipeline.bodies import body_key, load_body
from bodydouble.pipeline.layout import (
    AVATAR,
    CAPTURE,
    HELDOUT,
    REPORT_HTML,
    REPORT_JSON,
    SPLATS_CHECKPOINT,
    SURFACE_CHECKPOINT,
    SURFACE_FOLDER,
    TURNTABLE,
)
from bodydouble.pipeline.presets import CreateConfig
from bodydouble.pipeline.stages import Emit, Run, Stage, StageRecord, open_run, plain

if TYPE_CHECKING:
    from bodydouble.avatar.values import Avatar, Mesh
    from bodydouble.reconstruct.onto import RestSurface

_CAPTURING = ("perceive", "fit", "matte")
STAGES = (*_CAPTURING, "reconstruct", "report")
SURFACE_STAGES = (*_CAPTURING, "surface", "reconstruct", "report")


def stages_of(config: CreateConfig) -> tuple[str, ...]:
    """Names of the stages that a video goes through, in order."""
    return STAGES if config.method == "splats" else SURFACE_STAGES


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What a finished run left, and what it cost."""

    folder: Path
    records: tuple[StageRecord, ...]
    peak_rss_mb: float

    @property
    def seconds(self) -> float:
        """Time of all stages together."""
        return sum(record.seconds for record in self.records)

    @property
    def warnings(self) -> tuple[Warned, ...]:
        """Warnings of all stages, each once."""
        found: dict[Warned, None] = {}
        for record in self.records:
            found.update(dict.fromkeys(record.warnings))
        return tuple(found)


def create(video: Path, out: Path, config: CreateConfig, emit: Emit, *, resume: bool = False) -> RunResult:
    """Turn a video into an avatar.

    Args:
        video: Any file FFmpeg reads, with one person in view.
        out: The run folder; new, empty, or with `resume` one that an earlier call left unfinished.
        config: A preset, perhaps with changes.
        emit: Called with every event.
        resume: Continue: finished stages are kept, the training goes on from its last checkpoint.
    Raises:
        InputError, NoSubjectError: When the video cannot be used. Nothing is left behind.
        OutputError: When the folder cannot be used, or the disk is full.
    """
    return _run_stages(video, out, config, emit, resume=resume, stages=stages_of(config))


def capture(video: Path, out: Path, config: CreateConfig, emit: Emit, *, resume: bool = False) -> RunResult:
    """Stop after observation, fit and mattes. `create` with `resume` goes on from there. Arguments and errors as there."""
    return _run_stages(video, out, config, emit, resume=resume, stages=_CAPTURING)


def _run_stages(
    video: Path, out: Path, config: CreateConfig, emit: Emit, *, resume: bool, stages: tuple[str, ...]
) -> RunResult:
    from bodydouble.capture.video import probe

    info = probe(video)  # first of all: an unusable file must not leave a folder behind
    if config.body != "anny":
        load_body(config.body, file=config.body_file)  # nor cost the minutes until it is needed
    if config.estimate is not None:
        from bodydouble.capture.estimates.kinds import read_estimate

        read_estimate(config.estimate.path, config.estimate.kind)
    with open_run(out, kind="create", resume=resume) as run:
        _check_same_video(run, info)
        create_in(run, info, config, emit, stages=stages)
        return result_of(run)


def create_in(
    run: Run,
    info: VideoInfo,
    config: CreateConfig,
    emit: Emit,
    *,
    stages: tuple[str, ...] = STAGES,
    truth: Mapping[str, float] | None = None,
) -> None:
    """The stages, in a run folder that is already open.

    Args:
        run, info, config, emit: As in `create`.
        stages: Which of them to run.
        truth: Scores against known truth, to be shown in the report (synthetic performers).
    """
    use_threads(config.threads)
    run.describe("video", {"path": info.path, "sha256": info.sha256, "frames": info.num_frames, "fps_hz": info.fps_hz})
    run.describe("config", plain(config))
    for stage in _stages(run, info, config, truth or {}):
        # The surface is half of a reconstruction: who asks for that means both.
        if stage.name in stages or (stage.name == "surface" and "reconstruct" in stages):
            run.do(stage, emit)


def reconstruction_stages(run: Run, info: VideoInfo, config: CreateConfig, *, after: tuple[str, ...]) -> list[Stage]:
    """The stages that follow observation and fit, where other stages (`after`) have left the capture."""
    later = [stage for stage in _stages(run, info, config, {}) if stage.name not in _CAPTURING]
    return [
        dataclasses.replace(stage, after=(*after, *(name for name in stage.after if name not in _CAPTURING)))
        for stage in later
    ]


def result_of(run: Run) -> RunResult:
    """The result of a run whose stages are done."""
    return RunResult(folder=run.folder, records=run.records, peak_rss_mb=run.peak_rss_mb)


def use_threads(threads: int) -> None:
    """Threads for torch and the kernels in this process; 0 for as many as there are cores.

    Raises:
        ConfigError: For a negative number.
    """
    if threads < 0:
        raise ConfigError(f"--threads is {threads}; expected 0 (all cores) or a number of threads.")
    import torch

    from bodydouble.pipeline.versions import machine_facts

    torch.set_num_threads(threads or int(machine_facts()["cores"]))


def _check_same_video(run: Run, info: VideoInfo) -> None:
    before = run.about("video")
    if before is not None and before.get("sha256") != info.sha256:
        raise OutputError(
            f"{run.folder} holds the run of another video ({before.get('path')}), not of {info.path}. "
            "Choose another folder with -o."
        )


def _stages(run: Run, info: VideoInfo, config: CreateConfig, truth: Mapping[str, float]) -> tuple[Stage, ...]:
    """The stages in order. Their work imports what it needs when it starts."""
    folder = run.folder / CAPTURE
    rooms = ("capture", "perceive")
    with_body = (*rooms, "body", "render", "avatar", "fit")
    surface = () if config.method == "splats" else ("surface",)
    matte = _matte_stages(folder, config, with_body)
    seen = ("perceive", "fit", *(stage.name for stage in matte))
    return (
        Stage(
            name="perceive",
            settings={"video": info.sha256, "perceive": config.perceive},
            after=(),
            rooms=rooms,
            outputs=(f"{CAPTURE}/observations.safetensors", f"{CAPTURE}/masks"),
            work=lambda emit: _perceive(info, folder, config, emit),
        ),
        Stage(
            name="fit",
            settings={"fit": config.fit, **body_key(config.body, config.body_file), **_estimate_settings(config)},
            after=("perceive",),
            rooms=with_body,
            outputs=(f"{CAPTURE}/body.safetensors",),
            work=lambda emit: _fit(folder, config, emit),
        ),
        *matte,
        *_surface_stages(run, folder, config, with_body, seen),
        Stage(
            name="reconstruct",
            settings={
                "method": config.method,
                **({} if config.method == "surface" else {"recipe": config.recipe, "splats": config.splats}),
                "seed": config.seed,
                **body_key(config.body, config.body_file),
            },
            after=(*seen, *surface),
            rooms=(*with_body, "reconstruct"),
            outputs=(AVATAR,) if config.method == "surface" else (AVATAR, f"{SPLATS_CHECKPOINT}/poses.safetensors"),
            scratch=() if config.method == "surface" else (SPLATS_CHECKPOINT,),
            work=lambda emit: _reconstruct(run, folder, config, emit),
        ),
        Stage(
            name="report",
            settings={
                "turntable_seconds": config.turntable_seconds,
                "register_sweeps": config.register_sweeps,
                "preset": config.preset,
                "truth": truth,
            },
            after=(*seen, *surface, "reconstruct"),
            rooms=(*with_body, "reconstruct", "evaluate", "pipeline"),
            outputs=(HELDOUT, TURNTABLE, REPORT_HTML, REPORT_JSON),
            work=lambda emit: _report(run, folder, config, truth, emit),
        ),
    )


def _matte_stages(folder: Path, config: CreateConfig, rooms: tuple[str, ...]) -> tuple[Stage, ...]:
    """The stage that tells person from background anew, unless nothing asks for the network's masks."""
    if config.method == "surface" and config.surface.masks == "none":
        return ()
    stage = Stage(
        name="matte",
        settings={"frames": config.splats.max_frames, **body_key(config.body, config.body_file)},
        after=("perceive", "fit"),
        rooms=rooms,
        outputs=(f"{CAPTURE}/{MATTES}",),
        work=lambda emit: _matte(folder, config, emit),
    )
    return (stage,)


def _surface_stages(
    run: Run, folder: Path, config: CreateConfig, rooms: tuple[str, ...], after: tuple[str, ...]
) -> tuple[Stage, ...]:
    """The stage that trains the surface, for methods that have one."""
    if config.method == "splats":
        return ()
    stage = Stage(
        name="surface",
        settings={
            "surface": config.surface,
            "world": config.world,
            "bake": config.bake,
            "seed": config.seed,
            **body_key(config.body, config.body_file),
        },
        after=after,
        rooms=(*rooms, "reconstruct", "evaluate"),
        outputs=(SURFACE_CHECKPOINT, SURFACE_FOLDER),
        work=lambda emit: _surface(run, folder, config, emit),
    )
    return (stage,)


def _estimate_settings(config: CreateConfig) -> dict[str, object]:
    """What the fit depends on when it starts from a tracker's result."""
    estimate = config.estimate
    if estimate is None:
        return {}
    return {"estimate": {"content": estimate.digest, "kind": estimate.kind, "person": estimate.person}}


def _perceive(info: VideoInfo, folder: Path, config: CreateConfig, emit: Emit) -> None:
    from bodydouble.perceive.observe import observe

    remove_tree(folder)
    observe(info, Capture.create(folder, info), config.perceive, emit)


def _fit(folder: Path, config: CreateConfig, emit: Emit) -> None:
    from bodydouble.fit.track import fit_track
    from bodydouble.render.warm_up import warm_up

    found, body = Capture.open(folder), load_body(config.body, emit, file=config.body_file)
    start = None
    if config.estimate is not None:
        from bodydouble.pipeline.estimate_track import start_from_estimate

        start = start_from_estimate(found, body, config.fit, config.estimate, emit)
    warm_up(emit)
    found.save_track(fit_track(found, body, config.fit, emit, start))


def _matte(folder: Path, config: CreateConfig, emit: Emit) -> None:
    from bodydouble.perceive.matte import write_mattes
    from bodydouble.reconstruct.splats.frames import choose_frames

    found = Capture.open(folder)
    track = found.track()
    most = config.splats.for_video(len(found.train_indices())).max_frames
    wanted = {*found.heldout_indices(), *choose_frames(found, track, most)}
    write_mattes(found, load_body(config.body, file=config.body_file), track, emit, sorted(wanted))


def _surface(run: Run, folder: Path, config: CreateConfig, emit: Emit) -> None:
    from bodydouble.pipeline.surface import reconstruct_surface

    for left in (SURFACE_CHECKPOINT, SURFACE_FOLDER):
        remove_tree(run.folder / left)
    body = load_body(config.body, file=config.body_file)
    reconstruct_surface(run, Capture.open(folder), body, config, emit)


def _reconstruct(run: Run, folder: Path, config: CreateConfig, emit: Emit) -> None:
    if config.method == "surface":
        from bodydouble.pipeline.surface import surface_avatar

        _save_double(run, config, surface_avatar(run.folder), Capture.open(folder))
        return
    _reconstruct_splats(run, folder, config, emit)


def _reconstruct_splats(run: Run, folder: Path, config: CreateConfig, emit: Emit) -> None:
    from bodydouble.reconstruct.splats.recipes import reconstruct_by
    from bodydouble.reconstruct.splats.result import load_result

    found, body = Capture.open(folder), load_body(config.body, file=config.body_file)
    checkpoints = run.folder / SPLATS_CHECKPOINT
    checkpoints.mkdir(parents=True, exist_ok=True)
    splats = config.splats.for_video(len(found.train_indices()))
    mesh = None
    if config.method == "both":
        from bodydouble.pipeline.surface import capture_with_surface, surface_avatar

        mesh = surface_avatar(run.folder).mesh
        found = capture_with_surface(run.folder, found)
    for event in reconstruct_by(
        config.recipe, found, body, splats, checkpoints, config.device, onto=_rest_surface(mesh)
    ):
        emit(event)
    avatar, _ = load_result(checkpoints, found)
    # The surface's textured mesh is the better one: the splats' own is the bare body in their colours.
    _save_double(run, config, avatar if mesh is None else dataclasses.replace(avatar, mesh=mesh), found)


def _rest_surface(mesh: Mesh | None) -> RestSurface | None:
    """A double's mesh as splats are seeded on it."""
    from bodydouble.reconstruct.onto import RestSurface

    return None if mesh is None else RestSurface(vertices_rest_m=mesh.vertices_rest_m, faces=mesh.faces)


def _save_double(run: Run, config: CreateConfig, avatar: Avatar, found: Capture) -> None:
    from bodydouble.avatar.glb import save_avatar

    provenance = dataclasses.replace(
        avatar.provenance,
        source_sha256=found.info.sha256,
        method=config.method,
        created=run.created,  # of the run, not of this attempt: a resumed run gives the same file
    )
    save_avatar(dataclasses.replace(avatar, provenance=provenance), run.folder / AVATAR)


def _report(run: Run, folder: Path, config: CreateConfig, truth: Mapping[str, float], emit: Emit) -> None:
    from bodydouble.pipeline.finish import finish

    finish(run, Capture.open(folder), load_body(config.body, file=config.body_file), config, emit, truth=truth)
