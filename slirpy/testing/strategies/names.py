"""Domain names and labels that DNS can carry (RFC 1035, section 2.3.4)."""

from __future__ import annotations

import string

from hypothesis import strategies as st

__all__ = ["labels", "names"]

_MIDDLE = st.text(string.ascii_letters + string.digits + "-_", max_size=61)
_EDGE = st.sampled_from(string.ascii_letters + string.digits + "_")

labels = st.one_of(_EDGE, st.builds(lambda a, middle, z: a + middle + z, _EDGE, _MIDDLE, _EDGE))
"""Labels of letters, digits, ``-`` and ``_``, of at most 63 characters."""
names = st.lists(labels, min_size=1, max_size=3).map(".".join)
"""Names of one to three labels."""
