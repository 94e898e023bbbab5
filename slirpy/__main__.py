"""Entry point ``python -m slirpy``, equivalent to the command ``slirpy``."""

from slirpy.cli.main import main

if __name__ == "__main__":
    main()
