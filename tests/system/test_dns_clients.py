"""Names: the C library and dig ask 10.0.2.3, which asks a resolver of the test's own."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.system.machine import missing
from tests.system.qemu import DHCP, QEMU, Guest, MissingError, machine
from tests.system.resolver import ADDRESS, LONG, LONG_TEXTS, NAME, Resolver
from tests.system.user import User

pytestmark = pytest.mark.system
Need = Callable[..., None]


@pytest.fixture
def silent() -> Iterator[Resolver]:
    server = Resolver()
    server.silent = True
    yield server
    server.close()


def counters(stderr: str) -> dict[str, int]:
    """Return the counters that ``--stats`` has printed."""
    return {name: int(value) for name, value in re.findall(r"^(\w+) +(\d+)", stderr, re.MULTILINE)}


@pytest.mark.client("getent", "address", "server of resolv.conf")
@pytest.mark.client("dig", "UDP", "TCP", "server of resolv.conf")
def test_the_c_library_and_dig_resolve_a_name(user: User, need: Need, resolver: Resolver) -> None:
    need("getent", "dig")
    script = (
        f"getent hosts {NAME}; dig +short +tries=1 {NAME} @10.0.2.3; dig +short +tcp +tries=1 {NAME} @10.0.2.3;"
        f"dig +short +tries=1 {NAME}"  # finds the server by itself, in resolv.conf
    )
    result = user.run("run", "--dns", f"127.0.0.1:{resolver.port}", "--", "sh", "-c", script)
    assert result.returncode == 0, result.stderr
    first, *others = result.stdout.splitlines()
    assert first.split() == [ADDRESS, NAME]
    assert others == [ADDRESS] * 3
    assert ("udp", NAME, "A") in resolver.queries


@pytest.mark.client("getent", "no such name")
@pytest.mark.client("dig", "no such name")
def test_a_name_that_does_not_exist_is_an_answer_too(slirpy: User, need: Need, resolver: Resolver) -> None:
    need("getent", "dig")
    script = "dig +tries=1 no.such.name @10.0.2.3; getent hosts no.such.name"
    result = slirpy.run("run", "--dns", f"127.0.0.1:{resolver.port}", "--", "sh", "-c", script)
    assert result.returncode == 2  # getent: not found
    assert "status: NXDOMAIN" in result.stdout


@pytest.mark.parametrize(
    "options",
    [
        pytest.param("+bufsize=4096", marks=pytest.mark.client("dig", "EDNS", "3 KB over UDP")),
        pytest.param("+noedns", marks=pytest.mark.client("dig", "truncated answer, then TCP")),
        pytest.param("+tcp", marks=pytest.mark.client("dig", "TCP")),
    ],
)
def test_a_long_answer_comes_whole(slirpy: User, need: Need, resolver: Resolver, options: str) -> None:
    """With EDNS as one datagram, which is larger than the MTU; without it over TCP, after a truncated answer."""
    need("dig")
    command = ["dig", "+tries=1", "+time=10", options, LONG, "TXT", "@10.0.2.3"]
    result = slirpy.run("run", "--dns", f"127.0.0.1:{resolver.port}", "--", *command)
    assert result.returncode == 0, result.stdout + result.stderr
    assert sorted(re.findall(r'TXT\s+"(.*)"', result.stdout)) == LONG_TEXTS
    assert ("(UDP)" in result.stdout) == (options == "+bufsize=4096")


@pytest.mark.client("dig", "prompt failure")
def test_without_a_resolver_the_answer_is_prompt(slirpy: User, need: Need) -> None:
    need("dig")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    result = slirpy.run(
        "run", "--dns", f"127.0.0.1:{port}", "--", "dig", "+tries=1", "+time=20", NAME, "@10.0.2.3"
    )
    assert "status: SERVFAIL" in result.stdout, result.stdout
    assert "timed out" not in result.stdout
    # And not 2 s a try, let alone dig's own 20.
    assert int(re.findall(r"Query time: (\d+) msec", result.stdout)[0]) < 2000


@pytest.mark.client("dig", "fail-over")
@pytest.mark.client("getent", "fail-over")
def test_a_silent_resolver_is_passed_over(
    slirpy: User, need: Need, resolver: Resolver, silent: Resolver
) -> None:
    need("dig", "getent")
    script = f"dig +tries=1 +time=3 {NAME} @10.0.2.3; getent hosts {NAME}"
    servers = ("--dns", f"127.0.0.1:{silent.port}", "--dns", f"127.0.0.1:{resolver.port}")
    result = slirpy.run("run", *servers, "--stats", "--dns-cache", "0", "--", "sh", "-c", script)
    assert result.returncode == 0, result.stderr
    assert "status: NOERROR" in result.stdout
    assert int(re.findall(r"Query time: (\d+) msec", result.stdout)[0]) < 2000
    assert counters(result.stderr)["dns_servers_failed"] == 1
    assert len(silent.queries) == 1  # the second question did not wait for it


@pytest.mark.long
@pytest.mark.client("dig", "timeout")
def test_silence_everywhere_is_a_failure_in_the_end(slirpy: User, need: Need, silent: Resolver) -> None:
    need("dig")
    command = ["dig", "+tries=1", "+time=20", NAME, "@10.0.2.3"]
    result = slirpy.run("run", "--dns", f"127.0.0.1:{silent.port}", "--", *command)
    assert "status: SERVFAIL" in result.stdout, result.stdout
    assert 4500 < int(re.findall(r"Query time: (\d+) msec", result.stdout)[0]) < 9000


@pytest.mark.client("dig", "cookie", "DNSSEC bits", "cache")
def test_the_second_answer_is_from_the_cache(slirpy: User, need: Need, resolver: Resolver) -> None:
    need("dig")
    script = (
        f"dig +noall +answer {NAME} @10.0.2.3; sleep 1.1; dig +noall +answer SERVER.Test @10.0.2.3;"
        f"dig +tcp +noall +answer +noedns {NAME} @10.0.2.3; dig +dnssec +cdflag +noall +answer {NAME} @10.0.2.3;"
        f"dig +dnssec +cdflag {NAME} @10.0.2.3"
    )
    result = slirpy.run(
        "run",
        "--dns",
        f"127.0.0.1:{resolver.port}",
        "--stats",
        "--dns-mode",
        "forward",
        "--",
        "sh",
        "-c",
        script,
    )
    lines = re.findall(
        rf"^({NAME})\.\s+(\d+)\s+IN\s+A\s+{ADDRESS}$", result.stdout, re.MULTILINE | re.IGNORECASE
    )
    assert [name for name, _ in lines] == [NAME, "SERVER.Test", NAME, NAME, NAME]
    assert [int(ttl) for _, ttl in lines][:2] != [60, 60]
    assert int(lines[1][1]) in (57, 58, 59)
    assert resolver.queries == [("udp", NAME, "A")] * 2  # DO and CD make another question of it
    assert counters(result.stderr)["dns_cache_hits"] == 3
    assert "EDNS: version: 0, flags: do" in result.stdout


@pytest.mark.client("dig", "local records", "wildcard", "reverse lookup", "large local answer")
@pytest.mark.client("getent", "local records", "search domain", "reverse lookup")
def test_names_that_slirpy_answers_itself(user: User, need: Need, resolver: Resolver) -> None:
    need("dig", "getent")
    rules = (
        "web.corp.test=192.0.2.80", "*.dev.test=192.0.2.81", "alias.test=web.corp.test", "out.test=" + NAME,
        "corp.test MX 10 mail.corp.test", "_sip._udp.corp.test SRV 0 5 5060 web.corp.test", "six.test=2001:db8::6",
        "txt.test TXT " + "y" * 2000, "corp.test 7 TXT v=spf1 -all",
    )  # fmt: skip
    options = [word for rule in rules for word in ("--dns-record", rule)]
    asked = (
        "web.corp.test", "any.dev.test", "alias.test", "out.test", "corp.test MX", "_sip._udp.corp.test SRV",
        "corp.test TXT", "six.test AAAA", "-x 192.0.2.80", "-x 10.0.2.2", "gateway",
    )  # fmt: skip
    script = "".join(f"echo '# {what}'; dig +short +tries=1 {what} @10.0.2.3;" for what in asked)
    script += "echo '# getent'; getent hosts web; getent hosts host; getent hosts 192.0.2.80;"
    script += "echo '# long'; dig +short +tries=1 +bufsize=1232 txt.test TXT @10.0.2.3 | tr -d '\" \\n' | wc -c"
    result = user.run(
        "run",
        "--dns",
        f"127.0.0.1:{resolver.port}",
        "--domain",
        "corp.test",
        *options,
        "--",
        "sh",
        "-c",
        script,
    )
    assert result.returncode == 0, result.stderr
    found = dict(part.split("\n", 1) for part in result.stdout.split("# ")[1:])
    assert {what: text.split("\n")[:-1] for what, text in found.items()} == {
        "web.corp.test": ["192.0.2.80"],
        "any.dev.test": ["192.0.2.81"],
        "alias.test": ["web.corp.test.", "192.0.2.80"],
        "out.test": [NAME + ".", ADDRESS],
        "corp.test MX": ["10 mail.corp.test."],
        "_sip._udp.corp.test SRV": ["0 5 5060 web.corp.test."],
        "corp.test TXT": ['"v=spf1 -all"'],
        "six.test AAAA": ["2001:db8::6"],
        "-x 192.0.2.80": ["web.corp.test."],
        "-x 10.0.2.2": ["gateway.corp.test."],
        "gateway": ["10.0.2.2"],
        "getent": [
            "192.0.2.80      web.corp.test", "fec0::2         host.corp.test", "192.0.2.80      web.corp.test",
        ],
        "long": ["2000"],
    }  # fmt: skip
    assert {name for _, name, _ in resolver.queries} <= {NAME, "web"}  # getent wants an IPv6 address first


@pytest.mark.client("dig", "several queries on a connection")
def test_a_connection_carries_several_queries(slirpy: User, need: Need, resolver: Resolver) -> None:
    need("dig")
    command = ["dig", "+tcp", "+keepopen", "+short", "@10.0.2.3", NAME, "gateway", NAME]
    result = slirpy.run("run", "--dns", f"127.0.0.1:{resolver.port}", "--stats", "--", *command)
    assert result.stdout.split() == [ADDRESS, "10.0.2.2", ADDRESS], result.stderr
    assert counters(result.stderr)["tcp_flows"] == 1


# In a mount namespace of its own, so that no name is asked of anybody: the library reads a file.
_LIBRARY = r"""
set -e
mount --bind "$1/hosts" /etc/hosts
mount --bind "$1/resolv.conf" /etc/resolv.conf
mount --bind "$1/nsswitch.conf" /etc/nsswitch.conf
shift
exec "$@"
"""


@pytest.mark.client("dig", "the host's own resolver library")
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a hosts file of its own")
def test_without_a_nameserver_the_library_of_the_host_is_used(slirpy: User, need: Need) -> None:
    need("dig", "unshare")
    (slirpy.folder / "hosts").write_text("192.0.2.90 library.test\n2001:db8::90 library.test\n")
    (slirpy.folder / "resolv.conf").write_text("# nobody\n")
    (slirpy.folder / "nsswitch.conf").write_text("hosts: files\n")
    script = "".join(
        f"dig +noall +comments +answer +tries=1 {what} @10.0.2.3;"
        for what in ("library.test", "library.test AAAA", "no.test", "library.test MX")
    )
    outside = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _LIBRARY, "sh", str(slirpy.folder)]
    result = subprocess.run(
        [*outside, *slirpy.argv("run", "--stats", "--", "sh", "-c", script)],
        cwd=slirpy.folder,
        env=slirpy.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert re.findall(r"status: (\w+)", result.stdout) == ["NOERROR", "NOERROR", "NXDOMAIN", "NOTIMP"], (
        result.stderr
    )
    assert re.findall(r"IN\s+(\w+)\s+(\S+)$", result.stdout, re.MULTILINE) == [
        ("A", "192.0.2.90"), ("AAAA", "2001:db8::90"),
    ]  # fmt: skip
    assert counters(result.stderr)["dns_system_lookups"] == 3


@pytest.mark.long
@pytest.mark.client("getent in a Linux guest", "address", "no such name", "local records")
@pytest.mark.client("nslookup of Busybox", "address", "reverse lookup")
def test_a_linux_guest_resolves_names(slirpy: User, need: Need, resolver: Resolver) -> None:
    need("getent")
    script = f"""{DHCP}
getent hosts {NAME}; getent hosts no.such.name || echo "none $?"; getent hosts gateway; getent hosts web.corp.test
nslookup {NAME}; nslookup 10.0.2.2; nslookup pc.internal
"""
    try:
        command = [QEMU, *machine(script, "getent")]
    except MissingError as error:
        missing(str(error))
    options = ("--dns", f"127.0.0.1:{resolver.port}", "--dns-record", "web.corp.test=192.0.2.80")
    argv = slirpy.argv(
        "qemu", *options, "--domain", "corp.test", "--lease", "52:54:00:12:34:56=10.0.2.44,pc", "--", *command
    )
    with Guest(argv, environment=slirpy.environment()) as guest:
        boot = guest.finish()
    assert "leased 10.0.2.44" in boot.output
    lines = [line.split() for line in boot.output.splitlines()]
    for words in (
        [ADDRESS, NAME],
        ["none", "2"],
        ["fec0::2", "gateway"],
        ["192.0.2.80", "web.corp.test"],
    ):
        assert words in lines, boot.output
    assert re.search(rf"Name:\s+{NAME}\s+Address(?: 1)?:\s+{ADDRESS}", boot.output), boot.output
    assert "name = gateway.corp.test" in boot.output
    assert re.search(r"Name:\s+pc.internal\s+Address(?: 1)?:\s+10.0.2.44", boot.output), boot.output
