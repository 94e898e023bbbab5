"""Failing examples of Hypothesis, shared by the machines of a campaign."""

from __future__ import annotations

import pytest

__all__ = ["share"]


def share(url: str) -> None:
    """Look for failing examples in Redis as well as on this machine, and store them in both.

    Raises:
        pytest.UsageError: Hypothesis or redis is not installed, or the URL cannot be used.
    """
    try:
        from hypothesis import settings
        from hypothesis.database import DirectoryBasedExampleDatabase, MultiplexedDatabase
        from hypothesis.extra.redis import RedisExampleDatabase
        from redis import Redis
    except ImportError as error:
        raise pytest.UsageError(
            f"--sim-database needs {error.name}: pip install slirpy[testing] redis"
        ) from None
    try:
        shared = RedisExampleDatabase(Redis.from_url(url))
    except ValueError as error:
        raise pytest.UsageError(f"--sim-database {url}: {error}; write redis://HOST:PORT/DB") from None
    local = settings().database or DirectoryBasedExampleDatabase(".hypothesis/examples")
    settings.register_profile("sim-database", parent=settings(), database=MultiplexedDatabase(local, shared))
    settings.load_profile("sim-database")
