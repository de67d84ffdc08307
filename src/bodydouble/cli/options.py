"""What can be said on the command line. The types are the language, the docstrings are the help."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

_Out = tyro.conf.arg(aliases=["-o"], metavar="DIR")


@dataclass(frozen=True, kw_only=True)
class Common:
    """Options of every command."""

    json: bool = False
    """Print the result as JSON on standard output; progress goes to standard error as always."""
    quiet: Annotated[bool, tyro.conf.arg(aliases=["-q"])] = False
    """No progress and no notes: only the result, and what went wrong."""


@dataclass(frozen=True, kw_only=True)
class Compute(Common):
    """Options of commands that compute."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute. `auto` takes CUDA where torch and gsplat have it, else the CPU."""
    threads: int = 0
    """Threads to use; 0 for as many as there are cores."""


@dataclass(frozen=True, kw_only=True)
class FromVideo(Compute):
    """Options of commands that start from a video."""

    video: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="VIDEO")]
    """Any video file with one person in it, at least from the hips up. For `create` also a folder that `import` or
    `capture` left: its body and masks are used as they are."""
    out: Annotated[Path | None, _Out] = None
    """Folder for the results; new or empty. By default VIDEO's name with `-double`, in the current folder."""
    resume: bool = False
    """Continue what an earlier command left in the folder, however it ended."""
    focal_px: Annotated[float | None, tyro.conf.arg(metavar="PIXELS")] = None
    """Focal length in pixels of the video, if you know it; else it is read from the file or estimated."""
    height_cm: Annotated[float | None, tyro.conf.arg(metavar="CM")] = None
    """The person's height, if you know it; a video cannot tell it. Otherwise 170 is assumed."""
    start_s: Annotated[float | None, tyro.conf.arg(metavar="SECONDS")] = None
    """Begin here, in seconds from the video's beginning."""
    end_s: Annotated[float | None, tyro.conf.arg(metavar="SECONDS")] = None
    """Stop here. By default the longest shot is taken, at most 30 s of it."""
    seed: int = 0
    """Another number gives another, equally good result; the same number the same."""
    estimate: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
    """Begin the fit at this tracker's result for the same video, a file or folder of it (docs/estimates.md)."""
    estimate_kind: Literal["auto", "exavatar", "smplerx", "gvhmr", "wham", "tram", "sam3d", "wildavatar", "smplx"] = (
        "auto"
    )
    """Whose result it is; `auto` finds out."""
    estimate_person: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Which person of it, by its own numbers. By default the one who is where the video's subject is."""
    body: Literal["anny", "smplx"] = "anny"
    """The body model that is fitted; `smplx` stands for all of the SMPL family and needs your own --body-file."""
    body_file: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """The model file of SMPL, SMPL-H or SMPL-X (.npz or .pkl) that its owners gave you. It stays where it is."""


@dataclass(frozen=True, kw_only=True)
class Create(FromVideo):
    """Turn a video of a person (or a capture) into an avatar: avatar.glb, a report and a turntable."""

    preset: Literal["draft", "standard", "fine"] = "standard"
    """How much time to spend: about a minute, three, or fifteen for a clip of ten seconds on two cores."""
    method: Literal["splats", "surface", "both"] = "splats"
    """Splats on the body; the clothed surface as a textured mesh, person and world explained together; or splats on that surface."""
    masks: Literal["none", "soft", "trust"] = "soft"
    """How far the surface method believes the network's masks: not at all, as a hint, or fully."""
    recipe: Literal["default", "eva"] = "default"
    """How splats are trained: our own way, or EVA's (NeurIPS 2024) as published, for comparison: 2,000 steps, slower."""
    studio: bool = False
    """Watch the avatar come into being, in a browser on this machine; it stays open until Ctrl-C (extra: studio)."""


@dataclass(frozen=True, kw_only=True)
class Capture(FromVideo):
    """Stop after observation and fit: landmarks, masks and the body's motion. `create --resume` goes on from there."""


@dataclass(frozen=True, kw_only=True)
class Import(Common):
    """Read a capture in somebody else's layout: frames, masks, cameras, body. Checked, then written as a capture folder."""

    folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FOLDER")]
    """Of one subject or sequence."""
    layout: Literal["auto", "peoplesnapshot", "neuman", "xhumans", "zju", "wildavatar", "synwild", "plain"] = "auto"
    """Whose layout it is; `auto` finds out."""
    sequence: str = ""
    """Which take (X-Humans: train/Take1) or camera (ZJU-MoCap: Camera_B1), where the folder has several."""
    out: Annotated[Path | None, _Out] = None
    """Folder for the results; new or empty. By default FOLDER's name with `-import`, in the current folder."""
    resume: bool = False
    """Continue an interrupted import in the folder."""
    fps: Annotated[float | None, tyro.conf.arg(metavar="HZ")] = None
    """Frame rate, if you know it; most layouts do not say. Otherwise 30."""
    without_body: bool = False
    """Leave the source's body out: frames, masks and cameras only."""


@dataclass(frozen=True, kw_only=True)
class Demo(Compute):
    """Make an avatar of a synthetic performer, and score it against the known truth. Needs no input."""

    out: Annotated[Path, _Out] = Path("demo")
    """Folder for the results; new or empty."""
    resume: bool = False
    """Continue an earlier demo in the folder, however it ended; what is finished is not done again."""
    preset: Literal["draft", "standard", "fine"] = "draft"
    """How much time to spend."""
    seed: int = 7
    """Another number is another performer."""
    seconds: float = 6.0
    """Length of the performance."""


@dataclass(frozen=True, kw_only=True)
class Render(Compute):
    """Show an avatar: in motion as a video, or as its own video's camera saw it, frame by frame."""

    avatar: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="AVATAR")]
    """An avatar.glb, or the folder of a run."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="OUT")]
    """The video (.mp4, .webm), or a new folder for pictures (.png), as always with --like."""
    motion: str = "idle"
    """A built-in motion by name, a motion file (.bvh, .npz, .glb, .vmd, .pt of GVHMR, .pkl of WHAM), or a .csv of a face (as the Live Link Face app or `motion capture` write
    them), with which the body stands."""
    face: Annotated[Path | None, tyro.conf.arg(metavar="FILE.csv")] = None
    """Facial expressions to go with the motion."""
    expression: str = ""
    """A facial expression by name, such as smile, or one of the 52 ARKit actions, such as jawOpen."""
    camera: Literal["orbit", "fixed", "follow"] = "orbit"
    """Once around the avatar wherever it goes, in front of where it starts, or in front of it wherever it goes."""
    size: str = "720x960"
    """Width x height in pixels."""
    fps: float = 30.0
    """Frames per second."""
    seconds: Annotated[float | None, tyro.conf.arg(metavar="SECONDS")] = None
    """Length of the video. By default that of the motion; with --camera orbit at least 6."""
    background: str = "white"
    """A colour: a name, or #rrggbb. `transparent` for .webm and pictures."""
    like: Annotated[Path | None, tyro.conf.arg(metavar="DIR/capture")] = None
    """Write RGBA pictures frame_%06d.png from the camera of this capture (or run), at the video's size, instead of a video."""
    frames: Literal["heldout", "heldout-pairs", "train", "all"] = "heldout"
    """With --like: which frames of the video; heldout-pairs adds the frame before each, for flicker."""
    poses: Literal["fit", "registered"] = "fit"
    """With --like: poses from the fit alone, or aligned to each frame's own picture with the avatar frozen."""


@dataclass(frozen=True, kw_only=True)
class Export(Common):
    """Write an avatar in another program's format: for Blender, game engines, VRM apps, splat viewers, USD."""

    avatar: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="AVATAR")]
    """An avatar.glb, or the folder of a run."""
    to: Literal["glb", "vrm", "ply", "spz", "obj", "mesh-ply", "usd", "usda", "usdz", "html"]
    """glb with a motion inside; vrm 1.0; splats as ply or spz; the mesh of one pose as obj or mesh-ply; usd, usda, usdz with a
    UsdSkel skeleton (needs the extra `usd`); html for one page that plays in any browser, without a network."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"], metavar="FILE")] = None
    """The file. By default AVATAR's name with the format's ending, beside it."""
    motion: Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="MOTION")] = ()
    """A built-in motion by name, or a motion file: a clip in glb and usd, the pose of --frame in the others. html takes several;
    without any it has the built-in ones. A run's own motion comes first there."""
    frame: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Which frame of the motion gives the pose, from 0. Without a motion the rest pose is written."""
    expression: str = ""
    """A facial expression by name for one pose, such as smile."""
    fps: float = 30.0
    """Frames per second of the motion."""
    spz_version: Literal[2, 3] = 3
    """2 for readers that don't know 3 yet; its rotations are coarser."""
    title: str = "bodydouble avatar"
    """vrm, html: name of the avatar."""
    author: tuple[str, ...] = ()
    """vrm, html: who made it; vrm needs it."""
    copyright: str = ""
    """vrm, html: copyright notice."""
    consent: str = ""
    """vrm, html: what the person who was filmed has agreed to, in words."""
    permission: Literal["onlyAuthor", "onlySeparatelyLicensedPerson", "everyone"] = "onlyAuthor"
    """vrm, html: who may appear as this avatar."""
    commercial: Literal["personalNonProfit", "personalProfit", "corporation"] = "personalNonProfit"
    """vrm, html: which commercial use is allowed."""
    modification: Literal["prohibited", "allowModification", "allowModificationRedistribution"] = "prohibited"
    """vrm, html: whether it may be changed."""
    redistribution: bool = False
    """vrm, html: whether it may be passed on."""


@dataclass(frozen=True, kw_only=True)
class Evaluate(Compute):
    """Score a finished run, or anybody's pictures of the same video, by a named protocol that is printed with them."""

    folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIR")]
    """The folder of a run; with --predictions a capture folder will do."""
    protocol: str = ""
    """bodydouble-v1 (the default), heldout-v1, eva, wildavatar, neuman or peoplesnapshot-instantavatar; with --truth
    vid2avatar-geometry."""
    predictions: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Score these RGBA pictures frame_%06d.png (as `render --like` writes them) instead of the run's avatar."""
    frames: Literal["heldout", "protocol"] = "heldout"
    """Which frames: the capture's held-out ones, or the protocol's own test frames."""
    truth: Annotated[Path | None, tyro.conf.arg(metavar="PERFORMER")] = None
    """Score the run against this synthetic performer, whose video it was made from: pose, face, masks, surface, views."""
    lpips: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Folder with LPIPS weights, if you have them; else the one that BODYDOUBLE_LPIPS_DIR names, else no LPIPS."""


@dataclass(frozen=True, kw_only=True)
class Bench(Compute):
    """Measure speed and quality of this version, and compare them with the committed baseline."""

    suites: tyro.conf.Positional[
        tuple[Literal["kernels", "faces", "fit", "create", "quality", "ablation", "motions", "surface", "starts"], ...]
    ] = ("kernels",)
    """Which suites: kernels (a minute), faces, fit, create (minutes), quality (half an hour: four performers, each with
    truth in place of estimates and without), ablation (half an hour: without alignment, density control, confidence;
    EVA's recipe), motions (a minute: how motion files sit on an avatar, as figures and as a contact sheet), surface
    (hours: doubles without masks, their ablation, and the published recipe of Vid2Avatar), starts (the fit from bad ones)."""
    preset: Literal["draft", "standard", "fine"] = "draft"
    """How much time the avatars of create and quality may take."""
    out: Annotated[Path, _Out] = Path("bench")
    """Folder for performers, captures and avatars; what is there already is not made again."""
    captures: tuple[Path, ...] = ()
    """For ablation: folders of runs or captures to use instead of two performers."""
    seeds: int = 3
    """For ablation: how many times each variant is trained."""
    motions: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """For motions: a folder of motion files."""
    avatar: Annotated[Path | None, tyro.conf.arg(metavar="AVATAR")] = None
    """For motions: who performs them; an adult of 1.70 m if nobody is named."""
    recipe_minutes: float = 60.0
    """For surface: how long the published recipe may train; where it is not there by then, the table says so."""
    quick: bool = False
    """The smallest scenes that still mean something."""
    gate: bool = False
    """End with 1 if a figure is worse than the baseline allows."""
    update: bool = False
    """Write the figures into the baseline."""
    page: Annotated[Path | None, tyro.conf.arg(metavar="FILE.md")] = None
    """Write the figures as a page, too; with --update those of all suites that the baseline has. Those of motions go into
    a page that is there, between two marks."""
    baseline: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """The baseline; by default the one that belongs to this version."""


@dataclass(frozen=True, kw_only=True)
class Synth(Common):
    """Film a synthetic performer and write the video with the exact truth about it: body, masks, depth, cameras."""

    out: Annotated[Path, _Out]
    """Folder for the results; new or empty."""
    performer: int = 0
    """Seed of body, clothes, scene and light; another number is another performer somewhere else."""
    motion: Annotated[str, tyro.conf.arg(metavar="FILE|NAME")] = "performance"
    """`performance` (turns around, hands, face), a built-in motion (idle, wave, turn, squat, dance), or a .bvh or .npz file."""
    camera: Literal["static", "orbit", "handheld"] = "static"
    """On a tripod, around the performer, or in somebody's hands."""
    orbit_deg: float = 90.0
    """How far an orbiting camera goes around."""
    scene: Literal["auto", "room", "outdoors"] = "auto"
    """Where; `auto` lets the seed choose."""
    seconds: float = 10.0
    """Length of the video."""
    size: str = "1280x720"
    """Width x height in pixels, both even."""
    fps: float = 24.0
    """Frames per second."""
    bitrate: Annotated[float | None, tyro.conf.arg(metavar="MBIT/S")] = None
    """Of the H.264 video. By default 0.25 bit for each pixel of each frame (5.5 at 1280x720 and 24 frames/s)."""
    wardrobe: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """A folder of MakeHuman clothes and hair (.mhclo) to dress the performer from."""
    truth_every: int = 8
    """Depth, normals, body parts and meshes of the last of every so many frames; 1 for all. Masks and poses are of all."""
    extra_views: Annotated[int, tyro.conf.arg(metavar="K")] = 0
    """Pictures from K other cameras, of up to six of those frames, for scoring novel views."""
    threads: int = 0
    """Threads to use; 0 for as many as there are cores."""


@dataclass(frozen=True, kw_only=True)
class Doctor(Common):
    """Say what this machine has, and what each missing thing would bring."""


Command = (
    Annotated[Create, tyro.conf.subcommand("create")]
    | Annotated[Capture, tyro.conf.subcommand("capture")]
    | Annotated[Import, tyro.conf.subcommand("import")]
    | Annotated[Demo, tyro.conf.subcommand("demo")]
    | Annotated[Render, tyro.conf.subcommand("render")]
    | Annotated[Export, tyro.conf.subcommand("export")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Bench, tyro.conf.subcommand("bench")]
    | Annotated[Synth, tyro.conf.subcommand("synth")]
    | Annotated[Doctor, tyro.conf.subcommand("doctor")]
)
