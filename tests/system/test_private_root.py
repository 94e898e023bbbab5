"""The root folder that a confined process may have to itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.repository import REPOSITORY
from tests.system.user import User

pytestmark = pytest.mark.system

ENTER = """
import json, os, sys
from slirpy.sandbox.root import PrivateRoot
work = sys.argv[1]
user = os.open(sys.argv[2], os.O_RDONLY) if len(sys.argv) > 2 else None
os.chdir(work)
readable = [f"{work}/shown", f"{work}/link", f"{work}/loop", "file", f"{work}/nothing", f"{work}/shown/inner"]
PrivateRoot(["/etc"], user).enter(readable, [f"{work}/shown/open"])
seen = sorted(os.path.join(folder, name) for folder, _, names in os.walk(work) for name in names)
found = {"files": [path.removeprefix(work) for path in seen], "roots": sorted(os.listdir("/"))}
for name in ("link/a", "file", "shown/inner/b", "loop", "secret"):
    try:
        with open(f"{work}/{name}") as file:
            found[name] = file.read()
    except OSError as error:
        found[name] = type(error).__name__
for name in ("shown/new", "shown/inner/new", "shown/open/new", "new", "/new", "/etc/new"):
    try:
        open(os.path.join(work, name), "x").close()
        found["create " + name] = "done"
    except OSError as error:
        found["create " + name] = os.strerror(error.errno)
print(json.dumps(found))
"""
READ_ONLY = "Read-only file system"


@pytest.fixture
def work(folder: Path) -> Path:
    """Folders and links to show, and a file that is not shown."""
    for name in ("real/inside", "shown/inner", "shown/open"):
        (folder / name).mkdir(parents=True)
    (folder / "link").symlink_to("real/inside")
    (folder / "loop").symlink_to("loop")
    for name in ("real/inside/a", "shown/inner/b", "file", "secret"):
        (folder / name).write_text(name)
    for path in (folder, *folder.rglob("*")):
        if path.name != "loop":
            path.chmod(0o777)
    return folder


def enter(user: User, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the script as a user."""
    return subprocess.run(
        [*user.prefix(), *words],
        cwd=REPOSITORY,
        env=user.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("name", ["root", "nobody"])
@pytest.mark.parametrize("joined", [False, True])
def test_only_named_paths_exist(name: str, joined: bool, work: Path) -> None:
    if name == "root" and os.geteuid() != 0:
        pytest.skip("needs root")
    user = User(name, work)
    unshare = ["unshare", "--user", "--map-root-user"]
    command = [sys.executable, "-c", ENTER, str(work)]
    with subprocess.Popen(
        [*user.prefix(), *unshare, "sh", "-c", "echo; exec sleep 60"], stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        try:
            namespace = f"/proc/{holder.pid}/ns/user"
            done = enter(user, *([] if joined else unshare), *command, *([namespace] if joined else []))
        finally:
            holder.kill()
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.pop("files") == ["/file", "/loop", "/real/inside/a", "/shown/inner/b"]
    assert found.pop("roots") == sorted({"etc", work.parts[1]})
    assert found == {
        "link/a": "real/inside/a",
        "file": "file",
        "shown/inner/b": "shown/inner/b",
        "loop": "OSError",
        "secret": "FileNotFoundError",
        "create shown/new": READ_ONLY,
        "create shown/inner/new": READ_ONLY,
        "create shown/open/new": "done",
        "create new": READ_ONLY,
        "create /new": READ_ONLY,
        "create /etc/new": READ_ONLY,
    }
    assert (work / "shown/open/new").exists()
    assert (work / "secret").exists()


def test_without_the_right_to_mount_it_is_a_part_that_is_missing(folder: Path) -> None:
    script = "from slirpy.sandbox import confine; from slirpy.sandbox.root import PrivateRoot;"
    script += "print(*confine(root=PrivateRoot(['/etc'])), sep='; ')"
    done = enter(User("nobody", folder), sys.executable, "-c", script)
    assert (done.stdout, done.stderr) == ("a root folder of its own (operation not permitted)\n", "")
