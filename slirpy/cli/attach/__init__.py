"""A network for a namespace that exists already: ``slirpy attach``, and what programs like it share.

:mod:`~slirpy.cli.attach.target` finds the namespace. :mod:`~slirpy.cli.attach.entry` makes the TAP interface in it,
by a short-lived child process. :mod:`~slirpy.cli.attach.lifetime` has the descriptors by which a caller
follows the program and ends it.
"""
