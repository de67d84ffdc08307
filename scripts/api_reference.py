"""Write docs/api.md from signatures and docstrings.

    python scripts/api_reference.py [-o docs/api.md]

The public names of `bodydouble`, and the modules a program meets next to them. `make docs` runs it; a test compares.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import bodydouble

MODULES = (
    "bodydouble.avatar.values",
    "bodydouble.avatar.motion",
    "bodydouble.pipeline.export",
    "bodydouble.pipeline.playback",
    "bodydouble.pipeline.presets",
    "bodydouble.core.events",
    "bodydouble.core.errors",
)
DEFAULT = Path(__file__).resolve().parent.parent / "docs" / "api.md"
_BEGINNING = """# API reference

Made from the docstrings by `make docs`; do not edit. Units and axes: [CONVENTIONS.md](../CONVENTIONS.md). Examples:
[examples/](../examples).

## bodydouble
"""
_SECTIONS = ("Args", "Returns", "Raises")


def reference() -> str:
    """The whole page."""
    parts = [_BEGINNING]
    parts += [_entry(name, getattr(bodydouble, name)) for name in sorted(bodydouble.__all__) if name != "__version__"]
    for name in MODULES:
        module = importlib.import_module(name)
        parts.append(f"## {name}\n\n{_markdown(inspect.getdoc(module) or '')}\n")
        parts += [_entry(member, value) for member, value in public_members(module)]
    return "\n".join(parts).rstrip() + "\n"


def public_members(module: ModuleType) -> list[tuple[str, Any]]:
    """Classes and functions that a module defines itself, in the order of its source."""
    found = [
        (name, value)
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == module.__name__
    ]
    return sorted(found, key=lambda pair: inspect.getsourcelines(inspect.unwrap(pair[1]))[1])


def _entry(name: str, value: Any) -> str:
    if not inspect.isclass(value):
        return (
            f"### `{name}`\n\n```python\n{_signature(name, value)}\n```\n\n{_markdown(inspect.getdoc(value) or '')}\n"
        )
    parts = [f"### class `{name}`\n\n{_markdown(inspect.getdoc(value) or '')}\n"]
    fields = _fields(value)
    if fields:
        parts.append("\n".join(fields) + "\n")
    for member, what in vars(value).items():
        if member.startswith("_"):
            continue
        if isinstance(what, property) or type(what).__name__ == "cached_property":
            function = what.fget if isinstance(what, property) else what.func
            kind = _annotation(function.__annotations__.get("return", ""))
            parts.append(f"- `{member}`: `{kind}`. {_one_line(inspect.getdoc(function) or '')}\n")
        elif inspect.isfunction(what):
            parts.append(
                f"#### `{name}.{member}`\n\n```python\n{_signature(member, what)}\n```\n\n"
                f"{_markdown(inspect.getdoc(what) or '')}\n"
            )
    return "\n".join(parts)


def _fields(value: type) -> list[str]:
    """Fields of a dataclass with the sentence below each, which Python itself does not keep."""
    if not dataclasses.is_dataclass(value):
        return []
    source = inspect.getsource(value)
    lines = []
    for field in dataclasses.fields(value):
        if field.name.startswith("_"):
            continue
        said = re.search(rf'^    {field.name}:[^\n]*\n    """(.*?)"""', source, re.DOTALL | re.MULTILINE)
        text = "" if said is None else f" {_one_line(inspect.cleandoc(said[1]))}"
        lines.append(f"- `{field.name}`: `{_annotation(field.type)}`.{text}")
    return lines


def _signature(name: str, function: Any) -> str:
    signature = inspect.signature(inspect.unwrap(function))
    words = []
    star = False
    for parameter in signature.parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            words.append("*")
            star = True
        prefix = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        star = star or prefix == "*"
        kind = "" if parameter.annotation is parameter.empty else f": {_annotation(parameter.annotation)}"
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        words.append(f"{prefix}{parameter.name}{kind}{default}")
    returned = signature.return_annotation
    end = "" if returned is signature.empty else f" -> {_annotation(returned)}"
    line = f"{name}({', '.join(words)}){end}"
    return line if len(line) <= 110 else f"{name}(\n    " + ",\n    ".join(words) + f",\n){end}"


def _annotation(value: Any) -> str:
    text = value if isinstance(value, str) else getattr(value, "__name__", str(value))
    return text.strip("'\"")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _markdown(text: str) -> str:
    """A docstring's sections as lists."""
    lines: list[str] = []
    section = ""
    for line in text.splitlines():
        heading = line.strip().removesuffix(":")
        if line.strip().endswith(":") and heading in _SECTIONS and not line.startswith(" "):
            section = heading
            lines += ["", f"**{heading}**", ""]
        elif section and line.startswith("    ") and not line.startswith("     "):
            name, colon, rest = line.strip().partition(": ")
            named = colon and section != "Returns"
            lines.append(f"- `{name}`: {rest}" if named else f"- {line.strip()}")
        elif section and line.strip():
            lines[-1] += f" {line.strip()}"
        else:
            section = "" if line.strip() else section
            lines.append(line)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines).strip())


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, default=DEFAULT)
    out: Path = parser.parse_args().out
    out.write_text(reference(), encoding="utf-8")
    print(f"{out} written.")


if __name__ == "__main__":
    main()
