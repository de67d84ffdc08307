"""Makes the shared scenes importable, and compiles the kernels once per worker."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def kernels() -> None:
    """Compile all kernels, or load them from the cache."""
    from bodydouble.render.warm_up import warm_up

    warm_up()
