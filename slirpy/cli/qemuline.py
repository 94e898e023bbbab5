"""Translation of QEMU's command line: its user networks become connections to slirpy, in place.

QEMU has three ways to ask for a network: ``-netdev`` with a card by ``-device``, ``-nic`` for both in one, and the
older ``-net nic -net user``, which meet in a hub. Each ``user`` network in any of them becomes a socket that QEMU
inherits; identifiers, cards, everything else, and the order stay as they are.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, count

from slirpy.cli import readconfig
from slirpy.config.optionstring import Pairs, read_options, read_switch, take_carrier
from slirpy.config.text import bracketed
from slirpy.errors import ConfigError

__all__ = ["CARD", "NETDEV", "REPLACEABLE", "Network", "Translation", "join", "translate"]

CARD = "virtio-net-pci"
"""The card of slirpy's own network, where the machine has PCI."""
NETDEV = "slirpy0"
"""The ``id`` of the netdev of slirpy's own network, for ``-device CARD,netdev=slirpy0``."""
REPLACEABLE = ("bridge", "dgram", "hubport", "l2tpv3", "passt", "socket", "stream", "tap", "vde")
"""Kinds of network that are replaced only where that is asked for."""

_NETWORKS = ("netdev", "nic", "net")
_KEPT = {"netdev": ("id",), "nic": ("id", "model", "mac"), "net": ("id", "name")}
"""Keys of each option that are not about its network."""
_NO_CLIENT = ("server", "abstract", "telnet", "tn3270", "websocket", "tls-creds")
"""Keys of a socket's character device that make it more than a client's plain stream."""
_OLD = {
    "redir": "hostfwd=tcp::HOSTPORT-:GUESTPORT",
    "tftp": "tftp=FOLDER",
    "bootp": "bootfile=FILE",
    "smb": "smb=FOLDER",
}
"""Options that QEMU dropped in version 3.1, and what replaced each of them."""
_OPTION = re.compile("--?([A-Za-z][A-Za-z0-9._-]*)")
_TOKEN = re.compile("\0([sf])([0-9]+)\0")
_WITH_PCI = re.compile(
    r"q35|pc|pc-.*|xenfv.*|virt|virt-.*|sbsa-ref|pseries.*|powernv.*|malta|sun4[uv]|loongson3-virt|fuloong2e|boston"
    "|mac99|g3beige|40p|clipper|B160L|C3700"
)
_OTHER_BUS = re.compile("qemu-system-(m68k|s390x)")
"""Programs whose machines have a better bus than PCI for a card, or have none at all."""
_WITHOUT_PCI = re.compile(
    "qemu-system-(avr|cris|microblaze.*|nios2|or1k|riscv(32|64)|rx|sparc|tricore|xtensa.*)"
)
"""Programs whose default machine has no PCI."""


@dataclass(slots=True)
class Network:
    """A network that slirpy provides."""

    name: str
    """Name of the netdev, or of the option and its position if it has none."""
    typed: str = ""
    """The option as typed; empty for slirpy's own network."""
    options: str = "user"
    """QEMU's option string."""
    sockets: list[int] = field(default_factory=list)
    """Number of the socket for each card, in the order of the command line."""


@dataclass(slots=True)
class Translation:
    """The result of :func:`translate`."""

    words: list[str]
    """QEMU and its arguments. NUL characters enclose what only :meth:`arguments` knows."""
    networks: list[Network] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Lines that describe each change."""
    files: list[str] = field(default_factory=list)
    """Rewritten files of ``-readconfig``."""
    own_card: bool = False
    """True if a ``-device`` of the command line belongs to slirpy's own network."""
    card: str | None = None
    """Model of a card that suits the machine; None: QEMU should choose it."""
    needs_card: bool = False
    """True if slirpy's own network is still to be added."""
    stays: bool = True
    """False if QEMU goes to the background (``-daemonize``)."""

    @property
    def sockets(self) -> int:
        """Number of sockets that QEMU inherits."""
        return sum(len(network.sockets) for network in self.networks)

    def names(self) -> list[str]:
        """A name for each socket: that of its network, with a number if it has several."""
        found = [""] * self.sockets
        for network in self.networks:
            for number, at in enumerate(network.sockets):
                found[at] = network.name if len(network.sockets) == 1 else f"{network.name}.{number}"
        return found

    def network_names(self) -> list[str]:
        """A name for each network that can be part of a path: its netdev's, or ``net0`` and so on for one without."""
        found: list[str] = []
        for network in self.networks:
            plain = re.fullmatch("[A-Za-z0-9][A-Za-z0-9._-]{0,63}", network.name)
            names = chain([network.name] if plain else [], (f"net{number}" for number in count()))
            taken = {*found, *(other.name for other in self.networks if other is not network)}
            found.append(next(name for name in names if name not in taken))
        return found

    def contents(self, sockets: Sequence[int]) -> list[str]:
        """The rewritten files, with descriptors of sockets filled in."""
        return [_filled(text, sockets, ()) for text in self.files]

    def arguments(self, sockets: Sequence[int | str], files: Sequence[int | str] = ()) -> list[str]:
        """QEMU and its arguments.

        Args:
            sockets: the descriptor of each socket.
            files: the descriptor of each rewritten file.
        """
        return [_filled(word, sockets, files) for word in self.words]

    def add(self, name: str, typed: str = "", pairs: Sequence[tuple[str, str | None]] = ()) -> Network:
        """Add a network; see :class:`Network`."""
        self.networks.append(Network(name or typed, typed, join("user", pairs)))
        return self.networks[-1]

    def connect(self, network: Network) -> str:
        """Add a card to a network. Returns the text that stands for the descriptor of its socket."""
        number = self.sockets
        network.sockets.append(number)
        return f"\0s{number}\0"

    def add_card(self, model: str | None, keys: Pairs) -> None:
        """Add slirpy's own network at the end of the command line, with a card unless ``-device`` has one.

        Args:
            model: the model of the card; None: the machine's default.
            keys: options of the card.
        """
        token = self.connect(self.add(NETDEV))
        if model is None and not self.own_card:
            self.words += ["-nic", join(f"socket,id={NETDEV},fd={token}", keys)]
            return
        # The order does not matter to QEMU: a device may precede its netdev.
        self.words += ["-netdev", f"stream,id={NETDEV},addr.type=fd,addr.str={token}"]
        if model is not None and not self.own_card:
            self.words += ["-device", join(f"{model},netdev={NETDEV}", keys)]


def translate(command: Sequence[str], replace: Sequence[str] = ()) -> Translation:
    """Replace the user networks in QEMU's command line.

    Args:
        command: QEMU and its arguments.
        replace: further kinds of network to replace, of :data:`REPLACEABLE`. Each such network becomes one without
            options; all ports of a hub are on one network.

    Raises:
        ConfigError: an option that cannot be translated; the text begins with the option as typed.
    """
    return _Line(command, replace).translate()


def join(kind: str, pairs: Iterable[tuple[str, str | None]]) -> str:
    """Write an option string, the reverse of :func:`~slirpy.config.optionstring.read_options`."""
    items = [key if value is None else f"{key}={value.replace(',', ',,')}" for key, value in pairs]
    return ",".join([kind, *items])


def _filled(text: str, sockets: Sequence[int | str], files: Sequence[int | str]) -> str:
    numbers = {"s": sockets, "f": files}
    return _TOKEN.sub(lambda match: str(numbers[match[1]][int(match[2])]), text)


@dataclass(slots=True)
class _Option:
    """An option with a value."""

    at: int
    """Position in the command line."""
    name: str
    typed: str
    value: str
    pairs: Pairs
    """Without the kind; empty if the value is not in the form of options."""
    kind: str

    def error(self, what: object) -> ConfigError:
        return ConfigError(f"{self.typed}: {what}")

    def get(self, key: str) -> str:
        """The value of a key, or an empty text."""
        return next((value or "" for name, value in self.pairs if name == key), "")


def _options(command: Sequence[str]) -> Iterator[_Option]:
    """The options that have a value. What looks like another option is none, except after ``-append``."""
    at = 1
    while at < len(command) - 1:
        match, value = _OPTION.fullmatch(command[at]), command[at + 1]
        if match is None or (value.startswith("-") and value != "-" and match[1] != "append"):
            at += 1
            continue
        name, pairs = match[1], _pairs(value)
        kind = take_carrier(pairs) if name in (*_NETWORKS, "chardev") else ""
        if name == "nic" and not kind and pairs:
            kind = "user"
        yield _Option(at, name, f"{command[at]} {value}", value, pairs, kind)
        at += 2


def _pairs(text: str) -> Pairs:
    """Keys and values; empty for a text that is not in the form of options, which QEMU reports."""
    try:
        return read_options(text)
    except ConfigError:
        return []


class _Line:
    """One translation."""

    def __init__(self, command: Sequence[str], replace: Sequence[str]) -> None:
        self._command = command
        self._replace = replace
        self._given = [*_options(command)]
        flags = {match[1] for word in command[1:] if (match := _OPTION.fullmatch(word))}
        self._result = Translation([*command], stays="daemonize" not in flags)
        self._defaults = "nodefaults" not in flags and not self._named(*_NETWORKS)
        self._gone: set[int] = set()
        self._devices: set[str] = set()
        """Character devices that guestfwd uses."""

    def _named(self, *names: str) -> list[_Option]:
        return [option for option in self._given if option.name in names]

    def translate(self) -> Translation:
        result = self._result
        self._check()
        taken = self._hubs() if "hubport" in self._replace else set()
        for option in self._given:
            if option.name == "readconfig":
                self._file(option)
            elif option.name in _NETWORKS and option.kind != "hubport" and option.at not in taken:
                self._option(option)
        self._drop_devices()
        result.words = [word for at, word in enumerate(result.words) if at not in self._gone]
        netdevs = {network.name for network in result.networks}
        self._check_set(netdevs)
        uses = any(("netdev", NETDEV) in _pairs(word) for word in self._command)
        result.own_card = uses and NETDEV not in netdevs
        none = any(option.kind == "none" for option in self._named("nic", "net"))
        result.needs_card = result.own_card or self._defaults or not (result.networks or none)
        result.card = self._card()
        return result

    def _check(self) -> None:
        for option in self._given:
            if option.name in _OLD:
                raise option.error(f"QEMU has dropped this option; write -nic user,{_OLD[option.name]}")
            if option.name == "net" and any(key == "vlan" for key, _ in option.pairs):
                raise option.error("QEMU has dropped vlan=; write -nic user, or -netdev user,id=ID and -device")

    def _check_set(self, netdevs: set[str]) -> None:
        """Check that ``-set`` changes no network that is no longer QEMU's."""
        for option in self._named("set"):
            group, _, rest = option.value.partition(".")
            if group in _NETWORKS and rest.partition(".")[0] in netdevs:
                raise option.error("slirpy provides this network; write the key where the network is defined")

    # -------------------------------------------------------------------------------------- networks

    def _option(self, option: _Option) -> None:
        """Replace the network of one option, if it is one to be replaced."""
        if not self._is_replaced(option.kind):
            return
        self._connect(option, self._provide(option, option.typed, option.name, option.kind, option.pairs))

    def _connect(self, option: _Option, network: Network) -> None:
        """Write an option anew: its card is one of a network of slirpy's."""
        token = self._result.connect(network)
        if option.name != "netdev":
            self._write(option, join(f"socket,fd={token}", _kept(option.name, option.pairs)))
        elif option.value.lstrip().startswith("{"):
            names = dict(_kept("netdev", option.pairs))
            text = json.dumps({"type": "stream", **names, "addr": {"type": "fd", "str": "@"}})
            self._write(option, text.replace('"@"', f'"{token}"'))
        else:
            named = join("stream", _kept("netdev", option.pairs))
            self._write(option, f"{named},addr.type=fd,addr.str={token}")

    def _is_replaced(self, kind: str) -> bool:
        return kind == "user" or (kind in self._replace and kind != "hubport")

    def _provide(self, option: _Option, typed: str, group: str, kind: str, pairs: Pairs) -> Network:
        """Add a network with the options of a user network, and without options in place of any other."""
        name = dict(pairs).get("id") or ""
        network = [pair for pair in pairs if pair[0] not in _KEPT[group]] if kind == "user" else []
        return self._result.add(name, typed, [self._guestfwd(option, key, value) for key, value in network])

    def _write(self, option: _Option, value: str) -> None:
        self._result.words[option.at + 1] = value
        shown = _TOKEN.sub("FD", value)
        self._note(f"{option.typed} -> {self._command[option.at]} {shown}")

    def _note(self, text: str) -> None:
        self._result.notes.append(text)

    def _remove(self, option: _Option, why: str) -> None:
        self._gone |= {option.at, option.at + 1}
        self._note(f"{option.typed}: removed, {why}")

    # ------------------------------------------------------------------------------------------ hubs

    def _hubs(self) -> set[int]:
        """Replace the ports of hubs. Returns the positions of options that need nothing further."""
        netdevs = {option.get("id"): option for option in self._named("netdev")}
        ports = [option for option in self._named(*_NETWORKS) if option.kind == "hubport"]
        hubs: dict[str, Network] = {}
        for port in ports:
            outside = port.get("netdev")
            if not outside:
                continue
            user, number = netdevs.get(outside), port.get("hubid")
            if user is None or not self._is_replaced(user.kind):
                raise port.error(f"{outside} is no user network, and slirpy cannot be in its place")
            if number in hubs:
                raise port.error(f"hub {number} has two ways outside; slirpy can be only one of them")
            hubs[number] = self._provide(user, user.typed, user.name, user.kind, user.pairs)
            self._remove(user, f"its network is that of hub {number}")
            self._remove(port, f"slirpy is hub {number}")
        for port in ports:
            number = port.get("hubid")
            if port.at in self._gone:
                continue
            if number not in hubs:
                hubs[number] = self._result.add(f"hub{number}", port.typed, [])
            self._connect(port, hubs[number])
        return set(self._gone)

    # ------------------------------------------------------------------------------ character devices

    def _guestfwd(self, option: _Option, key: str, value: str | None) -> tuple[str, str | None]:
        """Name what is behind a character device, where a guestfwd names the device."""
        rule, found, name = (value or "").partition("-chardev:")
        if key != "guestfwd" or not found:
            return key, value
        device = next((one for one in self._named("chardev") if one.get("id") == name), None)
        if device is None:
            raise option.error(f"there is no -chardev with id={name}")
        other = any(key in _NO_CLIENT and read_switch(value) is not False for key, value in device.pairs)
        host, port, path = device.get("host"), device.get("port"), device.get("path")
        if device.kind != "socket" or other or not (path or port):
            raise option.error(
                f"{device.typed} is not a client's socket, and only QEMU has it; name a target tcp:HOST:PORT,"
                " unix:PATH or cmd:COMMAND"
            )
        self._devices.add(name)
        return key, f"{rule}-unix:{path}" if path else f"{rule}-tcp:{bracketed(host or '127.0.0.1')}:{port}"

    def _drop_devices(self) -> None:
        """Remove character devices whose only user was a guestfwd: QEMU would connect to the server itself."""
        for device in self._named("chardev"):
            name = device.get("id")
            pattern = re.compile(rf"(?<![\w.-]){re.escape(name)}(?![\w.-])")
            others = (
                option for option in self._given if option.at != device.at and option.at not in self._gone
            )
            kept = any(
                pattern.search(option.value) and not (option.name in _NETWORKS and option.kind == "user")
                for option in others
            )
            if name in self._devices and not kept:
                self._remove(device, "guestfwd connects to it directly")

    # ----------------------------------------------------------------------------------- -readconfig

    def _file(self, option: _Option) -> None:
        """Replace the networks of a configuration file; QEMU gets a copy."""
        try:
            text = readconfig.read(option.value)
        except OSError as error:
            raise option.error((error.strerror or str(error)).lower()) from None
        sections = readconfig.parse(text)
        changed = False
        for section in sections:
            pairs = section.pairs()
            kind = take_carrier(pairs) if section.group in _NETWORKS else ""
            if section.group == "nic" and not kind:
                kind = "user"
            if section.name:
                pairs.insert(0, ("id", section.name))
            if kind == "hubport" or not self._is_replaced(kind):
                continue
            typed = f"{option.typed}, [{section.title()}]"
            token = self._result.connect(self._provide(option, typed, section.group, kind, pairs))
            kept = [pair for pair in _kept(section.group, pairs) if pair[0] != "id"]
            section.rewrite([("type", "socket"), ("fd", token), *kept])
            self._note(f"{typed}: type = socket, fd = FD")
            changed = True
        if changed or not os.path.isfile(option.value):  # a pipe is empty once read
            self._result.words[option.at + 1] = f"/dev/fd/\0f{len(self._result.files)}\0"
            self._result.files.append(readconfig.write(sections))

    # ----------------------------------------------------------------------------------------- machine

    def _card(self) -> str | None:
        """The model of card that suits the machine; None if it is known to have no PCI, or is not known."""
        program = self._command[0].rpartition("/")[2]
        types = [
            value
            for option in self._named("M", "machine")
            for key, value in _machine(option.value)
            if key == "type"
        ]
        if types and types[-1] == "microvm":
            return "virtio-net-device"
        if _OTHER_BUS.fullmatch(program) or (not types and _WITHOUT_PCI.fullmatch(program)):
            return None
        return CARD if not types or _WITH_PCI.fullmatch(types[-1] or "") else None


def _machine(text: str) -> Pairs:
    """Options of a machine, whose first word is its type."""
    try:
        pairs = read_options(text)
    except ConfigError:
        return []
    return [
        ("type", key) if number == 0 and value is None else (key, value)
        for number, (key, value) in enumerate(pairs)
    ]


def _kept(group: str, pairs: Pairs) -> Pairs:
    """Keys that stay in an option whose network is replaced."""
    return [(key, value) for key, value in pairs if key in _KEPT[group]]
