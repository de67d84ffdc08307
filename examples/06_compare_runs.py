"""The key figures of finished runs side by side, as a table to paste elsewhere.

python examples/06_compare_runs.py clip-double other-double ...
"""

from __future__ import annotations

import sys
from pathlib import Path

import bodydouble as bd


def main(folders: list[Path]) -> str:
    """A Markdown table, one run a line."""
    runs = [bd.open_run(folder) for folder in folders]
    names = list(runs[0].figures)
    lines = [f"| run | {' | '.join(names)} |", "|---|" + "---:|" * len(names)]
    for run in runs:
        cells = ["-" if value is None else f"{value:.4g}" for value in run.figures.values()]
        lines.append(f"| {run.folder.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(main([Path(word) for word in sys.argv[1:]]))
