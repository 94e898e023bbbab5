"""``slirpy-slirp4netns``, which programs start in place of slirp4netns 1.3: the same options, output and API socket.

:mod:`~slirpy.cli.slirp4netns.arguments` reads the command line, :mod:`~slirpy.cli.slirp4netns.main` runs the network,
and :mod:`~slirpy.cli.slirp4netns.api` answers on the API socket. Its manual page is the reference; answers and
messages were observed on version 1.2.0. Nothing here needs click, which takes longer to import than the rest.
"""
