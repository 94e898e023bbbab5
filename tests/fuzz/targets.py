"""All targets of the fuzzer by name. A target takes bytes, and raises an exception if slirpy is wrong about them."""

from __future__ import annotations

from tests.fuzz.codecs import CODECS
from tests.fuzz.stacks import STACKS

__all__ = ["TARGETS"]

TARGETS = {**CODECS, **STACKS}
