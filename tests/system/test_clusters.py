"""``explore`` on clusters of two workers, Dask's and Ray's: needs ``pip install distributed ray``, or is skipped."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.system, pytest.mark.stress]

SCENARIO = """
import asyncio
from slirpy.testing import explore

PARTS = [range(n, n + 10) for n in range(0, 60, 10)]

def scenario(net):
    async def main():
        await asyncio.sleep(1)
        assert net.seed not in (7, 37), "planted"

    net.run(main, on="client")

def show(parts):
    print(*[(failure.seed, failure.error, "planted" in failure.report) for part in parts for failure in part])
"""

DASK = """
from dask.distributed import Client, LocalCluster
from scenario import PARTS, explore, scenario, show

if __name__ == "__main__":
    cluster = LocalCluster("127.0.0.1", n_workers=2, threads_per_worker=1, dashboard_address=None)
    with cluster, Client(cluster) as client:
        show(client.gather(client.map(lambda part: explore(scenario, part), PARTS)))
"""

RAY = """
import ray
from scenario import PARTS, explore, scenario, show

ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
run = ray.remote(explore)
show(ray.get([run.remote(scenario, part) for part in PARTS]))
ray.shutdown()
"""


@pytest.mark.parametrize(("library", "program"), [("distributed", DASK), ("ray", RAY)])
def test_failures_come_back_from_two_workers(library: str, program: str, tmp_path: Path) -> None:
    pytest.importorskip(library)
    (tmp_path / "scenario.py").write_text(SCENARIO)
    (tmp_path / "cluster.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "cluster.py"],
        cwd=tmp_path,
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
            "PYTHONPATH": str(tmp_path),
            "RAY_AUTH_MODE": "disabled",
        },
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    failures = "(7, 'AssertionError: planted', True) (37, 'AssertionError: planted', True)"
    assert done.stdout.splitlines()[-1] == failures, done.stdout + done.stderr
