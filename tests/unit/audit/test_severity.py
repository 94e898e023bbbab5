"""Classes of destinations."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from slirpy.audit.severity import Severity, severity


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("169.254.169.254", Severity.METADATA),
        ("169.254.170.2", Severity.METADATA),
        ("100.100.100.200", Severity.METADATA),
        ("fd00:ec2::254", Severity.METADATA),
        ("::ffff:169.254.169.254", Severity.METADATA),
        ("64:ff9b::a9fe:a9fe", Severity.METADATA),
        ("2002:a9fe:a9fe::1", Severity.METADATA),
        ("127.0.0.1", Severity.HOST),
        ("127.1.2.3", Severity.HOST),
        ("0.0.0.0", Severity.HOST),
        ("::1", Severity.HOST),
        ("::ffff:127.0.0.1", Severity.HOST),
        ("10.1.2.3", Severity.PRIVATE),
        ("172.16.0.1", Severity.PRIVATE),
        ("192.168.1.1", Severity.PRIVATE),
        ("100.64.0.1", Severity.PRIVATE),
        ("169.254.1.1", Severity.PRIVATE),
        ("fd12::1", Severity.PRIVATE),
        ("fe80::1", Severity.PRIVATE),
        ("64:ff9b::10.0.0.1", Severity.PRIVATE),
        ("203.0.113.7", Severity.OTHER),
        ("2001:db8::1", Severity.OTHER),
        ("64:ff9b::203.0.113.7", Severity.OTHER),
    ],
)
def test_classes(address: str, expected: Severity) -> None:
    assert severity(ip_address(address).packed) is expected


def test_the_hosts_loopback_by_the_gateway() -> None:
    assert severity(ip_address("10.0.2.2").packed, host=True) is Severity.HOST
    assert severity(ip_address("169.254.169.254").packed, host=True) is Severity.METADATA
