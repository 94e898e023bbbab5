"""A complete emulator: a small processor, memory, a network card on its bus, and a guest program in machine code.

The program finds the gateway by ARP, sends a datagram to a server on the host, checks the answer and prints it. It is
written in the assembly language below, and the emulator sees only the bytes. Where slirpy comes in is the class
``Card``: 20 lines.

Run it with ``python examples/toy_emulator.py``. It needs no privileges and sends nothing beyond this machine.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections import deque

from slirpy import Config, Slirp

# ------------------------------------------------------------------------------------- the network card

TX_ADDRESS, TX_LENGTH, TX_GO, RX_ADDRESS, RX_LENGTH, RX_DONE, CONSOLE = range(0xFF00, 0xFF0E, 2)


class Card:
    """Six registers of 16 bits. The guest sends from its memory, and receives one frame at a time into it.

    To send: write TX_ADDRESS and TX_LENGTH, then anything to TX_GO. To receive: write RX_ADDRESS; RX_LENGTH is the
    length of the frame that lies there, or 0; write anything to RX_DONE to get the next one.
    """

    def __init__(self, net: Slirp, memory: bytearray) -> None:
        self._nic = net.attach(self._from_network)
        self._memory = memory
        self._waiting: deque[bytes] = deque(maxlen=64)  # the card's memory; the oldest frame is evicted
        self._registers = dict.fromkeys(range(TX_ADDRESS, CONSOLE, 2), 0)

    def _from_network(self, frame: bytes) -> None:
        self._waiting.append(frame)

    @property
    def interrupt(self) -> bool:
        """Report whether a frame has arrived, or could be stored now."""
        return bool(self._registers[RX_LENGTH] or self._waiting)

    def read(self, address: int) -> int:
        """Read a register, for the guest."""
        registers = self._registers
        if address == RX_LENGTH and not registers[RX_LENGTH] and self._waiting:
            frame, at = self._waiting.popleft(), registers[RX_ADDRESS]
            if at + len(frame) <= TX_ADDRESS:  # enough memory
                self._memory[at : at + len(frame)] = frame
                registers[RX_LENGTH] = len(frame)
        return registers[address]

    def write(self, address: int, value: int) -> None:
        """Write a register, for the guest."""
        registers = self._registers
        registers[address] = value
        if address == RX_DONE:
            registers[RX_LENGTH] = 0
        elif address == TX_GO:
            at = registers[TX_ADDRESS]
            self._nic.send(memoryview(self._memory)[at : at + registers[TX_LENGTH]])


# --------------------------------------------------------------------------------------- the processor

OPCODES = (
    *("halt", "wfi", "li", "add", "addi", "and", "xor", "shr"),
    *("ldb", "ldh", "stb", "sth", "beq", "bne", "jmp", "call", "ret"),
)
"""An instruction has four bytes: opcode, two registers (half a byte each), a number of 16 bits. r0 is always 0."""


class Machine:
    """16 registers of 32 bits, 64 KiB of memory, the card's registers from 0xFF00 on. Big-endian."""

    def __init__(self, net: Slirp, program: bytes) -> None:
        self._net = net
        self.memory = bytearray(65536)
        self.memory[: len(program)] = program
        self.card = Card(net, self.memory)
        self.console = ""
        self.executed = 0

    def run(self, seconds: float) -> None:
        """Run until the program halts."""
        end = time.monotonic() + seconds
        registers = [0] * 16
        at = 0
        while True:
            code, pair, number = struct.unpack_from("!BBH", self.memory, at)
            name, a, b = OPCODES[code], pair >> 4, pair & 15
            at += 4
            self.executed += 1
            match name:
                case "halt":
                    return
                case "wfi":  # wait for an interrupt: the machine sleeps, and the network works
                    while not self.card.interrupt:
                        if time.monotonic() > end:
                            raise TimeoutError("the guest waits for a frame that does not come")
                        self._net.poll(0.1)
                case "li":
                    registers[a] = number
                case "add":
                    registers[a] = registers[a] + registers[b] & 0xFFFFFFFF
                case "addi":
                    registers[a] = registers[a] + (number ^ 0x8000) - 0x8000 & 0xFFFFFFFF
                case "and":
                    registers[a] &= registers[b]
                case "xor":
                    registers[a] ^= registers[b]
                case "shr":
                    registers[a] >>= number
                case "ldb" | "ldh":
                    registers[a] = self._load(registers[b] + number & 0xFFFF, name == "ldh")
                case "stb" | "sth":
                    self._store(registers[b] + number & 0xFFFF, registers[a], name == "sth")
                case "beq" | "bne":
                    if (registers[a] == registers[b]) == (name == "beq"):
                        at = number
                case "jmp":
                    at = number
                case "call":
                    registers[15], at = at, number
                case "ret":
                    at = registers[15]
            registers[0] = 0

    def _load(self, address: int, wide: bool) -> int:
        if address >= TX_ADDRESS:
            return self.card.read(address)
        return int.from_bytes(self.memory[address : address + 1 + wide], "big")

    def _store(self, address: int, value: int, wide: bool) -> None:
        if address == CONSOLE:
            self.console += chr(value & 0x7F)
        elif address >= TX_ADDRESS:
            self.card.write(address, value & 0xFFFF)
        elif wide:
            self.memory[address : address + 2] = (value & 0xFFFF).to_bytes(2, "big")
        else:
            self.memory[address] = value & 0xFF


# --------------------------------------------------------------------------------------- the assembler


def assemble(source: str, symbols: dict[str, int]) -> bytes:
    """Assemble machine code: a label ends in a colon, ``.hex`` and ``.text`` emit bytes, ``;`` starts a comment."""
    symbols = dict(symbols)
    for final in (False, True):  # the first pass finds the labels
        code = bytearray()
        for line in source.splitlines():
            label, colon, rest = line.partition(";")[0].rpartition(":")
            if colon:
                symbols[label.strip()] = len(code)
            name, *operands = rest.replace(",", " ").split() or [""]
            if name == ".hex":
                code += bytes.fromhex("".join(operands))
            elif name == ".text":
                code += " ".join(operands).encode()
            elif name:
                registers = [int(word[1:]) for word in operands if word[0] == "r" and word[1:].isdigit()]
                numbers = [value(word, symbols, final) for word in operands[len(registers) :]]
                a, b, *_ = (*registers, 0, 0)
                code += struct.pack("!BBH", OPCODES.index(name), a << 4 | b, (*numbers, 0)[0] & 0xFFFF)
    return bytes(code)


def value(word: str, symbols: dict[str, int], final: bool) -> int:
    """Evaluate a number or a symbol; a label further down is unknown in the first pass."""
    if word.lstrip("-")[0].isdigit():
        return int(word, 0)
    return symbols[word] if final else symbols.get(word, 0)


# ------------------------------------------------------------------------------------ the guest program

# Offsets in a frame: 0 destination, 6 source, 12 type, 14 IPv4 header, 23 its protocol, 34 UDP, 38 its length, 42
# data.
PROGRAM = """
        li   r14, 0x8000            ; where frames are to go
        sth  r14, r0, RX_ADDRESS

        li   r1, question           ; who is 10.0.2.2?
        li   r2, 42
        call transmit
answer: call receive
        ldh  r1, r14, 12
        li   r2, 0x0806
        bne  r1, r2, answer         ; no ARP

        li   r13, packet
        ldh  r1, r14, 6             ; its MAC address is where the datagram goes
        sth  r1, r13, 0
        ldh  r1, r14, 8
        sth  r1, r13, 2
        ldh  r1, r14, 10
        sth  r1, r13, 4
        li   r1, SERVER_PORT
        sth  r1, r13, 36
        li   r1, packet
        addi r1, 14
        call checksum
        sth  r3, r13, 24
        li   r1, packet
        li   r2, 48
        call transmit

reply:  call receive
        ldh  r1, r14, 12
        li   r2, 0x0800
        bne  r1, r2, reply          ; no IPv4
        ldb  r1, r14, 23
        li   r2, 17
        bne  r1, r2, reply          ; no UDP
        li   r1, 0x800E
        call checksum
        bne  r3, r0, broken         ; an intact header sums up to 0

        li   r1, 0x802A             ; print what was answered
        ldh  r2, r14, 38
        addi r2, -8
        add  r2, r1
print:  beq  r1, r2, done
        ldb  r3, r1, 0
        sth  r3, r0, CONSOLE
        addi r1, 1
        jmp  print
broken: li   r3, 33                 ; an exclamation mark
        sth  r3, r0, CONSOLE
done:   halt

transmit:                           ; r1: address, r2: length
        sth  r1, r0, TX_ADDRESS
        sth  r2, r0, TX_LENGTH
        sth  r0, r0, TX_GO
        ret

receive:                            ; the next frame is at r14
        sth  r0, r0, RX_DONE
wait:   wfi
        ldh  r1, r0, RX_LENGTH
        beq  r1, r0, wait
        ret

checksum:                           ; RFC 1071, of an IPv4 header at r1; answer in r3
        li   r2, 20
        add  r2, r1
        li   r3, 0
        li   r5, 0xFFFF
sum:    ldh  r4, r1, 0
        add  r3, r4
        addi r1, 2
        bne  r1, r2, sum
fold:   li   r4, 0
        add  r4, r3
        shr  r4, 16                 ; the carries
        beq  r4, r0, invert
        and  r3, r5
        add  r3, r4
        jmp  fold
invert: xor  r3, r5
        ret

question:
        .hex ff ff ff ff ff ff  52 54 00 12 34 56  08 06
        .hex 00 01 08 00 06 04 00 01
        .hex 52 54 00 12 34 56  0a 00 02 0f
        .hex 00 00 00 00 00 00  0a 00 02 02
packet:
        .hex 00 00 00 00 00 00  52 54 00 12 34 56  08 00
        .hex 45 00 00 22  00 01 00 00  40 11 00 00  0a 00 02 0f  0a 00 02 02
        .hex 13 88 00 00 00 0e 00 00    ; from port 5000; UDP does without a checksum
        .text guest!
"""


def serve(server: socket.socket) -> None:
    """Answer one datagram."""
    data, peer = server.recvfrom(2048)
    server.sendto(b"hello, " + data, peer)


def main() -> None:
    """Switch the machine on."""
    with Slirp(Config()) as net, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))  # the guest reaches it at 10.0.2.2
        server.settimeout(5)
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        symbols = {name: address for name, address in globals().items() if name[:3] in ("TX_", "RX_", "CON")}
        program = assemble(PROGRAM, {**symbols, "SERVER_PORT": server.getsockname()[1]})
        machine = Machine(net, program)
        machine.run(seconds=5)
        thread.join()
        print(f"{len(program)} bytes of program, {machine.executed} instructions executed")
        print("the guest's console:", machine.console)
        assert machine.console == "hello, guest!"
        assert net.stats.dropped() == 0


if __name__ == "__main__":
    main()
