"""An avatar from a capture that is there already: one that was imported, or that an earlier command left.

Nothing is observed or fitted again. Observations, masks and body are copied into the new run, so that it stands on its
own; the video stays where it is, as with any run.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from bodydouble.capture.folder import MATTES, Capture
from bodydouble.core.errors import InputError, OutputError
from bodydouble.core.events import Progress
from bodydouble.core.files import atomic_path, file_sha256, read_json, write_json
from bodydouble.pipeline.bodies import load_body
from bodydouble.pipeline.create import RunResult, reconstruction_stages, result_of, use_threads
from bodydouble.pipeline.layout import CAPTURE
from bodydouble.pipeline.presets import CreateConfig
from bodydouble.pipeline.stages import Emit, Stage, open_run, plain

ADOPT_STAGES = ("adopt", "reconstruct", "report")
_INDEX, _MASKS, _TENSORS = "capture.json", "masks", ("observations.safetensors", "body.safetensors")
_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


def find_capture(folder: Path) -> Path | None:
    """The capture folder that this folder is or holds, if any."""
    return next((place for place in (folder, folder / CAPTURE) if (place / _INDEX).is_file()), None)


def create_from_capture(
    folder: Path, out: Path, config: CreateConfig, emit: Emit, *, resume: bool = False
) -> RunResult:
    """Turn a capture into an avatar, with the body that it holds.

    Args:
        folder: A capture folder, or the folder of a run or an import that holds one.
        out: The run folder; new, empty, or with `resume` one that an earlier call left unfinished.
        config: A preset, perhaps with changes; what it says about observing and fitting has no effect.
        emit: Called with every event.
        resume: Continue what is there.
    Raises:
        InputError: When there is no capture, it holds no observations or no body, or its video is gone.
        OutputError: When the folder cannot be used, or holds the run of another video.
    """
    source = find_capture(folder)
    if source is None:
        pictures = sum(path.suffix.lower() in _PICTURES for path in folder.iterdir()) if folder.is_dir() else 0
        if pictures > 1:
            raise InputError(
                f"{folder} holds {pictures} pictures, no capture. Make a video of them first, such as: ffmpeg -framerate 30 "
                f"-pattern_type glob -i '{folder}/*.png' clip.mp4. Frames with masks are read by `bodydouble import`."
            )
        raise InputError(
            f"{folder} holds no capture ({_INDEX} is missing). Name a video, or a folder that `bodydouble import` or "
            "`bodydouble capture` left."
        )
    found = usable_capture(source, load_body(config.body, file=config.body_file).name)
    if out.resolve() in (folder.resolve(), source.resolve()):
        raise OutputError(f"{out} is the capture itself. Choose another folder for the avatar with -o.")
    with open_run(out, kind="create", resume=resume) as run:
        use_threads(config.threads)
        before = run.about("video")
        if before is not None and before.get("sha256") != found.info.sha256:
            raise OutputError(
                f"{out} holds the run of another video ({before.get('path')}), not of {found.info.path}. "
                "Choose another folder with -o."
            )
        info = found.info
        run.describe(
            "video", {"path": info.path, "sha256": info.sha256, "frames": info.num_frames, "fps_hz": info.fps_hz}
        )
        run.describe("config", plain(config))
        run.describe("capture", {"folder": str(source.resolve())})
        run.do(_adoption(source, found, out / CAPTURE), emit)
        for stage in reconstruction_stages(run, info, config, after=("adopt",)):
            run.do(stage, emit)
        return result_of(run)


def usable_capture(folder: Path, body: str) -> Capture:
    """A capture from which an avatar can be made.

    Raises:
        InputError: When something is missing, with what brings it.
    """
    capture = Capture.open(folder)
    video = capture.source_path()
    if not capture.has_observations():
        raise InputError(
            f"{folder} holds no observations: it was never finished. Continue the command that made it with --resume."
        )
    if not capture.has_track():
        raise InputError(
            f"{folder} holds no fitted body. To have one fitted: bodydouble create {video} (its masks are then made anew)."
        )
    track = capture.track()
    if track.body != body:
        raise InputError(
            f"{folder} holds a body of kind {track.body!r}, but {body!r} was asked for. Name the body it holds, or fit the other anew: "
            f"bodydouble create {video}, with --body and --body-file if it is not ours."
        )
    if not bool(track.valid.any()) or not capture.train_indices():
        raise InputError(f"{folder} shows nobody in any frame, so there is nothing to make an avatar of.")
    return capture


def _adoption(source: Path, found: Capture, folder: Path) -> Stage:
    return Stage(
        name="adopt",
        settings={"video": found.info.sha256, "files": _digest(source)},
        after=(),
        rooms=("capture",),
        outputs=(*(f"{CAPTURE}/{name}" for name in _TENSORS), f"{CAPTURE}/{_MASKS}"),
        work=lambda emit: _copy(source, found, folder, emit),
    )


def _digest(source: Path) -> str:
    """Over the capture's own files; masks by name, size and time."""
    digest = hashlib.sha256()
    for name in _TENSORS:
        digest.update(file_sha256(source / name).encode())
    for mask in _pictures_of(source):
        stat = mask.stat()
        digest.update(f"{mask.parent.name}/{mask.name}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def _pictures_of(source: Path) -> list[Path]:
    """Masks and mattes."""
    return [path for name in (_MASKS, MATTES) for path in sorted((source / name).glob("*.png"))]


def _copy(source: Path, found: Capture, folder: Path, emit: Emit) -> None:
    document = read_json(source / _INDEX)
    document["source"]["path"] = str(Path(found.info.path).resolve())
    with atomic_path(folder) as partial:
        (partial / _MASKS).mkdir(parents=True)
        masks = _pictures_of(source)
        for i, mask in enumerate(masks):
            (partial / mask.parent.name).mkdir(exist_ok=True)
            shutil.copyfile(mask, partial / mask.parent.name / mask.name)
            emit(Progress(stage="adopt", done=i + 1, total=len(masks), unit="masks"))
        for name in _TENSORS:
            shutil.copyfile(source / name, partial / name)
        write_json(partial / _INDEX, document)
