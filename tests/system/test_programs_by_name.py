"""Real programs under rules by name: allowed servers work, others fail at once and say why.

All servers are the test's own, on this host's loopback, under names of ``--dns-record`` and with a CA of the run.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.system.tlsweb import Authority, TlsWeb
from tests.system.user import User

# A client that goes during the handshake makes ssl leave its socket to the garbage collector.
pytestmark = [pytest.mark.system, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]
Need = Callable[..., None]
NAMES = ("good.example", "evil.example")


class Site(NamedTuple):
    """A server with files for all programs."""

    web: TlsWeb
    folder: Path
    """Files of the program."""
    ca: Path

    @property
    def arguments(self) -> list[str]:
        """Options of ``slirpy run``: both names lead to the server, and one of them is allowed."""
        records = [word for name in NAMES for word in ("--dns-record", f"{name} A 10.0.2.2")]
        return ["run", *records, "--allow", f"good.example:{self.web.port}"]

    def urls(self) -> tuple[str, str]:
        """Of the allowed name, and of the other."""
        good, evil = (f"https://{name}:{self.web.port}" for name in NAMES)
        return good, evil


@pytest.fixture
def site(folder: Path) -> Iterator[Site]:
    authority = Authority(folder)
    files = folder / "files"
    files.mkdir()
    (files / "hello").write_text("hello\n")
    with TlsWeb(authority.context(*NAMES), files) as web:
        yield Site(web, files, authority.path)


def script(
    user: User, site: Site, text: str, *more: str, timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run a shell script inside; GOOD, EVIL and CA are variables."""
    good, evil = site.urls()
    variables = {
        "GOOD": good,
        "EVIL": evil,
        "CA": str(site.ca),
        "PORT": str(site.web.port),
        "LC_ALL": "C.UTF-8",
    }
    return user.run(*site.arguments, *more, "--", "sh", "-c", text, timeout=timeout, **variables)


def test_curl(user: User, site: Site, need: Need) -> None:
    need("curl")
    result = script(
        user,
        site,
        """
        curl="curl -sS --cacert $CA -m 10 -w :%{exitcode}:%{time_total}\\n"
        $curl --http1.1 $GOOD/hello
        $curl --http2 $GOOD/hello
        $curl -k https://10.0.2.2:$PORT/hello 2>&1                          # without SNI
        $curl $EVIL/hello 2>&1                                              # not allowed by its name
        $curl $EVIL/hello --connect-to evil.example::good.example: 2>&1     # a forged SNI
        $curl http://good.example:$PORT/ -H 'Host: evil.example' 2>&1       # a forged Host
        """,
    )
    lines = result.stdout.splitlines()
    assert lines[0] == "hello"
    assert lines[2] == "hello"
    assert lines[4].startswith("curl: (35)")
    assert "access denied" in lines[4]
    assert "Couldn't connect" in lines[6] or "access denied" in lines[6]
    assert "access denied" in lines[8]
    assert lines[10] == "Host evil.example is not an allowed name of this address"
    codes = [line.split(":")[1:] for line in lines if line.startswith(":")]
    assert [code for code, _ in codes] == ["0", "0", "35", "35", "35", "0"] or codes[3][0] == "7", result
    assert all(float(seconds) < 1 for _, seconds in codes), codes
    assert "SNI evil.example is not an allowed name" in result.stderr
    assert "no SNI" in result.stderr
    assert [kind for kind, _ in site.web.seen] == [f"good.example:{site.web.port}", "h2"]


@pytest.mark.long
def test_pip(slirpy: User, site: Site) -> None:
    """A wheel made here, from a simple index (PEP 503) made here."""
    simple = site.folder / "simple" / "thing"
    simple.mkdir(parents=True)
    wheel = BytesIO()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("thing.py", "")
        archive.writestr("thing-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: thing\nVersion: 1\n")
        archive.writestr(
            "thing-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("thing-1.dist-info/RECORD", "")
    (simple / "thing-1-py3-none-any.whl").write_bytes(wheel.getvalue())
    (simple / "index.html").write_text('<a href="thing-1-py3-none-any.whl">thing-1-py3-none-any.whl</a>')
    result = script(
        slirpy,
        site,
        """
        unset REQUESTS_CA_BUNDLE CURL_CA_BUNDLE  # requests prefers them
        pip="python3 -m pip --isolated --disable-pip-version-check --no-cache-dir --retries 0 --cert $CA"
        $pip download --no-deps -d got --index-url $GOOD/simple thing && ls got
        $pip download --no-deps -d got2 --index-url $EVIL/simple thing 2>&1 || echo failed
        """,
    )
    assert "thing-1-py3-none-any.whl" in result.stdout, result
    assert result.stdout.rstrip().endswith("failed")
    assert "SSL" in result.stdout or "refused" in result.stdout
    assert "slirpy: refused" in result.stderr


def run_git(folder: Path, *arguments: str) -> None:
    """Run git outside, without anybody's settings."""
    settings = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "safe.directory=*"]
    environment = os.environ | {"HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run(["git", *settings, *arguments], env=environment, check=True, capture_output=True)


def repository(folder: Path) -> Path:
    """A bare repository with one file, also for servers that know nothing of git."""
    work, bare = folder / "work", folder / "repo.git"
    run_git(folder, "init", "-q", "-b", "main", str(work))
    (work / "file").write_text("content\n")
    run_git(folder, "-C", str(work), "add", "file")
    run_git(folder, "-C", str(work), "commit", "-q", "-m", "first")
    run_git(folder, "clone", "-q", "--bare", str(work), str(bare))
    run_git(folder, "-C", str(bare), "update-server-info")
    return bare


class GitOverSsh:
    """An SSH server on the loopback that lets anybody read a repository, in a thread."""

    def __init__(self, bare: Path) -> None:
        self._bare = bare
        self._loop = asyncio.new_event_loop()
        self.port = 0
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> GitOverSsh:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result(20)
        return self

    async def _serve(self) -> None:
        import asyncssh

        class Anybody(asyncssh.SSHServer):
            def begin_auth(self, username: str) -> bool:
                return False

        async def upload(process: asyncssh.SSHServerProcess[bytes]) -> None:
            child = await asyncio.create_subprocess_exec(
                "git", "-c", "safe.directory=*", "upload-pack", str(self._bare),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            await process.redirect(stdin=child.stdin, stdout=child.stdout)
            process.exit(await child.wait())
            await process.wait_closed()

        self._server = await asyncssh.listen(
            "127.0.0.1", 0, server_factory=Anybody, process_factory=upload, encoding=None,
            server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        )  # fmt: skip
        self.port = self._server.get_port()

    async def _close(self) -> None:
        """Stop listening, and end what still serves a client."""
        self._server.close()
        await self._server.wait_closed()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


def test_git(slirpy: User, site: Site, need: Need) -> None:
    need("git", "ssh")
    bare = repository(site.folder)
    with GitOverSsh(bare) as server:
        result = script(
            slirpy,
            site,
            f"""
            export GIT_SSL_CAINFO=$CA GIT_TERMINAL_PROMPT=0 GIT_CONFIG_NOSYSTEM=1
            options='-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR'
            export GIT_SSH_COMMAND="ssh -F none $options"
            git clone -q $GOOD/repo.git a 2>&1 && cat a/file
            git clone -q ssh://x@good.example:{server.port}/repo.git b 2>&1 && cat b/file
            git clone -q $EVIL/repo.git c 2>&1 || echo failed
            git clone -q ssh://x@evil.example:{server.port}/repo.git d 2>&1 || echo failed
            """,
            "--allow",
            f"good.example:{server.port}",
        )
    # Both names are one address here, so SSH, which names no host, cannot tell them apart.
    assert result.stdout.count("content\n") == 2, result
    assert result.stdout.splitlines().count("failed") == 1
    assert (
        "access denied" in result.stdout or "handshake" in result.stdout or "refused" in result.stdout.lower()
    )


QUIC_SERVER = """
import asyncio, socket, sys
from aioquic.asyncio.server import serve
from aioquic.quic.configuration import QuicConfiguration
async def echo(reader, writer):
    writer.write(await reader.read())
    writer.write_eof()
async def main():
    configuration = QuicConfiguration(is_client=False, alpn_protocols=["echo"])
    configuration.load_cert_chain(sys.argv[1])
    tasks = []
    started = lambda *streams: tasks.append(asyncio.ensure_future(echo(*streams)))
    server = await serve("127.0.0.1", 0, configuration=configuration, stream_handler=started)
    print(server._transport.get_extra_info("sockname")[1], flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
QUIC_CLIENT = """
import asyncio, ssl, sys
from aioquic.asyncio.client import connect
from aioquic.quic.configuration import QuicConfiguration
async def main(name, port):
    configuration = QuicConfiguration(alpn_protocols=["echo"], server_name=name, verify_mode=ssl.CERT_NONE)
    configuration.idle_timeout = 1
    async with connect("10.0.2.2", int(port), configuration=configuration) as client:
        reader, writer = await client.create_stream()
        writer.write(b"hello"); writer.write_eof()
        print((await reader.read()).decode())
try:
    asyncio.run(main(*sys.argv[1:]))
except (ConnectionError, OSError) as error:
    print("failed", type(error).__name__)
"""


@pytest.mark.long
def test_quic(slirpy: User, site: Site, folder: Path) -> None:
    """aioquic, where a rule reads QUIC."""
    (folder / "client.py").write_text(QUIC_CLIENT)
    command = [sys.executable, "-c", QUIC_SERVER, str(folder / "server.pem")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        result = script(
            slirpy,
            site,
            f"""
            getent hosts good.example >/dev/null
            '{sys.executable}' client.py good.example {port}
            '{sys.executable}' client.py evil.example {port}
            """,
            "--allow",
            f"quic:good.example:{port}",
        )
        server.kill()
    assert result.stdout.splitlines() == ["hello", "failed ConnectionError"], result
    assert "SNI evil.example is not an allowed name" in result.stderr


@pytest.mark.stress
def test_npm(slirpy: User, site: Site, need: Need) -> None:
    need("npm")
    packed = BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        content = json.dumps({"name": "thing", "version": "1.0.0"}).encode()
        entry = tarfile.TarInfo("package/package.json")
        entry.size = len(content)
        archive.addfile(entry, BytesIO(content))
    (site.folder / "thing-1.0.0.tgz").write_bytes(packed.getvalue())
    checksum = hashlib.sha1(packed.getvalue()).hexdigest()
    dist = {"tarball": f"{site.urls()[0]}/thing-1.0.0.tgz", "shasum": checksum}
    version = {"name": "thing", "version": "1.0.0", "dist": dist}
    (site.folder / "thing").write_text(
        json.dumps({"name": "thing", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}})
    )
    result = script(
        slirpy,
        site,
        """
        quiet="--no-audit --no-fund --no-update-notifier --loglevel=error"
        npm="npm --cafile=$CA $quiet --fetch-retries=0 --cache=$PWD/npm"
        mkdir a b
        $npm --prefix a --registry=$GOOD install thing 2>&1 && ls a/node_modules
        $npm --prefix b --registry=$EVIL --cache=$PWD/npm2 install thing 2>&1 || echo failed
        """,
    )
    assert "thing" in result.stdout.splitlines(), result
    assert result.stdout.rstrip().endswith("failed"), result


def test_apt(slirpy: User, site: Site, need: Need) -> None:
    need("apt-get", "dpkg-deb")
    tree = site.folder / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(
        "Package: thing\nVersion: 1\nArchitecture: all\nMaintainer: x <x@example.org>\nDescription: thing\n"
    )
    os.chmod(tree / "DEBIAN", 0o755)
    package = site.folder / "thing_1_all.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-b", str(tree), str(package)], check=True, capture_output=True
    )
    data = package.read_bytes()
    control = (tree / "DEBIAN" / "control").read_text()
    index = (
        f"{control}Filename: ./thing_1_all.deb\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"
    )
    (site.folder / "Packages").write_text(index)
    result = script(
        slirpy,
        site,
        """
        for url in $GOOD $EVIL; do
            rm -rf apt && mkdir -p apt/lists/partial apt/cache/archives/partial apt/etc
            touch apt/status
            echo "deb [trusted=yes] $url ./" > apt/sources
            apt="apt-get -q -o Dir::State=$PWD/apt -o Dir::State::status=$PWD/apt/status -o Dir::Cache=$PWD/apt/cache
                -o Dir::Etc=$PWD/apt/etc -o Dir::Etc::sourcelist=$PWD/apt/sources -o Dir::Etc::sourceparts=-
                -o Acquire::https::CaInfo=$CA -o Acquire::Retries=0 -o APT::Sandbox::User= -o Debug::NoLocking=1"
            $apt update 2>&1
            $apt download thing 2>&1 && ls *.deb
            rm -f *.deb
        done
        """,
    )
    assert "thing_1_all.deb" in result.stdout, result
    _, _, evil = result.stdout.partition("thing_1_all.deb\n")
    assert "Err" in evil or "Failed to fetch" in evil
    assert "thing_1_all.deb" not in evil.splitlines()


@pytest.mark.stress
@pytest.mark.parametrize("rule", ["", " tls=ech"])
def test_chromium(slirpy: User, site: Site, need: Need, rule: str) -> None:
    """Chromium always sends an extension that may hide the name, so a rule has to allow that."""
    need("chromium")
    (site.folder / "page.html").write_text("<p>it works</p>")
    good, _ = site.urls()
    arguments = site.arguments
    arguments[-1] += rule
    result = slirpy.run(
        *arguments, "--", "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
        "--ignore-certificate-errors", f"--user-data-dir={slirpy.folder}/chromium", "--dump-dom", f"{good}/page.html",
    )  # fmt: skip
    assert ("it works" in result.stdout) == bool(rule), result
    if not rule:
        assert "ECH may hide the name" in result.stderr
