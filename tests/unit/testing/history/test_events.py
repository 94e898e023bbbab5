"""Recording a history, and writing it in EDN."""

from __future__ import annotations

import math
import re

import pytest

from slirpy.errors import ConfigError, StateError
from slirpy.testing.history import UNKNOWN, History, Operation
from slirpy.testing.history.edn import value_text


def test_invocations_and_results_are_paired() -> None:
    time = iter([10, 20, 30, 40, 50, 60, 70])
    history = History(clock=lambda: next(time))
    write = history.invoke("a", "write", 1)
    read = history.invoke("b", "read")
    read.ok(0)
    write.fail("no leader")
    history.invoke("a", "write", 2).unknown("timeout")
    pending = history.invoke("a", "write", 3)
    assert history.operations() == [
        Operation("b", "read", None, 0, 1, 2),
        Operation("a", "write", 2, UNKNOWN, 4, None),
        Operation("a", "write", 3, UNKNOWN, 6, None),
    ]
    assert [event.time for event in history.events] == [10, 20, 30, 40, 50, 60, 70]
    assert repr(history) == "<History of 7 events, 1 pending>"
    assert repr(pending) == "<Invocation of write by a, pending>"
    assert repr(read) == "<Invocation of read by b, over>"
    assert str(history).splitlines()[3] == "    0.000000 s  a            fail     write 'no leader'"


def test_as_a_context_manager_it_ends_by_itself() -> None:
    history = History()
    with history.invoke("a", "write", 1):
        pass
    with history.invoke("a", "read") as call:
        call.ok(1)
    with pytest.raises(TimeoutError), history.invoke("a", "write", 2):
        raise TimeoutError

    def refused() -> None:
        with history.invoke("a", "write", 3) as call:
            call.fail()
            raise ConnectionError

    with pytest.raises(ConnectionError):
        refused()
    ends = [(event.type, event.value) for event in history.events[1::2]]
    assert ends == [("ok", None), ("ok", 1), ("unknown", "TimeoutError"), ("fail", None)]
    assert str(history).splitlines()[5] == "     5  a            unknown  write 'TimeoutError'"


def test_a_process_does_one_thing_at_a_time() -> None:
    history = History()
    history.invoke("a", "write", 1)
    with pytest.raises(StateError, match="a begins read while its write is pending; end that first"):
        history.invoke("a", "read")
    history.invoke("b", "read")


def test_an_operation_ends_once() -> None:
    call = History().invoke("a", "read")
    call.unknown()
    with pytest.raises(StateError, match="the read of a is over"):
        call.ok(3)


@pytest.mark.parametrize(("process", "operation"), [(None, "read"), (True, "read"), ("a", ""), ("a", 3)])
def test_wrong_arguments(process: object, operation: object) -> None:
    with pytest.raises(ConfigError):
        History().invoke(process, operation)  # type: ignore[arg-type] # that is the point
    with pytest.raises(ConfigError, match="clock"):
        History(clock=3)  # type: ignore[arg-type] # that is the point


def fields(text: str) -> list[str]:
    """The lines without index and time."""
    return [re.sub(r":index \d+, :time \d+, ", "", line) for line in text.splitlines()]


def test_edn() -> None:
    history = History()
    history.invoke("a", "write", 1).ok()
    history.invoke("b", "cas", (1, 2)).ok(True)
    history.invoke("b", "cas", (1, 2)).ok(False)
    history.invoke("a", "read").ok(2)
    history.invoke("a", "write", 3).unknown("timeout")
    history.invoke("a", "write", 4).fail()
    assert history.edn().startswith("{:index 0, :time 0, :process 0, :type :invoke, :f :write, :value 1}\n")
    assert fields(history.edn()) == [
        "{:process 0, :type :invoke, :f :write, :value 1}",
        "{:process 0, :type :ok, :f :write, :value 1}",
        "{:process 1, :type :invoke, :f :cas, :value [1 2]}",
        "{:process 1, :type :ok, :f :cas, :value [1 2]}",
        "{:process 1, :type :invoke, :f :cas, :value [1 2]}",
        "{:process 1, :type :fail, :f :cas, :value [1 2]}",
        "{:process 0, :type :invoke, :f :read, :value nil}",
        "{:process 0, :type :ok, :f :read, :value 2}",
        "{:process 0, :type :invoke, :f :write, :value 3}",
        '{:process 0, :error "timeout", :type :info, :f :write, :value 3}',
        "{:process 2, :type :invoke, :f :write, :value 4}",
        "{:process 2, :type :fail, :f :write, :value 4}",
    ]
    assert History().edn() == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "nil"),
        (True, "true"),
        (False, "false"),
        (-3, "-3"),
        (2**63, "9223372036854775808N"),
        (0.5, "0.5"),
        (math.inf, "##Inf"),
        (-math.inf, "##-Inf"),
        (math.nan, "##NaN"),
        ('a "b"\\\n', '"a \\"b\\"\\\\\\n"'),
        ([1, ("x", None)], '[1 ["x" nil]]'),
        ({"a": 1, 2: []}, '{"a" 1, 2 []}'),
        ({2, 1}, "#{1 2}"),
        (b"x", "\"b'x'\""),
    ],
)
def test_values_in_edn(value: object, text: str) -> None:
    assert value_text(value) == text


def test_a_name_that_is_no_keyword_is_a_string() -> None:
    history = History()
    history.invoke(1, "read all").ok()
    history.invoke(1, "read-all").ok()
    assert [re.findall(":f (.*), :value", line)[0] for line in history.edn().splitlines()[::2]] == [
        '"read all"',
        ":read-all",
    ]
