"""The work of each stage: the same functions as in `create`, called for one unit."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bodydouble.body.protocol import BodyModel
from bodydouble.capture.values import BodyTrack, VideoInfo
from bodydouble.core.errors import InputError
from bodydouble.core.events import Event
from bodydouble.corpus.fetch import local_video
from bodydouble.corpus.stages import CorpusConfig
from bodydouble.corpus.store import Store
from bodydouble.corpus.units import Found, Rejected, Unit, Work, folder_sha256
from bodydouble.corpus.values import Item

if TYPE_CHECKING:
    from bodydouble.perceive.workers import Workers

VIDEO, SHOTS, CAPTURE, COARSE = "video.json", "shots.json", "capture", "coarse.safetensors"
_TRACK = f"{CAPTURE}/body.safetensors"
_CLIPS_EACH = 200
"""Clips that one landmark process serves."""


def probe(store: Store, unit: Unit, config: CorpusConfig) -> Found:
    """Fetch the file if need be, read its facts, and hold them against what was planned."""
    from bodydouble.capture.folder import info_to_json
    from bodydouble.capture.video import probe as probe_video
    from bodydouble.core.files import file_sha256

    source = unit.source
    path = local_video(store, source)
    sha256 = file_sha256(path)
    if source.sha256 and sha256 != source.sha256:
        raise Rejected(
            f"the file's hash is {sha256[:12]}..., planned was {source.sha256[:12]}...: another download or edit"
        )
    info = dataclasses.replace(probe_video(path, with_sha256=False), sha256=sha256)
    if source.fps_hz and abs(info.fps_hz / source.fps_hz - 1.0) > config.fps_tolerance:
        raise Rejected(f"the video has {info.fps_hz:.3f} frames/s, planned were {source.fps_hz:.3f}")
    planned = (source.width_px or info.width_px, source.height_px or info.height_px)
    if planned != (info.width_px, info.height_px):
        raise Rejected(f"the video has {info.width_px}x{info.height_px} pixels, planned were {planned[0]}x{planned[1]}")
    known = dataclasses.replace(
        source,
        sha256=sha256,
        bytes=path.stat().st_size,
        fps_hz=source.fps_hz or info.fps_hz,
        width_px=info.width_px,
        height_px=info.height_px,
    )
    store.write_json(f"{unit.folder}/{VIDEO}", info_to_json(info))
    return Found(source=known)


def shots(store: Store, unit: Unit, config: CorpusConfig) -> Found:
    """Spans of continuous recording."""
    from bodydouble.capture.shots import THUMBNAIL_PX, find_cuts, signature
    from bodydouble.capture.video import read_thumbnails
    from bodydouble.corpus.people import cut_spans, seconds_of

    info = video_info(store, unit)
    left_s = seconds_of(info, 0, info.num_frames)
    if info.damage and left_s < config.people.min_seconds:
        raise InputError(
            f"{info.path} is damaged: {info.damage}, {left_s:.2f} s where at least {config.people.min_seconds:g} s are needed. Copy or "
            "fetch it again."
        )
    cuts = find_cuts(signature(t) for t in read_thumbnails(info.path, *THUMBNAIL_PX))
    spans = cut_spans(info, cuts, config.people, (unit.source.start_s, unit.source.end_s))
    if not spans:
        raise Rejected(
            f"no frame lies between {unit.source.start_s or 0:g} s and {unit.source.end_s or info.times_s[-1]:g} s of the video"
        )
    store.write_json(f"{unit.folder}/{SHOTS}", {"cuts": cuts, "spans": spans})
    return Found()


def tracks(store: Store, unit: Unit, config: CorpusConfig) -> Found:
    """Everybody in every span: the source's items."""
    from bodydouble.corpus.people import find_items

    info = video_info(store, unit)
    spans = [(int(a), int(b)) for a, b in store.read_json(f"{unit.folder}/{SHOTS}")["spans"]]
    found = find_items(_finder(), info, unit.source.id, spans, config.people)
    return Found(items=tuple(f.item for f in found), refusals={f.item.id: f.reason for f in found if f.reason})


def perceive(store: Store, unit: Unit, config: CorpusConfig) -> Found:
    """Landmarks and masks of the item's person: its capture begins."""
    from bodydouble.capture.folder import Capture
    from bodydouble.corpus.annotations import use_given_masks
    from bodydouble.corpus.measure import measure_seen
    from bodydouble.perceive.observe import PerceiveConfig, observe

    item, info = _item(unit), video_info(store, unit)
    times = info.times_s
    wanted = PerceiveConfig(
        start_s=times[item.first_frame],
        end_s=times[item.stop_frame - 1] + 0.5 / max(info.fps_hz, 1e-3),
        max_seconds=float("inf"),
        max_frames=item.stop_frame - item.first_frame,
    )
    with store.working_folder() as place:
        capture = Capture.create(Path(place) / CAPTURE, info)
        with _landmark_worker() as workers:
            observe(info, capture, wanted, _nobody_listens, subject=_subject(item), workers=workers)
        if capture.span != (item.first_frame, item.stop_frame):
            raise RuntimeError(f"frames {capture.span} were observed instead of {item.first_frame}-{item.stop_frame}")
        scores = measure_seen(capture, _look() if config.looks else None)
        if unit.source.annotations:
            scores |= use_given_masks(unit.source, capture)
        sha256 = folder_sha256(capture.folder)
        store.take_folder(capture.folder, f"{unit.folder}/{CAPTURE}")
    return Found(scores={**scores, "others": float(item.others)}, outputs_sha256=sha256)


def coarse(store: Store, unit: Unit, config: CorpusConfig) -> Found:
    """A quick body: landmarks alone, no outlines and no face. It begins at annotated bodies where there are some."""
    from bodydouble.capture.folder import Capture
    from bodydouble.corpus.annotations import GivenBody, given_body
    from bodydouble.fit.track import FitConfig, fit_track

    with store.as_folder(f"{unit.folder}/{CAPTURE}") as folder:
        capture, body = Capture.open(folder), _body(config.body)
        given = GivenBody(track=None, scores={})
        if unit.source.annotations:
            given = given_body(unit.source, capture, body)
        fit = FitConfig(silhouettes=False, expressions=False)
        track = fit_track(capture, body, fit, _nobody_listens, given.track)
    return Found(scores=given.scores, outputs_sha256=_save_track(store, track, f"{unit.folder}/{COARSE}"))


def consistency(store: Store, unit: Unit, config: CorpusConfig) -> Found:
    """Does the quick body lie where the person was seen?"""
    from bodydouble.capture.folder import Capture, load_struct
    from bodydouble.corpus.measure import measure_body

    with store.as_folder(unit.folder) as folder:
        track = load_struct(BodyTrack, folder / COARSE)
        return Found(scores=measure_body(Capture.open(folder / CAPTURE), _body(config.body), track))


def refine(store: Store, unit: Unit, config: CorpusConfig) -> Found:
    """The whole fit, begun at the quick one: outlines, girth, face. The capture's body, and its scores."""
    from bodydouble.capture.folder import Capture, load_struct
    from bodydouble.corpus.measure import measure_body
    from bodydouble.fit.track import FitConfig, fit_track

    with store.as_folder(unit.folder) as folder:
        capture, body = Capture.open(folder / CAPTURE), _body(config.body)
        start = load_struct(BodyTrack, folder / COARSE)
        track = fit_track(capture, body, FitConfig(), _nobody_listens, start)
        scores = measure_body(capture, body, track)
    return Found(scores=scores, outputs_sha256=_save_track(store, track, f"{unit.folder}/{_TRACK}"))


def ready(store: Store, unit: Unit, config: CorpusConfig) -> Found:
    """Everything is there and can be read: the capture may be published."""
    from bodydouble.pipeline.adopt import usable_capture

    with store.as_folder(f"{unit.folder}/{CAPTURE}") as folder:
        capture = usable_capture(folder, config.body)
        masks = len(list(capture.masks_folder.glob("*.png")))
        wanted = int(capture.observations().present.sum())
        if masks < wanted:
            raise InputError(f"{folder} has {masks} masks for {wanted} frames with a person.")
        return Found(outputs_sha256=folder_sha256(folder))


WORK: Mapping[str, Work] = {
    "probe": probe,
    "shots": shots,
    "tracks": tracks,
    "perceive": perceive,
    "coarse": coarse,
    "consistency": consistency,
    "refine": refine,
    "ready": ready,
}


def video_info(store: Store, unit: Unit) -> VideoInfo:
    """The facts that `probe` found, with the place where the file is now.

    Raises:
        InputError: When they are missing, or the file is.
    """
    from bodydouble.capture.folder import info_from_json
    from bodydouble.corpus.catalogue import source_folder

    name = f"{source_folder(unit.source.id)}/{VIDEO}"
    try:
        info = info_from_json(store.read_json(name))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{store.url(name)} is damaged ({error}). Run the stage `probe` again.") from error
    return dataclasses.replace(info, path=str(local_video(store, unit.source)))


def _item(unit: Unit) -> Item:
    assert unit.item is not None, unit.id
    return unit.item


def _subject(item: Item) -> Any:
    from bodydouble.perceive.subject import Person, Subject

    people = tuple(Person(frame_index=int(a[0]), box_px=(a[1], a[2], a[3], a[4]), score=a[5]) for a in item.anchors)
    return Subject(anchors=people, num_others=item.others)


def _save_track(store: Store, track: BodyTrack, name: str) -> str:
    from bodydouble.capture.folder import save_struct
    from bodydouble.core.files import file_sha256

    with store.working_folder() as place:
        path = Path(place) / Path(name).name
        save_struct(path, track)
        sha256 = file_sha256(path)
        store.take_file(path, name)
    return sha256


def _nobody_listens(event: Event) -> None:
    """Warnings are in the capture already; progress is the driver's."""


@dataclass
class _Resident:
    """The landmark process of this one: it loads its networks once for many clips."""

    workers: Workers | None = None
    served: int = 0

    def end(self) -> None:
        if self.workers is not None:
            self.workers.close()
        self.workers, self.served = None, 0


_resident = _Resident()
atexit.register(_resident.end)


@contextlib.contextmanager
def _landmark_worker() -> Iterator[Workers]:
    """The landmark process; a new one after an error, and after some clips, so that nothing piles up in it."""
    from bodydouble.perceive.workers import Workers

    if _resident.workers is None:
        _resident.workers = Workers(1)
    try:
        yield _resident.workers
        _resident.served += 1
    except BaseException:
        _resident.end()
        raise
    if _resident.served >= _CLIPS_EACH:
        _resident.end()


@functools.cache
def _finder() -> Any:
    """Without memory of earlier pictures, so one serves a process for life."""
    from bodydouble.perceive.mediapipe_holistic import PersonFinder

    return PersonFinder()


@functools.cache
def _look() -> Any:
    from bodydouble.corpus.agreement import network_look

    return network_look(_finder())


@functools.cache
def _body(name: str) -> BodyModel:
    from bodydouble.pipeline.bodies import load_body

    return load_body(name)
