"""The audit trail of one network: events become records, which go to a log or to a function.

:class:`AuditTrail` is a sink of :class:`~slirpy.interfaces.Events`. It numbers the records, adds times, puts the two
ends of a flow together, applies the budgets (:mod:`slirpy.audit.budget`), and writes once for each batch. The fields
are described in ``schema.json`` beside this file.
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from slirpy._version import __version__
from slirpy.audit.budget import Budget
from slirpy.audit.names import entropy, rcode_name, type_name
from slirpy.audit.severity import Severity, severity
from slirpy.interfaces import FlowRequest, IPProtocol, ServiceNetwork, Verdict
from slirpy.units import SECOND
from slirpy.wire.scope import is_loopback

if TYPE_CHECKING:
    from slirpy.audit.log import AuditLog

__all__ = ["AuditTrail", "Record", "TimeOf"]

Record: TypeAlias = dict[str, Any]
"""One record; its fields are those of ``schema.json``."""

VERSION = 1
NAMES_MAX = 4096
"""Maximum number of addresses whose names are remembered, of all guests."""
NAMES_EACH = 8
"""Maximum number of names that are remembered for one address."""
ADDRESSES_SHOWN = 64
RULES_SHOWN = 200
TEXT_MAX = 512
"""Maximum characters of a text that guests or programs choose."""
_PROTOCOLS = {IPProtocol.TCP.value: "tcp", IPProtocol.UDP.value: "udp", IPProtocol.ICMP.value: "icmp"}


TimeOf: TypeAlias = Callable[[], int]
"""The time of day, in nanoseconds since 1970 (UTC)."""


class AuditTrail:
    """Makes records of events.

    It is idle until :meth:`started`.

    Args:
        wall: the time of day, in nanoseconds since 1970 (UTC); None: the network's time, for virtual networks.
        run: tells the records of this network from those of others in the same log.
        log: takes the records, within the budgets.
        function: takes each record, too.

    Attributes:
        records: number of records so far, including those that were lost or omitted.
    """

    def __init__(
        self,
        *,
        wall: TimeOf | None = None,
        run: str = "",
        log: AuditLog | None = None,
        function: Callable[[Record], object] | None = None,
    ) -> None:
        self._network: ServiceNetwork | None = None
        self._wall = wall
        self._run = run
        self._log = log
        self._functions = [] if function is None else [function]
        self._budget = Budget()
        self._flows: dict[int, Record] = {}
        self._links: dict[int, tuple[object, int]] = {}
        self._link_count = 0
        self._names: OrderedDict[tuple[bytes, bytes], list[str]] = OrderedDict()
        self._drain_due = self._count_due = False
        self._retry_at: int | None = None
        self._closed = True
        self.lease_of: Callable[[bytes], str] = _nameless
        """Returns the host name in the lease of a guest's address; empty: none."""
        self.records = 0

    def add(self, function: Callable[[Record], object]) -> None:
        """Pass each further record to a function, too."""
        self._functions.append(function)

    @property
    def has_readers(self) -> bool:
        """True if records go anywhere."""
        return bool(self._functions) or self._log is not None

    def remove(self, function: Callable[[Record], object]) -> None:
        """Pass no more records to a function."""
        self._functions.remove(function)

    @property
    def ready(self) -> bool:
        """True if new flows may start."""
        return self._log is None or self._log.ready

    # ------------------------------------------------------------------------------- the network itself

    def started(self, network: ServiceNetwork, nets: Iterable[object], policy: object) -> None:
        """Record the beginning of a run.

        Args:
            network: gives the time, and timers.
            nets: the networks of its guests.
            policy: the policy in force, or None.
        """
        self._network, self._closed = network, False
        fields: Record = {
            "network": [str(each) for each in nets],
            "version": __version__,
            "pid": None if self._log is None else os.getpid(),
            "fail": "closed" if self._log is not None and self._log.closed_on_failure else "open",
        }
        self._put("start", fields | _described(policy))
        self._drain()  # so that a log that fails is known before the first flow

    def link_changed(self, link: object, port: object, up: bool) -> None:
        """Record that a link was attached or detached.

        Args:
            link: the link.
            port: the network's end of it, by which the services know it.
        """
        if up:
            self._link_count += 1
            # The objects are kept, so that no other one can get the same identity.
            self._links[id(link)] = self._links[id(port)] = (link, self._link_count)
            self._links[id(port)] = port, self._link_count
        number = self._link(link)
        self._put("link", {"link": number, "kind": type(link).__name__, "up": up})
        if not up:
            self._links.pop(id(link), None)
            self._links.pop(id(port), None)

    def policy_changed(self, policy: object, reset: int) -> None:
        """See :class:`~slirpy.interfaces.Events`."""
        self._put("policy", {**_described(policy), "reset": reset})

    def close(self) -> None:
        """Record the end of the run, write what waits, and close the log. Harmless when repeated."""
        if not self._closed:
            self._write_omitted()
            self._drain()
            self._put("stop", {"records": self.records + 1, "open_flows": len(self._flows)})
            self._closed = True
        if self._log is not None:
            self._log.close()

    def abandon(self) -> None:
        """Release the log's descriptor in a forked child."""
        self._closed = True
        if self._log is not None:
            self._log.close()

    # -------------------------------------------------------------------------------------------- flows

    def flow_opened(
        self,
        number: int,
        request: FlowRequest,
        verdict: Verdict | None,
        address: bytes,
        port: int,
        inbound: bool,
    ) -> None:
        """See :class:`~slirpy.interfaces.Events`."""
        fields = self._flow(request, inbound)
        target = str(ip_address(address)) if address else None
        fields |= {"flow": number, "target": target, "target_port": port or None, "verdict": "allow"}
        if not inbound and is_loopback(address) and (verdict is None or verdict.redirect is None):
            fields["host"] = True
            fields["severity"] = severity(request.destination_bytes, host=True).value
        if verdict is not None:
            fields["rule"] = _short(verdict.rule) or None
            fields["names"] = list(dict.fromkeys((*verdict.names, *fields["names"])))
        written = self._put("open", fields, "flow", fields["link"], fields["severity"])
        self._flows[number] = {**fields, "written": written}
        if self._log is not None and self._log.closed_on_failure:
            self._drain()  # the next flow has to know

    def flow_inspected(self, number: int, kind: str, names: tuple[str, ...], refused: str) -> None:
        """See :class:`~slirpy.interfaces.Events`."""
        flow = self._flows.get(number)
        if flow is None:
            return
        flow["said"], flow["said_in"] = [_short(name) for name in names[:NAMES_EACH]], _short(kind) or None
        if refused:
            flow["verdict"], flow["reason"] = "reject", _short(refused)
        known = _identity(flow)
        self._put("inspected", known, "flow", known["link"], known["severity"])

    def flow_refused(self, request: FlowRequest, verdict: Verdict) -> None:
        """See :class:`~slirpy.interfaces.Events`."""
        fields = self._flow(request, inbound=False)
        fields |= {
            "verdict": verdict.action.value,
            "rule": _short(verdict.rule) or None,
            "reason": _short(verdict.reason) or None,
        }
        self._put("refused", fields, "refused", fields["link"], fields["severity"])

    def flow_ended(
        self,
        number: int,
        end: str,
        bytes_in: int,
        bytes_out: int,
        packets_in: int,
        packets_out: int,
        seconds: float,
    ) -> None:
        """See :class:`~slirpy.interfaces.Events`."""
        flow = self._flows.pop(number, None)
        if flow is None:
            return
        fields = _identity(flow)
        fields |= {
            "end": end,
            "duration": round(seconds, 6),
            "bytes_in": bytes_in,
            "bytes_out": bytes_out,
            "packets_in": packets_in,
            "packets_out": packets_out,
        }
        # The end of a flow has room in the log if its beginning had: one that is begun is also ended there.
        if flow["written"]:
            self._put("end", fields)
        else:
            self._put("end", fields, "flow", fields["link"], fields["severity"], may=False)

    def _flow(self, request: FlowRequest, inbound: bool) -> Record:
        """The fields that describe a flow."""
        names = request.names or tuple(
            reversed(self._names.get((request.source_bytes, request.destination_bytes), []))
        )
        icmp = request.protocol == IPProtocol.ICMP
        return {
            "flow": None,
            "protocol": _PROTOCOLS.get(request.protocol, str(request.protocol)),
            "inbound": inbound,
            "link": self._link(request.link),
            "mac": request.mac or None,
            "lease": _short(request.lease or self.lease_of(request.source_bytes)) or None,
            "source": str(request.source),
            "source_port": None if icmp else request.source_port,
            "identifier": request.source_port if icmp else None,
            "destination": str(request.destination),
            "destination_port": None if icmp else request.destination_port,
            "host": request.host,
            "target": None,
            "target_port": None,
            "names": [_short(name) for name in names[:NAMES_EACH]],
            "said": [],
            "said_in": None,
            "rule": None,
            "verdict": "allow",
            "reason": None,
            "severity": severity(request.destination_bytes, request.host).value,
        }

    # ---------------------------------------------------------------------------------------------- DNS

    def dns_query(self, guest: bytes, link: object, mac: bytes, name: str, qtype: int, outcome: str) -> None:
        """See :class:`~slirpy.interfaces.Events`."""
        self._put_dns(
            "query", guest, link, mac, name, qtype,
            {"outcome": _short(outcome), "length": len(name), "entropy": entropy(name)},
        )  # fmt: skip

    def dns_answer(
        self,
        guest: bytes,
        link: object,
        mac: bytes,
        name: str,
        qtype: int,
        rcode: int,
        addresses: tuple[bytes, ...],
    ) -> None:
        """See :class:`~slirpy.interfaces.Events`."""
        for address in addresses:
            self._remember(guest, address, name)
        shown = [str(ip_address(address)) for address in addresses[:ADDRESSES_SHOWN]]
        more = len(addresses) - len(shown)
        self._put_dns(
            "answer", guest, link, mac, name, qtype,
            {"rcode": rcode_name(rcode), "addresses": shown, "more_addresses": more},
        )  # fmt: skip

    def _put_dns(
        self, event: str, guest: bytes, link: object, mac: bytes, name: str, qtype: int, more: Record
    ) -> None:
        number = self._link(link)
        fields: Record = {
            "link": number,
            "mac": mac.hex(":") or None,
            "source": str(ip_address(guest)),
            "name": _short(name),
            "type": type_name(qtype),
            **more,
        }
        self._put(event, fields, "dns", number)

    def _remember(self, guest: bytes, address: bytes, name: str) -> None:
        """Note a name that stands for an address, for records about flows of this guest."""
        key = guest, address
        names = self._names.pop(key, None)
        if names is None:
            names = []
            if len(self._names) >= NAMES_MAX:
                self._names.popitem(last=False)
        self._names[key] = names
        plain = name.lower().removesuffix(".")
        if plain in names:
            names.remove(plain)
        elif len(names) >= NAMES_EACH:
            del names[0]
        names.append(plain)

    # ------------------------------------------------------------------------------------------- leases

    def lease(self, mac: bytes, address: bytes, hostname: str, what: str) -> None:
        """See :class:`~slirpy.interfaces.Events`."""
        fields: Record = {
            "mac": mac.hex(":"),
            "address": str(ip_address(address)),
            "lease": _short(hostname) or None,
            "what": what,
        }
        self._put("lease", fields, "lease")

    # ------------------------------------------------------------------------------------------ writing

    def _link(self, link: object) -> int | None:
        """The number of a link, by the link or by the network's end of it; None if it is not known."""
        known = self._links.get(id(link))
        return None if known is None else known[1]

    def _put(
        self,
        event: str,
        fields: Record,
        kind: str = "",
        link: object = None,
        level: Severity = Severity.OTHER,
        *,
        may: bool = True,
    ) -> bool:
        """Make a record, and write it if the budget of its kind allows. Returns whether it is written."""
        network = self._network
        if self._closed or network is None:
            return False
        seq, now = self.records, network.now
        self.records += 1
        record: Record = {
            "v": VERSION,
            "run": self._run,
            "seq": seq,
            "time": _rfc3339(now if self._wall is None else self._wall()),
            "monotonic": round(now / SECOND, 6),
            "event": event,
            **fields,
        }
        for function in self._functions:
            try:
                function(record)
            except Exception as error:  # of the program's function: raised where it does no harm
                network.call_at(now, partial(_throw, error))
        log = self._log
        if log is None:
            return True
        if kind and not (may and self._budget.take(kind, link, level, now)):
            if self._budget.omit(kind, link, level, seq, record) and not self._count_due:
                self._count_due = True
                network.call_at(now + SECOND, self._count)
            return False
        log.put(record)
        if not self._drain_due:
            self._drain_due = True
            network.call_at(now, self._drain)
        return True

    def _count(self) -> None:
        self._count_due = False
        self._write_omitted()

    def _write_omitted(self) -> None:
        for (kind, link, level), omitted in self._budget.take_omitted():
            fields: Record = {
                "kind": kind,
                "link": link,
                "severity": level,
                "count": omitted.count,
                "first": omitted.first,
                "last": omitted.last,
                "bytes_in": omitted.bytes_in,
                "bytes_out": omitted.bytes_out,
                "sample": list(omitted.sample),
            }
            self._put("omitted", fields)

    def _drain(self) -> None:
        self._drain_due = False
        log, network = self._log, self._network
        if log is None or network is None or self._closed:
            return
        again = log.drain(network.now)
        if again is None:
            self._note_lost()
        elif not self._drain_due:
            self._drain_due = True
            network.call_at(again, self._drain)

    def _note_lost(self) -> None:
        lost = None if self._log is None else self._log.take_lost()
        if lost is not None:
            self._put(
                "lost",
                {"count": lost.count, "first": lost.first, "last": lost.last, "reason": _short(lost.reason)},
            )


def _nameless(address: bytes) -> str:
    return ""


def _identity(flow: Record) -> Record:
    """The fields of a record about a flow."""
    return {key: value for key, value in flow.items() if key != "written"}


def _short(text: str) -> str:
    """Text of a bounded length."""
    return text if len(text) <= TEXT_MAX else text[: TEXT_MAX - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _rfc3339(when: int) -> str:
    """A time of day, in nanoseconds since 1970, by RFC 3339 with microseconds."""
    seconds, rest = divmod(when, SECOND)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest // 1000:06}Z"


def _described(policy: object) -> Record:
    """The fields that describe a policy."""
    if policy is None:
        return {"policy": "none", "rules": [], "more_rules": 0, "digest": None}
    rules = getattr(policy, "rules", None)
    default = getattr(policy, "default", None)
    if not isinstance(rules, tuple) or default is None:
        name = getattr(policy, "__qualname__", type(policy).__qualname__)
        return {"policy": f"function {_short(str(name))}", "rules": [], "more_rules": 0, "digest": None}
    import hashlib  # only networks with a policy and an audit need it

    texts = [str(rule) for rule in rules]
    digest = hashlib.sha256("\n".join((*texts, str(default.value))).encode()).hexdigest()
    shown = [_short(text) for text in texts[:RULES_SHOWN]]
    return {
        "policy": f"default {default.value}",
        "rules": shown,
        "more_rules": len(texts) - len(shown),
        "digest": digest,
    }


def _throw(error: Exception) -> NoReturn:
    raise error
