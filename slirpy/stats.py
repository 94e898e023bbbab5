"""Integer counters by name.

Nothing is lost silently: every drop, refusal and eviction increments its own counter. Counters are attributes,
so a misspelt name is a type error, and an increment costs no more than an addition.
"""

from __future__ import annotations

from functools import cache
from itertools import count, repeat

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["Stats", "UnsetStats"]

_FEW = 32
"""Number of objects after which it is worth compiling a function that sets all counters; simulations have many."""
_made = count()


def _counter(what: str) -> Any:
    """A counter that starts at zero, with the description that the documentation shows."""
    return what


class _Slots(type):
    """Metaclass that makes a slot of each counter and keeps the descriptions.

    A dataclass would do the same, but generates methods that name each of the counters several times. Compiling them
    took longer than importing the TCP engine.
    """

    _described: dict[str, str]

    def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> Any:
        own = {counter: body.pop(counter) for counter in body.get("__annotations__", ())}
        described = {**getattr(bases[0], "_described", {}), **own} if bases else own
        return super().__new__(cls, name, bases, {**body, "__slots__": tuple(own), "_described": described})


class Stats(metaclass=_Slots):
    """Counters of one network since its start. Frames and bytes "in" come from guests, "out" go to them.

    Args:
        counters: values to start with, by name; all others are 0.

    Raises:
        AttributeError: there is no such counter.
    """

    # ------------------------------------------------------------------------------------------- links
    frames_in: int = _counter("frames from guests")
    bytes_in: int = _counter("bytes of frames from guests")
    frames_out: int = _counter("frames to guests")
    bytes_out: int = _counter("bytes of frames to guests")
    drop_link_queue_full: int = _counter("frame to a guest: the link had no room and its queue was full")
    drop_link_dead: int = _counter("frame to a guest: the link refused it permanently")
    drop_nic_queue_full: int = _counter("frame from a guest: too many frames were waiting for the network")
    drop_nic_closed: int = _counter("frame from a guest: its network card was removed while the frame waited")
    link_connections: int = _counter("connections established with guests (stream links)")
    link_disconnects: int = _counter("connections with guests that ended (stream links)")
    link_connect_failures: int = _counter("connections to or from a guest that could not be established")
    drop_link_framing: int = _counter("connection closed because it announced a frame of an impossible length")
    drop_link_truncated: int = _counter("frame cut off by the end of its connection")
    drop_link_refused: int = _counter("frame in a datagram that the other end refused")
    drop_link_oversized: int = _counter("datagram longer than the longest frame")
    # ---------------------------------------------------------------------------------------- Ethernet
    drop_ethernet_short: int = _counter("frame shorter than its Ethernet header")
    drop_ethernet_type: int = _counter("EtherType that is not IPv4, IPv6 or ARP")
    drop_ethernet_vlan: int = _counter("frame with a VLAN identifier other than 0")
    drop_ethernet_tags: int = _counter("frame with more than one VLAN tag")
    drop_ethernet_destination: int = _counter("frame for a MAC address that is not slirpy's")
    drop_ethernet_source: int = _counter("frame from a multicast MAC address or from one of slirpy's own")
    # ------------------------------------------------------------------------------------------ switch
    switch_forwarded: int = _counter("frames forwarded from one guest to another")
    switch_flooded: int = _counter(
        "frames from a guest to all others: broadcast, multicast, or an unknown address"
    )
    switch_macs_moved: int = _counter("MAC addresses that moved to another port")
    switch_macs_evicted: int = _counter("MAC addresses evicted to make room for another of the same port")
    drop_switch_spoofed: int = _counter("frame from a MAC address that is in use on another port")
    drop_switch_duplicate: int = _counter("flooded frame that came back by another port: a loop")
    drop_switch_storm: int = _counter("flooded frame beyond the rate limit of its port")
    drop_switch_too_long: int = _counter(
        "frame between guests that exceeds the other port's MTU and is not TCP"
    )
    switch_selected: int = _counter("multicast frames from a guest that went only to ports with listeners")
    mld_reports: int = _counter("reports of multicast listeners (MLD) that the switch read")
    mld_queries: int = _counter("queries for multicast listeners (MLD) sent to guests")
    mld_groups_full: int = _counter("multicast groups not remembered because their port had too many")
    drop_mld_malformed: int = _counter(
        "MLD message that is malformed, has no Router Alert, or is not from a link-local address at hop limit 1"
    )
    drop_link_rate: int = _counter("frame beyond the bandwidth of its link, and beyond the queue before it")
    drop_flow_rate: int = _counter("packet that would open a flow, beyond the rate of its link")
    memory_evicted: int = _counter("connections evicted because the data of all exceeded the budget for memory")
    drop_switch_isolated: int = _counter("frame to another guest, while guests are isolated from each other")
    drop_source_guard: int = _counter(
        "frame from an address that is not leased to its MAC address and link, while that is required"
    )
    drop_guard_router: int = _counter(
        "frame between guests: a router advertisement, redirect or MLD query of a guest"
    )
    drop_guard_dhcp: int = _counter("frame between guests: a message of a DHCP or DHCPv6 server")
    drop_guard_address: int = _counter("frame between guests: from an address of slirpy's own")
    drop_guard_fragment: int = _counter("frame between guests: Neighbor Discovery in a fragment")
    drop_guard_chain: int = _counter(
        "frame between guests whose chain of headers is incomplete, or too long to follow"
    )
    # --------------------------------------------------------------------------------------------- ARP
    drop_arp_malformed: int = _counter("ARP packet that is too short, or not for Ethernet and IPv4")
    drop_arp_operation: int = _counter("ARP packet that is neither a request nor a reply")
    drop_arp_sender: int = _counter(
        "ARP reply from an address that no guest can have, or with another sender than its frame"
    )
    arp_nobody: int = _counter("ARP requests from guests for an address that is not in use")
    arp_unanswered: int = _counter(
        "addresses that slirpy requested by ARP or Neighbor Discovery and no guest answered for in time"
    )
    drop_neighbor_unresolved: int = _counter(
        "packet for a guest that did not answer ARP or Neighbor Discovery in time"
    )
    drop_neighbor_queue_full: int = _counter(
        "oldest packet in the queue for a guest whose MAC address is still unknown: the queue was full"
    )
    drop_neighbor_spoofed: int = _counter("packet from an address that is in use on another link")
    ndp_probes: int = _counter("solicitations to IPv6 neighbours that had been silent, at their MAC addresses")
    neighbor_unreachable: int = _counter("IPv6 neighbours whose MAC address no longer answered")
    neighbor_evicted: int = _counter("neighbours evicted to make room for another")
    # -------------------------------------------------------------------------------------------- IPv4
    drop_ipv4: int = _counter("IPv4 or ARP packet while IPv4 is off")
    drop_ip_header: int = _counter(
        "IPv4 header that is too short, of a wrong version, or inconsistent in its lengths"
    )
    drop_ip_checksum: int = _counter("wrong IPv4 header checksum")
    drop_ip_source: int = _counter("source address that no guest can have")
    drop_ip_destination: int = _counter("destination that cannot be reached: martian or multicast")
    drop_ip_scope: int = _counter("packet from a link-local address to a host outside, which could not answer")
    drop_ip_protocol: int = _counter("transport protocol that is not supported")
    drop_ip_ttl: int = _counter("time to live expired")
    drop_fragment_bad: int = _counter(
        "fragment that overlaps another, is inconsistent, or exceeds 65535 bytes in total"
    )
    drop_fragment_duplicate: int = _counter("fragment that repeats one of a packet that is still incomplete")
    drop_fragment_timeout: int = _counter("fragments of packets that were still incomplete after 30 s")
    drop_fragment_overtaken: int = _counter(
        "fragments of packets that were still incomplete when the guest had begun 64 more"
    )
    drop_fragment_limit: int = _counter("fragments dropped to bound memory")
    # -------------------------------------------------------------------------------------------- IPv6
    drop_ipv6: int = _counter("IPv6 packet while IPv6 is off, or on a link with an MTU below 1280")
    drop_ipv6_header: int = _counter(
        "IPv6 header that is too short, of a wrong version, or inconsistent in its lengths"
    )
    drop_ipv6_extension: int = _counter(
        "IPv6 packet with another extension header or option that is not accepted, or with too many of them"
    )
    drop_ipv6_routing: int = _counter(
        "IPv6 packet with a routing header that is not used up, such as type 0 (RFC 5095)"
    )
    drop_ipv6_jumbogram: int = _counter("IPv6 packet whose length is in an option (RFC 2675)")
    drop_ipv6_nothing: int = _counter("IPv6 packet without a payload")
    drop_ipv6_group: int = _counter("IPv6 packet to a multicast group that slirpy does not listen to")
    drop_ndp_malformed: int = _counter("Neighbor Discovery message that RFC 4861 requires to be discarded")
    drop_ndp_sender: int = _counter(
        "neighbour advertisement of an address that no guest can have, or with another sender than its frame"
    )
    drop_ndp_router: int = _counter("router advertisement or redirect from a guest")
    ndp_nobody: int = _counter("neighbour solicitations from guests for an address that is not slirpy's")
    drop_ndp_rate: int = _counter("solicitation beyond the rate limit of its link")
    ndp_router_adverts: int = _counter("router advertisements sent to guests")
    ndp_neighbor_adverts: int = _counter("neighbour advertisements sent to guests")
    # -------------------------------------------------------------------------------------------- ICMP
    drop_icmp_malformed: int = _counter("ICMP or ICMPv6 message that is too short or has a wrong checksum")
    drop_icmp_type: int = _counter("ICMP message of an unsupported type")
    drop_icmp_unmatched: int = _counter("ICMP error from a guest about a packet that was never sent to it")
    drop_icmp_policy: int = _counter("echo request refused by policy")
    drop_icmp_unreachable: int = _counter("echo request to an address that does not exist or is not allowed")
    drop_icmp_refused: int = _counter("echo request that needs a ping socket, which the system does not allow")
    drop_icmp_no_socket: int = _counter("echo request for which the system had no socket left")
    drop_icmp_host_full: int = _counter("echo request: the host socket's buffer was full")
    drop_icmp_host_error: int = _counter("echo request that the host's system refused to send")
    drop_icmp_unasked: int = _counter("echo reply or error from outside that matches no request of a guest")
    icmp_flows: int = _counter("ICMP echo flows opened")
    icmp_flows_evicted: int = _counter("ICMP echo flows evicted to make room for another")
    icmp_echo_replies: int = _counter("echo requests answered by the virtual hosts")
    icmp_errors_in: int = _counter("ICMP errors from guests about packets that they received")
    icmp_errors_out: int = _counter("ICMP errors sent to guests")
    icmp_errors_suppressed: int = _counter("ICMP errors suppressed by the rate limit")
    # --------------------------------------------------------------------------------------------- UDP
    drop_udp_malformed: int = _counter("UDP header that is too short or has a wrong length")
    drop_udp_checksum: int = _counter("wrong UDP checksum")
    drop_udp_unreachable: int = _counter(
        "datagram to a port where nothing listens, or to an address that is not allowed"
    )
    drop_flow_held: int = _counter("packet of a flow that is held: too many wait already")
    drop_udp_policy: int = _counter("datagram refused by policy")
    drop_udp_unasked: int = _counter(
        "datagram from a host that the guest has not sent to, while a policy restricts what it may reach"
    )
    drop_udp_host_full: int = _counter("datagram: the host socket's buffer was full")
    drop_udp_host_error: int = _counter("datagram that the host's system refused to send")
    drop_udp_no_socket: int = _counter("datagram for which the system had no socket left")
    drop_udp_too_long: int = _counter("datagram to a guest that is too long for IPv4")
    udp_flows: int = _counter("UDP flows opened")
    udp_flows_evicted: int = _counter("UDP flows evicted to make room for another")
    # --------------------------------------------------------------------------------------------- TCP
    drop_tcp_malformed: int = _counter("packet too short for a TCP header")
    drop_tcp_offset: int = _counter(
        "TCP header whose data offset is below 20 bytes, or beyond the end of the segment"
    )
    drop_tcp_checksum: int = _counter("wrong TCP checksum")
    drop_tcp_broadcast: int = _counter("TCP segment to a broadcast or multicast address")
    drop_tcp_unmatched: int = _counter("reset that matches no connection")
    drop_tcp_old: int = _counter("duplicate segment or keep-alive; answered by an ACK")
    drop_tcp_out_of_window: int = _counter("segment beyond the receive window; answered by an ACK")
    drop_tcp_flags: int = _counter(
        "segment without ACK on an established connection, or with neither SYN nor ACK before"
    )
    drop_tcp_reset: int = _counter(
        "reset with an inexact sequence number, or one that does not acknowledge slirpy's SYN"
    )
    drop_tcp_syn: int = _counter("SYN on an established connection; answered by a challenge ACK")
    drop_tcp_ack_opening: int = _counter("ACK of data never sent, during the handshake; answered by a reset")
    drop_tcp_ack_future: int = _counter(
        "ACK of data never sent, on an established connection; answered by a challenge ACK"
    )
    drop_tcp_ack_old: int = _counter(
        "ACK older than the largest window, perhaps of forged data; answered by a challenge ACK"
    )
    drop_tcp_paws: int = _counter("segment with an old timestamp (RFC 7323)")
    drop_tcp_after_fin: int = _counter("data or another FIN beyond the guest's FIN")
    drop_tcp_reassembly_full: int = _counter("out-of-order segment beyond the limit")
    drop_tcp_policy: int = _counter("connection dropped by policy")
    tcp_resets_out: int = _counter("resets sent to guests")
    tcp_challenge_acks: int = _counter("challenge ACKs sent (RFC 5961)")
    tcp_challenges_suppressed: int = _counter(
        "challenge ACKs suppressed because the connection had just sent one"
    )
    tcp_retransmits: int = _counter("segments retransmitted after a timeout")
    tcp_fast_retransmits: int = _counter("losses detected by duplicate ACKs or SACK, before a timeout")
    tcp_recovery_retransmits: int = _counter("segments retransmitted during recovery from such losses")
    tcp_undone: int = _counter("reactions to losses that proved spurious and were undone")
    tcp_tail_probes: int = _counter("tail loss probes sent (RFC 8985)")
    tcp_probes_repaired: int = _counter("losses that a tail loss probe itself repaired")
    tcp_sack_reneging: int = _counter("times that a guest discarded data that it had reported by SACK")
    tcp_dsacks_in: int = _counter("reports of duplicate data received from guests (DSACK, RFC 2883)")
    tcp_dsacks_out: int = _counter("reports of duplicate data sent to guests")
    tcp_bad_options: int = _counter("segments with malformed TCP options, of which the readable ones are used")
    tcp_bad_sacks: int = _counter("SACK blocks that are inverted or cover data never sent")
    tcp_ecn_marks: int = _counter("segments of guests that a router has marked instead of dropping them (ECN)")
    tcp_ecn_reductions: int = _counter(
        "reductions of the congestion window because a guest reported marks (ECN)"
    )
    tcp_urgent_in: int = _counter("announcements of urgent data by guests")
    tcp_silent: int = _counter(
        "times that a guest left a segment unanswered after repeated retransmissions (R1)"
    )
    tcp_keepalives: int = _counter("keep-alives sent to guests")
    tcp_zero_window_probes: int = _counter("zero-window probes sent to guests")
    tcp_out_of_order: int = _counter("segments that arrived out of order")
    tcp_flows: int = _counter("TCP connections opened")
    tcp_flows_refused: int = _counter("TCP connections that the host's side refused")
    tcp_flows_no_socket: int = _counter("TCP connections refused because the system had no descriptor left")
    tcp_flows_proxy_refused: int = _counter("TCP connections that the upstream proxy refused")
    tcp_flows_evicted: int = _counter("TCP connections evicted to make room for another")
    tcp_flows_misnamed: int = _counter("TCP connections reset because of what the client said first")
    udp_flows_misnamed: int = _counter("UDP flows refused because of what the client said first")
    flows_held: int = _counter("flows held until a policy decided or a name was resolved")
    flows_reset_by_policy: int = _counter("flows that a new policy no longer allowed")
    flows_evicted_for_descriptors: int = _counter("flows of any kind evicted to free a descriptor for another")
    tcp_fastpath: int = _counter("segments handled by the fast path")
    udp_fastpath: int = _counter("datagrams from guests handled by the fast path")
    # ---------------------------------------------------------------------------------------- services
    dhcp_discover: int = _counter("DHCP DISCOVER messages received")
    dhcp_request: int = _counter("DHCP REQUEST messages received")
    dhcp_inform: int = _counter("DHCP INFORM messages received")
    dhcp_release: int = _counter("DHCP RELEASE messages received")
    dhcp_decline: int = _counter("DHCP DECLINE messages received")
    dhcp_probes: int = _counter(
        "addresses checked by ARP or Neighbor Discovery before they were given to a client"
    )
    dhcp_in_use: int = _counter("addresses not given to a client because another machine uses them")
    dhcp_bootp: int = _counter("BOOTP requests answered")
    dhcp_offer: int = _counter("DHCP OFFER messages sent")
    dhcp_ack: int = _counter("DHCP ACK messages sent")
    dhcp_nak: int = _counter("DHCP NAK messages sent")
    drop_service_off: int = _counter("request to a service that slirpy-pasta or slirpy-passt has switched off")
    drop_dhcp_malformed: int = _counter("malformed DHCP message")
    drop_dhcp_ignored: int = _counter(
        "DHCP message for another server, or of a type that servers do not handle"
    )
    drop_dhcp_refused: int = _counter(
        "DHCP request that the lease policy refused and that cannot be answered by a NAK"
    )
    drop_dhcp_pool_empty: int = _counter("DHCP request when the pool, or its link's share of it, was exhausted")
    dhcp6_solicit: int = _counter("DHCPv6 SOLICIT messages received")
    dhcp6_request: int = _counter("DHCPv6 REQUEST messages received")
    dhcp6_renew: int = _counter("DHCPv6 RENEW and REBIND messages received")
    dhcp6_confirm: int = _counter("DHCPv6 CONFIRM messages received")
    dhcp6_inform: int = _counter("DHCPv6 INFORMATION-REQUEST messages received")
    dhcp6_release: int = _counter("addresses released by DHCPv6")
    dhcp6_decline: int = _counter("addresses declined by DHCPv6 because another machine uses them")
    dhcp6_advertise: int = _counter("DHCPv6 ADVERTISE messages sent")
    dhcp6_reply: int = _counter("DHCPv6 REPLY messages sent")
    drop_dhcp6_malformed: int = _counter("malformed DHCPv6 message")
    drop_dhcp6_ignored: int = _counter(
        "DHCPv6 message for another server, without what its type requires, or of a type that servers do not handle"
    )
    drop_dhcp6_refused: int = _counter("DHCPv6 request without an answer because the lease policy refused it")
    dhcp_leases_lost: int = _counter("malformed or foreign leases in the lease file")
    dhcp_save_failures: int = _counter("times that the lease file could not be written")
    dns_queries: int = _counter("DNS queries received")
    dns_answers: int = _counter("DNS answers relayed from upstream servers")
    dns_cache_hits: int = _counter("DNS queries answered from the cache")
    dns_cache_evicted: int = _counter("answers evicted to make room in the DNS cache")
    dns_local: int = _counter("DNS queries answered with local names")
    dns_translated: int = _counter("DNS questions repeated for addresses of the other IP family (DNS64, dns46)")
    dns_joined: int = _counter("DNS queries that shared the answer to an identical query in progress")
    dns_truncated: int = _counter("DNS answers truncated because they exceeded the size that the guest accepts")
    dns_system_lookups: int = _counter("names looked up by the host's resolver library")
    dns_servers_failed: int = _counter("times that a DNS server was found to fail and became the last choice")
    dns_servfail: int = _counter("DNS queries answered SERVFAIL because no server answered")
    dns_retries: int = _counter("DNS queries repeated, to the same server or the next")
    dns_names_refused: int = _counter("DNS queries refused because no rule of the policy allows the name")
    dns_ech_removed: int = _counter("DNS answers from which keys for encrypted hellos (ECH) were removed")
    drop_dns_opcode: int = _counter("DNS message other than a query, such as an update or a notification")
    drop_dns_extra: int = _counter("DNS query with more than one question and EDNS")
    drop_dns_class: int = _counter("DNS query of another class than IN, such as CHAOS")
    drop_dns_type: int = _counter(
        "DNS query for a zone transfer or another type that no resolver of a guest asks for"
    )
    drop_dns_name_rate: int = _counter("DNS query for one more new name below one domain than the rate allows")
    drop_dns_malformed: int = _counter("malformed DNS query")
    drop_dns_loop: int = _counter("DNS query that slirpy sent to the host's resolver and that came back to it")
    drop_dns_mismatch: int = _counter("upstream answer that matches no query")
    drop_dns_bad_answer: int = _counter("upstream answer with malformed records")
    drop_dns_limit: int = _counter("DNS query beyond the limit of queries in progress")
    tftp_reads: int = _counter("TFTP read requests granted")
    tftp_writes: int = _counter("TFTP write requests granted")
    tftp_done: int = _counter("TFTP transfers completed")
    tftp_refused: int = _counter("TFTP requests answered by an error")
    tftp_aborted: int = _counter("TFTP transfers that the guest aborted with an error")
    tftp_failed: int = _counter("TFTP transfers aborted because their file could not be read or written")
    tftp_timeouts: int = _counter("TFTP transfers abandoned because the guest was silent")
    tftp_evicted: int = _counter("TFTP transfers evicted to make room for another")
    tftp_retransmits: int = _counter("TFTP packets retransmitted")
    drop_tftp_malformed: int = _counter("malformed TFTP packet")
    drop_tftp_unknown: int = _counter("TFTP packet that belongs to no transfer")
    drop_tftp_duplicate: int = _counter("duplicate or out-of-order TFTP block or acknowledgement")
    hostfwd_loopback: int = _counter("connections and UDP clients forwarded to a guest's own loopback")
    guest_loopback: int = _counter(
        "connections and UDP clients forwarded from a guest's own loopback to the host's"
    )
    hostfwd_loopback_evicted: int = _counter("forwards to a guest's loopback evicted to make room for another")
    guestfwd_flows: int = _counter("connections to guestfwd targets and to the SMB server")
    guestfwd_failed: int = _counter("guestfwd connections whose target could not be reached or started")
    guestfwd_refused: int = _counter("guestfwd connections beyond the limit of programs, threads or tasks")
    control_events_lost: int = _counter("events that a reader of the control socket was too slow for")
    control_capture_lost: int = _counter(
        "frames missing in captures of the control socket, whose readers were too slow"
    )
    guestfwd_broken: int = _counter("guestfwd targets that failed or died: programs, handlers, streams")

    def __init__(self, **counters: int) -> None:
        if next(_made) < _FEW:
            any(map(setattr, repeat(self), type(self)._described, repeat(0)))  # half of the time of a loop
        else:
            _clearing()(self)  # a tenth
        for name, value in counters.items():
            setattr(self, name, value)

    __hash__ = None  # type: ignore[assignment] # mutable, and compared by value

    def __repr__(self) -> str:
        return f"Stats({', '.join(f'{name}={value}' for name, value in self.nonzero().items())})"

    def __eq__(self, other: object) -> bool:
        return self.as_dict() == other.as_dict() if isinstance(other, Stats) else NotImplemented

    def as_dict(self) -> dict[str, int]:
        """Return all counters by name."""
        return {name: getattr(self, name) for name in self.describe()}

    def nonzero(self) -> dict[str, int]:
        """Return the counters that are not zero, by name."""
        return {name: value for name, value in self.as_dict().items() if value}

    def dropped(self) -> int:
        """Return the number of frames, packets and segments that were dropped, for any reason."""
        return sum(value for name, value in self.as_dict().items() if name.startswith("drop_"))

    @classmethod
    def describe(cls) -> dict[str, str]:
        """Return the description of each counter, by name."""
        described: dict[str, str] = getattr(cls, "_described")  # noqa: B009 # mypy does not see it
        return dict(described)


class UnsetStats(Stats):
    """Counters that come into being when they are first used: each of a thousand simulated hosts uses a few.

    Counting takes longer than with :class:`Stats`.
    """

    def __init__(self) -> None: ...

    def __getattr__(self, name: str) -> int:
        if name not in type(self)._described:
            raise AttributeError(f"there is no counter {name}")
        setattr(self, name, 0)
        return 0


@cache
def _clearing() -> Callable[[Stats], None]:
    """Return a function that sets all counters to 0."""
    made: dict[str, Any] = {}
    targets = " = ".join(f"stats.{name}" for name in Stats.describe())
    exec(f"def clear(stats): {targets} = 0", made)
    clear: Callable[[Stats], None] = made["clear"]
    return clear
