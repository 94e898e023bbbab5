"""Codecs: bytes to fields and back. No state, no policy, one file for each protocol.

``struct`` reads and writes the protocols of every frame (Ethernet, IPv4, TCP, UDP, checksums); the tests compare
these codecs with dpkt. Rare protocols use libraries where those fit: dpkt for DHCP, tftpy for TFTP.
"""
