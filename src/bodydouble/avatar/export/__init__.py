"""Avatars in other programs' file formats (docs/exports.md)."""
