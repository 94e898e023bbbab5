"""The example of two machines in QEMU, as somebody would start it."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.support.repository import REPOSITORY, environment
from tests.system.machine import missing
from tests.system.qemu import DHCP, QEMU, MissingError, machine

pytestmark = pytest.mark.system

# Their addresses are 10.0.2.15 and .16, who came first had the first. Each waits until the other was there too.
SCRIPT = f"""{DHCP}
me=$(ip addr show eth0 | sed -n 's/.*inet 10.0.2.\\([0-9]*\\).*/\\1/p')
other=10.0.2.$((31 - me))
n=0; until ping -c 1 -W 1 $other >/dev/null || [ $n -gt 60 ]; do n=$((n+1)); sleep 0.3; done
ping -c 3 -i 0.2 -W 2 $other | grep -c 'bytes from' | sed "s/^/10.0.2.$me pings $other: /"
sleep 2
"""


@pytest.mark.long
def test_two_machines_meet() -> None:
    try:
        command = [QEMU, *machine(SCRIPT)]
    except MissingError as error:
        missing(str(error))
    argv = [sys.executable, "-W", "error", "examples/qemu_pair.py", *command]
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=80, cwd=REPOSITORY, env=environment(), check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^[12]\| 10\.0\.2\.15 pings 10\.0\.2\.16: 3", done.stdout, re.MULTILINE), done.stdout
    assert re.search(r"^[12]\| 10\.0\.2\.16 pings 10\.0\.2\.15: 3", done.stdout, re.MULTILINE), done.stdout
    assert "had an address: 10.0.2.15\nhad an address: 10.0.2.16\n" in done.stdout
    found = re.search(r"frames from one machine to the other: (\d+)", done.stdout)
    assert found is not None
    assert int(found[1]) >= 14
