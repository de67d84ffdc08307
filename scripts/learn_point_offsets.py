"""Learn how far the network's face points lie beside their places in the landmark table, from performers with known truth.

    python scripts/learn_point_offsets.py PERFORMER=RUN [...] [-o src/bodydouble/fit/face_points.json]

Each pair is a folder that `bodydouble synth` wrote and a run of `bodydouble capture` on its video. With the true shape,
poses, expressions and camera, what is left between points and surface is the table's.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from bodydouble.bench.conditions import true_poses
from bodydouble.capture.folder import Capture
from bodydouble.fit import features
from bodydouble.fit.landmarks import build_landmarks
from bodydouble.pipeline.bodies import load_body
from bodydouble.pipeline.layout import CAPTURE

WRONG_M = 0.008
"""Points further off than this are at a wrong place in the table."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("pairs", nargs="+", metavar="PERFORMER=RUN")
    parser.add_argument("-o", type=Path, default=Path("src/bodydouble/fit") / features.POINTS_FILE)
    arguments = parser.parse_args()
    body = load_body("anny")
    names = [name for name in build_landmarks(body).names if name.startswith("face/")]
    as_in_the_table = dict.fromkeys(names, (0.0, 0.0, 0.0))
    found = []
    for pair in arguments.pairs:
        performer, run = (Path(p) for p in pair.split("=", 1))
        capture = Capture.open(run / CAPTURE)
        track = true_poses(performer, capture.track())
        rows = torch.arange(len(track.frame_indices))
        own = features.rest_body(body, track.shape)
        _, offsets = features.feature_offsets(
            body, own, track, capture.observations(), rows, beside_table=as_in_the_table
        )
        found.append(offsets / float(body.height_m(track.shape)))
    mean, spread = np.mean(found, axis=0), np.std(found, axis=0)
    kept = np.linalg.norm(mean, axis=1) * 1.7 < WRONG_M
    print(f"{kept.sum()} of {len(names)} points, spread {1.7e3 * spread[kept].mean():.1f} mm")
    rows = {
        n.removeprefix("face/"): [round(float(v), 6) for v in m] for n, m, k in zip(names, mean, kept, strict=True) if k
    }
    about = {"made_by": "scripts/learn_point_offsets.py", "performers": len(found), "unit": "body heights"}
    lines = ",\n".join(f'    "{name}": {values}' for name, values in rows.items())
    arguments.o.write_text(json.dumps(about)[:-1] + ', "offsets": {\n' + lines + "\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
