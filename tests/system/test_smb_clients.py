"""The share of ``--smb``, with Samba's client in a namespace and the kernel's in a guest."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.extent import THOROUGH
from tests.support.repository import environment
from tests.system.machine import LONGEST, missing, processes_with
from tests.system.qemu import ADDRESS6, CACHE, DHCP, QEMU, Guest, machine
from tests.system.user import User

pytestmark = pytest.mark.system
Need = Callable[..., None]
Eventually = Callable[..., None]
NO_RESOLVER = ("--dns", "127.0.0.1:9")
LARGE = (200 if THOROUGH else 20) << 20


@pytest.fixture
def share(folder: Path) -> Path:
    """A folder to serve, which every user may write to."""
    place = folder / "a share of 100%"
    place.mkdir()
    place.chmod(0o777)
    return place


def random_file(path: Path, size: int) -> str:
    """Make a file; its checksum."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(size >> 20):
            block = os.urandom(1 << 20)
            digest.update(block)
            file.write(block)
    path.chmod(0o644)
    return digest.hexdigest()


def checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@pytest.fixture(autouse=True)
def temporary_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep Samba's files apart from those of tests that run at the same time."""
    place = folder / "tmp"
    place.mkdir()
    place.chmod(0o777)
    monkeypatch.setenv("TMPDIR", str(place))


def leftovers() -> set[str]:
    return {path.name for path in Path(os.environ["TMPDIR"]).glob("slirpy-smb-*")}


@pytest.mark.long
@pytest.mark.client(
    "smbclient", "share list", "list", "read", "write", "rename", "delete", "folders", "port 139", "200 MiB",
    service="SMB",
)  # fmt: skip
def test_smbclient(user: User, need: Need, folder: Path, share: Path) -> None:
    need("smbclient", "smbd")
    before = leftovers()
    sent = random_file(folder / "large", LARGE)
    (share / "there").write_text("written by the host\n")
    (share / "there").chmod(0o666)
    (share / "out").symlink_to("/etc/passwd")
    script = """
        smbclient -N -L 10.0.2.4 2>&1 | grep -w Disk
        smbclient -N //10.0.2.4/qemu -c 'ls; get there -; put large copied; rename copied moved; get moved back' 2>&1
        smbclient -N //10.0.2.4/qemu -c 'get out -' 2>&1
        smbclient -N -I fec0::4 //six/qemu -c 'rename there here; rename here there' 2>&1 && echo renamed over IPv6
        smbclient -N -p 139 //10.0.2.4/qemu -c 'mkdir f; cd f; put small; ls; del small' 2>&1
        smbclient -N //10.0.2.4/qemu -c 'rmdir f; del there' 2>&1
        smbclient -N //10.0.2.4/other -c ls 2>&1
    """
    (folder / "small").write_text("small")
    result = user.run("run", *NO_RESOLVER, "--smb", str(share), "--", "sh", "-c", script, timeout=300)
    assert re.search(r"^\s*qemu\s+Disk", result.stdout, re.MULTILINE), result
    assert "written by the host" in result.stdout
    assert checksum(folder / "back") == sent, result.stdout
    assert checksum(share / "moved") == sent
    assert "root:" not in result.stdout  # a link that leads out of the folder
    assert "renamed over IPv6" in result.stdout, result
    assert "NT_STATUS_BAD_NETWORK_NAME" in result.stdout
    assert re.search(r"^\s+small\s", result.stdout, re.MULTILINE), result.stdout
    assert sorted(path.name for path in share.iterdir()) == ["moved", "out"]
    owner = (share / "moved").stat().st_uid
    assert owner == (65534 if user.name == "nobody" and os.geteuid() == 0 else os.geteuid())
    assert result.stderr == ""
    assert leftovers() == before


@pytest.mark.long
def test_nothing_is_left_of_it(user: User, need: Need, share: Path, eventually: Eventually) -> None:
    """Also not of the helpers that Samba starts to tell what shares there are, however slirpy ends."""
    need("smbclient", "smbd")
    number = signal.SIGTERM if user.name == "root" else signal.SIGKILL
    before = leftovers()
    hold = "import socket, time; s = socket.create_connection(('10.0.2.4', 445)); print('ready', flush=True)"
    script = f'smbclient -N -L 10.0.2.4 >/dev/null 2>&1; python3 -c "{hold}; time.sleep(60)"'
    with user.start("run", *NO_RESOLVER, "--smb", str(share), "--", "sh", "-c", script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        (mine,) = leftovers() - before
        assert len(processes_with(mine)) >= 3  # the keeper, smbd, and samba-dcerpcd
        process.send_signal(number)
        eventually(lambda: not processes_with(mine), "the end of all processes", 20)
        eventually(lambda: leftovers() == before, "the folder's end")


def test_many_connections_leave_no_processes(slirpy: User, need: Need, share: Path) -> None:
    need("smbclient", "smbd")
    script = """
        for i in 1 2 3 4 5 6 7 8; do smbclient -N //10.0.2.4/qemu -c ls >/dev/null & done; wait
        echo finished; sleep 60
    """
    with slirpy.start("run", *NO_RESOLVER, "--smb", str(share), "--", "sh", "-c", script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "finished\n"
        tree = subprocess.run(
            ["ps", "-o", "comm=", "--ppid", str(process.pid)], capture_output=True, text=True, check=False
        ).stdout.split()
        assert "smbd-notifyd" not in tree, tree  # what outlives its parent is not ours to wait for
        process.terminate()


@pytest.mark.parametrize(
    ("place", "says"),
    [("/nonexistent", "there is no such folder"), ("/etc/passwd", "is not a folder")],
)
def test_a_bad_folder_is_refused_at_the_start(slirpy: User, need: Need, place: str, says: str) -> None:
    result = slirpy.run("run", *NO_RESOLVER, "--smb", place, "--", "echo", "started")
    assert (result.returncode, result.stdout) == (2, "")
    assert says in result.stderr
    assert place in result.stderr


# ------------------------------------------------------------------------------- the client of Linux

WANTED = "sha512_generic", "aes_generic", "cmac", "ctr", "ccm", "gcm", "ecb", "cifs"
"""Modules; what they need comes before them."""
GUEST_BYTES = (200 if THOROUGH else 8) << 20
MOUNTS = f"""
{DHCP} >/dev/null
{ADDRESS6}
cd /tmp; nc 10.0.2.100 7 </dev/null | tar xf -
for module in $(cat order); do insmod $module; done
mkdir /share; mount -t cifs -o ip=10.0.2.4,sec=none,vers=3.0 //10.0.2.4/qemu /share && cd /share || exit 1
echo "listed $(ls | tr '\\n' ' ')"
echo "read $(sha256sum <large)"
cat large >copied; mv copied moved; sync; echo "written $(sha256sum <moved)"
rm large; mkdir folder; echo hello >folder/small; echo "small $(cat folder/small)"
cd /; umount /share && mount -t cifs -o ip=fec0::4,sec=none,vers=3.0 //six/qemu /share
echo "again $(cat /share/folder/small)"; umount /share && echo unmounted
"""


def modules() -> list[Path]:
    """The files of the modules that the guest needs, in the order in which they need each other."""
    found = {path.stem.replace("-", "_"): path for path in CACHE.glob("kernel/lib/modules/*/kernel/**/*.ko")}
    order: list[Path] = []

    def add(name: str) -> None:
        if name not in found or found[name] in order:
            return  # built in, or there already
        needs = re.search(rb"\0depends=([^\0]*)\0", found[name].read_bytes())
        for other in needs[1].decode().split(",") if needs else ():
            add(other.replace("-", "_"))
        order.append(found[name])

    for name in WANTED if "cifs" in found else ():
        add(name)
    return order


@pytest.mark.long
@pytest.mark.client(
    "mount (cifs in Linux 6.1)",
    "list",
    "read",
    "write",
    "rename",
    "delete",
    "folders",
    "200 MiB",
    service="SMB",
)
@pytest.mark.usefixtures("kernel")
def test_a_guest_mounts_the_share(need: Need, folder: Path, share: Path) -> None:
    """The guest has its modules from us too, by guestfwd."""
    need("smbd", "tar")
    files = modules()
    if not files:
        missing("needs a kernel whose cifs is a module that is not compressed")
    for path in files:
        shutil.copy(path, folder)
    (folder / "order").write_text("\n".join(path.name for path in files))
    sent = random_file(share / "large", GUEST_BYTES)
    argv = [sys.executable, "-m", "slirpy", "qemu", *NO_RESOLVER, "--smb", str(share)]
    argv += ["--guestfwd", f"tcp:10.0.2.100:7-cmd:sh -c 'cd {folder} && tar cf - order *.ko'", "--"]
    with Guest([*argv, QEMU, *machine(MOUNTS)], environment=environment()) as guest:
        boot = guest.finish(LONGEST - 5)
    assert boot.status == 0, boot.output
    assert boot.after("listed ") == "large", boot.output
    assert boot.after("read ").split()[0] == sent
    assert boot.after("written ").split()[0] == sent
    assert boot.after("small ") == "hello"
    assert boot.after("again ") == "hello", boot.output  # over IPv6
    assert "unmounted" in boot.output
    assert checksum(share / "moved") == sent
    assert not (share / "large").exists()
    assert (share / "folder" / "small").read_text() == "hello\n"
