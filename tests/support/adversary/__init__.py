"""Guests that try to pass a policy by every trick, and a judge who watches the simulated host.

The judge shares no code with the package: it reads the calls that reach the host, evaluates the rules by
:mod:`ipaddress`, reads by h11 and hpack what servers hear, and knows what the resolver, which the adversary controls,
has answered and when.
"""

from __future__ import annotations

from tests.support.adversary.attack import Attack

__all__ = ["Attack"]
