"""The resolv.conf of ``slirpy run``: what of the host's it keeps."""

from __future__ import annotations

import pytest

from slirpy.cli.resolvconf import resolv_conf

HOST = b"""# made by hand
nameserver 127.0.0.53
nameserver\tfe80::1%eth0
search corp.test\tlab.test
options ndots:2 timeout:1 attempts:3 use-vc
options edns0 trust-ad
sortlist 192.0.2.0/24
lookup file bind
; options rotate
"""
OPTIONS = b"options ndots:2 timeout:1 attempts:3 use-vc\noptions edns0 trust-ad\nsortlist 192.0.2.0/24\n"


def test_search_domains_and_options_of_the_host_are_kept() -> None:
    expected = b"nameserver 10.0.2.3\nsearch corp.test\tlab.test\n" + OPTIONS
    assert resolv_conf("10.0.2.3", (), HOST) == expected


def test_search_domains_of_ones_own_replace_the_hosts_and_no_options() -> None:
    expected = b"nameserver 10.0.2.3\nsearch own.test a.test\n" + OPTIONS
    for host in (HOST, HOST.replace(b"search", b"domain")):
        assert resolv_conf("10.0.2.3", ("own.test", "a.test"), host) == expected


@pytest.mark.parametrize("host", [b"", b"\n", b"nameserver 1.2.3.4", b"# search x\n", b"searching x\n"])
def test_a_host_that_says_nothing_of_that(host: bytes) -> None:
    assert resolv_conf("10.0.2.3", (), host) == b"nameserver 10.0.2.3\n"


def test_the_last_of_search_and_domain_holds_as_on_the_host() -> None:
    host = b"search first.test\ndomain last.test\n"
    assert resolv_conf("10.0.2.3", (), host) == b"nameserver 10.0.2.3\n" + host


def test_bytes_that_are_not_text_pass() -> None:
    assert resolv_conf("10.0.2.3", (), b"search \xff\xfe\r\n") == b"nameserver 10.0.2.3\nsearch \xff\xfe\n"
