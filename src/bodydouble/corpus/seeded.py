"""A corpus whose truth is known: synthetic clips, some of them with defects, in numbers that were decided beforehand.

    DIR/videos/clip_0000.mp4 ...     what a corpus is planned from
    DIR/manifest.csv                 the same with licence, consent, takedown key, and the frame rate that is announced
    DIR/performers/0000/ ...         the films that the clips are made of, each with its exact truth (docs/synth-format.md)
    DIR/seeded.json                  what every clip is: kind, films, frames taken, people, cuts, of what it is a copy

Sound clips are films as they are. Clips with a defect are edited from them: real encoded frames, cut, shrunk, painted over
and encoded again. The same seed and number of clips give the same corpus.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bodydouble.core.errors import ConfigError, InputError, OutputError
from bodydouble.core.events import Event, Progress
from bodydouble.core.files import file_sha256, read_json, write_json, write_text
from bodydouble.core.seeds import derived_seed, numpy_rng
from bodydouble.corpus import seeded_edits as edits

FORMAT, VERSION = "bodydouble-seeded-corpus", 1
INDEX_NAME, MANIFEST_NAME, VIDEOS, PERFORMERS = "seeded.json", "manifest.csv", "videos", "performers"
DEFECTS: tuple[str, ...] = (
    "two_people", "nobody", "shot_change", "corrupt", "duplicate", "tiny_person", "no_motion", "wrong_fps", "occluded",
)  # fmt: skip
SOUND = "sound"
_MOTIONS = ("dance", "performance", "turn", "squat", "wave")
_CAMERAS = ("static", "orbit", "handheld")
_SIZES = ((256, 384), (384, 256), (288, 288))
_BLURRED_EVERY = 4
"""Of so many films one has the motion blur of a normal exposure; the others, of a short one, take half the time to make."""
_OWN_FILMS = {"two_people": 2, "shot_change": 2, "tiny_person": 1, "no_motion": 1, "occluded": 1}
"""Films that a clip of this kind has to itself: its people are in no other clip, so it is nobody's duplicate. The others
never get so far that it could matter, or are duplicates on purpose, and borrow films of sound clips."""
Role = tuple[int, int]
"""Number of a film, and the look in which a clip shows it."""
_EVERY = 18
"""One defect of each kind for so many clips: half of all clips are sound."""


@dataclass(frozen=True, kw_only=True)
class SeedConfig:
    """What to make."""

    clips: int = 24
    seed: int = 0
    seconds: float = 1.5
    fps: float = 24.0
    looks: int = 1
    """In how many looks each film may appear: 2 halves the number of films, the second look is mirrored in other colours."""

    def __post_init__(self) -> None:
        if not 1 <= self.clips <= 100_000:
            raise ConfigError(f"A seeded corpus has 1 to 100000 clips, got {self.clips}.")
        if not 1.0 <= self.seconds <= 30.0:
            raise ConfigError(f"Clips last 1 to 30 seconds, got {self.seconds:g}: shorter ones show no motion.")
        if self.looks not in (1, 2):
            raise ConfigError(
                f"A film appears as it is (1 look), or also mirrored in other colours (2), got {self.looks}."
            )


@dataclass(frozen=True, kw_only=True)
class SeededClip:
    """What one clip is."""

    file: str
    """Below `videos/`."""
    kind: str
    """`sound`, or one of `DEFECTS`."""
    detail: str = ""
    films: tuple[int, ...] = ()
    """Numbers of the films whose frames it shows, in order of appearance."""
    looks: tuple[int, ...] = ()
    """For each of them: 0 as it is, 1 mirrored in other colours (`seeded_edits.other_look`)."""
    people: int = 1
    """How many are clearly in view at a time."""
    cuts: tuple[int, ...] = ()
    """First frames of new shots."""
    copy_of: str = ""
    """The clip that it repeats."""
    fps_hz: float = 0.0
    """Of the file."""
    announced_fps_hz: float = 0.0
    """In the manifest."""
    sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class SeededCorpus:
    """A corpus with its truth."""

    folder: Path
    config: SeedConfig
    clips: tuple[SeededClip, ...]

    def count(self, kind: str) -> int:
        """How many clips are of a kind."""
        return sum(clip.kind == kind for clip in self.clips)

    def performer(self, film: int) -> Path:
        """Folder of a film's exact truth."""
        return self.folder / PERFORMERS / f"{film:04d}"


def plan_kinds(config: SeedConfig) -> tuple[str, ...]:
    """The kind of each clip: every defect at least once if there is room, shuffled by the seed."""
    each = max(1, config.clips // _EVERY)
    kinds = [kind for kind in DEFECTS for _ in range(each)][: config.clips // 2]
    kinds += [SOUND] * (config.clips - len(kinds))
    return tuple(str(kind) for kind in numpy_rng(config.seed, "kinds").permutation(kinds))


def seed_corpus(out: Path, config: SeedConfig, emit: Callable[[Event], None] = lambda event: None) -> SeededCorpus:
    """Make a corpus with known defects. An interrupted call goes on where it was: films that are whole are kept.

    Args:
        out: New or empty, or what an earlier call with the same configuration left.
        config: What to make.
        emit: Told about progress, in clips.
    Raises:
        OutputError: When the folder holds something else.
    """
    kinds = plan_kinds(config)
    _claim(out, config)
    shown = films_of(kinds, config.looks)
    films = 1 + max(film for roles in shown for film, _ in roles)
    total = films + len(kinds)
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        emit(Progress(stage="seed", done=done, total=total, unit="films and clips"))

    for film in range(films):
        make_film(out / PERFORMERS / f"{film:04d}", film, config)
        tick()
    clips: list[SeededClip] = []
    for number, (kind, roles) in enumerate(zip(kinds, shown, strict=True)):
        path = out / VIDEOS / f"clip_{number:04d}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        clip = _make_clip(out, path, kind, roles, config, numpy_rng(config.seed, f"clip/{number}"))
        clips.append(dataclasses.replace(clip, sha256=file_sha256(path)))
        tick()
    clips = _copies_named(clips)
    corpus = SeededCorpus(folder=out, config=config, clips=tuple(clips))
    write_text(out / MANIFEST_NAME, manifest(corpus))
    write_json(out / INDEX_NAME, _document(corpus))
    return corpus


def read_seeded(folder: Path) -> SeededCorpus:
    """What `seed_corpus` wrote.

    Raises:
        InputError: When it is missing, unfinished or of another version.
    """
    document = read_json(folder / INDEX_NAME)
    if document.get("format") != FORMAT or document.get("version") != VERSION or "clips" not in document:
        raise InputError(
            f"{folder / INDEX_NAME} must be a finished {FORMAT} of version {VERSION}, found {document.get('format')!r} of version "
            f"{document.get('version')!r}. Make it (again) with: bodydouble corpus seed -o {folder}"
        )
    try:
        clips = tuple(
            SeededClip(**{k: tuple(v) if isinstance(v, list) else v for k, v in clip.items()})
            for clip in document["clips"]
        )
        return SeededCorpus(folder=folder, config=SeedConfig(**document["config"]), clips=clips)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{folder / INDEX_NAME} is damaged ({error}). Make it again: bodydouble corpus seed -o {folder}"
        ) from error


def manifest(corpus: SeededCorpus) -> str:
    """The corpus as a CSV manifest; paths are relative to it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("uri", "fps_hz", "licence", "consent", "provenance", "takedown_key"))
    for clip in corpus.clips:
        key = f"performer-{clip.films[0]:04d}" if clip.films else ""
        row = (
            f"{VIDEOS}/{clip.file}",
            f"{clip.announced_fps_hz:g}",
            "synthetic",
            "synthetic",
            "bodydouble corpus seed",
            key,
        )
        writer.writerow(row)
    return text.getvalue()


def make_film(folder: Path, film: int, config: SeedConfig) -> Path:
    """One performer's film with its truth; kept if it is there."""
    from bodydouble.synth.film import Sensor
    from bodydouble.synth.stage import SynthConfig
    from bodydouble.synth.synthesise import synthesise

    if folder.is_dir():
        return folder
    rng = numpy_rng(config.seed, f"film/{film}")
    width, height = _SIZES[film % len(_SIZES)]
    choices: dict[str, Any] = {
        "seed": derived_seed(config.seed, f"performer/{film}") % (1 << 31),
        "motion": _MOTIONS[film % len(_MOTIONS)],
        "camera": _CAMERAS[int(rng.choice(len(_CAMERAS), p=(0.6, 0.25, 0.15)))],
        "orbit_deg": float(rng.uniform(60.0, 150.0)),
        "seconds": float(config.seconds),
        "fps": float(config.fps),
        "size": (width, height),
        "truth_every": max(1, round(config.seconds * config.fps)),
        "sensor": Sensor() if film % _BLURRED_EVERY == 0 else Sensor(shutter=0.0),
    }
    return synthesise(folder, SynthConfig(**choices))


def films_of(kinds: Sequence[str], looks: int = 1) -> tuple[tuple[Role, ...], ...]:
    """The films that each clip shows, and in which look: sound clips first, then those that defects have to themselves.

    Args:
        kinds: Of the clips.
        looks: In how many looks a film may appear.
    """
    sound = sum(kind == SOUND for kind in kinds)
    films = -(-(sound + sum(_OWN_FILMS.get(kind, 0) for kind in kinds)) // looks)
    own, borrowed, after = 0, 0, sound
    shown: list[tuple[int, ...]] = []
    for kind in kinds:
        if kind == SOUND:
            shown.append((own,))
            own += 1
        elif kind in _OWN_FILMS:
            count = _OWN_FILMS[kind]
            shown.append(tuple(range(after, after + count)))
            after += count
        else:
            shown.append((borrowed % min(sound, films),))
            borrowed += 1
    return tuple(tuple((slot % films, slot // films) for slot in slots) for slots in shown)


def _make_clip(
    out: Path, path: Path, kind: str, roles: tuple[Role, ...], config: SeedConfig, rng: np.random.Generator
) -> SeededClip:
    """A film as it is, or films edited into a clip with one defect."""
    folders = [out / PERFORMERS / f"{film:04d}" for film, _ in roles]
    films, looks = tuple(film for film, _ in roles), tuple(look for _, look in roles)
    video = folders[0] / "video.mp4"
    clip = SeededClip(
        file=path.name, kind=kind, films=films, looks=looks, fps_hz=config.fps, announced_fps_hz=config.fps
    )
    if kind == SOUND and not looks[0]:
        shutil.copyfile(video, path)
        return clip
    if kind == "corrupt":
        return dataclasses.replace(clip, people=0, detail=edits.spoil(video, path, rng))
    read = [edits.read_film(folder) for folder in folders]
    a, *others = (edits.other_look(film) if look else film for film, look in zip(read, looks, strict=True))
    if kind == SOUND:
        edits.write(path, a.frames, config.fps)
        return dataclasses.replace(clip, detail="mirrored, in other colours")
    if kind == "duplicate":
        return dataclasses.replace(clip, detail=edits.copy_again(video, a, path, config.fps, rng))
    if kind == "wrong_fps":
        edits.write(path, a.frames[::2], config.fps / 2)
        return dataclasses.replace(clip, fps_hz=config.fps / 2, detail="every second frame at half the announced rate")
    if kind == "two_people":
        edits.write(path, edits.side_by_side(a, others[0]), config.fps)
        return dataclasses.replace(clip, people=2, detail="two films side by side")
    if kind == "shot_change":
        frames, cut = edits.joined(a, others[0])
        edits.write(path, frames, config.fps)
        return dataclasses.replace(clip, cuts=(cut,), detail="two films one after the other")
    made = {
        "nobody": (edits.without_person, 0, "the person painted over by the surroundings"),
        "tiny_person": (edits.shrunk, 1, "the film small inside a blurred picture"),
        "no_motion": (edits.frozen, 1, "one frame throughout, with fresh noise"),
        "occluded": (edits.covered, 1, "a panel before most of the body"),
    }[kind]
    edits.write(path, made[0](a, rng), config.fps)
    return dataclasses.replace(clip, people=made[1], detail=made[2])


def _copies_named(clips: list[SeededClip]) -> list[SeededClip]:
    """Duplicates learn the name of the sound clip that they repeat."""
    sound = {clip.films: clip.file for clip in clips if clip.kind == SOUND and clip.looks == (0,)}
    return [dataclasses.replace(c, copy_of=sound[c.films]) if c.kind == "duplicate" else c for c in clips]


def _document(corpus: SeededCorpus) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "config": dataclasses.asdict(corpus.config),
        "counts": {kind: corpus.count(kind) for kind in (SOUND, *DEFECTS)},
        "clips": [dataclasses.asdict(clip) for clip in corpus.clips],
    }


def _claim(out: Path, config: SeedConfig) -> None:
    """Refuse folders of others; mark this one as ours before the first film."""
    index = out / INDEX_NAME
    if index.is_file():
        if read_json(index).get("config") != dataclasses.asdict(config):
            raise OutputError(f"{out} holds a seeded corpus of another configuration. Choose another folder with -o.")
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out} exists and is not an empty folder. Choose a new folder with -o.")
    out.mkdir(parents=True, exist_ok=True)
    write_json(index, {"format": FORMAT, "version": VERSION, "config": dataclasses.asdict(config)})
