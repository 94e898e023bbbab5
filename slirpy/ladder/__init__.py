"""Ladders: frames drawn as text, with an arrow for each packet. :func:`slirpy.testing.ladder` is the public name."""
