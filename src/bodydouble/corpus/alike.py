"""Near-duplicates: the same recording again, in another encoding, size or cut.

Two clips are alike when the same person does the same thing in the same place. So what is compared is the person's
surroundings over time, by a perceptual hash of each sampled picture (signs of its low frequencies, as in the DCT hash of
Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010), at the best shift in time; and the
colours of person and place, by an embedding. Only clips that share some thirds of their hashes are compared at all, which
the catalogue finds by a join (`corpus.duplicates`), so a million clips are not compared each with each.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8, UInt64

from bodydouble.corpus.ranges import check_range

HASH_STEP_S = 0.25
"""Time between hashed pictures."""
MAX_HASHES = 80
_SIDE_PX, _LOW = 32, 8
_CELLS = (8, 8)
PARTS, PART_BITS = 3, 21
"""Each hash is looked up by its thirds; of six bits that differ between copies, none is in a given third once in eleven times."""


@dataclass(frozen=True, kw_only=True)
class AlikeConfig:
    """When two clips count as one."""

    max_bits: float = 11.0
    """Mean number of the 64 bits that differ, over the pictures that overlap."""
    min_cosine: float = 0.97
    """Of the embeddings."""
    min_overlap: float = 0.5
    """Share of the shorter clip that must overlap the longer one."""

    def __post_init__(self) -> None:
        check_range("alike.max_bits", self.max_bits, 0.0, 64.0)
        check_range("alike.min_cosine", self.min_cosine, -1.0, 1.0)
        check_range("alike.min_overlap", self.min_overlap, 0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Looks:
    """What of a clip is compared."""

    id: str
    source_id: str
    hashes: tuple[int, ...]
    embedding: tuple[float, ...]
    worth: tuple[int, int]
    """The larger is kept: pixels of a frame, frames."""


def picture_hash(rgb: UInt8[np.ndarray, "height width 3"]) -> int:
    """64 bits: signs of the picture's low frequencies against their median."""
    import cv2

    grey = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(small)[:_LOW, :_LOW].ravel()
    bits = low > np.median(low[1:])
    bits[0] = False  # mean brightness says nothing
    return int(np.packbits(bits).view(">u8")[0])


def color_cells(rgb: UInt8[np.ndarray, "height width 3"]) -> Float[np.ndarray, " values"]:
    """Mean colour in each of 8 x 8 cells, Lab, about [-1, 1]."""
    import cv2

    small = cv2.resize(np.ascontiguousarray(rgb), _CELLS, interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small.astype(np.float32) / 255.0, cv2.COLOR_RGB2LAB)
    return (lab / np.array([50.0, 60.0, 60.0]) - np.array([1.0, 0.0, 0.0])).astype(np.float64).ravel()


def embedding_of(
    crops: Sequence[UInt8[np.ndarray, "rows columns 3"]], frames: Sequence[UInt8[np.ndarray, "height width 3"]]
) -> tuple[float, ...]:
    """Colours of the person's surroundings and of the whole picture, mean over time, of unit length."""
    person = np.mean([color_cells(crop) for crop in crops], axis=0)
    place = np.mean([color_cells(frame) for frame in frames], axis=0)
    vector = np.concatenate([person, place])
    return tuple(float(v) for v in np.round(vector / max(float(np.linalg.norm(vector)), 1e-9), 6))


def bits_apart(a: UInt64[np.ndarray, " n"], b: UInt64[np.ndarray, " m"]) -> Float[np.ndarray, "n m"]:
    """How many bits differ between each two."""
    signs = [np.unpackbits(v.view(np.uint8).reshape(-1, 8), axis=1).astype(np.float32) * 2.0 - 1.0 for v in (a, b)]
    return (32.0 - 0.5 * (signs[0] @ signs[1].T)).astype(np.float64)


def distance_bits(a: Sequence[int], b: Sequence[int], min_overlap: float) -> float:
    """Mean number of differing bits at the best shift in time; 64 where there is nothing to compare.

    Args:
        a, b: Hashes at even times, in order.
        min_overlap: Share of the shorter list that must overlap.
    """
    if not a or not b:
        return 64.0
    apart = bits_apart(np.array(a, np.uint64), np.array(b, np.uint64))
    needed = max(1, int(np.ceil(min_overlap * min(len(a), len(b)))))
    return min(float(np.diagonal(apart, shift).mean()) for shift in range(needed - len(a), len(b) - needed + 1))


def find_alike(clips: Sequence[Looks], pairs: Iterable[tuple[str, str]], config: AlikeConfig) -> dict[str, str]:
    """Which clips are copies of which.

    Of clips that are alike the one worth most is kept (the smallest id among equals); the outcome does not depend on
    the order in which they are given. People of one source are never taken for copies of each other.

    Args:
        clips: All that are in a pair.
        pairs: Ids of clips that may be alike.
        config: When they are.
    Returns:
        Id of each copy, and of the clip that is kept in its place.
    """
    by_id = {clip.id: clip for clip in clips}
    neighbours: dict[str, set[str]] = defaultdict(set)
    for a, b in pairs:
        neighbours[a].add(b)
        neighbours[b].add(a)
    # Best first: a clip is only ever compared with clips that are kept, so copies of copies find the best one too.
    copies: dict[str, str] = {}
    seen: set[str] = set()
    for clip in sorted(clips, key=lambda c: (tuple(-w for w in c.worth), c.id)):
        others = [by_id[o] for o in sorted(neighbours[clip.id]) if o in seen and o not in copies]
        match = _best_match(clip, others, config)
        if match is not None:
            copies[clip.id] = match
        seen.add(clip.id)
    return copies


def _best_match(clip: Looks, candidates: Sequence[Looks], config: AlikeConfig) -> str | None:
    best: tuple[float, str] | None = None
    for other in candidates:
        if other.source_id == clip.source_id:
            continue
        cosine = float(np.dot(clip.embedding, other.embedding)) if len(clip.embedding) == len(other.embedding) else -1.0
        if cosine < config.min_cosine:
            continue
        apart = distance_bits(clip.hashes, other.hashes, config.min_overlap)
        if apart <= config.max_bits and (best is None or (apart, other.id) < best):
            best = apart, other.id
    return None if best is None else best[1]
