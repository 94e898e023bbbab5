"""A pytest plugin (``-p tests.spread``): how tests are spread over the processes of pytest-xdist.

The system tests start real programs and watch how these behave in time, and two of them at once would disturb each
other. So one process runs all of them, one after the other, and the other processes run everything else.
"""

from __future__ import annotations

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

SYSTEM = "tests/system/"


class SystemTestsTogether(LoadScopeScheduling):  # type: ignore[misc] # xdist has no types
    """Hand out single tests, but the system tests as one piece of work."""

    def _split_scope(self, nodeid: str) -> str:
        return SYSTEM if nodeid.startswith(SYSTEM) else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> SystemTestsTogether:
    """Use it, whatever ``--dist`` says."""
    return SystemTestsTogether(config, log)
