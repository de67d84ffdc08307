"""Motion files of other programs: read, described, written (docs/motions.md)."""
