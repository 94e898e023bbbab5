"""A partition: paths that nothing passes for a while."""

from __future__ import annotations

from collections.abc import Sequence

from slirpy.reprs import never_raises
from slirpy.testing.sim.path import Path
from slirpy.testing.sim.scheduler import Scheduler
from slirpy.testing.sim.trace import Trace

__all__ = ["Partition"]


class Partition:
    """Paths that are cut together, from a time on.

    Attributes:
        name: the partition in words.
        hits: virtual nanoseconds of each frame that it has lost.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        trace: Trace,
        name: str,
        paths: Sequence[Path],
        hits: list[int] | None = None,
    ) -> None:
        self._scheduler = scheduler
        self._trace = trace
        self._paths = paths
        self._healed = False
        self._cut = False
        self.name = name
        self.hits: list[int] = [] if hits is None else hits

    @never_raises
    def __repr__(self) -> str:
        state = "healed" if self._healed else "cut" if self._cut else "to come"
        return f"<Partition {self.name}: {state}, {len(self.hits)} frames lost>"

    def begin(self) -> None:
        """Cut the paths, unless it is healed already."""
        if not self._healed:
            self._cut = True
            self._trace.note(self._scheduler.now, "", "fault", self.name)
            for path in self._paths:
                path.cut(self.hits)

    def heal(self) -> None:
        """Restore the paths; a partition that has not begun will not. Harmless when repeated."""
        self._healed = True
        if self._cut:
            self._cut = False
            self._trace.note(self._scheduler.now, "", "fault", f"{self.name}: healed")
            for path in self._paths:
                path.restore(self.hits)
