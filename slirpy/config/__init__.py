"""The configuration of a network: given once, checked once, frozen."""

from slirpy.config.model import Config
from slirpy.config.options import (
    CONGESTION,
    DNS_CACHE_MAX,
    DNS_MODES,
    KEEPALIVE_MAX,
    MTU_MAX,
    MTU_MIN,
    OPTIONS,
    option,
)
from slirpy.config.rows import Group, Option

__all__ = [
    "CONGESTION",
    "DNS_CACHE_MAX",
    "DNS_MODES",
    "KEEPALIVE_MAX",
    "MTU_MAX",
    "MTU_MIN",
    "OPTIONS",
    "Config",
    "Group",
    "Option",
    "option",
]
