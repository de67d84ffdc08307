"""Stages: done once, done again when anything they depend on changed, resumed after a kill, never half-taken."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bodydouble.core.errors import InputError, NoSubjectError, OutputError
from bodydouble.core.events import Done, Event, Warned
from bodydouble.pipeline.lock import LOCK_NAME, folder_lock
from bodydouble.pipeline.memory import MemoryWatch, lifetime_peak_mb, tree_rss_mb
from bodydouble.pipeline.stages import Run, Stage, describe_output, open_run, plain
from bodydouble.pipeline.versions import code_digest, machine_facts, versions


def ignore(event: Event) -> None:
    pass


def text_stage(
    run: Run,
    name: str,
    text: str,
    calls: list[str],
    *,
    after: tuple[str, ...] = (),
    fail: Callable[[], None] | None = None,
) -> Stage:
    """A stage that writes `text` and what the stages before it wrote."""

    def work(emit: Callable[[Event], None]) -> None:
        calls.append(name)
        emit(Warned(code="note", message=f"{name} warns"))
        before = "".join((run.folder / f"{earlier}.txt").read_text() for earlier in after)
        (run.folder / f"{name}.txt").write_text(before + text)
        if fail is not None:
            fail()

    return Stage(
        name=name, settings={"text": text}, after=after, rooms=("pipeline",), outputs=(f"{name}.txt",), work=work
    )


def run_two(
    folder: Path, first: str, second: str, *, resume: bool = True, fail: Callable[[], None] | None = None
) -> tuple[list[str], list[Event]]:
    calls: list[str] = []
    events: list[Event] = []
    with open_run(folder, kind="test", resume=resume) as run:
        run.do(text_stage(run, "one", first, calls), events.append)
        run.do(text_stage(run, "two", second, calls, after=("one",), fail=fail), events.append)
    return calls, events


def test_a_stage_is_done_once(tmp_path: Path):
    calls, events = run_two(tmp_path / "run", "a", "b")
    assert calls == ["one", "two"]
    assert [e.stage for e in events if isinstance(e, Done)] == ["one", "two"]
    assert (tmp_path / "run" / "two.txt").read_text() == "ab"
    calls, again = run_two(tmp_path / "run", "a", "b")
    assert calls == []
    assert [e for e in again if isinstance(e, Warned)] == [e for e in events if isinstance(e, Warned)]
    assert [e.stage for e in again if isinstance(e, Done)] == ["one", "two"]


def test_other_settings_redo_the_stage_and_what_follows(tmp_path: Path):
    run_two(tmp_path / "run", "a", "b")
    assert run_two(tmp_path / "run", "a", "B")[0] == ["two"]
    assert run_two(tmp_path / "run", "A", "B")[0] == ["one", "two"]
    assert (tmp_path / "run" / "two.txt").read_text() == "AB"


def test_damaged_or_missing_outputs_are_made_again(tmp_path: Path):
    run_two(tmp_path / "run", "a", "b")
    (tmp_path / "run" / "one.txt").write_text("x")
    assert run_two(tmp_path / "run", "a", "b")[0] == ["one"]  # the same content again: `two` still holds
    (tmp_path / "run" / "two.txt").unlink()
    assert run_two(tmp_path / "run", "a", "b")[0] == ["two"]


def test_a_failed_stage_is_not_done(tmp_path: Path):
    def fail() -> None:
        raise InputError("no good")

    with pytest.raises(InputError):
        run_two(tmp_path / "run", "a", "b", fail=fail)
    assert (tmp_path / "run" / "run.json").exists()  # the first stage is worth keeping
    assert run_two(tmp_path / "run", "a", "b")[0] == ["two"]


def test_a_run_without_any_result_leaves_nothing(tmp_path: Path):
    def refuse(folder: Path) -> None:
        with pytest.raises(NoSubjectError), open_run(folder, kind="test", resume=False) as run:
            (run.folder / "half").write_text("x")
            raise NoSubjectError("nobody")

    refuse(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "given").mkdir()
    refuse(tmp_path / "given")
    assert list((tmp_path / "given").iterdir()) == []


def test_an_interrupted_run_is_kept(tmp_path: Path):
    with pytest.raises(KeyboardInterrupt), open_run(tmp_path / "run", kind="test", resume=False):
        raise KeyboardInterrupt
    assert (tmp_path / "run" / "run.json").exists()
    assert run_two(tmp_path / "run", "a", "b")[0] == ["one", "two"]


@pytest.mark.parametrize("resume", [False, True])
def test_a_foreign_folder_is_refused_and_untouched(tmp_path: Path, resume: bool):
    (tmp_path / "holiday.jpg").write_text("x")
    with (
        pytest.raises(OutputError, match="is not empty and holds no run"),
        open_run(tmp_path, kind="test", resume=resume),
    ):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["holiday.jpg"]


def test_a_used_folder_needs_resume(tmp_path: Path):
    run_two(tmp_path / "run", "a", "b")
    before = (tmp_path / "run" / "run.json").read_bytes()
    with pytest.raises(OutputError, match=r"already holds a run.*--resume"):
        run_two(tmp_path / "run", "a", "b", resume=False)
    with (
        pytest.raises(OutputError, match="of kind 'test', expected 'other'"),
        open_run(tmp_path / "run", kind="other", resume=True),
    ):
        pass
    assert (tmp_path / "run" / "run.json").read_bytes() == before


def test_a_file_in_place_of_the_folder(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="is a file"), open_run(tmp_path / "file", kind="test", resume=False):
        pass
    with (
        pytest.raises(OutputError, match=r"cannot be (made|read)"),
        open_run(tmp_path / "file" / "run", kind="test", resume=False),
    ):
        pass


def test_a_read_only_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Root may write everywhere, so the refusal of the system is simulated."""

    def refuse(self: Path, *args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with (
        pytest.raises(OutputError, match=r"cannot be made: Permission denied. Choose a folder you may write to"),
        open_run(tmp_path / "run", kind="test", resume=False),
    ):
        pass


@pytest.mark.parametrize(
    ("ledger", "words"),
    [("{", "not readable as JSON"), ('{"kind": "test", "schema_version": 99}', "schema version 99"),
     ('{"kind": "test", "schema_version": 1, "stages": {"one": {}}}', "is damaged"),
     ('{"kind": "test", "schema_version": 1, "stages": {}, "started": {"one": {}}, "about": {}, "created": ""}', "is damaged"),
     ('{"kind": "test", "schema_version": 1, "stages": {}, "started": {}, "about": {}}', "is damaged")],
)  # fmt: skip
def test_a_damaged_ledger(tmp_path: Path, ledger: str, words: str):
    (tmp_path / "run.json").write_text(ledger)
    with pytest.raises(InputError, match=words), open_run(tmp_path, kind="test", resume=True):
        pass


def test_two_processes_in_one_folder(tmp_path: Path):
    with open_run(tmp_path / "run", kind="test", resume=False):
        with (
            pytest.raises(OutputError, match=rf"in use by another bodydouble \(process {os.getpid()}\)"),
            open_run(tmp_path / "run", kind="test", resume=True),
        ):
            pass
        assert (tmp_path / "run" / "run.json").exists()
    with open_run(tmp_path / "run", kind="test", resume=True):
        pass
    assert not (tmp_path / "run" / LOCK_NAME).exists()


def test_a_stale_lock_file_does_not_matter(tmp_path: Path):
    (tmp_path / LOCK_NAME).write_text("12345\n")
    with folder_lock(tmp_path):
        assert (tmp_path / LOCK_NAME).read_text() == f"{os.getpid()}\n"


def test_the_ledger_tells_what_was_done(tmp_path: Path):
    run_two(tmp_path / "run", "a", "b")
    ledger = json.loads((tmp_path / "run" / "run.json").read_text())
    assert set(ledger["stages"]) == {"one", "two"}
    one = ledger["stages"]["one"]
    assert one["outputs"] == [plain(describe_output(tmp_path / "run", "one.txt"))]
    assert one["seconds"] >= 0
    assert one["peak_rss_mb"] > 10
    assert one["warnings"] == [{"code": "note", "message": "one warns", "advice": ""}]
    assert ledger["versions"]["bodydouble"]
    assert ledger["machine"]["cores"] >= 1


def test_a_folder_as_output_is_compared_by_names_and_contents(tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").write_text("1")
    first = describe_output(tmp_path, "out")
    (tmp_path / "out" / "a").rename(tmp_path / "out" / "b")
    assert describe_output(tmp_path, "out").sha256 != first.sha256
    with pytest.raises(OutputError, match="should be there"):
        describe_output(tmp_path, "absent")


def sum_in_steps(folder: Path, moment: str) -> None:
    """A stage with checkpoints of its own, in a process that dies at `moment`. Steps taken are noted in steps.log."""

    def kill_at(name: str) -> None:
        if name == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    def work(emit: Callable[[Event], None]) -> None:
        kill_at("begun")
        steps = folder / "steps"
        steps.mkdir(exist_ok=True)
        for i in range(3):
            if not (steps / str(i)).exists():
                kill_at(f"step {i}")
                (steps / str(i)).write_text(str(i))
                with folder.with_suffix(".log").open("a") as log:
                    log.write(str(i))
        (folder / "sum.txt").write_text("".join(p.read_text() for p in sorted(steps.iterdir())))
        kill_at("written")

    with open_run(folder, kind="test", resume=True) as run:
        kill_at("opened")
        stage = Stage(
            name="sum", settings=None, after=(), rooms=(), outputs=("sum.txt",), scratch=("steps",), work=work
        )
        run.do(stage, ignore)
        kill_at("done")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("moment", ["opened", "begun", "step 1", "written", "done", "never"])
def test_kill_and_resume(tmp_path: Path, moment: str):
    folder = tmp_path / "run"
    child = os.fork()
    if child == 0:
        sum_in_steps(folder, moment)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == (0 if moment == "never" else signal.SIGKILL)
    sum_in_steps(folder, "never")
    assert (folder / "sum.txt").read_text() == "012"
    assert folder.with_suffix(".log").read_text() == "012"  # nothing was done twice
    assert sorted(p.name for p in folder.iterdir()) == ["run.json", "steps", "sum.txt"]


def test_scratch_of_other_settings_is_not_used(tmp_path: Path):
    def stage(settings: str, *, fail: bool) -> Stage:
        def work(emit: Callable[[Event], None]) -> None:
            scratch = tmp_path / "run" / "scratch"
            scratch.mkdir(exist_ok=True)
            seen = sorted(p.name for p in scratch.iterdir())
            (scratch / settings).touch()
            if fail:
                raise KeyboardInterrupt
            (tmp_path / "run" / "out.txt").write_text(",".join(seen))

        return Stage(
            name="s", settings=settings, after=(), rooms=(), outputs=("out.txt",), scratch=("scratch",), work=work
        )

    def attempt(settings: str, *, fail: bool) -> str:
        with open_run(tmp_path / "run", kind="test", resume=True) as run:
            run.do(stage(settings, fail=fail), ignore)
        return (tmp_path / "run" / "out.txt").read_text()

    with pytest.raises(KeyboardInterrupt):
        attempt("a", fail=True)
    assert attempt("a", fail=False) == "a"
    with pytest.raises(KeyboardInterrupt):
        attempt("b", fail=True)
    assert attempt("c", fail=False) == ""


def test_settings_become_plain_values():
    assert plain({"p": Path("a"), "t": (1, None, True)}) == {"p": "a", "t": [1, None, True]}
    with pytest.raises(TypeError, match="plain values"):
        plain(object())


def test_memory_counts_children():
    with MemoryWatch() as watch:
        code = "x = bytearray(150_000_000); x[::4096] = b'1' * len(x[::4096]); import time; time.sleep(1.5)"
        alone = tree_rss_mb()
        if alone == 0:
            pytest.skip("this system has no /proc")
        with subprocess.Popen([sys.executable, "-c", code]) as child:
            child.wait(timeout=60)
        assert watch.take_peak_mb() > alone + 120
        assert watch.take_peak_mb() < alone + 120
    assert lifetime_peak_mb() > 120


def test_versions_and_digests():
    assert {"bodydouble", "python", "torch", "numpy"} <= set(versions())
    assert code_digest(("pipeline",)) == code_digest(("pipeline",))
    assert code_digest(("pipeline",)) != code_digest(("capture",))
    assert machine_facts()["cpu"]
