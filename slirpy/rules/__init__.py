"""Parsers and value types for the arguments of :class:`slirpy.Config`."""
