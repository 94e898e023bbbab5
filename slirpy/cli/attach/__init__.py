"""A network for an existing namespace: ``slirpy attach``, and the parts that similar programs share.

:mod:`~slirpy.cli.attach.target` finds the namespace. :mod:`~slirpy.cli.attach.entry` makes the TAP interface in it,
by a short-lived child process. :mod:`~slirpy.cli.attach.lifetime` has the descriptors by which a caller
follows the program and ends it.
"""
