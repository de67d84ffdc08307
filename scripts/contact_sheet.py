"""One picture of the held-out frames of several runs: video, fitted pose, registered pose, difference.

    python scripts/contact_sheet.py RUN [RUN ...] -o sheet.png [--rows 4]

RUN is a folder that `bodydouble create` wrote, or a folder of held-out scores.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

from PIL import Image, ImageDraw

from bodydouble.evaluate.results import EXAMPLE_IMAGES, HeldoutResult, load_heldout
from bodydouble.pipeline.layout import HELDOUT

TILE_PX, MARGIN_PX, HEADER_PX = 256, 6, 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=4, help="held-out frames of each run")
    options = parser.parse_args()
    columns = []
    for run in options.runs:
        folder = run / HELDOUT if (run / HELDOUT).is_dir() else run
        columns.append(column(run.name, load_heldout(folder), options.rows))
    sheet = Image.new("RGB", (sum(c.width for c in columns), max(c.height for c in columns)), (28, 29, 31))
    left = 0
    for picture in columns:
        sheet.paste(picture, (left, 0))
        left += picture.width
    sheet.save(options.out)
    print(f"{options.out}: {sheet.width} x {sheet.height} px")


def column(name: str, result: HeldoutResult, rows: int) -> Image.Image:
    """One run: a line of figures, then a row of four pictures for each frame."""
    width = len(EXAMPLE_IMAGES) * (TILE_PX + MARGIN_PX) + 4 * MARGIN_PX
    examples = result.examples[:rows]
    picture = Image.new("RGB", (width, HEADER_PX + len(examples) * (TILE_PX + HEADER_PX)), (28, 29, 31))
    draw = ImageDraw.Draw(picture)
    mean = result.mean()
    f = mean.figures
    draw.text(
        (MARGIN_PX, 9),
        f"{name}   {mean.frames} frames   fit {f.psnr_box:.2f} dB  registered {f.psnr_box_registered:.2f} dB   "
        f"IoU {f.mask_iou:.3f} / {f.mask_iou_registered:.3f}   ({result.protocol.name})",
        fill=(235, 235, 232),
    )
    scores = {row.frame_index: row.figures for row in result.rows}
    for k, example in enumerate(examples):
        top = HEADER_PX + k * (TILE_PX + HEADER_PX)
        for n, image in enumerate(EXAMPLE_IMAGES):
            with Image.open(io.BytesIO(getattr(example, f"{image}_jpeg"))) as tile:
                picture.paste(
                    tile.convert("RGB").resize((TILE_PX, TILE_PX)), (MARGIN_PX + n * (TILE_PX + MARGIN_PX), top)
                )
        figures = scores[example.frame_index]
        draw.text(
            (MARGIN_PX, top + TILE_PX + 6),
            f"frame {example.frame_index}  {example.time_s:.2f} s  {example.label:8}"
            f"fit {figures.psnr_box:.2f}  registered {figures.psnr_box_registered:.2f} dB",
            fill=(165, 170, 175),
        )
    return picture


if __name__ == "__main__":
    main()
