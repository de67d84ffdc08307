"""The demo: a synthetic performer whose truth is known, made into an avatar and scored against that truth.

DIR/performer/     the video and the truth about it (docs/synth-format.md)
DIR/truth.json     scores against the truth
DIR/...            everything `create` leaves
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bodydouble.core.files import read_json, remove_tree, write_json
from bodydouble.pipeline.bodies import load_body
from bodydouble.pipeline.create import STAGES, RunResult, create_in, result_of, use_threads
from bodydouble.pipeline.presets import CreateConfig
from bodydouble.pipeline.stages import Emit, Run, Stage, open_run

PERFORMER = "performer"
TRUTH_SCORES = "truth.json"
DEMO_STAGES = ("perform", *STAGES[:4], "score", *STAGES[4:])


@dataclass(frozen=True, kw_only=True)
class Performance:
    """What the synthetic performer does."""

    seed: int = 7
    seconds: float = 6.0
    fps_hz: float = 24.0
    width_px: int = 720
    height_px: int = 960


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """A finished demo."""

    run: RunResult
    truth: Mapping[str, float]
    """Scores against the known truth: name with unit -> value."""


def demo(out: Path, config: CreateConfig, performance: Performance, emit: Emit, *, resume: bool = False) -> DemoResult:
    """Synthesise a performer, create its avatar, score both fit and avatar against the truth.

    Args:
        out: The run folder, as for `create`.
        config: As for `create`.
        performance: Who performs, and for how long.
        emit: Called with every event.
        resume: Continue an earlier demo in the same folder.
    Raises:
        OutputError: As for `create`.
    """
    from bodydouble.capture.video import probe

    with open_run(out, kind="demo", resume=resume) as run:
        use_threads(config.threads)
        run.do(_perform_stage(run, performance), emit)
        info = probe(run.folder / PERFORMER / "video.mp4")
        create_in(run, info, config, emit, stages=STAGES[:4])
        run.do(_score_stage(run, config), emit)
        truth = {name: float(value) for name, value in read_json(run.folder / TRUTH_SCORES).items()}
        create_in(run, info, config, emit, stages=STAGES[4:], truth=truth)
        return DemoResult(run=result_of(run), truth=truth)


def _perform_stage(run: Run, performance: Performance) -> Stage:
    def work(emit: Emit) -> None:
        from bodydouble.synth.stage import SynthConfig
        from bodydouble.synth.synthesise import synthesise

        folder = run.folder / PERFORMER
        remove_tree(folder)
        config = SynthConfig(
            seed=performance.seed,
            seconds=performance.seconds,
            fps=performance.fps_hz,
            size=(performance.width_px, performance.height_px),
            scene="room",
        )
        synthesise(folder, config, emit)

    return Stage(
        name="perform",
        settings=performance,
        after=(),
        rooms=("synth", "body", "render"),
        outputs=(PERFORMER,),
        work=work,
    )


def _score_stage(run: Run, config: CreateConfig) -> Stage:
    def work(emit: Emit) -> None:
        from bodydouble.pipeline.truth import score_against_truth

        scores = score_against_truth(run.folder / PERFORMER, run.folder, load_body(config.body), config.device, emit)
        write_json(run.folder / TRUTH_SCORES, scores)

    return Stage(
        name="score",
        settings=None,
        after=("perform", "reconstruct"),
        rooms=("synth", "evaluate", "pipeline"),
        outputs=(TRUTH_SCORES,),
        work=work,
    )
