"""Which trackers' results can be read, and whose a file is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bodydouble.capture.estimates.sam3d import read_sam3d, sam3d_files
from bodydouble.capture.estimates.smpl_trackers import read_gvhmr, read_tram, read_wham, tram_tracks
from bodydouble.capture.estimates.smplx_frames import (
    exavatar_files,
    read_exavatar,
    read_plain,
    read_smplerx,
    smplerx_files,
)
from bodydouble.capture.estimates.values import ForeignEstimate
from bodydouble.capture.estimates.wildavatar import read_wildavatar_estimate, wildavatar_file
from bodydouble.capture.foreign.files import read_json_value
from bodydouble.core.arrays import Npz
from bodydouble.core.errors import ConfigError, InputError


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Results of one tracker."""

    name: str
    title: str
    expects: str
    """What it looks like on disk, in words."""
    looks_like: Callable[[Path], bool]
    read: Callable[[Path], ForeignEstimate]


def _is_file(path: Path, name: str, suffix: str) -> bool:
    return (path / name).is_file() if path.is_dir() else path.suffix == suffix


def _is_wildavatar(path: Path) -> bool:
    file = wildavatar_file(path)
    if file.suffix != ".json" or not file.is_file():
        return False
    table = read_json_value(file)
    return isinstance(table, dict) and any(
        key.isdigit() and isinstance(v, dict) and "cam_extrinsics" in v for key, v in table.items()
    )


def _is_plain(path: Path) -> bool:
    if path.is_dir() or path.suffix != ".npz":
        return False
    archive = Npz(path)
    return "poses" in archive or any(key in archive for key in ("body_pose", "pose_body"))


KINDS: tuple[Kind, ...] = (
    Kind(
        name="exavatar",
        title="ExAvatar",
        expects="a subject's folder with smplx_optimized/smplx_params/FRAME.json",
        looks_like=lambda path: bool(exavatar_files(path)),
        read=read_exavatar,
    ),
    Kind(
        name="smplerx",
        title="SMPLer-X",
        expects="an output folder with smplx/FRAME_DETECTION.npz and meta/FRAME_DETECTION.json",
        looks_like=lambda path: bool(smplerx_files(path)),
        read=read_smplerx,
    ),
    Kind(
        name="gvhmr",
        title="GVHMR",
        expects="hmr4d_results.pt (saved by torch)",
        looks_like=lambda path: _is_file(path, "hmr4d_results.pt", ".pt"),
        read=read_gvhmr,
    ),
    Kind(
        name="wham",
        title="WHAM",
        expects="wham_output.pkl (saved by joblib)",
        looks_like=lambda path: _is_file(path, "wham_output.pkl", ".pkl") and not sam3d_files(path),
        read=read_wham,
    ),
    Kind(
        name="tram",
        title="TRAM",
        expects="a sequence's folder with hps/hps_track_K.npy and camera.npy",
        looks_like=lambda path: bool(tram_tracks(path)),
        read=read_tram,
    ),
    Kind(
        name="wildavatar",
        title="WildAvatar",
        expects="a subject's metadata.json",
        looks_like=_is_wildavatar,
        read=read_wildavatar_estimate,
    ),
    Kind(
        name="sam3d",
        title="SAM 3D Body",
        expects=".npz, .npy, .pkl or .json with pred_keypoints_3d, pred_cam_t and focal_length, one file or one per frame",
        looks_like=lambda path: bool(sam3d_files(path)),
        read=read_sam3d,
    ),
    Kind(
        name="smplx",
        title="SMPL(-X) parameters",
        expects="a .npz with poses (and trans), or with global_orient, body_pose and transl, a row for each frame",
        looks_like=_is_plain,
        read=read_plain,
    ),
)


def read_estimate(path: Path | str, kind: str = "auto") -> ForeignEstimate:
    """Read a tracker's result. No code in the files is run.

    Args:
        path: A file or folder.
        kind: One of `KINDS`, or `auto`.
    Raises:
        InputError: When there is nothing, it is not of that kind, of none or of several, or damaged.
        ConfigError: When there is no such kind.
    """
    path = Path(path)
    names = ", ".join(k.name for k in KINDS)
    named = next((k for k in KINDS if k.name == kind), None)
    if kind != "auto" and named is None:
        raise ConfigError(f"There is no kind of estimate {kind!r}; known are auto, {names}.")
    if not path.exists():
        raise InputError(f"{path} is not there; expected the results of a tracker. Check the path.")
    if named is not None and _fits(named, path):
        return _read(named, path)
    fitting = [k for k in KINDS if _fits(k, path)]
    if named is not None:
        hint = "".join(f" It looks like {k.title}: --estimate-kind {k.name}." for k in fitting)
        raise InputError(f"{path} is no result of {named.title}: expected {named.expects}; found {_found(path)}.{hint}")
    if len(fitting) > 1:
        which = " or ".join(k.name for k in fitting)
        raise InputError(f"{path} could be of several trackers; name one with --estimate-kind {which}.")
    if not fitting:
        expected = "; ".join(f"{k.name}: {k.expects}" for k in KINDS)
        raise InputError(f"{path} is no tracker's result that can be read: found {_found(path)}. Expected {expected}.")
    return _read(fitting[0], path)


def _read(kind: Kind, path: Path) -> ForeignEstimate:
    try:
        return kind.read(path)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"{path} looks like a result of {kind.title} ({kind.expects}), but is damaged or of another version "
            f"({type(error).__name__}: {error}). Write it again with the tracker."
        ) from error


def _fits(kind: Kind, path: Path) -> bool:
    """Whether a path looks like a tracker's; a file that cannot even be looked into is nobody's."""
    try:
        return kind.looks_like(path)
    except InputError:
        return False


def _found(path: Path) -> str:
    """What is at a path, in words."""
    if path.is_dir():
        names = sorted(p.name + ("/" if p.is_dir() else "") for p in path.iterdir())
        return (
            f"a folder with {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}" if names else "an empty folder"
        )
    try:
        if path.suffix == ".npz":
            with_names = ", ".join(sorted(Npz(path).names)[:12])
            return f"a .npz with {with_names or 'nothing'}"
        if path.suffix == ".json":
            value = read_json_value(path)
            return f"a .json with {', '.join(list(value)[:8]) if isinstance(value, dict) else type(value).__name__}"
    except InputError:
        return f"a damaged {path.suffix} file"
    return f"a {path.suffix or 'nameless'} file of {path.stat().st_size} bytes"
