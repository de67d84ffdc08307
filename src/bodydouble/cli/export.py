"""`bodydouble export`: from options to a file in another program's format, and to words."""

from __future__ import annotations

import json
from pathlib import Path

from bodydouble.cli import options


def export(command: options.Export) -> int:
    """`bodydouble export`."""
    from bodydouble.avatar.export.vrm import VrmMeta
    from bodydouble.avatar.expressions import named_expression
    from bodydouble.avatar.glb import load_avatar
    from bodydouble.pipeline.export import ExportChoices, default_path, export_avatar
    from bodydouble.pipeline.motions import find_motion

    source: Path = command.avatar / "avatar.glb" if command.avatar.is_dir() else command.avatar
    avatar = load_avatar(source)
    motion = find_motion(command.motion, avatar, command.fps) if command.motion else None
    meta = VrmMeta(
        name=command.title,
        authors=tuple(command.author),
        copyright=command.copyright,
        avatar_permission=command.permission,
        commercial_usage=command.commercial,
        modification=command.modification,
        allow_redistribution=command.redistribution,
        consent=command.consent,
    )
    choices = ExportChoices(
        motion=motion,
        frame=command.frame,
        expression=named_expression(command.expression) if command.expression else None,
        spz_version=command.spz_version,
        meta=meta,
    )
    out = command.out if command.out is not None else default_path(source, command.to)
    done = export_avatar(avatar, command.to, out, choices)
    if command.json:
        facts = {"file": str(done.path), "format": done.format, "bytes": done.bytes, "lost": done.lost}
        print(json.dumps(facts, indent=2))
    else:
        print(f"{done.path} ({done.bytes / 1e6:.2f} MB) written. Left out: {done.lost}.")
    return 0
