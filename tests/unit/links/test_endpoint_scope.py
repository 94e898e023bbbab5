"""Link-local addresses of sockets that carry frames."""

from __future__ import annotations

import socket

import pytest

from slirpy import LinkError
from slirpy.links import parse_endpoint

pytestmark = pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")


@pytest.mark.needs("real windows", detail="the names of interfaces are not those that its resolver knows")
def test_the_interface_is_kept() -> None:
    index, name = socket.if_nameindex()[0]
    endpoint = parse_endpoint(f"tcp:[fe80::7%{name}]:80")
    assert endpoint.address[3] == index
    assert str(endpoint) == f"[fe80::7%{name}]:80"
    assert parse_endpoint(str(endpoint)) == endpoint
    assert endpoint.qemu() == f"addr.type=inet,addr.host=fe80::7%{name},addr.port=80"


def test_an_interface_is_needed() -> None:
    with pytest.raises(LinkError) as caught:
        parse_endpoint("tcp:[fe80::7]:80")
    assert str(caught.value) == "fe80::7 is link-local; write the interface too, for example fe80::7%eth0"
