"""The command line: ``slirpy run``, ``slirpy demo`` and others, one file per subcommand. Needs the extra ``cli``."""
