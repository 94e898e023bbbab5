"""The bugs of docs/bugs.md on real sockets."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.sim.programs.bugs import expect_bug
from tests.support.repository import REPOSITORY

pytestmark = [pytest.mark.system, pytest.mark.long]

CASES: list[tuple[str, str, Any, Any]] = [
    ("xmlrpc_client", "python", [1, 1], [1]),
    ("redis_py", "redis", 2, 1),
    ("aiomcache_client", "aiomcache", [None, None], ["yes", "yes"]),
    ("aiosmtplib_client", "aiosmtplib", "first@server", "refused"),
    ("ftplib_client", "python", "200", "550"),
    ("socket_handler", "python", ["record 0", "record 3"], [f"record {number}" for number in range(4)]),
    ("tftpy_client", "tftpy", "Timed-out waiting for traffic", "complete"),
    ("umodbus_client", "uModbus", [100], [200]),
    ("dnslib_client", "dnslib", "unpack requires a buffer of 2 bytes", "example.org."),
    ("urllib_client", "python", 50_000, "IncompleteRead"),
    ("amqtt_client", "amqtt", True, False),  # it still waits
    ("gmqtt_client", "gmqtt", True, False),
    ("paho_publish", "paho-mqtt", True, False),
    ("stomp_py", "stomp.py", True, False),
    ("py_mysql", "PyMySQL", True, False),
]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Run all of them, in processes of their own."""
    found: dict[str, Any] = {}
    for program in ("real_bugs", "real_silence"):
        folder = str(tmp_path_factory.mktemp("files"))
        command = [sys.executable, "-W", "ignore", "-m", f"tests.system.{program}", folder]
        run = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=True)
        found.update(json.loads(run.stdout.splitlines()[-1]))
    return found


@pytest.mark.parametrize(("name", "package", "wrong", "right"), CASES)
def test_the_bug_is_there_without_a_simulation(
    outcomes: Any, name: str, package: str, wrong: Any, right: Any
) -> None:
    expect_bug(package, outcomes[name], wrong=wrong, right=right)
