"""What the command line says and with which code it ends."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import bodydouble
from bodydouble.cli import commands
from bodydouble.cli.main import main
from bodydouble.core.errors import InputError


def test_version(capsys: pytest.CaptureFixture[str]):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"bodydouble {bodydouble.__version__}\n"


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for command in ("create", "capture", "demo", "render", "evaluate", "synth", "doctor"):
        assert command in text


@pytest.mark.skipif(sys.platform == "win32", reason="pipes break otherwise there")
@pytest.mark.parametrize("words", [["bench", "--help"], ["doctor", "--json"]])
def test_a_reader_that_leaves_ends_it_without_a_traceback(words: list[str]):
    command = [sys.executable, "-m", "bodydouble", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert "Traceback" not in process.stderr.read()
        assert process.wait() != 0


@pytest.mark.parametrize("command", ["create", "capture", "demo", "render", "evaluate", "synth", "doctor"])
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]):
    assert main([command, "--help"]) == 0
    assert "--json" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [[], ["frobnicate"], ["create"], ["create", "a.mp4", "--preset", "best"], ["create", "a.mp4", "--speed", "1"],
     ["render", "a.glb"], ["create", "a.mp4", "--focal-px", "wide"]],
)  # fmt: skip
def test_wrong_usage_is_2(words: list[str], capsys: pytest.CaptureFixture[str]):
    assert main(words) == 2
    output = capsys.readouterr()
    assert "Traceback" not in output.out + output.err


def test_an_expected_error_is_its_message_and_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["create", str(tmp_path / "absent.mp4"), "-o", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("Error: ")
    assert "absent.mp4" in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_errors_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["create", str(tmp_path / "absent.mp4"), "--json"]) == 1
    output = capsys.readouterr()
    assert "absent.mp4" in json.loads(output.out)["error"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [(["--start-s", "-1"], "--start-s is -1; expected seconds from the beginning"),
     (["--start-s", "5", "--end-s", "4"], "--end-s is 4; expected more than --start-s (5)"),
     (["--focal-px", "0"], "--focal-px is 0; expected the focal length in pixels"),
     (["--height-cm", "1.7"], "--height-cm is 1.7; expected the person's height in centimetres"),
     (["--threads", "-2"], "--threads is -2; expected 0 (all cores)")],
)  # fmt: skip
def test_choices_that_make_no_sense(words: list[str], expected: str, capsys: pytest.CaptureFixture[str]):
    assert main(["create", "clip.mp4", *words]) == 1
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [(["--size", "large"], "--size is 'large'; expected width x height"),
     (["--size", "4x4"], "A picture of 4x4 px cannot be made"),
     (["--background", "plaid"], "--background is 'plaid'; expected a colour"),
     (["--fps", "0"], "--fps is 0; expected 1 to 240"),
     (["--seconds", "0"], "--seconds is 0; expected more than 0"),
     (["--expression", "grinn"], "is not an expression"),
     ([], "absent.glb")],
)  # fmt: skip
def test_render_options_that_make_no_sense(words: list[str], expected: str, capsys: pytest.CaptureFixture[str]):
    assert main(["render", "absent.glb", "-o", "x.mp4", *words]) == 1
    assert expected in capsys.readouterr().err


def test_an_unexpected_error_goes_to_a_file(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def broken(command: object) -> int:
        raise ZeroDivisionError("so deep inside")

    monkeypatch.setattr(commands, "doctor", broken)
    assert main(["doctor"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("Error: Something went wrong that should not: ZeroDivisionError: so deep inside")
    assert "Traceback" not in error
    found = re.search(r"Details are in (\S+);", error)
    assert found is not None
    log = Path(found[1])
    assert "Traceback" in log.read_text()
    log.unlink()


@pytest.mark.parametrize(
    ("words", "expected"),
    [(["doctor"], "Nothing half-written was left"),
     (["create", "my clip.mp4", "-o", "here"], "bodydouble create 'my clip.mp4' -o here --resume"),
     (["demo", "--resume", "--seed", "3"], "bodydouble demo --resume --seed 3")],
)  # fmt: skip
def test_interruption_is_clean(
    words: list[str], expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def interrupted(command: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, words[0], interrupted)
    monkeypatch.setattr("bodydouble.cli.voice.os.name", "posix")
    assert main(words) == 130
    error = capsys.readouterr().err
    assert error.splitlines()[1].startswith("Interrupted.") and error.rstrip().endswith(("left.", expected))
    assert expected in error


def test_quiet_leaves_the_result_and_errors(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    def talkative(command: object) -> int:
        print("the result")
        print("a note", file=sys.stderr)
        return 0

    monkeypatch.setattr(commands, "doctor", talkative)
    assert main(["doctor", "-q"]) == 0
    assert capsys.readouterr() == ("the result\n", "")
    assert main(["doctor"]) == 0
    assert capsys.readouterr() == ("the result\n", "a note\n")
    assert main(["create", str(tmp_path / "absent.mp4"), "--quiet"]) == 1
    assert "absent.mp4" in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_every_command(shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for word in ("bodydouble", "create", "evaluate", "--height-cm" if shell != "fish" else "height-cm"):
        assert word in script
    assert main(["completion", shell, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["script"] == script.rstrip() and told["shell"] == shell and f"completion {shell}" in told["install"]
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not on this machine to read the script")
    file = tmp_path / f"completion.{shell}"
    file.write_text(script, encoding="utf-8")
    assert subprocess.run([program, "-n", str(file)], capture_output=True, timeout=60, check=False).returncode == 0


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Bash itself is asked what Tab offers after `bodydouble cr` and after an option with choices."""
    assert main(["completion", "bash"]) == 0
    file = tmp_path / "completion.bash"
    file.write_text(capsys.readouterr().out, encoding="utf-8")
    offered = []
    for words in (["bodydouble", "cr"], ["bodydouble", "create", "a.mp4", "--preset", ""]):
        line = " ".join(words)
        script = (
            f"source {file}; COMP_WORDS=({' '.join(repr(w) for w in words)}); COMP_CWORD={len(words) - 1}; "
            f"COMP_LINE={line!r}; COMP_POINT={len(line)}; "
            'f=$(complete -p bodydouble | sed "s/.*-F \\([^ ]*\\).*/\\1/"); $f; printf "%s\\n" "${COMPREPLY[@]}"'
        )
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60, check=False)
        offered.append(done.stdout.split())
    assert offered[0] == ["create"]
    assert set(offered[1]) == {"draft", "standard", "fine"}


@pytest.mark.parametrize(
    ("error", "expected"), [(MemoryError(), "not enough memory"), (OSError(28, "No space left"), "disk is full")]
)
def test_the_machine_is_at_its_limits(
    error: Exception, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def limited(command: object) -> int:
        raise error

    monkeypatch.setattr(commands, "doctor", limited)
    assert main(["doctor"]) == 1
    assert expected in capsys.readouterr().err


def test_a_program_error_in_words_is_not_wrapped(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def refused(command: object) -> int:
        raise InputError("This cannot be used. Use another.")

    monkeypatch.setattr(commands, "doctor", refused)
    assert main(["doctor", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {"error": "This cannot be used. Use another."}


def test_doctor_looks_at_everything(capsys: pytest.CaptureFixture[str]):
    code = main(["doctor", "--json"])
    result = json.loads(capsys.readouterr().out)
    names = [finding["name"] for finding in result["findings"]]
    assert names == [
        "python", "processor", "memory", "disk", "torch", "numba", "mediapipe", "anny", "video codecs", "cuda",
        "threads", "studio", "corpus", "sfm", "usd", "web page", "browser", "programs", "wardrobe",
    ]  # fmt: skip
    assert code == (0 if result["healthy"] else 1)
    for finding in result["findings"]:
        assert finding["found"]
        if finding["state"] != "ok":
            assert finding["advice"]


def test_doctor_in_words(capsys: pytest.CaptureFixture[str]):
    main(["doctor"])
    assert "mediapipe" in capsys.readouterr().out


def test_synth_films_and_says_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = ["synth", "--seconds", "0.5", "--fps", "4", "--size", "96x128", "--scene", "room", "--json", "-o"]
    assert main([*words, str(tmp_path / "p")]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["frames"] == 2 and answer["scene"] == "room" and Path(answer["video"]).is_file()
    assert main([*words, str(tmp_path / "p")]) == 1
    assert "not an empty folder" in json.loads(capsys.readouterr().out)["error"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--size", "321x240"], "size must be even"),
        (["--size", "large"], "--size is 'large'; expected width x height"),
        (["--motion", "fly"], "neither a file nor the name of a motion"),
        (["--wardrobe", "nowhere"], "nowhere"),
    ],
)
def test_synth_options_that_make_no_sense(
    words: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["synth", "--seconds", "1", "-o", str(tmp_path / "p"), *words]) == 1
    error = capsys.readouterr().err
    assert error.startswith("Error: ") and expected in error and not (tmp_path / "p").exists()


def test_evaluate_wants_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["evaluate", str(tmp_path)]) == 1
    assert "is not the folder of a run" in capsys.readouterr().err
    assert main(["evaluate", str(tmp_path), "--protocol", "mine"]) == 1
    assert "There is no evaluation protocol named 'mine'" in capsys.readouterr().err
