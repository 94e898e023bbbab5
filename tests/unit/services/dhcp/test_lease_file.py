"""Leases outlive the program: what is written, what is read again, and what happens to a broken file."""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slirpy.config import Config
from slirpy.errors import ConfigError
from slirpy.services.dhcp import LeaseFile, LeaseState
from tests.support.fake_network import SECOND
from tests.unit.services.dhcp.world import (
    ACK,
    DAY,
    DECLINE,
    DISCOVER,
    GATEWAY,
    NAK,
    RELEASE,
    REQUEST,
    World,
    ip,
    mac,
)

MIDNIGHT = 1_767_225_600  # 2026-01-01


class Machine:
    """Runs one server after the other on the same file. No two of them count time from the same start."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "leases.json"
        self.calendar = MIDNIGHT * SECOND
        self.starts = iter((1_000, 900_000, 5, 70_000))

    def boot(self, **config: Any) -> World:
        store = LeaseFile(self.path, lambda: self.calendar)
        return World(Config(**config), store, next(self.starts))

    def run(self, world: World, seconds: float) -> None:
        """Let time pass."""
        world.network.run(0)
        self.calendar += round(seconds * SECOND)
        world.network.run(seconds)

    def entries(self) -> list[dict[str, Any]]:
        content = json.loads(self.path.read_text())
        assert content["format"] == 1
        found: list[dict[str, Any]] = content["leases"]
        return found


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def remaining(world: World) -> dict[bytes, float]:
    return {lease.address: (lease.expires - world.network.now) / SECOND for lease in world.book.leases()}


def test_entries_of_the_file(machine: Machine) -> None:
    world = machine.boot()
    world.lease(1, (61, b"\xffab"), (12, b"box"))
    world.reply(DISCOVER, 2)  # an offer is not worth keeping
    world.network.run(0)
    assert machine.entries() == [
        {
            "address": "10.0.2.15",
            "mac": "52:54:00:00:00:01",
            "client_id": "ff:61:62",
            "hostname": "box",
            "state": "bound",
            "expires": "2026-01-02T00:00:00Z",
            "seconds": DAY,
            "firmware": False,
        }
    ]


def test_leases_go_on_after_a_restart(machine: Machine) -> None:
    world = machine.boot()
    second = world.lease(2)
    first = world.lease(1, (61, b"\xffab"), (12, b"box"))
    world.say(RELEASE, 2, ciaddr=second)
    assert world.lease(2) == second  # so it is the younger one
    world.book.close()
    machine.calendar += 3600 * SECOND
    again = machine.boot()
    assert remaining(again) == {first: DAY - 3600, second: DAY - 3600}
    assert again.book.v4.first_lease() == first
    assert again.address_of("box") == first
    assert again.reply(REQUEST, 3, (50, first)).kind == NAK
    assert again.reply(REQUEST, 9, (61, b"\xffab"), ciaddr=first).kind == ACK
    assert again.lease(3) == ip("10.0.2.17")
    assert again.stats.dhcp_leases_lost == 0


def test_a_lease_that_expired_meanwhile_is_kept_for_its_client(machine: Machine) -> None:
    world = machine.boot(net="10.0.2.0/29", dhcpstart="10.0.2.4")
    addresses = [world.lease(n) for n in range(3)]
    world.book.close()
    machine.calendar += 2 * DAY * SECOND
    again = machine.boot(net="10.0.2.0/29", dhcpstart="10.0.2.4")
    assert again.book.leases() == []
    assert again.book.v4.first_lease() is None
    assert again.lease(2) == addresses[2]
    assert again.lease(9) == ip("10.0.2.1")  # never used, so before those of others
    assert again.lease(10) == addresses[0]


def test_declined_leases_survive_a_restart_and_reserved_ones_do_not(machine: Machine) -> None:
    world = machine.boot()
    declined = world.lease(1)
    world.say(DECLINE, 1, (50, declined), (54, GATEWAY))
    reserved = world.book.v4.reserve(mac(2))
    machine.run(world, 100)
    world.book.close()
    machine.calendar += 100 * SECOND
    again = machine.boot()
    states = {lease.address: (lease.state, lease.expires) for lease in again.book.leases()}
    assert states == {
        declined: (LeaseState.DECLINED, again.network.now + 400 * SECOND),
    }
    assert again.lease(1) not in (declined, reserved)
    assert again.lease(2) == reserved  # it is for this client's return, if nobody needs it more


def test_a_clock_that_was_set_back_makes_no_lease_longer(machine: Machine) -> None:
    world = machine.boot(lease_time=7200)
    address = world.lease()
    world.book.close()
    machine.calendar -= 365 * DAY * SECOND
    assert remaining(machine.boot()) == {address: 7200}


def test_saves_are_soon_and_not_too_many(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = []
    plain = LeaseFile.save

    def save(self: LeaseFile, leases: Any, now: int) -> None:
        saved.append((now / SECOND, len(leases)))
        plain(self, leases, now)

    monkeypatch.setattr(LeaseFile, "save", save)
    world = machine.boot()
    world.lease(1)
    world.network.run(0)
    for client in range(2, 100):
        world.lease(client)
        world.network.run(0.01)
    world.network.run(10)
    times = [when for when, _ in saved]
    assert times[:2] == [1000, 1000]  # at the start, to see that it works; at once
    assert [count for _, count in saved[:2]] == [0, 1]
    assert saved[-1][1] == 99
    assert len(saved) == 3
    assert 1 <= times[2] - times[1] <= 1.1
    world.reply(DISCOVER, 1)
    world.book.close()
    assert len(saved) == 3  # nothing has changed


def test_a_changed_network_restores_the_leases_that_fit(machine: Machine) -> None:
    world = machine.boot(net="10.0.2.0/24")
    for n in range(1, 6):
        world.lease(n)
    world.book.close()
    rules = [f"{mac(9).hex(':')}=10.0.2.19", f"{mac(4).hex(':')}=10.0.2.18"]
    other = machine.boot(net="10.0.2.16/28", host="10.0.2.17", dns="10.0.2.21", static_leases=rules)
    # .15 lies outside, .16 is the network itself, .17 a server now, .19 somebody else's
    assert list(remaining(other)) == [ip("10.0.2.18")]
    assert other.stats.dhcp_leases_lost == 4
    assert other.reply(DISCOVER, 9).yiaddr == ip("10.0.2.19")


# --------------------------------------------------------------------------------------- broken files


OURS = b'{"format": 1, "leases": ['
OTHERS = [
    b"hello\n", b"\0" * 100, b"[]", b"null", b"{}", b"7", b'{"name": "slirpy"}', b"\xff\xfe", b"[" * 100_000,
    b"a" * 5000, b'{"formats": 1}', b"\n",
]  # fmt: skip
DAMAGED = [
    b"{", b'{"for', OURS, OURS[:-1], OURS + b'\n{"address": "10.0.2.15", ', b'{"format": 1}', b'{"leases": []}',
    b'{"format": 1, "leases": 5}', b'{"format": 1, "leases": {}}', OURS + b"\xff]}", OURS + b"[" * 100_000,
]  # fmt: skip


def refused(path: Path, said: str) -> None:
    with pytest.raises(
        ConfigError, match=f'lease_file "{re.escape(str(path))}": .*{said}.*name a file to write to'
    ):
        World(Config(), LeaseFile(path))


@pytest.mark.parametrize("content", OTHERS)
def test_a_file_of_another_program_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "important.conf"
    path.write_bytes(content)
    refused(path, "it has content that slirpy did not write")
    link = tmp_path / "link"
    link.symlink_to(path)
    refused(link, "it has content that slirpy did not write")
    assert path.read_bytes() == content
    assert sorted(tmp_path.iterdir()) == [path, link]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_lease_file_is_refused_and_left_alone(machine: Machine, content: bytes) -> None:
    machine.path.write_bytes(content)
    refused(machine.path, "it is a damaged lease file")
    assert machine.path.read_bytes() == content
    assert list(machine.path.parent.iterdir()) == [machine.path]


def test_a_lease_file_cut_short_anywhere_is_refused(machine: Machine) -> None:
    world = machine.boot()
    for client in range(3):
        world.lease(client)
    world.book.close()
    whole = machine.path.read_bytes()
    for length in range(1, len(whole) - 2):
        machine.path.write_bytes(whole[:length])
        refused(machine.path, "damaged")
        assert machine.path.read_bytes() == whole[:length]


def test_a_lease_file_of_another_version_is_refused_and_left_alone(machine: Machine) -> None:
    content = '{"format": 2, "leases": []}'
    machine.path.write_text(content)
    refused(machine.path, "it has format 2, which this version of slirpy does not know")
    assert machine.path.read_text() == content


def test_an_empty_file_is_used(machine: Machine) -> None:
    """mktemp creates an empty file."""
    machine.path.touch()
    world = machine.boot()
    assert world.stats.dhcp_leases_lost == 0
    world.lease(1)
    world.book.close()
    assert len(machine.entries()) == 1


def test_a_file_in_another_layout_is_read(machine: Machine) -> None:
    machine.path.write_text(json.dumps({"leases": [GOOD], "format": 1}, indent=4))
    assert list(remaining(machine.boot())) == [ip("10.0.2.15")]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "link to a device"])
def test_a_path_of_no_regular_file_is_refused_and_left_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "leases"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path = Path(os.devnull)
    else:
        path.symlink_to(os.devnull)
    before = path.stat()
    refused(path, "it is not a file")
    assert path.stat().st_mode == before.st_mode


def test_a_foreign_file_that_appears_later_is_not_replaced(machine: Machine) -> None:
    world = machine.boot()
    machine.path.write_text("hello")
    world.lease(1)
    world.network.run(5)
    assert world.stats.dhcp_save_failures > 0
    assert machine.path.read_text() == "hello"
    machine.path.unlink()
    world.book.close()
    assert len(machine.entries()) == 1


def test_the_name_in_a_message_is_the_one_that_was_given(tmp_path: Path) -> None:
    """Not that of the file that is written beside it."""
    refused(tmp_path / "nowhere" / "leases", "No such file or directory")


def test_a_name_may_be_as_long_as_the_system_allows(tmp_path: Path) -> None:
    World(Config(), LeaseFile(tmp_path / ("x" * 255))).book.close()
    assert [len(path.name) for path in tmp_path.iterdir()] == [255]


GOOD = {
    "address": "10.0.2.15", "mac": "52:54:00:00:00:01", "client_id": None, "hostname": None, "state": "bound",
    "expires": "2026-01-01T10:00:00Z", "seconds": 86400, "firmware": False,
}  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"address": "10.0.2"}, {"address": "10.0.2.256"}, {"address": 5}, {"address": "10.0.2.2"},
        {"mac": "52:54"}, {"mac": "zz"}, {"mac": None}, {"client_id": "q"}, {"client_id": 7},
        {"hostname": 7}, {"hostname": "\n"}, {"state": "happy"}, {"state": []},
        {"expires": "soon"}, {"expires": 5}, {"expires": "2026-01-01T10:00:00"},
        {"seconds": -1}, {"seconds": "x"}, {"seconds": None}, {"seconds": 1.5}, {"seconds": 2**33},
    ],
)  # fmt: skip
def test_a_bad_entry_costs_no_other(machine: Machine, change: dict[str, Any]) -> None:
    second = GOOD | {"address": "10.0.2.16", "mac": "52:54:00:00:00:02"}
    entries = [GOOD | change, [], second, second, {}]
    machine.path.write_text(json.dumps({"format": 1, "leases": entries}))
    world = machine.boot()
    assert world.stats.dhcp_leases_lost == 4
    assert list(remaining(world)) == [ip("10.0.2.16")]
    assert len(machine.entries()) == 1


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    | st.sampled_from(list(GOOD.values())),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(list(GOOD)), inner, max_size=8),
    max_leaves=20,
)  # fmt: skip


@pytest.mark.long
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(json_values, st.dictionaries(st.sampled_from(list(GOOD)), json_values)), max_size=4))
def test_the_server_starts_with_any_content_of_the_file(tmp_path: Path, entries: list[Any]) -> None:
    machine = Machine(tmp_path)
    leases = [GOOD | entry if isinstance(entry, dict) else entry for entry in entries]
    machine.path.write_text(json.dumps({"format": 1, "leases": leases}))
    world = machine.boot()
    assert world.stats.dhcp_leases_lost + len(machine.entries()) == len(entries)
    assert world.lease(5)
    world.network.run(2 * DAY)


def test_an_unwritable_path_is_refused_at_the_start(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere" / "leases", tmp_path):
        with pytest.raises(ConfigError, match=r"lease_file .*: .*; name a file to write to"):
            World(Config(), LeaseFile(path))
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_is_counted_and_tried_again(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = machine.boot()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        world.lease(1)
        world.network.run(5)
        assert world.stats.dhcp_save_failures in (4, 5, 6)
    assert machine.entries() == []
    assert [path.name for path in machine.path.parent.iterdir()] == ["leases.json"]  # and no litter
    world.network.run(2)
    assert len(machine.entries()) == 1


@pytest.mark.needs("posix", detail="symbolic links, and files that are replaced while they are read")
def test_a_link_stays_one_and_a_new_file_takes_the_place_at_once(machine: Machine, tmp_path: Path) -> None:
    real = tmp_path / "real.json"
    machine.path.symlink_to(real)
    world = machine.boot()
    before = real.stat().st_ino
    with open(real) as reader:  # who reads while it is written sees the old one, whole
        world.lease(1)
        world.network.run(0)
        assert json.load(reader)["leases"] == []
    assert machine.path.is_symlink()
    assert real.stat().st_ino != before
    assert len(machine.entries()) == 1
    assert stat.S_IMODE(real.stat().st_mode) == 0o600


def test_a_lease_for_ever_is_one_after_a_restart(machine: Machine) -> None:
    world = machine.boot(lease_time=0xFFFFFFFF)
    address = world.lease()
    world.book.close()
    assert machine.entries()[0]["expires"] is None
    machine.calendar += 10_000 * DAY * SECOND
    assert machine.boot().book.v4.first_lease() == address
