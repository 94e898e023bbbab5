"""Options of the DNS server on the command line."""

from __future__ import annotations

import pytest

from slirpy import Config, ConfigError
from tests.unit.cli.command import given


@pytest.mark.parametrize("command", ["run", "listen", "qemu"])
def test_every_option_of_dns_has_its_flag(command: str) -> None:
    config = given(
        "--dns", "127.0.0.1:5353", "--dns-record", "a.test=192.0.2.1", "--dns-record", "a.test 5 TXT two words",
        "--dns-cache", "7", "--dns-mode", "forward", "--dns-mix-case", command=command,
    )  # fmt: skip
    assert [str(server) for server in config.resolvers or ()] == ["127.0.0.1:5353"]
    assert [str(record) for record in config.dns_records] == [
        'DNS record "a.test A 192.0.2.1"', 'DNS record "a.test TXT two words"',
    ]  # fmt: skip
    assert config.dns_records[1].ttl == 5
    assert (config.dns_cache, config.dns_mode, config.dns_mix_case) == (7, "forward", True)


def test_without_flags_all_is_as_in_python() -> None:
    ours, plain = given(), Config()
    for name in ("resolvers", "dns_records", "dns_answer", "dns_cache", "dns_mode", "dns_mix_case"):
        assert getattr(ours, name) == getattr(plain, name), name


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--dns", "example.test"], "resolver"),
        (["--dns-record", "a.test"], "NAME=ADDRESS"),
        (["--dns-mode", "fast"], "auto, forward, system"),
        (["--dns-cache", "-1"], "0 to 1000000"),
    ],
)
def test_a_mistake_is_reported(arguments: list[str], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        given(*arguments)
