"""The explanation of a history that is not linearizable."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from slirpy.reprs import counted
from slirpy.testing.history.events import Operation

__all__ = ["explanation"]

_SHOWN = 10
"""Operations of the order, and of the drawing."""
_STATES = 4
_LABEL = 48
"""Characters of an operation."""


def explanation(
    operations: Sequence[Operation],
    order: Sequence[Operation],
    misplaced: Operation,
    states: Collection[object],
) -> str:
    """Describe the longest order, the operation that cannot be placed, and the operations around it.

    Args:
        operations: all operations on the object, in the order in which they began.
        order: those that can be placed before ``misplaced`` fails.
        misplaced: the operation at which every order fails.
        states: states of the model in which it was tried last.
    """
    shown = [repr(state) for state in states]
    more = f", and {len(shown) - _STATES} more" if len(shown) > _STATES else ""
    lines = [
        f"no order has a place for  {misplaced}",
        f"before it the model can be in {counted(len(shown), 'state')}: {', '.join(shown[:_STATES])}{more}",
        f"longest order that leads there, {len(order)} of {counted(len(operations), 'operation')}:",
    ]
    if len(order) > _SHOWN:
        lines.append(f"  ... {len(order) - _SHOWN} before these")
    lines += [f"  {_label(each)}" for each in order[-_SHOWN:]] or ["  none"]
    lines.append("in time, from left to right:")
    lines += _drawing(operations, misplaced)
    return "\n".join(lines)


def _label(operation: Operation) -> str:
    text = str(operation)
    return text if len(text) <= _LABEL else f"{text[: _LABEL - 3]}..."


def _drawing(operations: Sequence[Operation], misplaced: Operation) -> list[str]:
    """Draw the operation, all that overlap it, and some before it: a line each, from its beginning to its end."""
    ended = misplaced.ended
    assert ended is not None
    before = [each for each in operations if each.began < ended]
    overlapping = [each for each in before if each.ended is None or each.ended > misplaced.began]
    completed = [each for each in before if each.ended is not None and each.ended < misplaced.began]
    left_out = max(len(overlapping) - 2 * _SHOWN, 0)
    if left_out:
        others = [each for each in overlapping if each is not misplaced]
        overlapping = [misplaced, *others[left_out:]]
    room = max(_SHOWN - len(overlapping), 2)
    chosen = sorted((*completed[-room:], *overlapping), key=lambda each: each.began)
    points = sorted({each.began for each in chosen} | {each.ended for each in chosen if each.ended is not None})
    column = {point: 2 * number for number, point in enumerate(points)}
    width = 2 * len(points)
    labels = [_label(each) for each in chosen]
    space = max(map(len, labels))
    lines = [f"  ... {left_out} more that overlap"] if left_out else []
    for each, label in zip(chosen, labels, strict=True):
        start = column[each.began]
        if each.ended is None:
            bar = "├" + "─" * (width - start - 1) + "?"
        else:
            bar = "├" + "─" * (column[each.ended] - start - 1) + "┤"
        mark = "  <- no place" if each is misplaced else ""
        lines.append(f"  {label:{space}}  {' ' * start}{bar}{mark}")
    return lines
