"""Each command: from its options to calls into the program, and from the result to words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bodydouble.cli import options
from bodydouble.cli.answers import print_json
from bodydouble.cli.progress import ProgressPrinter
from bodydouble.cli.studio import watched
from bodydouble.cli.voice import quoted
from bodydouble.core.errors import ConfigError

if TYPE_CHECKING:
    from bodydouble.pipeline.create import RunResult
    from bodydouble.pipeline.estimate_choices import EstimateChoices


def create(command: options.Create) -> int:
    """`bodydouble create`."""
    from bodydouble.pipeline.create import create as create_avatar
    from bodydouble.pipeline.create import stages_of
    from bodydouble.pipeline.presets import preset, with_choices

    config = with_choices(
        preset(command.preset), recipe=command.recipe, method=command.method, masks=command.masks, **_choices(command)
    )
    out = _folder_of(command)
    with watched(command, out) as watching:
        if command.video.is_dir():
            from bodydouble.pipeline.adopt import ADOPT_STAGES, create_from_capture

            _check_no_capture_options(command)
            stages = ADOPT_STAGES if config.method == "splats" else (ADOPT_STAGES[0], "surface", *ADOPT_STAGES[1:])
            with ProgressPrinter(stages) as emit:
                result = create_from_capture(command.video, out, config, watching(emit), resume=command.resume)
        else:
            with ProgressPrinter(stages_of(config)) as emit:
                result = create_avatar(command.video, out, config, watching(emit), resume=command.resume)
        _tell_run(result, as_json=command.json)
    return 0


def capture(command: options.Capture) -> int:
    """`bodydouble capture`."""
    from bodydouble.pipeline.create import STAGES
    from bodydouble.pipeline.create import capture as capture_person
    from bodydouble.pipeline.presets import STANDARD, with_choices

    out = _folder_of(command)
    with ProgressPrinter(STAGES[:2]) as emit:
        result = capture_person(
            command.video, out, with_choices(STANDARD, **_choices(command)), emit, resume=command.resume
        )
    folder = out / "capture"
    if command.json:
        print_json({"folder": str(out), "capture": str(folder), **_cost(result)})
    else:
        words = ["bodydouble", "create", str(command.video), "-o", str(out)]
        words += [] if command.estimate is None else ["--estimate", str(command.estimate)]
        words += [] if command.estimate_person is None else ["--estimate-person", str(command.estimate_person)]
        print(f"The capture is in {folder}. To make the avatar: {quoted([*words, '--resume'])}")
    return 0


def import_(command: options.Import) -> int:
    """`bodydouble import`."""
    import dataclasses

    from bodydouble.pipeline.import_ import IMPORT_STAGES, ImportChoices, import_capture

    out = command.out if command.out is not None else Path(f"{command.folder.resolve().name}-import")
    choices = ImportChoices(
        layout=command.layout, sequence=command.sequence, fps_hz=command.fps, with_body=not command.without_body
    )
    with ProgressPrinter(IMPORT_STAGES) as emit:
        result = import_capture(command.folder, out, choices, emit, resume=command.resume)
    folder = out / "capture"
    figures = None if result.coverage is None else result.coverage.figures
    if command.json:
        facts = {"layout": result.layout, "sequence": result.sequence, "frames": result.frames}
        measured = {"coverage": figures, "outline_support": result.outline_support, "focal_px": result.focal_px}
        warnings = [dataclasses.asdict(warning) for warning in result.warnings]
        print_json({"folder": str(out), "capture": str(folder), **facts, **measured, "warnings": warnings})
        return 0
    print(f"{result.frames} frames of layout {result.layout} are in {folder}.")
    if result.coverage is not None and figures is not None:
        print(
            f"The body covers {100 * figures['mask_covered']:.0f} % of the masks and is inside them by "
            f"{100 * figures['body_inside']:.0f} % ({len(result.coverage.frames)} frames, stand-in of {figures['height_m']:.2f} m)."
        )
    return 0


def demo(command: options.Demo) -> int:
    """`bodydouble demo`."""
    from bodydouble.pipeline.demo import DEMO_STAGES, Performance
    from bodydouble.pipeline.demo import demo as perform_demo
    from bodydouble.pipeline.presets import preset, with_choices

    config = with_choices(preset(command.preset), device=command.device, threads=command.threads)
    performance = Performance(seed=command.seed, seconds=command.seconds)
    with ProgressPrinter(DEMO_STAGES) as emit:
        result = perform_demo(command.out, config, performance, emit, resume=command.resume)
    if command.json:
        print_json({**_run_json(result.run), "truth": dict(result.truth)})
        return 0
    print("Against the truth:")
    for name, value in result.truth.items():
        print(f"  {name.replace('_', ' '):36} {value:8.3f}")
    _tell_run(result.run, as_json=False)
    return 0


def evaluate(command: options.Evaluate) -> int:
    """`bodydouble evaluate`."""
    from bodydouble.evaluate.picture_results import PictureScores, format_picture_scores
    from bodydouble.evaluate.results import HeldoutResult, format_table
    from bodydouble.evaluate.truth_results import format_truth_scores
    from bodydouble.pipeline.create import use_threads
    from bodydouble.pipeline.evaluate import evaluate_against_truth, evaluate_predictions, evaluate_run

    if command.truth is not None and command.predictions is not None:
        raise ConfigError("--truth scores a run and --predictions scores pictures; name one of the two.")
    use_threads(command.threads)
    protocol = command.protocol or "bodydouble-v1"
    chosen: dict[str, Any] = {"frames": command.frames, "lpips_folder": command.lpips}
    with ProgressPrinter(()) as emit:
        if command.truth is not None:
            result = evaluate_against_truth(command.folder, command.truth, command.protocol, command.device, emit)
        elif command.predictions is not None:
            result = evaluate_predictions(command.folder, command.predictions, protocol, emit, **chosen)
        else:
            result = evaluate_run(command.folder, protocol, command.device, emit, **chosen)
    if command.json:
        print_json(result.to_json())
    elif isinstance(result, PictureScores):
        print(format_picture_scores(result))
    else:
        print(format_table(result) if isinstance(result, HeldoutResult) else format_truth_scores(result))
    return 0


def doctor(command: options.Doctor) -> int:
    """`bodydouble doctor`."""
    import dataclasses
    import shutil
    import textwrap

    from bodydouble.pipeline.doctor import examine, healthy

    findings = examine()
    if command.json:
        print_json({"healthy": healthy(findings), "findings": [dataclasses.asdict(f) for f in findings]})
        return 0 if healthy(findings) else 1
    width = min(max(shutil.get_terminal_size().columns, 60), 120)
    for finding in findings:
        sign = {"ok": "ok", "missing": "--", "problem": "!!"}[finding.state]
        print(f"{sign}  {finding.name:14} {finding.found}")
        if finding.advice:
            print(textwrap.fill(finding.advice, width, initial_indent=" " * 20, subsequent_indent=" " * 20))
    print("Avatars can be made on this machine." if healthy(findings) else "Something needed is missing: see !! above.")
    return 0 if healthy(findings) else 1


def _choices(command: options.FromVideo) -> dict[str, Any]:
    names = ("start_s", "end_s", "focal_px", "height_cm", "seed", "device", "threads", "body", "body_file")
    return {**{name: getattr(command, name) for name in names}, "estimate": _estimate(command)}


def _estimate(command: options.FromVideo) -> EstimateChoices | None:
    from bodydouble.pipeline.estimate_choices import EstimateChoices

    if command.estimate is None:
        if command.estimate_kind != "auto" or command.estimate_person is not None:
            raise ConfigError("--estimate-kind and --estimate-person say how to read --estimate, which is missing.")
        return None
    return EstimateChoices(path=command.estimate, kind=command.estimate_kind, person=command.estimate_person)


def _check_no_capture_options(command: options.Create) -> None:
    """A capture that is there already has its span, camera and height."""
    names = ("start_s", "end_s", "focal_px", "height_cm", "estimate")
    given = [f"--{name.replace('_', '-')}" for name in names if getattr(command, name) is not None]
    if given:
        raise ConfigError(
            f"{command.video} is a capture whose body is fitted already, so {' and '.join(given)} can change nothing. "
            "Leave that out, or name the video itself to have it observed and fitted anew."
        )


def _folder_of(command: options.FromVideo) -> Path:
    given = command.video.resolve() if command.video.is_dir() else command.video
    name = given.parent.name if given.is_dir() and given.name == "capture" else given.stem
    return command.out if command.out is not None else Path(f"{name or 'video'}-double")


def _cost(result: RunResult) -> dict[str, Any]:
    seconds = {record.name: record.seconds for record in result.records}
    warnings = [{"code": w.code, "message": w.message, "advice": w.advice} for w in result.warnings]
    return {"seconds": {**seconds, "total": result.seconds}, "peak_rss_mb": result.peak_rss_mb, "warnings": warnings}


def _run_json(result: RunResult) -> dict[str, Any]:
    from bodydouble.core.files import read_json

    report = read_json(result.folder / "report.json")
    files = {name: str(result.folder / file) for name, file in _FILES.items()}
    return {"folder": str(result.folder), **files, "report": report}


_FILES = {"avatar": "avatar.glb", "report_html": "report.html", "turntable": "turntable.mp4"}


def _tell_run(result: RunResult, *, as_json: bool) -> None:
    from bodydouble.core.files import read_json

    if as_json:
        print_json(_run_json(result))
        return
    report = read_json(result.folder / "report.json")
    heldout = report["heldout"]
    print(report["verdict"]["text"])
    outlined = heldout.get("psnr_box_outlined")
    print(
        f"Held out ({heldout['frames']} frames, protocol {heldout['protocol']}): "
        f"{_number(heldout['psnr_box'])} dB with the fit's pose, "
        f"{'' if outlined is None else f'{_number(outlined)} dB with its outline laid on the mask, '}"
        f"{_number(heldout['psnr_box_registered'])} dB with the registered pose, "
        f"outline overlap {_number(heldout['mask_iou'], 3)} with the fit's pose."
    )
    print(f"{result.seconds:.0f} s of work, at most {result.peak_rss_mb:.0f} MB of memory.")
    surface = report.get("surface")
    size = f"{report['splats']} splats" if report["splats"] or not surface else f"{surface['triangles']:.0f} triangles"
    print(f"Avatar:    {result.folder / 'avatar.glb'}  ({size}, {report['avatar_mb']:.1f} MB)")
    print(f"Report:    {result.folder / 'report.html'}")
    print(f"Turntable: {result.folder / 'turntable.mp4'}")
    folder = quoted([str(result.folder)])
    print(f"Next:      bodydouble view {folder}   (or: bodydouble render {folder} --motion dance -o dance.mp4)")


def _number(value: float | None, digits: int = 1) -> str:
    return "unknown" if value is None else f"{value:.{digits}f}"
