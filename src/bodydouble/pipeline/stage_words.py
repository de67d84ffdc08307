"""What each stage of long work does, in words, and how long it will still take: for terminal and studio alike."""

from __future__ import annotations

_WORDS = {
    "perform": "filming a synthetic performer",
    "synthesise": "filming a synthetic performer",
    "extra views": "rendering extra views",
    "compile kernels": "preparing kernels (slow only the first time)",
    "body": "preparing the body model (only the first time)",
    "import": "importing frames and masks",
    "overlap": "laying the body over the masks",
    "adopt": "taking over the capture",
    "perceive": "looking at every frame",
    "fit": "fitting the body",
    "matte": "telling person from background",
    "surface": "telling person and world apart",
    "world": "learning the scene behind the person",
    "world: frames": "reading frames of the scene",
    "mesh": "making the mesh",
    "silhouettes": "masks of every frame",
    "texture": "texture from the video",
    "decompose": "the video without the person",
    "sheets": "pictures for the report",
    "reconstruct": "building the avatar",
    "register": "aligning frames to the avatar",
    "evaluate": "scoring on held-out frames",
    "turntable": "filming the turntable",
    "report": "writing the report",
    "render": "rendering",
    "retarget": "retargeting the motions",
    "score": "scoring against the truth",
    "masks": "scoring masks",
    "surfaces": "scoring surfaces",
    "views": "scoring other views",
    "kernels": "timing kernels",
    "motions": "measuring motions",
    "gallery": "putting up the gallery",
}
TRAINED = ("reconstruct", "surface")
"""Stages with steps of a training; the first unless the other one says that it is at work."""


def words_of(stage: str) -> str:
    """What a stage does."""
    return _WORDS.get(stage, stage)


def time_left(seconds: float) -> str:
    """A guessed duration as people say it: seconds up to a minute and a half, then minutes, then hours."""
    if seconds < 90.0:
        return f"about {max(seconds, 1.0):.0f} s left"
    minutes = round(seconds / 60.0)
    return f"about {minutes} min left" if minutes < 90 else f"about {seconds / 3600.0:.1f} h left"
