"""How notebooks are shown things: pictures, and a picture beside a table of facts."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image


def as_png(picture: Image) -> bytes:
    """A picture as the bytes of a PNG file."""
    stream = io.BytesIO()
    picture.save(stream, format="PNG")
    return stream.getvalue()


def card(png: bytes, facts: Mapping[str, str]) -> str:
    """A picture beside a small table, as HTML for notebooks."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
        f"<td style='text-align:left'>{html.escape(text)}</td></tr>"
        for name, text in facts.items()
    )
    image = base64.b64encode(png).decode("ascii")
    return (
        "<div style='display:flex;gap:1em;align-items:center'>"
        f"<img alt='avatar' style='max-height:320px' src='data:image/png;base64,{image}'><table>{rows}</table></div>"
    )
