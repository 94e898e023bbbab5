"""Log records of programs in the trace."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest

from slirpy.testing import Network
from slirpy.testing.sim.trace import NoteRecord
from slirpy.units import SECOND

LOGGER = logging.getLogger("tests.app")


@pytest.fixture(autouse=True)
def level() -> Iterator[None]:
    before = LOGGER.level
    LOGGER.setLevel(logging.INFO)
    yield
    LOGGER.setLevel(before)


def logs(net: Network) -> list[tuple[int, str, str]]:
    return [
        (each.time, each.host, each.text)
        for each in net.trace.records
        if isinstance(each, NoteRecord) and each.kind == "log"
    ]


async def program() -> None:
    LOGGER.info("started")
    await asyncio.sleep(2)
    LOGGER.debug("too low a level")
    LOGGER.warning("ending %d", 7)


def test_log_records_of_programs_are_in_the_trace() -> None:
    with Network() as net:
        net.host("other").run(program())
        net.run(program(), on="client")
        net.run_for(1)
    assert logs(net) == [
        (0, "other", "INFO tests.app: started"),
        (0, "client", "INFO tests.app: started"),
        (2 * SECOND, "other", "WARNING tests.app: ending 7"),
        (2 * SECOND, "client", "WARNING tests.app: ending 7"),
    ]


def test_other_log_records_are_not_in_the_trace() -> None:
    handlers = list(logging.getLogger().handlers)
    with Network() as net, Network() as another:
        LOGGER.warning("from the test")
        another.run(program(), on="client")
        net.always(lambda: LOGGER.warning("from a check"))
        net.run_for(1)
    assert logs(net) == []
    assert len(logs(another)) == 2
    assert logging.getLogger().handlers == handlers


def test_addresses_of_objects_are_left_out() -> None:
    async def shows() -> None:
        LOGGER.warning("%r", object())

    with Network() as net:
        net.run(shows(), on="a")
    assert logs(net)[0][2] == "WARNING tests.app: <object object at 0x...>"


def test_a_record_that_cannot_be_formatted_does_not_end_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    async def wrong() -> int:
        LOGGER.warning("%d", "x")
        return 3

    before = logging.getLogger().handlers[:]
    for handler in before:  # those of pytest raise
        logging.getLogger().removeHandler(handler)
    try:
        with Network() as net:
            assert net.run(wrong(), on="a") == 3
    finally:
        for handler in before:
            logging.getLogger().addHandler(handler)
    assert "--- Logging error ---" in capsys.readouterr().err
    assert logs(net) == []


def test_programs_begin_end_and_fail() -> None:
    async def ends() -> None: ...

    async def fails() -> None:
        raise KeyError("x")

    with Network() as net:
        net.run(ends(), on="a")
        with pytest.raises(KeyError):
            net.run(fails(), on="b")
    notes = [each for each in net.trace.records if isinstance(each, NoteRecord)]
    assert [(each.host, each.kind, each.text.partition("\n")[0].rpartition(".")[2]) for each in notes] == [
        ("a", "task", "ends began"),
        ("a", "task", "ends ended"),
        ("b", "task", "fails began"),
        ("b", "exception", "fails: KeyError('x')"),
    ]
    last = notes[-1].text.splitlines()[-1]
    assert last.startswith(f"  {__file__}:")
    assert last.endswith(" in fails")
