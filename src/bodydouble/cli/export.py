"""`bodydouble export`: from options to a file in another program's format, and to words."""

from __future__ import annotations

from bodydouble.cli import options
from bodydouble.cli.answers import print_json, with_progress
from bodydouble.pipeline.layout import avatar_file


def export(command: options.Export) -> int:
    """`bodydouble export`."""
    from bodydouble.avatar.export.vrm import VrmMeta
    from bodydouble.avatar.expressions import named_expression
    from bodydouble.avatar.glb import load_avatar
    from bodydouble.core.errors import ConfigError
    from bodydouble.pipeline.export import ExportChoices, default_path, export_avatar
    from bodydouble.pipeline.motions import find_motion, page_motions

    source = avatar_file(command.avatar)
    avatar = load_avatar(source)
    motion, motions = None, ()
    if command.to == "html":
        motions = with_progress(lambda emit: page_motions(command.motion, avatar, source.parent, command.fps, emit))
    elif len(command.motion) > 1:
        raise ConfigError(
            f"A .{command.to} takes one --motion, {len(command.motion)} were given; --to html takes several."
        )
    elif command.motion:
        motion = find_motion(command.motion[0], avatar, command.fps)
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
        motions=motions,
        frame=command.frame,
        expression=named_expression(command.expression) if command.expression else None,
        spz_version=command.spz_version,
        meta=meta,
    )
    out = command.out if command.out is not None else default_path(source, command.to)
    done = export_avatar(avatar, command.to, out, choices)
    if command.json:
        return print_json({"file": str(done.path), "format": done.format, "bytes": done.bytes, "lost": done.lost})
    print(f"{done.path} ({done.bytes / 1e6:.2f} MB) written. Left out: {done.lost}.")
    return 0
