"""Write web/src/schema.ts, the page's view of `bodydouble.avatar.export.page_schema`.

python scripts/make_page_schema.py            write it
python scripts/make_page_schema.py --check    exit with 1 if it is not what the classes say
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
import types
import typing
from pathlib import Path

from bodydouble.avatar.export import page_schema

TARGET = Path(__file__).parent.parent / "web" / "src" / "schema.ts"
_HEAD = """// Made from src/bodydouble/avatar/export/page_schema.py by scripts/make_page_schema.py: change it there.
"""
_PLAIN = {str: "string", int: "number", float: "number", bool: "boolean", type(None): "null"}


def typescript() -> str:
    """The whole file."""
    parts = [_HEAD, f"export const SCHEMA_VERSION = {page_schema.SCHEMA_VERSION};\n"]
    for _, cls in _classes():
        hints = typing.get_type_hints(cls)
        fields = [f"\treadonly {f.name}: {_type(hints[f.name])};" for f in dataclasses.fields(cls)]
        doc = (cls.__doc__ or "").strip().splitlines()[0]
        parts.append("\n".join([f"/** {doc} */", f"export interface {cls.__name__} {{", *fields, "}\n"]))
    return "\n".join(parts)


def _classes() -> list[tuple[str, type]]:
    found = [(n, c) for n, c in vars(page_schema).items() if inspect.isclass(c) and dataclasses.is_dataclass(c)]
    return [(n, c) for n, c in found if c.__module__ == page_schema.__name__]


def _type(hint: object) -> str:
    if hint in _PLAIN:
        return _PLAIN[hint]
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return " | ".join(f'"{a}"' for a in args)
    if origin in (typing.Union, types.UnionType):
        return " | ".join(_type(a) for a in args)
    if origin is tuple:
        if len(args) == 2 and args[1] is Ellipsis:
            inner = _type(args[0])
            return f"readonly ({inner})[]" if " " in inner else f"readonly {inner}[]"
        return f"readonly [{', '.join(_type(a) for a in args)}]"
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return hint.__name__
    raise TypeError(f"{hint!r} has no counterpart in TypeScript; teach scripts/make_page_schema.py.")


def main() -> int:
    text = typescript()
    if "--check" in sys.argv[1:]:
        if not TARGET.exists() or TARGET.read_text(encoding="utf-8") != text:
            print(f"{TARGET} differs from page_schema.py: run python scripts/make_page_schema.py", file=sys.stderr)
            return 1
        return 0
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
