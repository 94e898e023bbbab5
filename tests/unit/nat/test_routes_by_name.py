"""Routes of flows that a name allowed, and verdicts under which a flow may go on."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest

from slirpy.core.pins import Pin
from slirpy.interfaces import TLS_MODES, Action, Decision, FlowRequest, IPProtocol, Verdict
from slirpy.nat.outcomes import Pending
from slirpy.nat.recheck import may_keep
from slirpy.nat.routes import LOOPBACK, LOOPBACK6, Refusal, Route, Router
from tests.support.harness import GATEWAY, GUEST, config, ip

NAME, OTHER = "a.example", "b.example"
FIRST, SECOND, THIRD = ip("198.51.100.1"), ip("198.51.100.2"), ip("198.51.100.3")
ALLOW = Verdict(Action.ALLOW, rule=f"allow {NAME}", names=[NAME])
PROXY = "socks5://192.0.2.1:1080"


def request(destination: bytes = FIRST, port: int = 80) -> FlowRequest:
    return FlowRequest(IPProtocol.TCP, GUEST, 1234, destination, port)


class Names:
    """The names of addresses; ``answer`` is what comes when one is asked for, or None: it comes later."""

    def __init__(self, *current: bytes, of: dict[bytes, tuple[str, ...]] | None = None) -> None:
        self.known: list[bytes] = list(current)
        """Addresses of all names that need not be asked for."""
        self.answer: list[bytes] | None = []
        self.of = of or {}
        self.asked: list[str] = []
        self.later: list[Callable[[list[bytes]], object]] = []
        self.given_up = 0
        self.opened: set[bytes] | None = None
        """Addresses that an answer may open; None: all."""

    def names(self, request: FlowRequest) -> tuple[str, ...]:
        return self.of.get(request.destination_bytes, ())

    def unpinned(self, request: FlowRequest) -> tuple[str, ...]:
        return () if self.may_open(request.destination_bytes) else (NAME,)

    def may_open(self, address: bytes) -> bool:
        return self.opened is None or address in self.opened

    def current(self, request: FlowRequest, name: str) -> list[bytes]:
        self.asked.append(name)
        return self.known

    def resolve(
        self, request: FlowRequest, name: str, done: Callable[[list[bytes]], object]
    ) -> Callable[[], object] | None:
        assert request.destination_bytes == FIRST
        assert not self.known
        if self.answer is None:
            self.later.append(done)
            return self._give_up
        done(self.answer)
        return None

    def _give_up(self) -> None:
        self.given_up += 1

    def use(self, request: FlowRequest, name: str) -> Pin | None:
        return None

    def release(self, pin: Pin) -> None: ...


class Bench:
    """A router whose policy answers by address; ``refused`` are the reasons that were reported."""

    def __init__(
        self, names: Names | None, verdicts: dict[bytes, Verdict | Decision] | None = None, **options: object
    ) -> None:
        self.verdicts = verdicts or {}
        self.seen: list[FlowRequest] = []
        self.refused: list[tuple[Action, str, str]] = []
        self.router = Router(config(policy=self._policy, on_refused=self._refused, **options))
        self.router.names = names

    def _policy(self, asked: FlowRequest) -> Verdict | Decision:
        self.seen.append(asked)
        return self.verdicts.get(asked.destination_bytes, ALLOW)

    def _refused(self, asked: FlowRequest, verdict: Verdict) -> None:
        self.refused.append((verdict.action, verdict.reason, verdict.rule))


def test_the_address_that_the_guest_chose_is_kept_if_the_name_has_it() -> None:
    bench = Bench(Names(SECOND, FIRST))
    route = bench.router.route(request(port=443))
    assert isinstance(route, Route)
    assert (route.address, route.port, route.otherwise, route.verdict) == (FIRST, 443, None, ALLOW)
    assert route.request == bench.seen[0]
    assert len(bench.seen) == 1


def test_another_address_stands_in_with_the_names_that_it_has() -> None:
    names = Names(SECOND, THIRD, of={FIRST: (NAME, OTHER), SECOND: (OTHER, "c.example"), THIRD: (NAME,)})
    verdict = Verdict(Action.ALLOW, rule="allow", names=[NAME, "d.example", OTHER], tls="ech", proxy=PROXY)
    bench = Bench(names, {FIRST: verdict, SECOND: verdict})
    route = bench.router.route(request())
    assert isinstance(route, Route)
    assert route.verdict is not None
    assert (route.address, route.verdict.names, route.verdict.tls) == (SECOND, (NAME, OTHER), "ech")
    assert (route.verdict.rule, route.verdict.proxy) == ("allow", PROXY)
    assert names.asked == [NAME]
    # Rules about addresses see the other one, with the names that allow the flow, and without a loopback.
    assert (bench.seen[1].destination_bytes, bench.seen[1].names) == (SECOND, verdict.names)
    assert (bench.seen[1].host, bench.seen[1].own) == (False, False)


@pytest.mark.parametrize(
    "verdict",
    [
        Verdict(Action.REJECT),
        Verdict(Action.DROP),
        Verdict(Action.ASK, rule="ask"),
        Verdict(Action.ALLOW, redirect=("192.0.2.9", 80)),
        Verdict(Action.ALLOW, proxy=PROXY),
        Decision(),
    ],
)
def test_an_address_that_rules_treat_otherwise_is_passed_over(verdict: Verdict | Decision) -> None:
    bench = Bench(Names(SECOND, THIRD), {SECOND: verdict})
    assert bench.router.route(request()) == Route(THIRD, 80)
    assert bench.refused == []
    alone = Bench(Names(SECOND), {SECOND: verdict})
    assert alone.router.route(request()) is Refusal.HOST_UNREACHABLE
    assert alone.refused == [
        (Action.REJECT, f"{NAME} does not resolve to an address that may be used", f"allow {NAME}")
    ]


@pytest.mark.parametrize("proxy", [None, PROXY])
def test_no_proxy_and_the_proxy_of_the_network(proxy: str | None) -> None:
    """Without a proxy of the network, a verdict that forbids the proxy makes no difference."""
    bench = Bench(Names(SECOND), {SECOND: Verdict(Action.ALLOW, proxy="")}, proxy=proxy)
    assert isinstance(bench.router.route(request()), Refusal if proxy else Route)


def test_a_name_without_addresses_is_refused() -> None:
    bench = Bench(Names())
    assert bench.router.route(request()) is Refusal.HOST_UNREACHABLE
    assert len(bench.refused) == 1


@pytest.mark.parametrize("own", [True, False])
def test_a_name_leads_to_no_address_of_the_host_that_is_shut(own: bool) -> None:
    for options, open_ in (({"host_loopback": False}, False), ({}, True)):
        bench = Bench(Names(SECOND), None, **options)
        bench.router.is_own = lambda address: own and address == SECOND
        route = bench.router.route(request())
        assert route == (Route(SECOND, 80) if open_ or not own else Refusal.HOST_UNREACHABLE)
        assert bench.seen[-1].own is own


def test_a_name_does_not_lead_back_into_the_network() -> None:
    bench = Bench(Names(SECOND))
    bench.router.own_ports.add(IPProtocol.TCP, SECOND, 80)
    assert bench.router.route(request()) is Refusal.HOST_UNREACHABLE
    assert bench.router.route(request(port=81)) == Route(SECOND, 81)
    assert len(bench.refused) == 1


def test_a_name_of_the_gateway_is_both_loopbacks() -> None:
    bench = Bench(Names(GATEWAY))
    assert bench.router.route(request(port=22)) == Route(LOOPBACK, 22, LOOPBACK6)
    assert bench.seen[-1].host


def test_a_name_that_resolves_later() -> None:
    names = Names()
    names.answer = None
    bench = Bench(names)
    pending = bench.router.route(request())
    assert isinstance(pending, Pending)
    assert pending.outcome is None
    names.later[0]([FIRST])
    assert pending.outcome == Route(FIRST, 80)
    other = bench.router.route(request())
    assert isinstance(other, Pending)
    given_up = names.given_up
    other.cancel()
    assert names.given_up == given_up + 1


def test_a_name_that_may_not_open_the_address_is_not_resolved() -> None:
    """A rule may allow the flow by the name all the same; it then goes where the guest said."""
    names = Names(SECOND)
    names.opened = set()
    bench = Bench(names)
    assert bench.router.route(request()) == Route(FIRST, 80)
    assert (bench.seen[0].unpinned, names.asked) == ((NAME,), [])
    names.of = {FIRST: (NAME,)}  # the operator's own record says so, too
    assert bench.router.route(request()) == Route(SECOND, 80)


def test_without_a_source_of_names_the_address_counts() -> None:
    bench = Bench(None)
    assert bench.router.route(request()) == Route(FIRST, 80)
    assert (bench.seen[0].names, bench.seen[0].unpinned) == ((), ())


# ----------------------------------------------------------------------------- somebody who is asked


def asking(rule: str = "ask", **demands: Any) -> Verdict:
    return Verdict(Action.ASK, rule=rule, **demands)


def test_an_answer_for_a_name_holds_for_other_addresses_that_the_same_rule_asks_about() -> None:
    for rule, allowed in (("ask", True), ("ask more", False)):
        bench = Bench(Names(SECOND), {FIRST: asking(names=[NAME]), SECOND: asking(rule)})
        bench.router.asker = lambda flow, verdict: Verdict(Action.ALLOW)
        route = bench.router.route(request())
        assert route == (Route(SECOND, 80) if allowed else Refusal.HOST_UNREACHABLE)


def test_an_asker_may_not_answer_ask() -> None:
    bench = Bench(None, {FIRST: asking()})
    assert bench.router.route(request()) is Refusal.PROHIBITED
    bench.router.asker = lambda flow, verdict: asking()
    assert bench.router.route(request()) is Refusal.PROHIBITED
    assert bench.refused == [(Action.REJECT, "nobody to ask", "")] * 2


def test_an_asker_gets_flow_and_rule_and_may_answer_later() -> None:
    heard: list[tuple[FlowRequest, Verdict]] = []
    decision = Decision()

    def asker(flow: FlowRequest, verdict: Verdict) -> Decision:
        heard.append((flow, verdict))
        return decision

    bench = Bench(None, {FIRST: asking()})
    bench.router.asker = asker
    pending = bench.router.route(request())
    assert isinstance(pending, Pending)
    assert heard == [(bench.seen[0], asking())]
    decision.give(Verdict(Action.ALLOW))
    assert isinstance(pending.outcome, Route)
    assert pending.outcome.verdict is not None
    assert (pending.outcome.address, pending.outcome.verdict.rule) == (FIRST, "ask")


def test_an_answer_after_the_flow_was_given_up_changes_nothing() -> None:
    decision = Decision()
    bench = Bench(None, {FIRST: decision})
    pending = bench.router.route(request())
    assert isinstance(pending, Pending)
    pending.cancel()
    decision.give(Verdict(Action.REJECT))
    assert (pending.outcome, bench.refused) == (None, [])


# ----------------------------------------------------------------------------------- a new policy


def kept(
    before: Verdict | None,
    verdict: Verdict,
    *,
    reads: bool = False,
    later: Verdict = ALLOW,
    proxy: str | None = None,
) -> bool:
    """Report whether a flow with the verdict ``before`` may continue under a policy that returns ``verdict``.

    For a flow whose client announces names, the new policy returns ``later``.
    """
    bench = Bench(None, {FIRST: later}, proxy=proxy)
    return may_keep(bench.router, request(), Route(FIRST, 80, None, before), verdict, reads=reads)


@pytest.mark.parametrize("proxy", [None, PROXY])
def test_a_new_policy_that_leads_elsewhere_ends_a_flow(proxy: str | None) -> None:
    plain, unproxied = Verdict(Action.ALLOW), Verdict(Action.ALLOW, proxy="")
    there = Verdict(Action.ALLOW, redirect=("192.0.2.9", 80))
    elsewhere = Verdict(Action.ALLOW, redirect=("192.0.2.9", 81))
    proxied = Verdict(Action.ALLOW, proxy="socks5://192.0.2.2:1080")
    for before, verdict, expected in (
        (plain, plain, True),
        (None, plain, True),
        (plain, there, False),
        (there, there, True),
        (there, elsewhere, False),
        (there, plain, False),
        (there, asking(), True),
        (plain, asking(), True),
        (proxied, proxied, True),
        (proxied, plain, False),
        (plain, proxied, False),
        (proxied, asking(), True),
        (proxied, asking(proxy="socks5://192.0.2.2:1080"), True),
        (proxied, asking(proxy=PROXY), False),
        (plain, asking(proxy=PROXY), False),
        (unproxied, plain, proxy is None),
        (plain, unproxied, proxy is None),
        (plain, Verdict(Action.REJECT), False),
        (plain, Verdict(Action.DROP), False),
        (there, Verdict(Action.REJECT), False),
    ):
        assert kept(before, verdict, proxy=proxy) is expected, (before, verdict)


@pytest.mark.parametrize("before", TLS_MODES)
@pytest.mark.parametrize("after", TLS_MODES)
def test_a_stricter_tls_mode_ends_a_flow(before: str, after: str) -> None:
    old = Verdict(Action.ALLOW, names=[NAME], tls=before)
    new = Verdict(Action.ALLOW, names=[NAME], tls=after)
    assert kept(old, new) is (TLS_MODES.index(after) >= TLS_MODES.index(before))
    assert kept(Verdict(Action.ALLOW, tls=before), new) is (after == "off")  # nothing was read
    assert kept(old, Verdict(Action.ALLOW, tls=after))  # nothing is demanded
    assert kept(old, asking(names=[NAME], tls=after)) is (TLS_MODES.index(after) >= TLS_MODES.index(before))


def test_names_that_are_read_later_must_stay_allowed() -> None:
    before = Verdict(Action.ALLOW, names=[NAME, OTHER])
    both = Verdict(Action.ALLOW, names=[OTHER, NAME, "c.example"])
    for verdict, later, expected in (
        (both, both, True),
        (both, Verdict(Action.ALLOW), True),
        (both, Verdict(Action.ALLOW, names=[NAME]), False),
        (both, Verdict(Action.REJECT), False),
        (both, Verdict(Action.ALLOW, redirect=("192.0.2.9", 80)), False),
        (both, asking(names=[NAME, OTHER]), False),
        (asking(names=[NAME, OTHER]), asking(names=[NAME, OTHER]), True),
        (asking(names=[NAME, OTHER]), both, True),
    ):
        assert kept(before, verdict, reads=True, later=later) is expected, (verdict, later)
        assert kept(before, verdict, later=later)


def test_an_address_that_stood_in_must_still_be_allowed() -> None:
    """The flow goes to another address of the name than the one that the guest sent."""
    before = Verdict(Action.ALLOW, names=[NAME])
    for there, verdict, expected in (
        (ALLOW, before, True),
        (Verdict(Action.REJECT), before, False),
        (Verdict(Action.ALLOW, proxy=PROXY), before, False),
        (asking("ask"), before, False),
        (asking("ask"), asking("ask", names=[NAME]), True),
        (asking("ask more"), asking("ask", names=[NAME]), False),
    ):
        bench = Bench(None, {SECOND: there})
        route = Route(SECOND, 80, None, before)
        assert may_keep(bench.router, request(), route, verdict, reads=False) is expected, (there, verdict)
    bench = Bench(None, {SECOND: Verdict(Action.REJECT)})
    assert may_keep(bench.router, request(SECOND), Route(SECOND, 80, None, before), before, reads=False)
    # Where nothing was allowed by name, the address is the guest's own choice, or a redirect.
    for unnamed in (Verdict(Action.ALLOW), Verdict(Action.ALLOW, names=[NAME], redirect=(SECOND, 80))):
        bench = Bench(None, {SECOND: Verdict(Action.REJECT)})
        assert may_keep(bench.router, request(), Route(SECOND, 80, None, unnamed), unnamed, reads=False)


def test_names_sent_by_the_client_replace_those_of_the_destination() -> None:
    bench = Bench(Names(of={FIRST: (NAME,)}))
    assert bench.router.allows(request()) == ALLOW
    assert bench.router.allows(request(), (OTHER,)) == ALLOW
    assert [asked.names for asked in bench.seen] == [(NAME,), (OTHER,)]
    assert Router(config()).allows(request()) is None


def test_names_sent_by_the_client_do_not_open_a_closed_address() -> None:
    names = Names(of={FIRST: (NAME,)})
    names.opened = set()
    bench = Bench(names)
    bench.router.allows(request(), (OTHER, NAME))
    assert (bench.seen[0].names, bench.seen[0].unpinned) == ((NAME,), (OTHER,))


def test_only_an_allowed_name_may_be_sent_to_a_proxy() -> None:
    router = Router(config())
    assert router.may_say_name(None)
    router.policy = lambda flow: Verdict(Action.ALLOW)
    assert not router.may_say_name(None)
    assert not router.may_say_name(Verdict(Action.ALLOW))
    assert router.may_say_name(ALLOW)


def test_a_request_is_no_reference_cycle() -> None:
    """One for each flow would wait for the garbage collector, and cost a tenth of all connections a second."""
    bench = Bench(Names(FIRST))
    for _ in range(2):
        gc.collect()
        assert isinstance(bench.router.route(request()), Route)
        bench.seen.clear()
    assert gc.collect() == 0
