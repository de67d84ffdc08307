"""What all tests share: where the real clips are, one thread per worker, and no judging by the clock."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")  # before torch starts its threads
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does: two workers have two cores
os.environ.setdefault("GLOG_minloglevel", "2")
# A shell that runs tests in the background lets them, and whatever they start, ignore Ctrl-C, which some of them send.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# A busy machine is slow at drawing and at everything else: that is no failure of what is tested.
settings.register_profile("bodydouble", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("bodydouble")

REPOSITORY = Path(__file__).resolve().parent.parent


def test_data_folder() -> Path | None:
    """The folder with real clips and motions, or None: $BODYDOUBLE_TEST_DATA, else ../shared/data."""
    named = os.environ.get("BODYDOUBLE_TEST_DATA")
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "data"
    return folder if folder.is_dir() else None


test_data_folder.__test__ = False


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Real clips and motions; the test is skipped where they are absent."""
    folder = test_data_folder()
    if folder is None:
        pytest.skip("no test data: set BODYDOUBLE_TEST_DATA to a folder with videos/ and motions/")
    return folder


@pytest.fixture
def our_checks_alone() -> Iterator[None]:
    """Switch the run-time shape checker off, so that our own error texts can be seen."""
    import jaxtyping

    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
