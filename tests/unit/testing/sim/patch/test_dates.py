"""``datetime`` in programs and outside."""

from __future__ import annotations

import asyncio
import copy
import datetime as module
import email.utils
import pickle
import time
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest

from slirpy.testing.sim.clock import Clock
from slirpy.testing.sim.errors import DeadlockError
from slirpy.testing.sim.network import Network
from slirpy.testing.sim.setup import EPOCH

HOUR = timedelta(hours=1)


class Moment(datetime):
    """A class of a program."""


@pytest.fixture
def net() -> Any:
    with Network() as net:
        yield net


def test_dates_follow_the_clock_of_the_host(net: Network) -> None:
    net.host("late", clock=Clock(offset=-3_600_000_000_000))

    async def read() -> list[Any]:
        await asyncio.sleep(1.5)
        local = datetime.fromtimestamp(time.time())
        assert abs(datetime.now() - local) < timedelta(microseconds=2)
        assert abs(datetime.today() - local) < timedelta(microseconds=2)
        assert date.today() == local.date()
        assert Moment.today().date() == local.date()
        assert email.utils.localtime() == datetime.now(UTC)
        assert datetime.now(tz=timezone(HOUR)).utcoffset() == HOUR
        return [
            datetime.now(UTC),
            datetime.utcnow().replace(tzinfo=UTC),
            module.datetime.now(UTC),
            Moment.now(UTC),
        ]

    assert net.run(read, on="right") == [EPOCH + timedelta(seconds=1.5)] * 4
    assert net.run(read, on="late") == [EPOCH + timedelta(seconds=3) - HOUR] * 4


def test_fractions_of_a_second(net: Network) -> None:
    async def read() -> datetime:
        await asyncio.sleep(0.123_456_789)
        return datetime.now(UTC)

    assert net.run(read, on="client").microsecond == 123_456


def test_classes_stay_what_they_are(net: Network) -> None:
    async def check() -> bytes:
        now = datetime.now(UTC)
        assert type(now) is datetime
        assert type(date.today()) is date
        assert type(Moment.now()) is type(Moment.utcnow()) is type(Moment.today()) is Moment
        assert copy.deepcopy(now) == pickle.loads(pickle.dumps(now)) == now
        return pickle.dumps(now)

    assert net.run(check, on="client") == pickle.dumps(EPOCH)


def test_dates_outside_of_programs_are_those_of_the_system(net: Network) -> None:
    before = datetime.now, datetime.utcnow, date.today
    seen: list[datetime] = []
    net.always(lambda: seen.append(datetime.now(UTC)))

    async def program() -> None:
        await asyncio.sleep(2)

    net.run(program, on="client")
    assert seen
    for each in [*seen, datetime.now(UTC)]:
        assert abs(each.timestamp() - time.time()) < HOUR.total_seconds()
    assert (datetime.now, datetime.utcnow, date.today) == before
    assert date.today.__name__ == "today"


def test_dates_stay_real_where_time_does() -> None:
    async def read() -> datetime:
        return datetime.now(UTC)

    with Network(patch=("socket",)) as net:
        assert abs(net.run(read, on="client").timestamp() - time.time()) < HOUR.total_seconds()


@pytest.mark.long
@pytest.mark.parametrize("call", ["datetime.now", "date.today"])
def test_waiting_in_a_loop_for_the_date_to_move(net: Network, call: str) -> None:
    async def main() -> None:
        first = datetime.today()
        while datetime.now() == first if call == "datetime.now" else date.today() == first.date():
            pass

    with pytest.raises(DeadlockError, match=rf"client spins at 0\.0+ s: {call}\(\) was called"):
        net.run(main, on="client")
