"""Codecs: bytes to fields and back. No state, no policy, one file a protocol.

``struct`` reads and writes what every frame passes through (Ethernet, IPv4, TCP, UDP, checksums); the tests compare
these codecs with dpkt. Rare protocols use libraries where those fit: dpkt for ARP and DHCP, tftpy for TFTP.
"""
