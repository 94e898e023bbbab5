"""PyTCP as the subject of a TcpMachine: an ordinary connection passes, and three of its mistakes are found."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis.stateful import run_state_machine_as_test

from slirpy.tcp.seq import MASK
from slirpy.testing.machines import TcpMachine
from tests.support.repository import REPOSITORY

pytestmark = pytest.mark.needs("posix", detail="PyTCP")


@pytest.fixture(scope="module")
def example() -> Any:
    spec = importlib.util.spec_from_file_location("tcp_of_others", REPOSITORY / "examples" / "tcp_of_others.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def machine(example: Any) -> Any:
    return example.PyTcpMachine()


def transfer(machine: TcpMachine, *steps: Callable[[], object]) -> None:
    """Do one thing after the other, on a path without faults."""
    for step in steps:
        step()
        for _ in range(200):
            machine.arrive(count=10)
            machine.wait(ms=1)
        machine.delivers_what_was_written()


@pytest.mark.parametrize("active", [True, False])
@pytest.mark.parametrize("subject_first", [True, False])
def test_an_ordinary_connection_passes(machine: Any, active: bool, subject_first: bool) -> None:
    closes = [machine.subject_closes, machine.peer_closes]
    transfer(
        machine,
        lambda: machine.opens(active=active, iss=0),
        lambda: machine.peer_writes(size=20_000),
        lambda: machine.subject_writes(size=20_000),
        *(closes if subject_first else reversed(closes)),
    )
    machine.teardown()


def test_the_acknowledgment_of_the_handshake_may_carry_a_fin(example: Any) -> None:
    """PyTCP waits for one without; the client's later ones have the number after its FIN, so it waits in vain."""
    with pytest.raises(AssertionError, match="it has not ended") as caught:
        run_state_machine_as_test(example.PyTcpMachine, settings=example.FAST)
    steps = [line for note in caught.value.__notes__ for line in note.splitlines() if "state." in line]
    assert steps == [
        "state.opens(active=False, iss=0)",
        "state.delivers_what_was_written()",
        "state.teardown()",
    ]


def test_numbers_wrap_around(machine: Any) -> None:
    """PyTCP counts beyond 2**32 - 1, which does not fit into a header."""
    with pytest.raises(AssertionError, match=r"cannot pack seq .*, ack 42949677"):
        transfer(
            machine,
            lambda: machine.opens(active=True, iss=MASK - 1000),
            lambda: machine.peer_writes(size=3000),
        )


def test_both_ends_may_close_at_a_time(machine: Any) -> None:
    """A FIN that arrives before PyTCP has sent its own ends PyTCP's connection, which then never sends it."""
    transfer(machine, lambda: machine.opens(active=True, iss=0), lambda: machine.peer_writes(size=1))
    with pytest.raises(AssertionError, match="it has not ended"):
        machine.teardown()
