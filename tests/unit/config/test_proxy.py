"""Options of upstream proxies."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from slirpy import Config, ConfigError, Proxy
from slirpy.config.policy import parse_rule
from slirpy.config.proxy import goes_direct, parse_no_proxy, parse_proxy


@pytest.mark.parametrize(
    ("text", "proxy", "shown"),
    [
        ("http://192.0.2.1:3128", Proxy("http", "192.0.2.1", 3128), "http://192.0.2.1:3128"),
        ("http://Proxy.Example/", Proxy("http", "proxy.example"), "http://proxy.example:8080"),
        ("socks5://localhost", Proxy("socks5", "localhost"), "socks5://localhost:1080"),
        ("socks5h://[::1]:9050", Proxy("socks5", "::1", 9050), "socks5://[::1]:9050"),
    ],
)
def test_texts(text: str, proxy: Proxy, shown: str) -> None:
    assert Config(proxy=text).proxy == proxy
    assert str(parse_proxy(text)) == shown
    assert parse_proxy(shown) == proxy


@pytest.mark.parametrize("text", ["proxy:3128", "ftp://proxy", "http://", "http://a b", "http://proxy:0", "http://proxy:x",
                                  "http://0.0.0.0", "http://1.2.3", "http://proxy/path", "http://[x]:1"])  # fmt: skip
def test_invalid_proxies_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="proxy"):
        Config(proxy=text)


def test_a_password_in_the_command_line_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError, match="--proxy-auth-file") as caught:
        Config(proxy="http://me:hunter2@proxy:80")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("rule", "names", "address", "direct"),
    [
        ("example.org", ["example.org"], "192.0.2.1", True),
        (".example.org", ["www.example.org"], "192.0.2.1", True),
        ("*.Example.org.", ["a.b.example.org"], "192.0.2.1", True),
        ("example.org", ["notexample.org", "example.org.evil"], "192.0.2.1", False),
        ("192.0.2.0/24", [], "192.0.2.1", True),
        ("192.0.2.7/24", [], "192.0.2.1", True),
        ("192.0.2.0/24", [], "2001:db8::1", False),
        ("[2001:db8::1]", [], "2001:db8::1", True),
        ("private", [], "10.1.2.3", True),
        ("private", ["private"], "192.0.2.1", False),
        ("*", [], "192.0.2.1", True),
    ],
)
def test_destinations_without_a_proxy(rule: str, names: list[str], address: str, direct: bool) -> None:
    assert goes_direct([parse_no_proxy(rule)], names, ip_address(address).packed) is direct


@pytest.mark.parametrize("text", ["", "a b", "1.2.3", "10.0.0.0/33", "*.*", "http://x"])
def test_invalid_destinations_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="no_proxy"):
        Config(no_proxy=[text])


def test_rules_check_their_proxy() -> None:
    assert parse_rule("allow any:443 proxy=socks5://p:1").proxy == "socks5://p:1"
    with pytest.raises(ConfigError, match="scheme 'ftp'"):
        parse_rule("allow any:443 proxy=ftp://p")
