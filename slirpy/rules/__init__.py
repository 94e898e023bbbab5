"""What the arguments of :class:`slirpy.Config` are written as, and how it is read."""
