"""A fault of a plan, and what it has hit."""

from __future__ import annotations

from dataclasses import dataclass, field

from slirpy.testing.sim.faults import Fault
from slirpy.units import MS

__all__ = ["Injected"]


@dataclass(slots=True)
class Injected:
    """A fault of the plan, and what it has hit."""

    fault: Fault
    hits: list[int] = field(default_factory=list)
    """Virtual nanoseconds of each frame or event that it has changed."""

    def __str__(self) -> str:
        if not self.hits:
            return f"{self.fault}: hit nothing"
        times = ", ".join(f"{hit / MS:.3f} ms" for hit in self.hits[:3])
        more = f" and {len(self.hits) - 3} more" if len(self.hits) > 3 else ""
        return f"{self.fault}: hit at {times}{more}"
