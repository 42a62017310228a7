"""What the tests of reliability share."""

import pytest

from tests.reliability.tallies import TALLIES, Recorder


@pytest.fixture(scope="session")
def record(request: pytest.FixtureRequest) -> Recorder:
    """See :class:`Recorder`."""
    return Recorder(request.config.stash[TALLIES])
