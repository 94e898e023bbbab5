"""The command line: ``slirpy run``, ``slirpy demo``. A file a subcommand; needs the extra ``cli``."""
