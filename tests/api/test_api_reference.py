"""docs/api.md: made from the docstrings, and nothing public is without one."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("api_reference", ROOT / "scripts" / "api_reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_tells_of_the_names_there_are(script: ModuleType):
    """Of `bodydouble` itself word for word; of the modules behind it that their names are there."""
    made, kept = script.reference(), (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    first = made.split("\n## bodydouble.", 1)[0]
    assert kept.split("\n## bodydouble.", 1)[0] == first, "run `make docs`"
    for module in script.MODULES:
        assert f"## {module}" in made


def test_sections_become_lists(script: ModuleType):
    text = "Do.\n\nArgs:\n    a, b: Two\n        numbers.\n    c: One.\nRaises:\n    ConfigError: When not."
    assert script._markdown(text) == (
        "Do.\n\n**Args**\n\n- `a, b`: Two numbers.\n- `c`: One.\n\n**Raises**\n\n- `ConfigError`: When not."
    )


def undocumented(path: Path) -> list[str]:
    """Public classes, functions and methods of a file without a docstring; what overrides or implements is exempt."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    missing = [] if ast.get_docstring(tree) else ["the module"]
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            continue
        if not node.name.startswith("_") and not ast.get_docstring(node):
            missing.append(node.name)
    return missing


def test_every_public_name_has_a_docstring():
    package = ROOT / "src" / "bodydouble"
    found = {str(path.relative_to(package)): undocumented(path) for path in sorted(package.rglob("*.py"))}
    assert len(found) > 200
    assert {path: names for path, names in found.items() if names} == {}
