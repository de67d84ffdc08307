"""No two modules of the package import each other, directly or around a corner, not even inside functions."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2] / "src"


def imports(root: Path) -> dict[str, set[str]]:
    """Module -> the modules of the same tree that it names in an import, wherever the import stands."""
    modules = {}
    for path in root.rglob("*.py"):
        parts = path.relative_to(root).with_suffix("").parts
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    found: dict[str, set[str]] = {}
    for module, path in modules.items():
        named: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                named.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                named.update(f"{node.module}.{alias.name}" for alias in node.names)
        homes = {name if name in modules else name.rpartition(".")[0] for name in named}
        found[module] = (homes & set(modules)) - {module}
    return found


def test_there_is_no_circle():
    graph = imports(ROOT)
    assert len(graph) > 300 and any(graph.values())
    TopologicalSorter(graph).prepare()


def test_a_circle_would_be_found(tmp_path: Path):
    (tmp_path / "a.py").write_text("from b import x\n")
    (tmp_path / "b.py").write_text("def f():\n    import a\n")
    with pytest.raises(CycleError, match="cycle"):
        TopologicalSorter(imports(tmp_path)).prepare()
