"""One picture that shows whether the truth of a synthetic performer agrees with its video, pixel by pixel.

    python scripts/truth_overlay.py DIR -o sheet.png [--frames 7 31] [--zoom 2] [--margin 12]

DIR is what `bodydouble synth` wrote. Each row is one frame, cut around the performer: the video with the mask's outline
(white), landmarks (joints green, finger tips yellow, face cyan; hidden ones red) and bones; the video with the edges of the
depth map (magenta); parts of the body; normals. Below them the share of mask, parts and depth that agrees.
"""

from __future__ import annotations

import argparse
import colorsys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from bodydouble.capture.video import read_frames
from bodydouble.synth.truth import Truth, read_truth

_DEPTH_EDGE_M = 0.03
_COLORS = {"joint": (60, 235, 90), "tip": (255, 220, 40), "face": (60, 220, 255)}
_HIDDEN = (255, 60, 60)
_CAPTION_PX = 22


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--frames", type=int, nargs="+", help="frames with depth; by default three of them")
    parser.add_argument("--zoom", type=int, default=1, help="each pixel becomes so many squared")
    parser.add_argument("--margin", type=int, default=12, help="pixels around the performer")
    options = parser.parse_args()
    truth = read_truth(options.folder)
    known = truth.index.frames
    chosen = sorted(options.frames or {known[len(known) // 6], known[len(known) // 2], known[-1 - len(known) // 6]})
    rows = []
    for frame in read_frames(truth.video, chosen):
        rows.append(row(truth, frame.index, frame.rgb, options.zoom, options.margin))
    sheet = Image.new("RGB", (max(r.width for r in rows), sum(r.height for r in rows)), (24, 25, 27))
    top = 0
    for picture in rows:
        sheet.paste(picture, (0, top))
        top += picture.height
    sheet.save(options.out)
    print(f"{options.out}: {sheet.width} x {sheet.height} px, frames {', '.join(map(str, chosen))}")


def row(truth: Truth, frame: int, rgb: np.ndarray, zoom: int, margin: int) -> Image.Image:
    """Four pictures of one frame and a line of figures."""
    mask, depth, parts = truth.mask(frame), truth.depth_m(frame), truth.parts(frame)
    ys, xs = np.nonzero(mask)
    y0, y1 = max(int(ys.min()) - margin, 0), min(int(ys.max()) + margin, mask.shape[0])
    x0, x1 = max(int(xs.min()) - margin, 0), min(int(xs.max()) + margin, mask.shape[1])

    def cut(image: np.ndarray) -> np.ndarray:
        return image[y0:y1, x0:x1].repeat(zoom, 0).repeat(zoom, 1)

    outlined = Image.fromarray(_edged(cut(rgb), _edges(cut(mask) > 127), (255, 255, 255)))
    _draw_landmarks(outlined, truth, frame, (x0, y0), zoom)
    near = np.where(np.isfinite(depth), depth, 1e3)
    steps = _edges_where(cut(near), _DEPTH_EDGE_M)
    palette = np.array(
        [[0, 0, 0], *[_hue(k / len(truth.index.part_names)) for k in range(len(truth.index.part_names))]]
    )
    tinted = (0.45 * cut(rgb) + 0.55 * palette[cut(parts)]).astype(np.uint8)
    normals = ((cut(truth.normals_world(frame)) * 0.5 + 0.5) * 255).astype(np.uint8)
    pictures = [
        outlined,
        Image.fromarray(_edged(cut(rgb), steps, (255, 40, 255))),
        Image.fromarray(tinted),
        Image.fromarray(normals),
    ]
    width, height = outlined.size
    out = Image.new("RGB", (4 * width, height + _CAPTION_PX), (24, 25, 27))
    for k, picture in enumerate(pictures):
        out.paste(picture, (k * width, 0))
    ImageDraw.Draw(out).text((8, height + 5), _caption(truth, frame, mask, depth, parts), fill=(230, 230, 228))
    return out


def _caption(truth: Truth, frame: int, mask: np.ndarray, depth: np.ndarray, parts: np.ndarray) -> str:
    full, some = mask == 255, mask > 0
    seen = truth.values.landmarks_visible[frame].numpy()
    inside = truth.values.landmarks_px[frame].numpy()[seen]
    x, y = inside[:, 0].astype(int), inside[:, 1].astype(int)
    return (
        f"frame {frame}   depth and parts agree {((parts > 0) == np.isfinite(depth)).mean():.4%}   "
        f"parts inside the mask {some[parts > 0].mean():.2%}   full mask has parts {(parts > 0)[full].mean():.2%}   "
        f"seen landmarks inside the mask {some[y, x].mean():.1%} of {len(inside)}"
    )


def _draw_landmarks(picture: Image.Image, truth: Truth, frame: int, corner: tuple[int, int], zoom: int) -> None:
    draw = ImageDraw.Draw(picture)
    pixels = (truth.values.landmarks_px[frame].numpy() - corner) * zoom
    for name, (x, y), seen in zip(
        truth.index.landmark_names, pixels, truth.values.landmarks_visible[frame].tolist(), strict=True
    ):
        kind = name.split("/")[0]
        r = {"joint": 2.0, "tip": 1.5, "face": 0.8}[kind]
        draw.ellipse((x - r, y - r, x + r, y + r), fill=_COLORS[kind] if seen else _HIDDEN)


def _edges(inside: np.ndarray) -> np.ndarray:
    """Pixels inside that have a neighbour outside."""
    padded = np.pad(inside, 1)
    all_around = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return inside & ~all_around


def _edges_where(values: np.ndarray, step: float) -> np.ndarray:
    """Pixels nearer than a neighbour by more than a step."""
    padded = np.pad(values, 1, mode="edge")
    others = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    return np.max([other - values for other in others], axis=0) > step


def _edged(rgb: np.ndarray, edges: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    out = rgb.copy()
    out[edges] = color
    return out


def _hue(share: float) -> list[int]:
    return [round(255 * c) for c in colorsys.hsv_to_rgb(share, 0.75, 1.0)]


if __name__ == "__main__":
    main()
