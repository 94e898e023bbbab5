"""docs/limits.md lists every limit, with the right value."""

from __future__ import annotations

import importlib
import pkgutil
import re

import pytest

from slirpy import Stats
from tests.support.repository import REPOSITORY

PAGE = (REPOSITORY / "docs" / "limits.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and "`" in line
]
BOUND = re.compile(r"MAX_[A-Z_]+|[A-Z_]+_MAX|[A-Z_]*LIMIT|[A-Z_]+_MACS")
NOT_GROWTH = {
    # Sizes and times of a protocol or of a system, and what bounds the length of one thing that is handled at once.
    "services.dns.cache": {"TTL_MAX", "NEGATIVE_TTL_MAX"},
    "services.dns.local": {"CHAIN_MAX"},
    "services.dns.synthesis": {"TTL_MAX"},
    "services.dns.servers": {"SERVERS_MAX", "PENALTY_MAX"},
    "services.dns.system": {"ADDRESSES_MAX"},
    "services.tftp.transfer": {"WINDOW_MAX", "TSIZE_MAX", "DIGITS_MAX"},
    "services.tftp.paths": {"MAX_NAME", "LINKS_MAX"},
    "links.endpoint": {"DESCRIPTOR_MAX"},
    "host.socketdatagram": {"DATAGRAM_MAX"},
    "targets.unix": {"BUSY_MAX"},
    "targets.localstream": {"THROWN_MAX"},
    "targets.web.http": {"HEAD_MAX"},
    "core.ndp": {"HOP_LIMIT"},
    "core.pins": {"TTL_MAX"},
    "core.neighbor": {"MAX_MULTICAST_SOLICIT", "MAX_UNICAST_SOLICIT"},
    "nat.tcp": {"MAX_PACKET"},
    "tcp.congestion.hystart": {"MAX_RTT_THRESH"},
    "tcp.options": {"MAX_WSCALE", "MAX_SACK_BLOCKS"},
    "tcp.sending": {"MAX_PERSIST"},
    "host.poller": {"MAX_EVENTS"},
    "tcp.isn": {"MAX_SECRET"},
    "tcp.emit": {"MAX_PIECES", "MAX_DOUBLED_SEGMENTS"},
    "tcp.rtt": {"MAX_RTO"},
    "tcp.settings": {"ACK_LIMIT"},
}


def value(source: str) -> object:
    """Return the value of a name in the third column."""
    module, name = source.rsplit(".", 1)
    if module.rpartition(".")[2][0].isupper():  # an attribute's default
        module, kind = module.rsplit(".", 1)
        return getattr(getattr(importlib.import_module(f"slirpy.{module}"), kind)(), name)
    return getattr(importlib.import_module(f"slirpy.{module}"), name)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[2].strip("`"))
def test_a_row(row: list[str]) -> None:
    _, most, source, *counter = row
    number = value(source.strip("`"))
    if most.endswith(" s"):
        assert number == int(most[:-2]) * 1_000_000_000
    else:
        assert number == int(most)
    for name in counter:
        assert name == "" or name.strip("`") in Stats.describe()


def test_there_are_all_of_them() -> None:
    """A bound that is new in the code must come into the table, or be named above as something else."""
    told = {row[2].strip("`") for row in ROWS}
    missing = []
    for package in ("core", "nat", "services", "tcp", "host", "targets", "drive", "links"):
        folder = importlib.import_module(f"slirpy.{package}")
        for found in pkgutil.walk_packages(folder.__path__, f"slirpy.{package}."):
            place = found.name.removeprefix("slirpy.")
            name = found.name.replace(".", "/") + ("/__init__.py" if found.ispkg else ".py")
            source = (REPOSITORY / name).read_text()
            known = told | {f"{place}.{other}" for other in NOT_GROWTH.get(place, ())}
            names = re.findall(r"^([A-Z][A-Z_]*)(?:: Final)? = ", source, re.MULTILINE)
            missing += [f"{place}.{n}" for n in names if BOUND.fullmatch(n) and f"{place}.{n}" not in known]
    assert missing == []


def test_counters_that_the_text_names_exist() -> None:
    for name in re.findall(r"`([a-z]+(?:_[a-z]+)+)`", PAGE):
        assert name in Stats.describe(), name
