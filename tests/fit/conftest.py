"""The body that the tests of fitting share."""

from __future__ import annotations

import pytest

from bodydouble.body.anny import AnnyBody, load_anny


@pytest.fixture(scope="session")
def anny() -> AnnyBody:
    return load_anny()
