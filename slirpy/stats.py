"""Integer counters by name.

Nothing is lost silently: whatever is dropped, refused or evicted counts under a name of its own. The names are
attributes, so that a misspelt one is a type error and an increment costs no more than an addition.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields

__all__ = ["Stats"]


def _counter(what: str) -> int:
    """A counter that starts at zero, described for people."""
    return field(default=0, metadata={"what": what})


@dataclass(slots=True)
class Stats:
    """Counters of one network since its start. Frames and bytes "in" come from guests, "out" go to them."""

    # ------------------------------------------------------------------------------------------- links
    frames_in: int = _counter("frames from guests")
    bytes_in: int = _counter("bytes of frames from guests")
    frames_out: int = _counter("frames to guests")
    bytes_out: int = _counter("bytes of frames to guests")
    drop_link_queue_full: int = _counter("to a guest: the link had no room and its queue was full")
    drop_link_dead: int = _counter("to a guest: the link refused the frame for good")
    drop_nic_queue_full: int = _counter("from a guest: too many frames waited for the network's turn")
    drop_nic_closed: int = _counter("from a guest: its card was taken out while the frame waited")
    link_connections: int = _counter("connections made with guests: stream links")
    link_disconnects: int = _counter("connections with guests that ended: stream links")
    link_connect_failures: int = _counter("connections to or from a guest that could not be made")
    drop_link_framing: int = _counter("connection closed because it announced a frame of an impossible length")
    drop_link_truncated: int = _counter("frame cut off by the end of its connection")
    drop_link_refused: int = _counter("frame in a datagram that nobody at the other end took")
    drop_link_oversized: int = _counter("datagram longer than any frame")
    # ---------------------------------------------------------------------------------------- Ethernet
    drop_ethernet_short: int = _counter("frame shorter than its Ethernet header")
    drop_ethernet_type: int = _counter("EtherType that is not IPv4, IPv6 or ARP")
    drop_ethernet_vlan: int = _counter("frame of a VLAN: its tag has an identifier other than 0")
    drop_ethernet_tags: int = _counter("frame with more than one VLAN tag")
    drop_ethernet_destination: int = _counter("frame for a MAC address that is not ours")
    drop_ethernet_source: int = _counter("frame from a multicast MAC address or from one of ours")
    # ------------------------------------------------------------------------------------------ switch
    switch_forwarded: int = _counter("frames from one guest to another")
    switch_flooded: int = _counter("frames from a guest to all others: for everyone, or for an unknown address")
    switch_macs_moved: int = _counter("MAC addresses that were heard behind another port than before")
    switch_macs_evicted: int = _counter("MAC addresses forgotten to make room for another of the same port")
    drop_switch_spoofed: int = _counter("frame from a MAC address that is in use behind another port")
    drop_switch_duplicate: int = _counter("flooded frame that came again by another port: a loop")
    drop_switch_storm: int = _counter("frame to be flooded beyond the rate that a port may have")
    drop_switch_too_long: int = _counter("frame between guests longer than the other port's MTU, and not TCP")
    # --------------------------------------------------------------------------------------------- ARP
    drop_arp_malformed: int = _counter("ARP packet that is short or not Ethernet and IPv4")
    drop_arp_operation: int = _counter("ARP packet that is neither a request nor a reply")
    drop_arp_sender: int = _counter("ARP reply from an address that no guest can have, or not in its own name")
    arp_nobody: int = _counter("ARP requests of guests for an address that nobody is known to have")
    arp_unanswered: int = _counter("addresses for which we asked by ARP, and no guest answered in time")
    drop_neighbor_unresolved: int = _counter("packet for a guest that did not answer ARP in time")
    drop_neighbor_queue_full: int = _counter("packet for an unresolved guest beyond the bound")
    drop_neighbor_spoofed: int = _counter("packet from an address that is in use behind another link")
    neighbor_evicted: int = _counter("neighbour forgotten to make room for another")
    # -------------------------------------------------------------------------------------------- IPv4
    drop_ip_header: int = _counter("IPv4 header short, of a wrong version, or lying about its length")
    drop_ip_checksum: int = _counter("IPv4 header checksum wrong")
    drop_ip_source: int = _counter("source address that no guest can have")
    drop_ip_destination: int = _counter("destination that cannot be reached: martian or multicast")
    drop_ip_protocol: int = _counter("transport protocol that is not supported")
    drop_ip_ttl: int = _counter("time to live used up")
    drop_fragment_bad: int = _counter("fragment that overlaps, lies or exceeds 65535 bytes in all")
    drop_fragment_timeout: int = _counter("fragments whose rest did not come within 30 s")
    drop_fragment_overtaken: int = _counter(
        "fragments whose rest had not come when the guest had begun 64 packets more"
    )
    drop_fragment_limit: int = _counter("fragments dropped to bound memory")
    # -------------------------------------------------------------------------------------------- IPv6
    drop_ipv6: int = _counter("IPv6 packet of a guest: IPv6 is not carried yet")
    drop_ipv6_header: int = _counter("IPv6 header short, of a wrong version, or lying about its length")
    drop_ipv6_source: int = _counter("IPv6 packet from a multicast address, the loopback address or ours")
    drop_icmpv6_malformed: int = _counter("ICMPv6 message shorter than its header")
    drop_icmpv6_checksum: int = _counter("ICMPv6 checksum wrong")
    drop_ndp_malformed: int = _counter("router or neighbour solicitation that RFC 4861 says to discard")
    drop_ndp_rate: int = _counter("solicitation beyond the rate at which a link is answered")
    ndp_router_adverts: int = _counter("router advertisements sent to guests")
    ndp_neighbor_adverts: int = _counter("neighbour advertisements sent to guests")
    # -------------------------------------------------------------------------------------------- ICMP
    drop_icmp_malformed: int = _counter("ICMP message short or with a wrong checksum")
    drop_icmp_type: int = _counter("ICMP message that is not handled")
    drop_icmp_unmatched: int = _counter("ICMP error from a guest about a packet that it never got")
    drop_icmp_policy: int = _counter("echo request refused by policy")
    drop_icmp_unreachable: int = _counter("echo request to where nobody is or that may not be reached")
    drop_icmp_refused: int = _counter("echo request for which the system gives us no ping socket")
    drop_icmp_no_socket: int = _counter("echo request for which the system had no socket left")
    drop_icmp_host_full: int = _counter("echo request that the host's socket had no room for")
    drop_icmp_host_error: int = _counter("echo request that the host's system refused")
    drop_icmp_unasked: int = _counter("echo reply or error from outside about what no guest had sent")
    icmp_flows: int = _counter("ICMP echo flows opened")
    icmp_flows_evicted: int = _counter("ICMP echo flows closed to make room for another")
    icmp_echo_replies: int = _counter("echo requests answered by the virtual hosts")
    icmp_errors_in: int = _counter("ICMP errors from guests about packets that they got")
    icmp_errors_out: int = _counter("ICMP errors sent to guests")
    icmp_errors_suppressed: int = _counter("ICMP errors not sent because of the rate limit")
    # --------------------------------------------------------------------------------------------- UDP
    drop_udp_malformed: int = _counter("UDP header short or lying about its length")
    drop_udp_checksum: int = _counter("UDP checksum wrong")
    drop_udp_unreachable: int = _counter("datagram to where nobody listens or that may not be reached")
    drop_udp_policy: int = _counter("datagram refused by policy")
    drop_udp_host_full: int = _counter("datagram that the host's socket had no room for")
    drop_udp_host_error: int = _counter("datagram that the host's system refused")
    drop_udp_no_socket: int = _counter("datagram for which the system had no socket")
    drop_udp_too_long: int = _counter("datagram to a guest longer than IPv4 can carry")
    udp_flows: int = _counter("UDP flows opened")
    udp_flows_evicted: int = _counter("UDP flows closed to make room for another")
    # --------------------------------------------------------------------------------------------- TCP
    drop_tcp_malformed: int = _counter("packet too short for a TCP header")
    drop_tcp_offset: int = _counter("TCP header whose data offset is below 20 bytes, or beyond the segment")
    drop_tcp_checksum: int = _counter("TCP checksum wrong")
    drop_tcp_broadcast: int = _counter("TCP segment to a broadcast or multicast address")
    drop_tcp_unmatched: int = _counter("reset that belongs to no connection")
    drop_tcp_old: int = _counter("segment of what had arrived before, or keep-alive; answered by an ACK")
    drop_tcp_out_of_window: int = _counter("segment beyond the receive window; answered by an ACK")
    drop_tcp_flags: int = _counter(
        "segment without ACK on an open connection, or with neither SYN nor ACK before"
    )
    drop_tcp_reset: int = _counter("reset that is not exactly in its turn, or does not acknowledge our SYN")
    drop_tcp_syn: int = _counter("SYN on a connection that is open; challenged")
    drop_tcp_ack_opening: int = _counter(
        "ACK of what was never sent, while a connection opens; answered by a reset"
    )
    drop_tcp_ack_future: int = _counter("ACK of what was never sent, on an open connection; challenged")
    drop_tcp_ack_old: int = _counter("ACK older than the largest window: perhaps forged data; challenged")
    drop_tcp_paws: int = _counter("segment whose timestamp is old (RFC 7323)")
    drop_tcp_after_fin: int = _counter("text or another end behind the end that the guest has told")
    drop_tcp_reassembly_full: int = _counter("out-of-order segment beyond the bound")
    drop_tcp_policy: int = _counter("connection dropped by policy")
    tcp_resets_out: int = _counter("RST sent to guests")
    tcp_challenge_acks: int = _counter("challenge ACKs sent (RFC 5961)")
    tcp_challenges_suppressed: int = _counter("challenge ACKs left out: the connection had just sent one")
    tcp_retransmits: int = _counter("segments sent again after a time-out")
    tcp_fast_retransmits: int = _counter("losses that duplicate ACKs or SACK told of before a time-out")
    tcp_recovery_retransmits: int = _counter("segments sent again while recovering from such losses")
    tcp_undone: int = _counter("reactions to losses that turned out to be none, and were undone")
    tcp_tail_probes: int = _counter("probes for losses at the end of what was sent (RFC 8985)")
    tcp_probes_repaired: int = _counter("losses that such a probe itself made good")
    tcp_sack_reneging: int = _counter("times that a guest had thrown away data that it had told of by SACK")
    tcp_dsacks_in: int = _counter("reports of guests that data came twice (RFC 2883)")
    tcp_dsacks_out: int = _counter("reports to guests that data came twice")
    tcp_bad_options: int = _counter(
        "segments with TCP options that cannot be; what can be read of them is used"
    )
    tcp_bad_sacks: int = _counter("SACK blocks that are inverted, or of what was never sent")
    tcp_urgent_in: int = _counter("times that guests told of urgent data, or of more")
    tcp_silent: int = _counter(
        "times that a guest had not answered a segment that was sent again and again (R1)"
    )
    tcp_keepalives: int = _counter("keep-alives sent to guests")
    tcp_zero_window_probes: int = _counter("probes of a guest's closed window")
    tcp_out_of_order: int = _counter("segments that came before their turn")
    tcp_flows: int = _counter("TCP connections started")
    tcp_flows_refused: int = _counter("TCP connections that the host's side refused")
    tcp_flows_no_socket: int = _counter("those for which the system had no descriptor left")
    tcp_flows_evicted: int = _counter("TCP connections closed to make room for another")
    flows_evicted_for_descriptors: int = _counter("flows of any kind closed to have a descriptor for another")
    tcp_fastpath: int = _counter("segments handled by the fast path")
    udp_fastpath: int = _counter("datagrams of guests handled by the fast path")
    # ---------------------------------------------------------------------------------------- services
    dhcp_discover: int = _counter("DHCP DISCOVER received")
    dhcp_request: int = _counter("DHCP REQUEST received")
    dhcp_inform: int = _counter("DHCP INFORM received")
    dhcp_release: int = _counter("DHCP RELEASE received")
    dhcp_decline: int = _counter("DHCP DECLINE received")
    dhcp_probes: int = _counter("addresses asked for by ARP before they were given to a client")
    dhcp_in_use: int = _counter("addresses not given to a client because somebody else uses them")
    dhcp_bootp: int = _counter("BOOTP request answered")
    dhcp_offer: int = _counter("DHCP OFFER sent")
    dhcp_ack: int = _counter("DHCP ACK sent")
    dhcp_nak: int = _counter("DHCP NAK sent")
    drop_dhcp_malformed: int = _counter("DHCP message that cannot be read")
    drop_dhcp_ignored: int = _counter("DHCP message for another server, or of no use to one")
    drop_dhcp_refused: int = _counter("DHCP request that the lease policy refused, and that has no NAK")
    drop_dhcp_pool_empty: int = _counter("DHCP request when all addresses were leased, or its link's share")
    dhcp_leases_lost: int = _counter("leases of the lease file that are malformed, or not of this network")
    dhcp_save_failures: int = _counter("times that the leases could not be written to their file")
    dns_queries: int = _counter("DNS queries received")
    dns_answers: int = _counter("DNS answers from outside passed on")
    dns_cache_hits: int = _counter("DNS queries answered from the cache")
    dns_cache_evicted: int = _counter("answers forgotten to make room in the DNS cache")
    dns_local: int = _counter("DNS queries answered with local names")
    dns_joined: int = _counter("DNS queries that waited for the answer to another guest's, or another try's")
    dns_truncated: int = _counter("DNS answers that the guest had no room for, and was told so")
    dns_system_lookups: int = _counter("names looked up by the host's own resolver library")
    dns_servers_failed: int = _counter("times that a DNS server was found to fail, and asked last from then on")
    dns_servfail: int = _counter("DNS queries answered SERVFAIL because no resolver answered")
    dns_retries: int = _counter("DNS queries sent once more, to the next resolver or the same")
    drop_dns_malformed: int = _counter("DNS query that cannot be read")
    drop_dns_loop: int = _counter("DNS query of this server to the host's resolver that came back to it")
    drop_dns_mismatch: int = _counter("answer of a resolver that matches no query")
    drop_dns_bad_answer: int = _counter("answer of a resolver with records that cannot be read")
    drop_dns_limit: int = _counter("DNS query beyond the bound of those in progress")
    tftp_reads: int = _counter("TFTP read requests granted")
    tftp_writes: int = _counter("TFTP write requests granted")
    tftp_done: int = _counter("TFTP transfers that came to their end")
    tftp_refused: int = _counter("TFTP requests answered by an error")
    tftp_aborted: int = _counter("TFTP transfers that the guest ended by an error")
    tftp_failed: int = _counter("TFTP transfers ended because their file could not be read or written")
    tftp_timeouts: int = _counter("TFTP transfers given up because the guest was silent")
    tftp_evicted: int = _counter("TFTP transfers ended to make room for another")
    tftp_retransmits: int = _counter("TFTP packets sent again")
    drop_tftp_malformed: int = _counter("TFTP packet that cannot be read or breaks the rules")
    drop_tftp_unknown: int = _counter("TFTP packet that belongs to no transfer")
    drop_tftp_duplicate: int = _counter("TFTP block or acknowledgement that came again or out of turn")
    hostfwd_loopback: int = _counter("connections and UDP clients that went to the guest's own loopback")
    hostfwd_loopback_evicted: int = _counter("those ended to make room for another")
    guestfwd_flows: int = _counter("connections to targets of guestfwd, and to the SMB server")
    guestfwd_failed: int = _counter("those whose target could not be reached or started")
    guestfwd_refused: int = _counter("those beyond the bound of programs, threads or tasks")
    guestfwd_broken: int = _counter("targets that died, or failed: programs, handlers, streams")

    def as_dict(self) -> dict[str, int]:
        """All counters by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def nonzero(self) -> dict[str, int]:
        """The counters that have counted, by name."""
        return {name: value for name, value in self.as_dict().items() if value}

    def dropped(self) -> int:
        """Frames, packets and segments that went nowhere, for whatever reason."""
        return sum(value for name, value in self.as_dict().items() if name.startswith("drop_"))

    @classmethod
    def describe(cls) -> dict[str, str]:
        """What each counter counts."""
        return {f.name: f.metadata["what"] for f in fields(cls)}
