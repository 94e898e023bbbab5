"""Plans of faults: empty first, then few, late and short."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import Phase, find, given, settings

from slirpy import ConfigError
from slirpy.testing.sim.faults import KINDS, Crash, Cut, Delay, Fault, Flow, Lose, Reset
from slirpy.testing.sim.host import Host
from slirpy.testing.sim.network import Network
from slirpy.testing.strategies import fault_plans

ONCE = settings(database=None, max_examples=500)
FIRST = settings(ONCE, phases=[Phase.generate])
HOSTS = ["client", "server"]


@settings(max_examples=50, deadline=None)
@given(fault_plans(HOSTS, protocols=("tcp", "udp")))
def test_a_network_takes_every_plan(plan: list[Fault]) -> None:
    net = Network()
    for name in HOSTS:
        net.host(name)
    net.inject(*plan)
    assert [each.fault for each in net.injected] == plan
    assert len(set(plan)) == len(plan) <= 8
    assert all(str(each) for each in plan)
    net.run_for(50)


def test_no_fault_is_the_simplest() -> None:
    assert find(fault_plans(HOSTS), lambda plan: True, settings=ONCE) == []


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Lose, Lose(Flow("client", "server"), 0)),
        (Delay, Delay(Flow("client", "server"), 0, 1)),
        (Cut, Cut(30_000, 1, "client", "server")),
        (Crash, Crash(30_000, 1, "client")),
        (Reset, Reset(Flow("client", "server"), 0)),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_each_kind_shrinks_to_late_and_short(kind: type, expected: Fault) -> None:
    found = find(fault_plans(HOSTS), lambda plan: any(type(each) is kind for each in plan), settings=ONCE)
    assert found == [expected]


def test_a_condition_on_time_is_met_as_late_as_can_be() -> None:
    def early(plan: list[Fault]) -> bool:
        return any(isinstance(each, Cut) and each.at < 700 and each.at + each.ms > 900 for each in plan)

    assert find(fault_plans(HOSTS, kinds=[Cut]), early, settings=ONCE) == [Cut(699, 202, "client", "server")]


@settings(max_examples=40, deadline=None)
@given(fault_plans(["a", "b", "c"], horizon=2, kinds=[Cut, Lose], max_faults=2))
def test_choices_are_kept(plan: list[Fault]) -> None:
    assert len(plan) <= 2
    for fault in plan:
        assert isinstance(fault, Cut | Lose)
        assert not isinstance(fault, Cut) or fault.at <= 2000


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"hosts": ["a"]}, "two or more different"),
        ({"hosts": ["a", "a"]}, "two or more different"),
        ({"hosts": ["a", 5]}, "hosts"),
        ({"hosts": HOSTS, "kinds": []}, "some of Lose, Delay"),
        ({"hosts": HOSTS, "kinds": [int]}, "some of Lose, Delay"),
        ({"hosts": HOSTS, "max_faults": -1}, "max_faults"),
        ({"hosts": HOSTS, "horizon": -1}, "horizon"),
        ({"hosts": HOSTS, "protocols": ()}, "protocols"),
        ({"hosts": HOSTS, "protocols": ("sctp",)}, "protocols"),
        ({"hosts": HOSTS, "protocols": ("udp",), "kinds": [Reset]}, "put tcp into protocols"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        fault_plans(**arguments)


def test_every_kind_is_made() -> None:
    hosts: list[Host | str] = [Network().host("x"), "y"]
    for kind in KINDS:
        found = find(fault_plans(hosts, kinds=[kind]), bool, settings=FIRST)
        assert type(found[0]) is kind
