"""Stages over a run folder: idempotent, atomic, resumable.

A run folder has a ledger, `run.json`: what was asked, with which versions, and one record for each finished stage. A
stage counts as done when its record carries today's key (inputs, settings, code) and its outputs are the recorded ones,
byte for byte. Anything else is done again from the start, or from the stage's own checkpoint. So a process that is
killed at any moment costs time, never correctness.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from bodydouble.core.errors import BodydoubleError, InputError, OutputError
from bodydouble.core.events import Done, Event, Warned
from bodydouble.core.files import file_sha256, read_json, remove_partials, remove_tree, write_json
from bodydouble.pipeline.lock import LOCK_NAME, folder_lock
from bodydouble.pipeline.memory import MemoryWatch, lifetime_peak_mb
from bodydouble.pipeline.versions import code_digest, machine_facts, versions

LEDGER_NAME = "run.json"
SCHEMA_VERSION = 1
Emit = Callable[[Event], None]


@dataclass(frozen=True, kw_only=True)
class Output:
    """A file or a folder that a stage left."""

    path: str
    """Relative to the run folder, with forward slashes."""
    size_bytes: int
    sha256: str
    """Of the file; of a folder: over names and contents of all files in it."""


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """What is remembered about a finished stage."""

    name: str
    key: str
    """Digest of everything that the result depends on."""
    seconds: float
    """Time it took in all processes that worked on it, resumed ones included."""
    peak_rss_mb: float
    finished: str
    outputs: tuple[Output, ...]
    warnings: tuple[Warned, ...]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A step of a run: a function that turns files of the run folder into other files there."""

    name: str
    settings: object
    """Frozen dataclass (or JSON value) of what the result depends on, inputs from outside included."""
    after: tuple[str, ...]
    """Stages whose outputs are read."""
    rooms: tuple[str, ...]
    """Packages of the program whose code makes the result: an edit there makes the stage run again."""
    outputs: tuple[str, ...]
    """Files or folders, relative to the run folder, that exist afterwards; removed before it starts."""
    work: Callable[[Emit], None]
    scratch: tuple[str, ...] = ()
    """Checkpoint folders of its own, kept between attempts with the same key."""


class Run:
    """An opened run folder. Get one from `open_run`."""

    def __init__(self, folder: Path, ledger: dict[str, Any], watch: MemoryWatch) -> None:
        self.folder = folder
        self._ledger = ledger
        self._watch = watch

    @property
    def records(self) -> tuple[StageRecord, ...]:
        """Finished stages, in the order in which they were finished."""
        return tuple(_record_from_json(name, entry) for name, entry in self._ledger["stages"].items())

    def record(self, name: str) -> StageRecord | None:
        """The record of a finished stage."""
        return next((record for record in self.records if record.name == name), None)

    def describe(self, section: str, facts: Mapping[str, Any]) -> None:
        """Write facts about the run (its settings, its video) into the ledger."""
        if self._ledger["about"].get(section) != facts:
            self._ledger["about"][section] = dict(facts)
            self.save()

    def about(self, section: str) -> dict[str, Any] | None:
        """What `describe` stored."""
        return self._ledger["about"].get(section)

    @property
    def created(self) -> str:
        """When the run was begun, ISO 8601."""
        return str(self._ledger["created"])

    @property
    def peak_rss_mb(self) -> float:
        """Peak memory over all stages so far, also those of earlier processes."""
        return max([lifetime_peak_mb(), self._watch.peak_mb, *(record.peak_rss_mb for record in self.records)])

    def save(self) -> None:
        write_json(self.folder / LEDGER_NAME, self._ledger)

    def do(self, stage: Stage, emit: Emit) -> StageRecord:
        """Run a stage, unless it is already done.

        Returns:
            Its record. `Done` is emitted in either case, warnings of an earlier run again.
        """
        key = self._key(stage)
        done = self.record(stage.name)
        if done is not None and done.key == key and self._outputs_hold(done):
            for warning in done.warnings:
                emit(warning)
            emit(Done(stage=stage.name, seconds=done.seconds))
            return done
        spent_before = self._begin(stage, key)
        warnings: list[Warned] = []

        def listen(event: Event) -> None:
            if isinstance(event, Warned) and event not in warnings:
                warnings.append(event)
            if not (isinstance(event, Done) and event.stage == stage.name):  # that is for us to say
                emit(event)

        self._watch.take_peak_mb()
        started = time.perf_counter()
        try:
            stage.work(listen)
        except BaseException:
            self._ledger["started"][stage.name]["seconds"] = spent_before + time.perf_counter() - started
            with contextlib.suppress(OSError, OutputError):  # the disk may be full: the error that led here matters
                self.save()
            raise
        record = StageRecord(
            name=stage.name,
            key=key,
            seconds=round(spent_before + time.perf_counter() - started, 3),
            peak_rss_mb=round(self._watch.take_peak_mb(), 1),
            finished=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            outputs=tuple(describe_output(self.folder, path) for path in stage.outputs),
            warnings=tuple(warnings),
        )
        self._ledger["stages"].pop(stage.name, None)  # to the end: records are in the order of finishing
        self._ledger["stages"][stage.name] = _record_to_json(record)
        self._ledger["started"].pop(stage.name, None)
        self.save()
        emit(Done(stage=stage.name, seconds=record.seconds))
        return record

    def _key(self, stage: Stage) -> str:
        """Digest of settings, code, and the outputs of the stages before."""
        before = {}
        for name in stage.after:
            record = self.record(name)
            if record is None:
                raise RuntimeError(f"Stage {stage.name} needs {name}, which has not run.")
            before[name] = [(output.path, output.sha256) for output in record.outputs]
        parts = [SCHEMA_VERSION, stage.name, plain(stage.settings), code_digest(stage.rooms), before]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]

    def _begin(self, stage: Stage, key: str) -> float:
        """Clear away what does not belong to this attempt; seconds that earlier attempts have spent."""
        started = self._ledger["started"].get(stage.name)
        same = started is not None and started["key"] == key
        if not same:
            for path in stage.scratch:
                remove_tree(self.folder / path)
        if self._ledger["stages"].pop(stage.name, None) is not None or not same:
            self._ledger["started"][stage.name] = {"key": key, "seconds": 0.0}
            self.save()  # before anything is removed: no record may outlive its outputs
        for path in stage.outputs:
            remove_tree(self.folder / path)
        return float(self._ledger["started"][stage.name]["seconds"])

    def _outputs_hold(self, record: StageRecord) -> bool:
        for output in record.outputs:
            path = self.folder / output.path
            if not path.exists() or describe_output(self.folder, output.path) != output:
                return False
        return True


@contextlib.contextmanager
def open_run(folder: Path, *, kind: str, resume: bool) -> Iterator[Run]:
    """Take a run folder into use: a new one, or with `resume` one that an earlier process left.

    A folder that was made here and in which no stage could be finished is removed again when a `BodydoubleError`
    passes through: a refused video leaves nothing behind.

    Args:
        folder: Where the results go.
        kind: What makes the run (`create`, `demo`): the folder of another kind is refused.
        resume: Continue what is there.
    Raises:
        OutputError: When the folder holds something else, is in use, cannot be written, or holds a run and `resume`
            was not asked for.
    """
    existed = folder.exists()
    _check_usable(folder, kind=kind, resume=resume)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be made: {error.strerror}. Choose a folder you may write to with -o."
        ) from error
    made_here = not existed or not (folder / LEDGER_NAME).exists()
    run = None
    try:
        with folder_lock(folder), MemoryWatch() as watch:
            _check_usable(folder, kind=kind, resume=resume)  # again, now that nobody else can change it
            remove_partials(folder)
            run = Run(folder, _open_ledger(folder, kind), watch)
            run.save()
            yield run
    except BodydoubleError:
        if made_here and run is not None and not run.records:
            _remove_results(folder, keep_folder=existed)
        raise


def describe_output(folder: Path, path: str) -> Output:
    """Size and digest of a file or folder."""
    full = folder / path
    if full.is_file():
        return Output(path=path, size_bytes=full.stat().st_size, sha256=file_sha256(full))
    if not full.is_dir():
        raise OutputError(f"{full} should be there by now and is not. Run the same command again with --resume.")
    digest, size = hashlib.sha256(), 0
    for file in sorted(full.rglob("*")):
        if file.is_file():
            digest.update(f"{file.relative_to(full).as_posix()}\0{file_sha256(file)}\0".encode())
            size += file.stat().st_size
    return Output(path=path, size_bytes=size, sha256=digest.hexdigest())


def plain(value: object) -> Any:
    """Settings as JSON values: dataclasses become objects, tuples lists, paths strings."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"settings must be plain values and dataclasses of them, found {type(value).__name__}")


def _check_usable(folder: Path, *, kind: str, resume: bool) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise OutputError(f"{folder} is a file; expected a folder for the results. Choose another name with -o.")
    try:
        others = [p.name for p in folder.iterdir() if p.name != LOCK_NAME and not p.name.endswith(".partial")]
    except OSError as error:
        raise OutputError(f"{folder} cannot be read: {error.strerror}. Choose another folder with -o.") from error
    if not others:
        return
    if LEDGER_NAME not in others:
        raise OutputError(
            f"{folder} is not empty and holds no run of bodydouble ({LEDGER_NAME} is missing): nothing there is touched. "
            "Choose a new folder with -o."
        )
    if not resume:
        raise OutputError(f"{folder} already holds a run. Continue it with --resume, or choose a new folder with -o.")
    found = read_json(folder / LEDGER_NAME).get("kind")
    if found != kind:
        raise OutputError(f"{folder} holds a run of kind {found!r}, expected {kind!r}. Choose another folder with -o.")


def _open_ledger(folder: Path, kind: str) -> dict[str, Any]:
    path = folder / LEDGER_NAME
    if not path.exists():
        return {
            "schema_version": SCHEMA_VERSION,
            "kind": kind,
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "versions": versions(),
            "machine": machine_facts(),
            "about": {},
            "started": {},
            "stages": {},
        }
    ledger = read_json(path)
    if ledger.get("schema_version") != SCHEMA_VERSION:
        raise InputError(
            f"{path} has schema version {ledger.get('schema_version')!r}; this program reads {SCHEMA_VERSION}. "
            "Continue with the program that wrote it, or choose a new folder with -o."
        )
    try:
        for name, entry in ledger["stages"].items():
            _record_from_json(name, entry)
        for name, entry in ledger["started"].items():
            ledger["started"][name] = {"key": str(entry["key"]), "seconds": float(entry["seconds"])}
        ledger["about"], ledger["created"] = dict(ledger["about"]), str(ledger["created"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} is damaged ({error!r}). Choose a new folder with -o.") from error
    ledger["versions"], ledger["machine"] = versions(), machine_facts()
    return ledger


def _remove_results(folder: Path, *, keep_folder: bool) -> None:
    for path in folder.iterdir():
        remove_tree(path)
    if not keep_folder:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _record_to_json(record: StageRecord) -> dict[str, Any]:
    entry = plain(record)
    entry.pop("name")
    return entry


def _record_from_json(name: str, entry: Mapping[str, Any]) -> StageRecord:
    return StageRecord(
        name=name,
        key=entry["key"],
        seconds=float(entry["seconds"]),
        peak_rss_mb=float(entry["peak_rss_mb"]),
        finished=entry["finished"],
        outputs=tuple(Output(**output) for output in entry["outputs"]),
        warnings=tuple(Warned(**warning) for warning in entry["warnings"]),
    )
