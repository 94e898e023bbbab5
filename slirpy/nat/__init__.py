"""NAT: relays each guest connection and datagram to a socket of the host, and the answers back."""
