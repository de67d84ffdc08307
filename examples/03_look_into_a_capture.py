"""Read what was found out about a video: the person's motion, and how sure that is.

python examples/03_look_into_a_capture.py clip-double/capture
"""

from __future__ import annotations

import sys
from pathlib import Path

from bodydouble.body.anny import load_anny
from bodydouble.capture.folder import Capture


def main(capture_folder: Path) -> None:
    """Print the path of the hips and the quality of each limb."""
    capture = Capture.open(capture_folder)
    track = capture.track()
    body = load_anny()
    shaped = body.with_shape(track.shape)
    posed = shaped.with_pose(track.pose())
    print(f"{capture.info.path}: {len(track.frame_indices)} frames, focal length {float(track.focal_px):.0f} px")
    print(f"the body is {float(body.height_m(track.shape)):.2f} m high ({track.height_source})")
    for index, time_s, hips in zip(track.frame_indices, track.times_s, posed.joints_world[:, 0], strict=True):
        print(
            f"frame {int(index):4d} at {float(time_s):6.2f} s: hips at {hips[0]:+.2f} {hips[1]:+.2f} {hips[2]:+.2f} m"
        )
    for limb, error in zip(track.limb_names, track.limb_error_px.nanmedian(0).values, strict=True):
        print(f"{limb:12} {float(error):5.1f} px off in the median frame")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
