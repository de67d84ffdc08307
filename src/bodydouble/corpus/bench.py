"""A benchmark over a corpus: every method trains an avatar of every subject; one module scores them all.

Two splits. `wildavatar`: twenty frames evenly over the clip, even places to train on, odd ones to test on. `heldout`: all
frames, every eighth held out, as `create` does. Test frames are never trained on; their poses are those of the fit (and, in
a second column, registered to the frame). A subject on which a method fails is counted and shown, and means are given over
the subjects that every method finished, so that failing on hard ones does not pay.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bodydouble.core.errors import BodydoubleError, ConfigError
from bodydouble.core.files import read_json, remove_tree, write_json, write_text
from bodydouble.evaluate.results import null_for_nan

METHODS: dict[str, dict[str, str]] = {
    "splats": {"method": "splats", "recipe": "default"},
    "eva-recipe": {"method": "splats", "recipe": "eva"},
    "surface": {"method": "surface"},
    "both": {"method": "both"},
}
"""What each method changes in the settings of `create`."""
SPLITS = ("wildavatar", "heldout")
PROTOCOLS = ("bodydouble-v1", "wildavatar")
COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("PSNR person", "bodydouble-v1", "psnr_box"),
    ("SSIM person", "bodydouble-v1", "ssim_box"),
    ("PSNR registered", "bodydouble-v1", "psnr_box_registered"),
    ("mask IoU", "bodydouble-v1", "mask_iou"),
    ("PSNR frame", "wildavatar", "psnr_full"),
    ("SSIM frame", "wildavatar", "ssim_full"),
)
"""Title, protocol and figure of each column of the table."""
_RESULT = "result.json"


@dataclass(frozen=True, kw_only=True)
class BenchConfig:
    """What is compared, and how."""

    methods: tuple[str, ...] = ("splats",)
    split: str = "wildavatar"
    preset: str = "draft"
    seed: int = 0
    max_subjects: int = 0
    """At most so many, by id; 0 for all."""
    steps: int = 0
    """Training steps of splats and surfaces, instead of the preset's; 0 for those."""

    def __post_init__(self) -> None:
        unknown = [m for m in self.methods if m not in METHODS]
        if unknown or not self.methods:
            raise ConfigError(
                f"--methods: there is no method {unknown[0] if unknown else ''!r}; choose from {', '.join(METHODS)}."
            )
        if self.split not in SPLITS:
            raise ConfigError(f"--split is {self.split!r}; expected {' or '.join(SPLITS)}.")


@dataclass(frozen=True, kw_only=True)
class BenchRow:
    """One method on one subject."""

    subject: str
    method: str
    seconds: float
    figures: Mapping[str, Mapping[str, float]]
    """By protocol and name; empty when it failed."""
    failure: str = ""

    @property
    def finished(self) -> bool:
        """Whether there are figures."""
        return not self.failure


@dataclass(frozen=True, kw_only=True)
class BenchTable:
    """Everything that was found."""

    config: BenchConfig
    rows: tuple[BenchRow, ...]
    protocol_text: tuple[str, ...]

    def common(self) -> list[str]:
        """Subjects that every method finished; a method that finished none has no say."""
        finished = [{r.subject for r in self.rows if r.method == m and r.finished} for m in self.config.methods]
        finished = [subjects for subjects in finished if subjects]
        return sorted(set.intersection(*finished)) if finished else []

    def failures(self, method: str) -> list[BenchRow]:
        """Rows without figures."""
        return [r for r in self.rows if r.method == method and not r.finished]

    def spread(self, method: str, protocol: str, figure: str) -> tuple[float, float]:
        """Mean and standard deviation over the common subjects that have the figure; NaN without any."""
        common = set(self.common())
        values = [
            r.figures[protocol][figure]
            for r in self.rows
            if r.method == method and r.subject in common and figure in r.figures.get(protocol, {})
        ]
        if not values:
            return math.nan, math.nan
        return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0

    def seconds(self, method: str) -> float:
        """Median time of a subject, failures included."""
        return statistics.median([r.seconds for r in self.rows if r.method == method] or [math.nan])

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "config": dataclasses.asdict(self.config),
            "common_subjects": self.common(),
            "methods": {
                method: {
                    "failed": len(self.failures(method)),
                    "seconds": null_for_nan(self.seconds(method)),
                    **{
                        f"{protocol}/{figure}": [null_for_nan(v) for v in self.spread(method, protocol, figure)]
                        for _, protocol, figure in COLUMNS
                    },
                }
                for method in self.config.methods
            },
            "rows": [
                {**dataclasses.asdict(row), "figures": {p: dict(f) for p, f in row.figures.items()}}
                for row in self.rows
            ],
            "protocol_text": list(self.protocol_text),
        }


def bench_payloads(captures: Mapping[str, Path], config: BenchConfig, out: Path) -> Iterator[dict[str, Any]]:
    """Payloads of `bench_subject`, subject by subject.

    Args:
        captures: Capture folder of each subject, by id.
        config: What is compared.
        out: Where each subject's runs go: OUT/SUBJECT/METHOD.
    """
    subjects = sorted(captures)[: config.max_subjects or None]
    for subject in subjects:
        for method in config.methods:
            yield {
                "capture": str(captures[subject]),
                "subject": subject,
                "method": method,
                "split": config.split,
                "preset": config.preset,
                "seed": config.seed,
                "steps": config.steps,
                "out": str(out / subject / method),
            }


def bench_subject(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Train one method on one subject and score it; a task. What is done already is not done again.

    Args:
        payload: From `bench_payloads`.
    Returns:
        A `BenchRow` as JSON values. Failures are results, too.
    """
    out = Path(payload["out"])
    asked = {k: v for k, v in payload.items() if k not in ("out", "capture")}
    if (out / _RESULT).is_file():
        known = read_json(out / _RESULT)
        if known.get("asked") == asked and not known["row"]["failure"]:
            return known["row"]
    began = time.perf_counter()
    figures: dict[str, dict[str, float]] = {}
    failure = ""
    remove_tree(out)
    try:
        figures = _train_and_score(payload, out)
    except BodydoubleError as error:
        failure = str(error)
    except Exception as error:  # noqa: BLE001 - a method that breaks has failed on the subject, and the table says so
        failure = f"{type(error).__name__}: {error}"
    row = {
        "subject": payload["subject"],
        "method": payload["method"],
        "seconds": round(time.perf_counter() - began, 2),
        "figures": figures,
        "failure": failure,
    }
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / _RESULT, {"asked": asked, "row": row})
    return row


def _train_and_score(payload: Mapping[str, Any], out: Path) -> dict[str, dict[str, float]]:
    from bodydouble.capture.folder import Capture
    from bodydouble.corpus.even_odd import FRAMES, even_odd_capture
    from bodydouble.corpus.wildavatar_layout import annotated_frames
    from bodydouble.pipeline.adopt import create_from_capture
    from bodydouble.pipeline.evaluate import evaluate_run

    source = Capture.open(Path(payload["capture"]))
    if payload["split"] == "wildavatar":
        rows = annotated_frames(source, source.track())
        if len(rows) < FRAMES:
            raise ConfigError(f"only {len(rows)} frames show the person, the split needs {FRAMES}")
        source = even_odd_capture(source, rows, out / "split")
    run = out / "run"
    create_from_capture(source.folder, run, _settings(payload), lambda event: None)
    figures: dict[str, dict[str, float]] = {}
    for protocol in PROTOCOLS:
        scores = evaluate_run(run, protocol, "cpu", lambda event: None, frames="heldout").to_json()
        figures[protocol] = {k: v for k, v in scores.items() if isinstance(v, float) and k != "seconds"}
    return figures


def _settings(payload: Mapping[str, Any]):
    """The preset with the method's changes; pages and turntables are left as small as they can be."""
    from typing import get_args, get_type_hints

    from bodydouble.pipeline.presets import CreateConfig, preset

    changes = METHODS[payload["method"]]
    available = get_args(get_type_hints(CreateConfig)["method"])
    if changes["method"] not in available:
        raise ConfigError(
            f"the method {changes['method']} is not in this version, which makes avatars by: {', '.join(available)}"
        )
    config = preset(payload["preset"])
    steps = {"num_steps": payload["steps"]} if payload["steps"] else {}
    return dataclasses.replace(
        config,
        splats=dataclasses.replace(config.splats, seed=payload["seed"], **steps),
        surface=dataclasses.replace(config.surface, seed=payload["seed"], **steps),
        seed=payload["seed"],
        threads=1,
        device="cpu",
        turntable_seconds=0.25,
        register_sweeps=(0,),
        **changes,
    )


def bench_table(config: BenchConfig, rows: Sequence[Mapping[str, Any]]) -> BenchTable:
    """The table of all tasks' results."""
    from bodydouble.evaluate.protocols import find_protocol

    text = [
        (
            "Split wildavatar: twenty frames evenly over the clip; even places are trained on, odd places are tested on."
            if config.split == "wildavatar"
            else "Split heldout: all frames; those with index % 8 == 7 are tested on, the others trained on."
        ),
        "Means and standard deviations are over the subjects that every method finished; failures are counted beside them.",
        *(sentence for name in PROTOCOLS for sentence in find_protocol(name).describe()),
    ]
    found = [
        BenchRow(
            subject=r["subject"],
            method=r["method"],
            seconds=float(r["seconds"]),
            figures=r["figures"],
            failure=r["failure"],
        )
        for r in rows
    ]
    order = {m: i for i, m in enumerate(config.methods)}
    found.sort(key=lambda r: (r.subject, order[r.method]))
    return BenchTable(config=config, rows=tuple(found), protocol_text=tuple(text))


def format_table(table: BenchTable) -> str:
    """The table as Markdown, failures and protocol below it."""
    common = table.common()
    head = ["method", *(title for title, _, _ in COLUMNS), "median s", "failed"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    total = len({r.subject for r in table.rows})
    for method in table.config.methods:
        cells = [_cell(*table.spread(method, protocol, figure), figure) for _, protocol, figure in COLUMNS]
        lines.append(
            f"| {method} | {' | '.join(cells)} | {table.seconds(method):.1f} | {len(table.failures(method))} of {total} |"
        )
    lines += ["", f"Means ± standard deviations over {len(common)} of {total} subjects that every method finished.", ""]
    failed = [row for row in table.rows if not row.finished]
    lines += [f"- {row.method} failed on {row.subject}: {row.failure}" for row in failed]
    lines += ["", *(f"> {sentence}" for sentence in table.protocol_text)]
    return "\n".join(lines)


def save_table(table: BenchTable, folder: Path) -> None:
    """bench.json and bench.md."""
    write_json(folder / "bench.json", table.to_json())
    write_text(folder / "bench.md", format_table(table) + "\n")


def _cell(mean: float, deviation: float, figure: str) -> str:
    if math.isnan(mean):
        return "-"
    form = ".2f" if figure.startswith("psnr") else ".3f"
    return f"{mean:{form}} ± {deviation:{form}}"
