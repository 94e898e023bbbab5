"""``python -m slirpy``: the same as the command ``slirpy``."""

from slirpy.cli.main import main

if __name__ == "__main__":
    main()
