"""Datagrams with headers that are kept: the frames are those of the general way."""

from __future__ import annotations

import pytest

from slirpy.core.neighbor import AGE
from slirpy.core.template import DatagramTemplate
from slirpy.interfaces import Frame, LinkFeatures
from tests.support.frames6 import GUEST6, WORLD6, know6
from tests.support.harness import GUEST, WORLD, Net

CHECKSUM = LinkFeatures(checksum_offload=True)
ENDS = {4: (WORLD, GUEST), 6: (WORLD6, GUEST6)}


def net_of(family: int, features: LinkFeatures | None = None) -> Net:
    net = Net(features=features)
    if family == 4:
        net.know()
    else:
        know6(net)
    net.raw()
    return net


def template_of(net: Net, family: int) -> DatagramTemplate:
    source, destination = ENDS[family]
    return net.stack._ip.template((source, 9), (destination, 5000))


def sent(net: Net) -> list[Frame]:
    net.stack.flush(net.now)
    frames, net.wire.sent = net.wire.sent, []
    return frames


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("features", [None, CHECKSUM])
@pytest.mark.parametrize("payload", [b"x" * 100, b"\xff" * 101, bytes(18), bytes(1452)], ids=len)
def test_the_frames_are_those_of_the_general_way(
    family: int, features: LinkFeatures | None, payload: bytes
) -> None:
    net = net_of(family, features)
    assert template_of(net, family).send(payload)
    frames = sent(net)
    source, destination = ENDS[family]
    net.stack._ip.send_datagrams(source, 9, destination, 5000, [payload])
    assert [(f.parts, *f[1:]) for f in frames] == [(f.parts, *f[1:]) for f in sent(net)]
    assert len(frames) == 1


@pytest.mark.parametrize(("family", "size"), [(4, 17), (4, 1473), (6, 1453)])
def test_padding_and_fragments_are_left_to_the_general_way(family: int, size: int) -> None:
    net = net_of(family)
    assert not template_of(net, family).send(bytes(size))
    assert sent(net) == []


@pytest.mark.parametrize("family", [4, 6])
def test_no_checksum_of_zero_is_sent(family: int) -> None:
    """Zero would mean that there is none."""
    net = net_of(family)
    template = template_of(net, family)
    for number in range(0x10000):
        template.send(bytes(62) + number.to_bytes(2, "big"))
    at = 40 if family == 4 else 60
    fields = {bytes(frame.parts[0][at : at + 2]) for frame in sent(net)}
    assert bytes(2) not in fields
    assert b"\xff\xff" in fields


def test_a_guest_that_is_unknown_silent_or_behind_a_narrow_path_is_left_to_the_general_way() -> None:
    net = Net()
    template = template_of(net, 4)
    assert not template.send(bytes(100))  # nobody knows its MAC address
    net.know()
    assert template.send(bytes(100))
    net.stack.neighbors.get(GUEST).path_mtu = 1400
    assert not template.send(bytes(100))
    net.stack.neighbors.get(GUEST).path_mtu = 0
    net.stack.tick(net.now + AGE)
    assert template.send(bytes(100))
    net.stack.tick(net.now + AGE + 1)
    assert not template.send(bytes(100))  # somebody has to ask whether it is still there
