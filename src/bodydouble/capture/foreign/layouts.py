"""Which layouts there are, and which one a folder has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from bodydouble.capture.foreign.neuman import read_neuman
from bodydouble.capture.foreign.peoplesnapshot import read_peoplesnapshot
from bodydouble.capture.foreign.plain import IMAGE_FOLDERS, MASK_FOLDERS, read_plain
from bodydouble.capture.foreign.synwild import read_synwild
from bodydouble.capture.foreign.values import ForeignCapture
from bodydouble.capture.foreign.wildavatar import read_wildavatar
from bodydouble.capture.foreign.xhumans import read_xhumans
from bodydouble.capture.foreign.zju import read_zju
from bodydouble.core.errors import BodydoubleError, ConfigError, InputError


@runtime_checkable
class Reader(Protocol):
    """Reads one layout."""

    def __call__(self, folder: Path, *, sequence: str, fps_hz: float | None) -> ForeignCapture: ...


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One layout of somebody else's."""

    name: str
    title: str
    needs: tuple[tuple[str, ...], ...]
    """What tells it: of each group of patterns one must match something in the folder."""
    read: Reader
    has_sequences: bool = False
    general: bool = False
    """Considered only where nothing else fits."""

    def missing(self, folder: Path) -> list[str]:
        """Groups of which nothing is there, in words."""
        return [" or ".join(group) for group in self.needs if not any(next(folder.glob(p), None) for p in group)]


LAYOUTS: tuple[Layout, ...] = (
    Layout(
        name="peoplesnapshot",
        title="PeopleSnapshot (InstantAvatar, Anim-NeRF)",
        needs=(("images",), ("masks",), ("cameras.npz",), ("poses.npz", "poses_optimized.npz")),
        read=read_peoplesnapshot,
    ),
    Layout(
        name="neuman",
        title="NeuMan",
        needs=(("images",), ("sparse/cameras.txt",), ("sparse/images.txt",), ("segmentations", "4d_humans")),
        read=read_neuman,
    ),
    Layout(
        name="xhumans",
        title="X-Humans (a subject's folder)",
        needs=(("t*/*/render/cameras.npz",), ("t*/*/SMPLX",)),
        read=read_xhumans,
        has_sequences=True,
    ),
    Layout(
        name="zju",
        title="ZJU-MoCap (EasyMocap)",
        needs=(("annots.npy", "intri.yml"),),
        read=read_zju,
        has_sequences=True,
    ),
    Layout(name="wildavatar", title="WildAvatar", needs=(("metadata.json",),), read=read_wildavatar),
    Layout(
        name="synwild",
        title="SynWild (Vid2Avatar)",
        needs=(("image",), ("poses.npy",), ("normalize_trans.npy",), ("cameras_normalize.npz", "cameras.npz")),
        read=read_synwild,
    ),
    Layout(
        name="plain",
        title="frames and masks",
        needs=(IMAGE_FOLDERS, MASK_FOLDERS),
        read=read_plain,
        general=True,
    ),
)


def find_layout(folder: Path, name: str = "auto") -> Layout:
    """The layout of this name, or with `auto` the one that the folder has.

    Raises:
        ConfigError: When there is no layout of this name.
        InputError: When the folder is none, or no layout or several fit.
    """
    names = ", ".join(layout.name for layout in LAYOUTS)
    if not folder.is_dir():
        raise InputError(
            f"{folder} is {'a file' if folder.exists() else 'not there'}; expected the folder of a capture."
        )
    if name != "auto":
        named = next((layout for layout in LAYOUTS if layout.name == name), None)
        if named is None:
            raise ConfigError(f"There is no layout {name!r}; known are auto, {names}.")
        missing = named.missing(folder)
        if missing:
            raise InputError(f"{folder} does not have the layout of {named.title}: it lacks {'; '.join(missing)}.")
        return named
    fitting = [layout for layout in LAYOUTS if not layout.missing(folder) and not layout.general]
    fitting = fitting or [layout for layout in LAYOUTS if not layout.missing(folder)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise InputError(
            f"{folder} fits several layouts ({', '.join(layout.name for layout in fitting)}). Name one with --layout."
        )
    lacking = "; ".join(f"{layout.name} lacks {', '.join(layout.missing(folder))}" for layout in LAYOUTS)
    raise InputError(
        f"{folder} has no known layout ({lacking}). Name the folder of one capture, or its layout with --layout."
    )


def read_foreign(
    folder: Path | str, layout: str = "auto", *, sequence: str = "", fps_hz: float | None = None
) -> ForeignCapture:
    """Read a capture in somebody else's layout.

    Only facts are read; pictures are decoded when they are asked for. No code in the files is run.

    Args:
        folder: One subject or sequence.
        layout: One of `LAYOUTS`, or `auto`.
        sequence: Which camera or take, where the layout has several.
        fps_hz: Frame rate, where it is known; most layouts do not say.
    Raises:
        InputError: When the folder is none of that layout, or what is in it does not go together.
        ConfigError: When an option makes no sense.
    """
    folder = Path(folder)
    if fps_hz is not None and not 0 < fps_hz <= 1000:
        raise ConfigError(f"A frame rate must be positive, found {fps_hz}; 30 is usual.")
    found = find_layout(folder, layout)
    if sequence and not found.has_sequences:
        raise ConfigError(f"{found.title} has one sequence in a folder; --sequence {sequence} has no meaning there.")
    try:
        return found.read(folder, sequence=sequence, fps_hz=fps_hz)
    except BodydoubleError:
        raise
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"{folder} looks like {found.title}, but is damaged or of another version ({type(error).__name__}: {error}). "
            "Copy it again from its source."
        ) from error
