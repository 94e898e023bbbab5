"""Codecs: bytes to fields and back. No state, no policy, one file a protocol.

What every frame passes through (Ethernet, IPv4, TCP, UDP, checksums) is read and written here with ``struct``;
what is rare (ARP, ICMP) uses dpkt. The tests hold the fast codecs against dpkt.
"""
