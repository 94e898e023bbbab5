"""Addresses of the other IP family in answers: DNS64 (RFC 6147), and the same for guests that have only IPv4.

If a name has no address of the family that a guest asks for, the other family's are asked for, and each is replaced
by the one under which the guest can reach it (:mod:`slirpy.core.translation`).
"""

from __future__ import annotations

from ipaddress import ip_address

from slirpy.core.translation import Translation
from slirpy.wire.dns import NXDOMAIN, TRUNCATED, Query, make_query

__all__ = ["Synthesis"]

A, CNAME, SOA, AAAA, DNAME = 1, 5, 6, 28, 39
TTL_MAX = 600
"""Time to live of translated addresses if the empty answer has no SOA record (RFC 6147, section 5.1.7)."""
_OTHER = {A: AAAA, AAAA: A}
_OPT = 41
_MAPPED = bytes(10) + b"\xff\xff"
"""The first bytes of an IPv4-mapped address, which leads nowhere (RFC 6147, section 5.1.4)."""


class Synthesis:
    """Completion of answers with translated addresses."""

    def __init__(self, translation: Translation) -> None:
        self._translation = translation

    def without_mapped(self, query: Query, answer: bytes) -> bytes:
        """An answer without IPv4-mapped addresses; ``answer`` itself if it has none, or cannot be read."""
        if query.qtype != AAAA or _MAPPED not in answer or not self._applies(query):
            return answer
        from dnslib import DNSRecord

        try:
            whole = DNSRecord.parse(answer)
            whole.rr = [
                record
                for record in whole.rr
                if record.rtype != AAAA or not ip_address(str(record.rdata)).packed.startswith(_MAPPED)
            ]
            packed: bytes = whole.pack()
        except Exception:  # dnslib raises many kinds; the message goes to the guest as it is
            return answer
        return query.readdressed(packed)

    def other_question(self, query: Query, answer: bytes) -> Query | None:
        """The question for the other family's addresses, if ``answer`` has no addresses; else None."""
        if not self._applies(query) or answer[3] & 0x0F == NXDOMAIN or answer[2] & TRUNCATED:
            return None
        if not answer[3] & 0x0F and self._has_addresses(query.qtype, answer):
            return None
        return make_query(query, query.question[:-4], _OTHER[query.qtype])

    def _applies(self, query: Query) -> bool:
        """Report whether the family of a question is translated, and the guest does not check signatures itself."""
        if query.qtype not in _OTHER or not query.is_internet or query.validates:
            return False
        translation = self._translation
        return translation.prefix is not None if query.qtype == AAAA else translation.has_stand_ins

    @staticmethod
    def _has_addresses(kind: int, message: bytes) -> bool:
        """Report whether an answer has an address."""
        from dnslib import DNSRecord

        try:
            records = DNSRecord.parse(message).rr
        except Exception:  # dnslib raises many kinds; the message goes to the guest as it is
            return True
        return any(record.rtype == kind for record in records)

    def answer(self, query: Query, empty: bytes, other: bytes, room: int) -> bytes:
        """The answer with translated addresses.

        Args:
            query: the guest's question.
            empty: the answer to it.
            other: the answer to :meth:`other_question`.
            room: the length in bytes up to which the message has an authority and an additional section.

        Returns:
            The message; ``empty`` if there are no addresses of the other family either. An error in ``other`` is one
            here too (RFC 6147, section 5.1.6).
        """
        if other[3] & 0x0F:
            return query.readdressed(other)
        import dnslib

        try:
            found = dnslib.DNSRecord.parse(other)
            ends = (record.ttl for record in dnslib.DNSRecord.parse(empty).auth if record.rtype == SOA)
            limit = min(ends, default=TTL_MAX)
            whole = dnslib.DNSRecord.parse(query.reply(0))
            whole.header.tc = found.header.tc
            for record in found.rr:
                if record.rtype in (CNAME, DNAME):
                    whole.add_answer(record)
                elif record.rtype == _OTHER[query.qtype]:
                    host = ip_address(str(record.rdata)).packed
                    address = None if host.startswith(_MAPPED) else self._translation.assign(host)
                    if address is not None:
                        data = (dnslib.A if query.qtype == A else dnslib.AAAA)(str(ip_address(address)))
                        ttl = min(record.ttl, limit)
                        whole.add_answer(dnslib.RR(record.rname, query.qtype, ttl=ttl, rdata=data))
            if not whole.header.tc and all(record.rtype in (CNAME, DNAME) for record in whole.rr):
                return empty
            packed: bytes = whole.pack()
            whole.add_auth(*found.auth)
            whole.add_ar(*(record for record in found.ar if record.rtype != _OPT))
            complete: bytes = whole.pack()
            if len(complete) <= room:
                packed = complete
        except Exception:  # dnslib raises many kinds, and this came from outside
            return empty
        return query.readdressed(packed)
