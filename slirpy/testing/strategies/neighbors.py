"""Messages of Neighbor Discovery (RFC 4861) and of MLD (RFC 3810)."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from slirpy.testing.strategies.building import Addresses, Flaw, Made, ip_frame, set_length
from slirpy.testing.strategies.names import names
from slirpy.wire import ethernet, icmpv6, ipv6, mld, ndp, ndpoption

__all__ = [
    "MLD_FLAWS",
    "NDP_FLAWS",
    "addresses6",
    "mld_frames",
    "mld_records",
    "nat64_options",
    "ndp_frames",
    "ndp_options",
    "prefix_options",
    "search_options",
    "server_options",
]

addresses6 = st.binary(min_size=16, max_size=16)
lifetimes = st.integers(0, ndpoption.FOREVER)
prefix_options = st.builds(
    ndpoption.PrefixInformation,
    addresses6,
    st.integers(0, 128),
    st.booleans(),
    st.booleans(),
    lifetimes,
    lifetimes,
)
server_options = st.builds(ndpoption.Rdnss, lifetimes, st.lists(addresses6, min_size=1, max_size=3).map(tuple))
search_options = st.builds(ndpoption.Dnssl, lifetimes, st.lists(names, min_size=1, max_size=3).map(tuple))
nat64_options = st.builds(
    ndpoption.Pref64,
    st.integers(0, 8191).map(lambda steps: steps * 8),
    st.binary(min_size=12, max_size=12).map(lambda prefix: prefix + bytes(4)),
    st.sampled_from([32, 40, 48, 56, 64, 96]),
)
mtu_options = st.builds(ndpoption.Mtu, st.integers(1280, 65535))
ndp_options: st.SearchStrategy[ndpoption.NdpOption] = st.one_of(
    prefix_options, mtu_options, server_options, search_options, nat64_options
)
"""Options of router advertisements."""


def _ndp(ends: Addresses, message: bytes, source: bytes, destination: bytes) -> Made:
    return ip_frame(ends, ipv6.ICMPV6, message, source=source, destination=destination, hop_limit=ndp.HOP_LIMIT)


_advertised: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "lifetime": st.integers(0, 0xFFFF),
        "hop_limit": st.integers(0, 255),
        "managed": st.booleans(),
        "other": st.booleans(),
        "reachable": st.integers(0, 3_600_000),
        "retransmit": st.integers(0, 0xFFFFFFFF),
        "options": st.lists(ndp_options, max_size=4),
    }
)


@st.composite
def ndp_frames(draw: st.DrawFn, ends: Addresses) -> Made:
    """Make solicitations and advertisements of neighbours and routers, and redirects."""
    what = draw(st.sampled_from(("rs", "ns", "na", "ra", "redirect")))
    source, destination, mac = ends.source_local, ends.destination_local, ends.source_mac
    if what == "ns":
        target = draw(st.sampled_from((destination, ends.destination6)))
        known = draw(st.booleans())
        to = target if known else ipv6.solicited_node(target)
        return _ndp(ends, ndp.neighbor_solicitation(source, to, target, mac), source, to)
    if what == "na":
        target = draw(st.sampled_from((source, ends.source6)))
        solicited = draw(st.booleans())
        to = destination if solicited else ipv6.ALL_NODES
        router, override = draw(st.booleans()), draw(st.booleans())
        message = ndp.neighbor_advertisement(
            source, to, target, mac, solicited=solicited, router=router, override=override
        )
        return _ndp(ends, message, source, to)
    if what == "rs":
        message = ndp.router_solicitation(source, ipv6.ALL_ROUTERS, mac)
        return _ndp(ends, message, source, ipv6.ALL_ROUTERS)
    if what == "ra":
        to = draw(st.sampled_from((ipv6.ALL_NODES, destination)))
        message = ndp.router_advertisement(source, to, mac, **draw(_advertised))
        return _ndp(ends, message, source, to)
    elsewhere = draw(st.sampled_from((bytes.fromhex("20010db8") + bytes(11) + b"\7", ends.source6)))
    better = draw(st.sampled_from((source, elsewhere)))
    option = ndpoption.LinkAddress(ndpoption.TARGET_LINK_ADDRESS, mac).pack()
    message = icmpv6.build(source, destination, ndp.REDIRECT, 0, 0, better + elsewhere + option)
    return _ndp(ends, message, source, destination)


def _hop_limit(draw: st.DrawFn, frame: bytearray, at: int) -> None:
    frame[ethernet.HEADER_LENGTH + 7] = draw(st.integers(0, 254).map(lambda lower: 254 - lower))


def _code(draw: st.DrawFn, frame: bytearray, at: int) -> None:
    frame[at + 1] = draw(st.integers(1, 255))


def _cut(draw: st.DrawFn, frame: bytearray, at: int) -> None:
    least = {ndp.ROUTER_ADVERTISEMENT: 16, ndp.REDIRECT: 40}.get(frame[at], 24)
    if frame[at] == ndp.ROUTER_SOLICITATION:  # its fields end where those of ICMPv6 do: its option is cut
        least = draw(st.integers(10, 16))
    del frame[at + draw(st.integers(9, least - 1)) :]
    set_length(frame)


def _option_empty(draw: st.DrawFn, frame: bytearray, at: int) -> None:
    frame += bytes((draw(st.sampled_from((1, 2, 3, 5, 25, 200))), 0)) + bytes(6)
    set_length(frame)


def _option_beyond(draw: st.DrawFn, frame: bytearray, at: int) -> None:
    frame += bytes((draw(st.sampled_from((1, 2, 3, 5, 25, 200))), draw(st.integers(2, 255)))) + bytes(6)
    set_length(frame)


NDP_FLAWS = (
    Flaw("hop limit below 255", _hop_limit),
    Flaw("code", _code),
    Flaw("message cut short", _cut),
    Flaw("option of length 0", _option_empty),
    Flaw("option beyond the message", _option_beyond),
)

# ------------------------------------------------------------------------------------------------- MLD

groups = st.one_of(
    st.just(bytes.fromhex("ff0e0000000000000000000000000001")),
    st.binary(min_size=14, max_size=14).map(lambda rest: b"\xff\x0e" + rest),
)
mld_records = st.builds(
    mld.Record,
    st.sampled_from(mld.Change),
    groups,
    st.lists(addresses6, max_size=3).map(tuple),
)
"""Records of reports of version 2."""


_reports = st.lists(mld_records, min_size=1, max_size=4)


@st.composite
def mld_frames(draw: st.DrawFn, ends: Addresses) -> Made:
    """Make reports of both versions, "done" messages, and queries."""
    what = draw(st.sampled_from((mld.REPORT, mld.DONE, mld.REPORT_V2, mld.QUERY)))
    source = ends.source_local
    if what == mld.REPORT_V2:
        to = mld.ROUTERS_V2
        message = mld.report(source, draw(_reports))
    elif what == mld.QUERY:
        group = draw(st.one_of(st.just(ipv6.UNSPECIFIED), groups))
        to = ipv6.ALL_NODES if group == ipv6.UNSPECIFIED else group
        message = mld.query(source, to, group, response=draw(st.integers(0, 32767)))
    else:
        group = draw(groups)
        to = group if what == mld.REPORT else ipv6.ALL_ROUTERS
        message = icmpv6.build(source, to, what, 0, 0, group)
    return ip_frame(
        ends, ipv6.HOP_BY_HOP, message, source=source, destination=to, hop_limit=mld.HOP_LIMIT,
        chain=mld.router_alert(),
    )  # fmt: skip


def _mld_hop_limit(draw: st.DrawFn, frame: bytearray, at: int) -> None:
    frame[ethernet.HEADER_LENGTH + 7] = draw(st.integers(2, 255))


def _no_alert(draw: st.DrawFn, frame: bytearray, at: int) -> None:
    frame[at - 6 : at - 2] = b"\1\2\0\0"


def _no_group(draw: st.DrawFn, frame: bytearray, at: int) -> None:
    place = 12 if frame[at] == mld.REPORT_V2 else 8
    frame[at + place] = draw(st.integers(1, 254))


def _mld_cut(draw: st.DrawFn, frame: bytearray, at: int) -> None:
    del frame[at + draw(st.integers(8, 23)) :]
    set_length(frame)


MLD_FLAWS = (
    Flaw("hop limit above 1", _mld_hop_limit),
    Flaw("no Router Alert", _no_alert),
    Flaw("not a group", _no_group),
    Flaw("message cut short", _mld_cut),
)
