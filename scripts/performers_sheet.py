"""A contact sheet of synthetic performers: whole, face and hand.

python scripts/performers_sheet.py -o docs/images/performers.jpg [--seeds 1 2 3] [--wardrobe DIR] [--columns 4]
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np
from PIL import Image

from bodydouble.synth.stage import SynthConfig, set_stage

SIZE = (480, 640)
FRAME_HZ = 3.0


def picture(seed: int, wardrobe: Path | None, frame: int) -> np.ndarray:
    """One frame of a performer, facing the camera at first."""
    stage = set_stage(SynthConfig(seed=seed, seconds=2.0, fps=FRAME_HZ, size=SIZE, wardrobe=wardrobe))
    return next(itertools.islice(stage.film.shots(), frame, frame + 1))[0].rgb


def main() -> None:
    """Draw and save."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(1, 9)))
    parser.add_argument("--columns", type=int, default=4)
    parser.add_argument("--frame", type=int, default=0)
    parser.add_argument("--wardrobe", type=Path, default=None)
    arguments = parser.parse_args()
    pictures = [picture(seed, arguments.wardrobe, arguments.frame) for seed in arguments.seeds]
    while len(pictures) % arguments.columns:
        pictures.append(np.zeros_like(pictures[0]))
    rows = [
        np.concatenate(pictures[k : k + arguments.columns], axis=1) for k in range(0, len(pictures), arguments.columns)
    ]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(rows, axis=0)).save(arguments.out, quality=85)
    print(f"{arguments.out}: {len(arguments.seeds)} performers")


if __name__ == "__main__":
    main()
