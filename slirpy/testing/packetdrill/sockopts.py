"""``setsockopt``, ``getsockopt``, ``fcntl``, ``ioctl``; the supported options are listed in ``language``."""

from __future__ import annotations

import errno
from dataclasses import replace

from slirpy.errors import ConfigError
from slirpy.errortext import errno_name
from slirpy.tcp import Settings, State
from slirpy.tcp.congestion import ALGORITHMS, CongestionFactory
from slirpy.tcp.options import MAX_WSCALE
from slirpy.testing.packetdrill import language
from slirpy.testing.packetdrill.arguments import argument, inner, number, structure, text, words
from slirpy.testing.packetdrill.descriptors import Descriptors, Outcome
from slirpy.testing.packetdrill.host import FailureError
from slirpy.testing.packetdrill.script import Call, UnsupportedError, Value, Word
from slirpy.units import MS, SECOND

__all__ = ["fcntl", "getsockopt", "ioctl", "setsockopt"]

_O_RDWR, _O_NONBLOCK = 0x2, 0x800  # Linux's values on most machines, which the scripts use too
_NOTHING = frozenset(name for name, why in language.SOCKET_OPTIONS.items() if why.startswith("does nothing"))
_LINGER = "{onoff=1, linger=0}"
_DEFAULT_MSS = 536
_QUICK_ACKS = 16


def _name(call: Call) -> str:
    """Return the option of a call."""
    name = "|".join(words(call, 2)) or "a number"
    known = name in language.SOCKET_OPTIONS
    if not known and not (call.name == "getsockopt" and name in language.READABLE_OPTIONS):
        raise UnsupportedError(call.line, f"{call.name}() of {name}{language.missing(name)}")
    return name


# ------------------------------------------------------------------------------------------ setting


def setsockopt(own: Descriptors, call: Call) -> Outcome:
    """Set an option."""
    name = _name(call)
    if name in _NOTHING:
        own.remembered[name] = inner(argument(call, 3))
        return 0
    if name == "SO_LINGER":
        return _set_linger(own, call)
    if name == "TCP_CONGESTION":
        return _set_congestion(own, call)
    value = number(call, 3)
    host = own.host
    if name == "TCP_INQ":
        own.inq = bool(value)
    elif name == "TCP_NOTSENT_LOWAT":
        own.notsent_lowat = value & 0xFFFFFFFF
    elif name == "SO_SNDBUF":
        own.send_buffer_set = True
        return _configure(own, name, value)
    elif name == "TCP_QUICKACK":
        host.quick_acks = _QUICK_ACKS if value and host.system.quick_acks else 0
        if value and host.conn.delack_at:
            host.conn.ack_now = True
    elif name == "SO_RCVBUF":
        return _set_receive_buffer(own, value)
    elif name == "TCP_MAXSEG":
        return _set_maxseg(own, value)
    else:
        return _configure(own, name, value)
    host.flush()
    return 0


def _configure(own: Descriptors, name: str, value: int) -> Outcome:
    host = own.host
    try:
        host.renew(_changed(host.settings, name, value, host.system.doubled))
    except ConfigError:
        return -errno.EINVAL
    host.flush()
    return 0


def _changed(settings: Settings, name: str, value: int, doubled: bool) -> Settings:
    """Return the settings after an option was set.

    Raises:
        ConfigError: the value is invalid.
    """
    if name == "TCP_NODELAY":
        return replace(settings, nodelay=bool(value))
    if name == "SO_SNDBUF":
        return replace(settings, snd_buffer=2 * value if doubled else value)
    if name == "TCP_WINDOW_CLAMP":
        return replace(settings, rcv_buffer=value, rcv_buffer_initial=min(settings.rcv_buffer_initial, value))
    if name == "TCP_USER_TIMEOUT":
        return replace(settings, user_timeout=value * MS)
    if name == "TCP_SYNCNT":
        if value < 1:
            raise ConfigError(f"TCP_SYNCNT {value}: must be 1 or more")
        return replace(settings, syn_timeout=((2 << min(value, 16)) - 1) * SECOND)
    if name == "TCP_KEEPINIT":
        return replace(settings, syn_timeout=value * SECOND)
    if name == "SO_KEEPALIVE":
        return replace(settings, keepalive=bool(value))
    if name == "TCP_KEEPIDLE":
        return replace(settings, keepalive_idle=value * SECOND)
    if name == "TCP_KEEPINTVL":
        return replace(settings, keepalive_interval=value * SECOND)
    return replace(settings, keepalive_count=value)  # TCP_KEEPCNT


def _set_receive_buffer(own: Descriptors, value: int) -> Outcome:
    host, conn = own.host, own.conn
    try:
        host.renew(replace(host.settings, rcv_buffer=value, rcv_buffer_initial=value))
    except ConfigError:
        return -errno.EINVAL
    host.shown_rcvbuf = 2 * value if host.system.doubled else value
    if conn is host.conn and conn.state not in (State.CLOSED, State.LISTEN):
        # The handshake has fixed the largest number that the window field can express.
        conn.rcv_limit = conn.rcv_limit_max = min(value, 0xFFFF << min(conn.rcv_wscale, MAX_WSCALE))
    host.flush()
    return 0


def _set_maxseg(own: Descriptors, value: int) -> Outcome:
    """Set the largest segment in both directions, at most the link's."""
    host = own.host
    if not 0 < value <= 0x7FFF:
        return -errno.EINVAL
    own.maxseg = value
    host.renew(replace(host.settings, mss=min(value, host.defaults.mss)))
    host.flush()
    return 0


def _set_linger(own: Descriptors, call: Call) -> Outcome:
    value = structure(call, 3, f"SO_LINGER as {_LINGER}")
    if value.get("onoff") and value.get("linger"):
        raise UnsupportedError(call.line, "SO_LINGER with a time")
    own.linger_reset = bool(value.get("onoff"))
    return 0


def _set_congestion(own: Descriptors, call: Call) -> Outcome:
    chosen = _algorithm(wanted := text(call, 3))
    if chosen is None:
        if call.result == 0:
            raise UnsupportedError(
                call.line, f"the congestion control {wanted}; there is {', '.join(ALGORITHMS)}"
            )
        return -errno.ENOENT  # as on Linux
    host = own.host
    old = host.conn
    host.renew(replace(host.settings, congestion=chosen))
    if host.conn is old:  # otherwise it is new and has it already
        control = chosen(old.mss)
        control.cwnd, control.ssthresh = old.cc.cwnd, old.cc.ssthresh
        old.cc = control
    host.flush()
    return 0


def _algorithm(name: str) -> CongestionFactory | None:
    return ALGORITHMS.get("reno" if name == "newreno" else name)


# ------------------------------------------------------------------------------------------ reading


def getsockopt(own: Descriptors, call: Call) -> Outcome:
    """Read an option, and compare it with the script."""
    name = _name(call)
    if name == "SO_ERROR":
        error = own.user.take_error()
        value = inner(argument(call, 3))
        expected = getattr(errno, value.text, None) if isinstance(value, Word) else value
        if expected is not None and expected != error:
            raise FailureError(f"SO_ERROR is {errno_name(error)}")
        return 0
    if name == "TCP_CONGESTION":
        factory = own.host.settings.congestion
        if argument(call, 3) is not None and _algorithm(text(call, 3)) is not factory:
            raise FailureError(f"TCP_CONGESTION is {_named(factory)}")
        return 0
    if name == "SO_LINGER":
        if argument(call, 3) is not None:
            found = bool(structure(call, 3, f"SO_LINGER as {_LINGER}").get("onoff"))
            if found != own.linger_reset:
                raise FailureError(f"SO_LINGER has onoff={int(own.linger_reset)}")
        return 0
    if name in _NOTHING:
        return _told_value(call, own.remembered.get(name, 0))
    if name == "SO_TYPE":
        value = inner(argument(call, 3))
        if isinstance(value, Word) and value.text == "SOCK_STREAM":
            return 0
    return own.told(call, 3, _value(own, call, name))


def _told_value(call: Call, found: object) -> Outcome:
    expected: Value = inner(argument(call, 3))
    if expected is not None and expected != found:
        raise FailureError(f"{call.name}() reports {found}, not {expected}")
    return 0


def _value(own: Descriptors, call: Call, name: str) -> int:
    """Return the value of an option."""
    host = own.host
    settings = host.settings
    if name == "SO_RCVBUF":
        return host.shown_rcvbuf or settings.rcv_buffer_initial
    if name == "SO_SNDBUF":
        return settings.snd_buffer
    if name == "TCP_MAXSEG":
        if own.opened and own.conn.state not in (State.LISTEN, State.SYN_SENT):
            return own.conn.mss
        return own.maxseg or _DEFAULT_MSS
    if name == "SO_ACCEPTCONN":
        return int(number(call, 0) == own.listener)
    values = {
        "SO_TYPE": 1,
        "TCP_NODELAY": int(settings.nodelay),
        "TCP_WINDOW_CLAMP": settings.rcv_buffer,
        "TCP_USER_TIMEOUT": settings.user_timeout // MS,
        "TCP_SYNCNT": (settings.syn_timeout // SECOND + 1).bit_length() - 2,
        "TCP_KEEPINIT": settings.syn_timeout // SECOND,
        "TCP_QUICKACK": int(host.quick_acks > 0),
        "TCP_INQ": int(own.inq),
        "SO_KEEPALIVE": int(settings.keepalive),
        "TCP_KEEPIDLE": settings.keepalive_idle // SECOND,
        "TCP_KEEPINTVL": settings.keepalive_interval // SECOND,
        "TCP_KEEPCNT": settings.keepalive_count,
        "TCP_NOTSENT_LOWAT": own.notsent_lowat,
    }
    return values[name]


def _named(factory: CongestionFactory) -> str:
    return next(name for name, known in ALGORITHMS.items() if known is factory)


# ------------------------------------------------------------------------------- fcntl and ioctl


def fcntl(own: Descriptors, call: Call) -> Outcome:
    """Get or set whether calls wait."""
    fd = number(call, 0)
    if words(call, 1) & {"F_GETFL"}:
        return _O_RDWR | (_O_NONBLOCK if fd in own.nonblocking else 0)
    if not words(call, 1) & {"F_SETFL"}:
        raise UnsupportedError(call.line, "this fcntl()")
    value = argument(call, 2)
    on = bool(value & _O_NONBLOCK) if isinstance(value, int) else "O_NONBLOCK" in words(call, 2)
    (own.nonblocking.add if on else own.nonblocking.discard)(fd)
    return 0


def ioctl(own: Descriptors, call: Call) -> Outcome:
    """Return the amount of data to read, or in flight."""
    asked, conn = words(call, 1), own.conn
    fd = number(call, 0)
    if asked & {"FIONBIO"}:
        (own.nonblocking.add if number(call, 2) else own.nonblocking.discard)(fd)
        return 0
    if asked & {"SIOCINQ", "FIONREAD"}:
        found = conn.rcv_pending
    elif asked & {"SIOCOUTQ", "TIOCOUTQ", "FIONWRITE"}:
        found = conn.snd_buf.length
    elif asked & {"SIOCOUTQNSD"}:
        found = conn.snd_buf.length - conn.snd_buf.sent
    elif asked & {"FIONSPACE"}:
        found = max(conn.settings.snd_buffer - conn.snd_buf.length, 0)
    else:
        name = "|".join(asked) or "a number"
        raise UnsupportedError(call.line, f"ioctl() of {name}{language.missing(name)}")
    if fd == own.listener:
        return -errno.EINVAL
    return own.told(call, 2, found)
