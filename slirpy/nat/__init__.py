"""Guest flow to host flow and back: where each connection and datagram of a guest is carried on."""
