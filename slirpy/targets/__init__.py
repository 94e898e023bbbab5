"""Targets of ``guestfwd``: commands, handlers in threads and tasks, the host's sockets, Samba, web applications."""
