"""Bad inputs for the real command line, and what it says to each: `error_texts.txt` is made from these.

python tests/cli/error_cases.py        writes the file anew; read the difference before you commit it
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import struct
import tempfile
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np

TEXTS = Path(__file__).with_name("error_texts.txt")
_WIDTH = "100"

CASES: tuple[str, ...] = (
    "create",
    "create clip.mp4 --preset best",
    "create absent.mp4",
    "create empty.mp4",
    "create letter.mp4",
    "create noise.mp4",
    "create sound.wav",
    "create photo.png",
    "create folder",
    "create frames",
    "create playlist.m3u8",
    "create clip.mp4 --start-s -1",
    "create clip.mp4 --start-s 5 --end-s 4",
    "create clip.mp4 --focal-px 0",
    "create clip.mp4 --height-cm 1.72",
    "create clip.mp4 --threads -2",
    "create clip.mp4 --body-file me.npz",
    "create clip.mp4 --body smplx",
    "create clip.mp4 --body smplx --body-file absent.npz",
    "create clip.mp4 --estimate-person 2",
    "create film.mp4 --body smplx --body-file letter.csv",
    "create letter.mp4 --device cuda",
    "capture absent.mp4",
    "import absent",
    "import folder",
    "import folder --layout neuman",
    "render absent.glb -o out.mp4",
    "render letter.glb -o out.mp4",
    "render folder -o out.mp4",
    "render rigless.glb -o out.mp4",
    "render person.glb -o out.gif",
    "render person.glb -o out.mp4 --motion moonwalk",
    "render person.glb -o out.mp4 --motion letter.mp4",
    "render person.glb -o out.mp4 --motion broken.bvh",
    "render person.glb -o out.mp4 --face letter.csv",
    "render person.glb -o out.mp4 --face noise.csv",
    "render person.glb -o out.mp4 --expression grinn",
    "render person.glb -o out.mp4 --size large",
    "render person.glb -o out.mp4 --size 4x4",
    "render person.glb -o out.mp4 --fps 0",
    "render person.glb -o out.mp4 --threads -1",
    "render person.glb -o out.mp4 --seconds 0",
    "render person.glb -o out.mp4 --background plaid",
    "render person.glb -o out.mp4 --background transparent",
    "render person.glb -o out.gif",
    "render person.glb -o letter.mp4/out.mp4",
    "render person.glb -o pictures --like folder",
    "export person.glb --to ply -o folder",
    "export person.glb --to ply -o letter.mp4/person.ply",
    "export person.glb --to ply -o person.obj",
    "export person.glb --to vrm",
    "export person.glb --to ply --frame 3",
    "export person.glb --to ply --motion wave --frame 100000",
    "export person.glb --to glb --expression smile",
    "motion info absent.bvh",
    "motion info broken.bvh",
    "motion info broken.bvh --clip run",
    "motion info objects.npz",
    "view folder --no-open",
    "view letter.glb --no-open",
    "motion convert person.glb out.bvh",
    "motion convert broken.bvh out.fbx",
    "motion capture absent.mp4 -o face.txt",
    "evaluate folder",
    "evaluate folder --protocol mine",
    "evaluate folder --truth a --predictions b",
    "synth -o out --size 321x240",
    "synth -o out --motion fly",
    "synth -o folder",
    "demo -o folder",
    "demo -o letter.mp4",
    "bench motions --page absent.md",
    "bench motions --page letter.csv",
    "completion powershell",
)
"""Words after `bodydouble`, in a folder that `make_inputs` fills."""


def make_inputs(folder: Path) -> None:
    """Files of the kinds that people hand in by mistake."""
    from avatar_fakes import make_avatar
    from PIL import Image

    from bodydouble.avatar.glb import save_avatar
    from bodydouble.capture.video_write import VideoWriter

    (folder / "folder").mkdir()
    (folder / "folder" / "cat.jpg").write_bytes(b"x")
    (folder / "frames").mkdir()
    for i in range(3):
        Image.new("RGB", (32, 32), (40 * i, 90, 90)).save(folder / "frames" / f"{i:03d}.png")
    Image.new("RGB", (32, 32), "navy").save(folder / "photo.png")
    (folder / "empty.mp4").touch()
    for name in ("letter.mp4", "letter.glb", "letter.csv"):
        (folder / name).write_text("Dear diary,\n" * 50, encoding="utf-8")
    for name in ("noise.mp4", "noise.csv"):
        (folder / name).write_bytes(bytes(range(256)) * 40)
    np.savez(folder / "objects.npz", poses=np.array([{"a": 1}], dtype=object))
    with VideoWriter(folder / "film.mp4", 10, 32, 32) as film:
        film.write(np.zeros((32, 32, 3), np.uint8))
    (folder / "playlist.m3u8").write_text("#EXTM3U\nhttp://example.com/a.ts\n", encoding="utf-8")
    (folder / "broken.bvh").write_text("HIERARCHY\nROOT hips\n{\n  OFFSET 0 0\n", encoding="utf-8")
    with wave.open(str(folder / "sound.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(8000))
    save_avatar(make_avatar(), folder / "person.glb")
    text = json.dumps({"asset": {"version": "2.0"}, "scenes": []}).encode()
    text += b" " * (-len(text) % 4)
    head = struct.pack("<III", 0x46546C67, 2, 20 + len(text)) + struct.pack("<II", len(text), 0x4E4F534A)
    (folder / "rigless.glb").write_bytes(head + text)


def answer(line: str, folder: Path) -> str:
    """What the command line says on standard error (and its exit code), paths of this machine made neutral."""
    from bodydouble.cli.main import main

    out, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        code = main(line.split())
    said = error.getvalue() + (out.getvalue() if code == 2 else "")
    said = said.replace(str(folder.resolve()), "HERE").replace(str(folder), "HERE")
    said = re.sub(r"\x1b\[[0-9;]*m", "", said)
    said = "\n".join(line.rstrip() for line in said.strip().splitlines())
    return f"$ bodydouble {line}\n{said}\n[{code}]\n"


def answers() -> Iterator[str]:
    """To every case, in a fresh folder."""
    before, columns = Path.cwd(), os.environ.get("COLUMNS")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["COLUMNS"] = _WIDTH
        try:
            os.chdir(folder)
            make_inputs(folder)
            for line in CASES:
                yield answer(line, folder)
        finally:
            os.chdir(before)
            if columns is None:
                os.environ.pop("COLUMNS", None)
            else:
                os.environ["COLUMNS"] = columns


if __name__ == "__main__":
    import sys

    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "avatar"))
    TEXTS.write_text("\n".join(answers()), encoding="utf-8")
    print(f"{TEXTS} written.")
