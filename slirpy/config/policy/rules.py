"""Policies made of rules."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from itertools import chain

from slirpy.checks import instance
from slirpy.config.policy.destination import ANY, INTERNET
from slirpy.config.policy.rule import QUIC_PORT, Rule
from slirpy.config.policy.text import parse_rule
from slirpy.config.values import as_text, listed
from slirpy.errors import ConfigError
from slirpy.interfaces import TLS_MODES, Action, FlowRequest, IPProtocol, Verdict

__all__ = ["RulePolicy"]

_REFUSALS = (Action.REJECT, Action.DROP)
_LEFT_OUT = "no rule allows it; any leaves out this host, link-local addresses and metadata services"


class RulePolicy:
    """A :data:`~slirpy.interfaces.Policy` made of rules: the first that matches decides.

    Args:
        rules: in their order; text is read by :func:`parse_rule`.
        default: action for a flow that no rule matches.

    Raises:
        ConfigError: a rule that cannot be read.

    Attributes:
        has_names: whether there are rules by name. DNS then resolves only names that may be allowed.
    """

    __slots__ = (
        "_asks",
        "_closing",
        "_denies_names",
        "_exact",
        "_general",
        "_heeds_addresses",
        "_left_out",
        "_may_allow",
        "_opening",
        "_otherwise",
        "_wild",
        "has_names",
        "rules",
    )

    def __init__(self, rules: Iterable[Rule | str] = (), default: Action = Action.REJECT) -> None:
        if not isinstance(default, Action):
            raise ConfigError(f"default is one of slirpy.Action; given was {default!r}")
        self.rules = tuple(
            parse_rule(rule) if isinstance(rule, str) else rule for rule in listed("rules", rules)
        )
        for rule in self.rules:
            if not isinstance(rule, Rule):
                raise ConfigError(f"a rule is text or a slirpy.Rule; given was {rule!r}")
        self._otherwise = Verdict(default, reason="" if default is Action.ALLOW else "no rule allows it")
        self._left_out = Verdict(default, reason=_LEFT_OUT) if default in _REFUSALS else self._otherwise
        # Rules by name are found by the name, however many there are.
        self._general = [number for number, rule in enumerate(self.rules) if not rule.by_name]
        self._exact: dict[str, list[int]] = {}
        self._wild: dict[str, list[int]] = {}
        for number, rule in enumerate(self.rules):
            if rule.by_name:
                table = self._wild if rule.destination[0] == "*" else self._exact
                table.setdefault(rule.destination.removeprefix("*."), []).append(number)
        self.has_names = bool(self._exact or self._wild)
        self._denies_names = any(rule.by_name and rule.action in _REFUSALS for rule in self.rules)
        self._heeds_addresses = any(self.rules[number].destination != ANY for number in self._general)
        self._asks = default is Action.ASK or any(rule.action is Action.ASK for rule in self.rules)
        # The first rule that may allow a flow to any name, and the first that refuses all flows.
        end = len(self.rules)
        general = [(number, self.rules[number]) for number in self._general]
        opening = (
            n for n, rule in general if rule.action not in _REFUSALS and rule.destination in (ANY, INTERNET)
        )
        closing = (n for n, rule in general if rule.action in _REFUSALS and rule.refuses_all)
        self._closing = next(closing, end + (default not in _REFUSALS))
        self._opening = next(opening, end)
        before = self.rules[: self._closing]
        self._may_allow = self._closing > end or any(rule.action not in _REFUSALS for rule in before)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> RulePolicy:
        """Read a TOML file; see :mod:`slirpy.config.policy.file`.

        Raises:
            ConfigError: the file cannot be read; the text names the part.
        """
        from slirpy.config.policy.file import read_policy  # only some programs need it

        rules, default = read_policy(path)
        return cls(rules, default)

    @property
    def default(self) -> Action:
        """Action for a flow that no rule matches."""
        return self._otherwise.action

    def __call__(self, request: FlowRequest) -> Verdict:
        """Decide about a flow.

        Each name that the destination stands for is judged by itself, with the rules about addresses, and any that is
        allowed suffices. Names that may not open the destination count where they are denied.
        """
        first = self._first_about_address(request)
        unpinned = request.unpinned if self._denies_names else ()
        if not (request.names or unpinned) or not self.has_names:
            return self._unmatched(request) if first is None else self.rules[first].verdict(request)
        end = len(self.rules) if first is None else first
        judged: dict[str, int | None] = {}
        allowing: list[tuple[str, Rule]] = []
        for name in request.names:
            number = judged[name] = self._first_about_name(request, name, end)
            if number is not None and self.rules[number].action not in _REFUSALS:
                allowing.append((name, self.rules[number]))
        if allowing:
            # The rule about the name that the guest asked for last decides, with those that lead to the same place.
            rule = allowing[0][1]
            if len(allowing) == 1:
                return rule.verdict_for(request, (allowing[0][0],), rule.tls)
            alike = [each for each in allowing if each[1] is rule or each[1].leads_as(rule)]
            names = tuple([name for name, _ in alike])
            tls = max((each.tls for _, each in alike), key=TLS_MODES.index)  # the most lenient
            return rule.verdict_for(request, names, tls)
        for name in unpinned:
            number = self._first_about_name(request, name, end)
            judged[name] = None if number is None or self.rules[number].action not in _REFUSALS else number
        deciding = sorted({number for number in judged.values() if number is not None})
        others = tuple(name for name, number in judged.items() if number is None)
        if deciding and not others:
            return self.rules[deciding[0]].verdict_for(request, (), "strict")
        verdict = self._unmatched(request) if first is None else self.rules[first].verdict(request)
        if deciding and verdict.action not in _REFUSALS:
            if request.protocol == IPProtocol.UDP and request.destination_port == QUIC_PORT:
                return self.rules[deciding[0]].verdict_for(request, (), "strict")  # only rules of quic read it
            # Some of the names are denied, so the client has to say that it wants another one.
            return Verdict(
                verdict.action,
                verdict.redirect,
                rule=verdict.rule,
                names=others,
                tls="sni-optional",
                proxy=verdict.proxy,
                proxy_header=verdict.proxy_header,
            )
        return verdict

    def _unmatched(self, request: FlowRequest) -> Verdict:
        """The verdict for a flow that no rule matches."""
        rules = (self.rules[number] for number in self._general)
        if any(rule.stays_outside and rule.may_match(request) for rule in rules):
            return self._left_out
        return self._otherwise

    def _first_about_address(self, request: FlowRequest) -> int | None:
        """The number of the first rule that is not by name and matches."""
        for number in self._general:
            if self.rules[number].matches(request):
                return number
        return None

    def _first_about_name(self, request: FlowRequest, name: str, end: int) -> int | None:
        """The number of the first rule by name that matches because of a name, and comes before ``end``."""
        for number in self._about(name):
            if number >= end:
                return None
            if self.rules[number].may_match(request):
                return number
        return None

    def _about(self, name: str) -> Sequence[int]:
        """The numbers of the rules that are about a name, in order."""
        found = self._exact.get(name, ())
        if not self._wild:
            return found
        suffixes = []
        at = name.find(".")
        while at >= 0:
            numbers = self._wild.get(name[at + 1 :])
            if numbers is not None:
                suffixes.append(numbers)
            at = name.find(".", at + 1)
        return sorted(chain(found, *suffixes)) if suffixes else found

    def may_resolve(self, name: str) -> bool:
        """Report whether guests may ask for a name outside: some rule may allow a flow to what it resolves to.

        Args:
            name: in lower case, without a full stop at the end.

        Without rules by name every name may be asked for, unless the policy allows nothing at all.
        """
        as_text("name", name)
        if not self.has_names:
            return self._may_allow
        for number in self._about(name):
            rule = self.rules[number]
            if rule.action not in _REFUSALS:
                if number < self._closing:
                    return True
            elif rule.protocol is None and not rule.ports and number < self._opening:
                return False
        return self._opening < self._closing

    def opens_address(self, request: FlowRequest) -> bool:
        """Report whether the first rule about the destination's address is for that address alone, and allows it."""
        first = self._first_about_address(request)
        return first is not None and self.rules[first].opens_one_address

    def may_say_name(self, verdict: Verdict) -> bool:
        """Report whether an upstream proxy may get the name of a flow that is allowed, and resolve it by itself.

        It may not where the address decided, since the name could lead the proxy to another. Somebody who was asked,
        and allowed a flow without a name, has allowed its address.

        Args:
            verdict: about that flow, of this policy or of somebody who was asked.
        """
        if self._asks and not verdict.names and verdict.action is Action.ALLOW:
            allowing = (str(rule) for rule in self.rules if rule.action is Action.ALLOW)
            return not self._heeds_addresses and verdict.rule in allowing
        if not self._heeds_addresses:
            return True
        if not verdict.names or (not verdict.rule and self.default is Action.ALLOW):
            return False
        try:
            return parse_rule(verdict.rule).by_name
        except ConfigError:  # the text of somebody who was asked
            return True

    def explain(self, request: FlowRequest) -> Rule | None:
        """Return the rule that decides about a flow; None: the default does.

        Raises:
            ConfigError: not a FlowRequest.
        """
        instance("request", request, FlowRequest, "a FlowRequest")
        text = self(request).rule
        return next((rule for rule in self.rules if str(rule) == text), None)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RulePolicy):
            return NotImplemented
        return (self.rules, self.default) == (other.rules, other.default)

    def __hash__(self) -> int:
        return hash((self.rules, self.default))

    def __repr__(self) -> str:
        return f"RulePolicy({[str(rule) for rule in self.rules]}, {self.default})"
