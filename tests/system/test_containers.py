"""podman and rootlesskit with ``slirpy-slirp4netns``, as an ordinary user; slirp4netns is beside it.

Everything runs in mount and process namespaces of the test's, which end with it: there the user has subordinate
ids, a resolver of the test's, and a /dev/net/tun that everybody may open.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.support.repository import REPOSITORY
from tests.support.waiting import until
from tests.system.ownspace import IMAGE
from tests.system.user import User

pytestmark = pytest.mark.system
Need = Callable[..., None]

MIB = 200
BLOCK = bytes(range(256)) * 4096
SECONDS = 80

# Not by exec: the first process must stay root's, or the kernel forgets that it ends with its parent.
_SETUP = """
set -e
for name in subuid subgid; do
    printf 'nobody:200000:65536\\n' > $FOLDER/$name
    test -e /etc/$name || : > /etc/$name
    mount --bind $FOLDER/$name /etc/$name
done
printf 'nameserver 127.0.0.77\\n' > $FOLDER/resolv.conf
mount --bind $FOLDER/resolv.conf "$(realpath /etc/resolv.conf)"
"$@"
"""
_PODMAN = """
podman="podman --root $PWD/root --runroot $PWD/runroot --tmpdir $PWD/tmp --storage-driver vfs
    --cgroup-manager cgroupfs --events-backend none --runtime runc --network-cmd-path {program}"
$podman import --quiet image.tar test >/dev/null 2>&1
$podman run --rm --name test --ulimit nofile=1024:1024 --ulimit nproc=500:500 \
    --network slirp4netns:allow_host_loopback=true --publish 127.0.0.1:{port}:80 test sh -c {script} &
exec 3</dev/null
wait
"""
_IN_CONTAINER = """
cat /etc/resolv.conf | head -n 1
nslookup name.test 10.0.2.3
wget -q -O - http://10.0.2.2:{web}/ | sha256sum
echo listening
nc -l -p 80 | sha256sum
"""
_ROOTLESSKIT = """
mkdir -p run; chmod 700 run
exec rootlesskit --net=slirp4netns --slirp4netns-binary={program} --mtu=65520 --disable-host-loopback \
    --port-driver={driver} --publish 127.0.0.1:{port}:8000/tcp sh -c {script}
"""


class _Blocks(BaseHTTPRequestHandler):
    """Serves 200 MiB."""

    def do_GET(self) -> None:
        """Serve them at every path."""
        self.send_response(200)
        self.send_header("Content-Length", str(MIB << 20))
        self.end_headers()
        for _ in range(MIB):
            self.wfile.write(BLOCK)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def outside() -> Iterator[int]:
    """A web server and a name server on the host's loopback. Gives the port of the former."""
    web = ThreadingHTTPServer(("127.0.0.1", 0), _Blocks)
    web.daemon_threads = True
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as names:
        names.bind(("127.0.0.77", 53))

        def answer() -> None:
            while True:
                try:
                    query, client = names.recvfrom(2000)
                except OSError:
                    return
                if not query:
                    return  # shut down
                end = query.index(b"\0", 12) + 5
                is_a = query[end - 4 : end - 2] == b"\0\1"
                record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + bytes((192, 0, 2, 55)) if is_a else b""
                counts = bytes((0, 1, 0, int(is_a), 0, 0, 0, 0))
                names.sendto(query[:2] + b"\x81\x80" + counts + query[12:end] + record, client)

        for work in (web.serve_forever, answer):
            Thread(target=work, daemon=True).start()
        try:
            yield int(web.server_address[1])
        finally:
            with suppress(OSError):  # it is not connected, but this wakes the thread
                names.shutdown(socket.SHUT_RDWR)
            web.shutdown()
            web.server_close()


@pytest.fixture
def start(folder: Path, need: Need) -> Callable[[str], subprocess.Popen[str]]:
    """Start a script as an ordinary user."""
    need("unshare", "setpriv", "newuidmap", "runc", "busybox", "slirp4netns")
    if os.geteuid() != 0:
        pytest.skip("needs root, to become another user")
    user = User("nobody", folder)
    spaces = [
        "unshare",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "--propagation",
        "private",
    ]

    def run(script: str) -> subprocess.Popen[str]:
        environment = user.environment(FOLDER=str(folder), XDG_RUNTIME_DIR=str(folder / "run"))
        return subprocess.Popen(
            [*spaces, "sh", "-c", _SETUP, "sh", *user.prefix(), "sh", "-c", script],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return run


@pytest.fixture(params=[pytest.param("slirp4netns", marks=pytest.mark.long), "slirpy"])
def program(request: pytest.FixtureRequest, folder: Path) -> str:
    """The path of the program that serves the network."""
    if request.param == "slirp4netns":
        return "/usr/bin/slirp4netns"
    path = folder / "slirpy-slirp4netns"
    path.write_text(
        f"#!/bin/sh\nPYTHONPATH={REPOSITORY} exec {sys.executable}"
        " -c 'from slirpy.cli.slirp4netns.main import main; main()' \"$@\"\n"
    )
    path.chmod(0o755)
    return str(path)


def free_port() -> int:
    """A port of the host that was free a moment ago."""
    with closing(socket.create_server(("127.0.0.1", 0))) as sock:
        return int(sock.getsockname()[1])


def read_until(process: subprocess.Popen[str], line: str) -> Sequence[str]:
    """The lines that a process writes before the given one."""
    assert process.stdout is not None
    lines: list[str] = []
    for text in process.stdout:
        if text.rstrip() == line:
            return lines
        lines.append(text.rstrip())
    assert process.stderr is not None
    raise AssertionError((lines, process.stderr.read()))


@pytest.mark.long
def test_podman(program: str, start: Callable[[str], subprocess.Popen[str]], need: Need) -> None:
    """Names, 200 MiB from the host, and 200 MiB to a published port."""
    need("podman")
    port = free_port()
    digest = hashlib.sha256(BLOCK * MIB).hexdigest()
    with outside() as web:
        script = shlex.quote(_IN_CONTAINER.format(web=web))
        process = start("set -e" + IMAGE + _PODMAN.format(program=program, port=port, script=script))
        with process:
            try:
                lines = read_until(process, "listening")
                assert lines[0] == "nameserver 10.0.2.3"
                assert "192.0.2.55" in "".join(lines)
                assert lines[-1].split()[0] == digest
                client = connect(port)
                with client:
                    for _ in range(MIB):
                        client.sendall(BLOCK)
                    client.shutdown(socket.SHUT_WR)
                    out, error = process.communicate(timeout=SECONDS)
                assert out.split()[0] == digest, error
            finally:
                process.kill()


_IMPORT = _PODMAN.partition("$podman run")[0]
_IN_BOX = """
tries=0
until grep -q tap0 /proc/net/route || [ $tries -gt 200 ]; do tries=$((tries+1)); sleep 0.1; done
nslookup name.test | grep -q 192.0.2.55 && echo resolved
wget -q -O - http://10.0.2.2:{web}/ | sha256sum
wget -q -T 5 -O - http://192.0.2.55:{web}/ || echo refused
"""


@pytest.mark.long
def test_the_recipe_for_podman(start: Callable[[str], subprocess.Popen[str]], need: Need) -> None:
    """The page's commands, word for word but for what stands in capitals, podman's folders, and the rule."""
    need("podman")
    page = (REPOSITORY / "docs" / "howto" / "border.md").read_text()
    recipe = re.search(r"```sh\n(echo nameserver.*?)```", page, re.DOTALL)
    assert recipe is not None
    slirpy = f"PYTHONPATH={REPOSITORY} {sys.executable} -m slirpy attach"
    digest = hashlib.sha256(BLOCK * MIB).hexdigest()
    with outside() as web:
        script = shlex.quote(_IN_BOX.format(web=web))
        commands = recipe[1].replace("podman ", "$podman ").replace("IMAGE", "test")
        commands = commands.replace("slirpy attach", slirpy).replace("CMD", f"sh -c {script}")
        # The servers are on this host, which the profile would shut.
        commands = commands.replace("--profile agent", f"--allow host:{web} --allow name.test:443")
        image = "set -e" + IMAGE + _IMPORT.format(program="/usr/bin/slirp4netns")
        end = "$podman rm --force --time 0 box >/dev/null; wait"
        process = start("\n".join((image, "set +e; mkdir work; cd work", commands, end)))
        with process:
            try:
                out, error = process.communicate(timeout=2 * SECONDS)
            finally:
                process.kill()
    lines = out.splitlines()
    assert lines[-3:] == ["resolved", f"{digest}  -", "refused"], (lines, error)


def connect(port: int) -> socket.socket:
    """Connect through a published port, which may be opened only after the command has started."""
    client = socket.socket()
    client.settimeout(SECONDS)
    until(lambda: client.connect_ex(("127.0.0.1", port)) == 0, lambda: time.sleep(0.01), f"port {port} is open")
    return client


@pytest.mark.parametrize("driver", ["builtin", "slirp4netns"])
def test_rootlesskit(
    driver: str, program: str, start: Callable[[str], subprocess.Popen[str]], need: Need
) -> None:
    need("rootlesskit", "ip")
    port = free_port()
    script = "ip -brief address show tap0; ip route; busybox nc -l -p 8000 -e sh -c 'echo works'"
    listens = "until grep -q ':1F40 ' /proc/net/tcp /proc/net/tcp6; do sleep 0.05; done"
    serve = f"{script} & {listens}; echo listening; wait"
    process = start(_ROOTLESSKIT.format(program=program, driver=driver, port=port, script=shlex.quote(serve)))
    with process:
        try:
            lines = "\n".join(read_until(process, "listening"))
            assert "10.0.2.100/24" in lines
            assert "default via 10.0.2.2" in lines
            with connect(port) as client:
                assert client.recv(100) == b"works\n"
        finally:
            process.kill()
