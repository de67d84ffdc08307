"""What an examination of the machine finds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    name: str
    state: str
    """`ok`, `missing` (something optional is not there) or `problem` (nothing works without it)."""
    found: str
    advice: str = ""
    """What it would bring, or what to do."""
