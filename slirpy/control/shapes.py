"""The JSON of the API, as its OpenAPI document describes it.

Answers are made as plain dicts (:mod:`slirpy.control.rows`); the tests compare them with these models.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from slirpy.control.taps import FILE_BYTES

__all__ = [
    "CaptureRow",
    "Captures",
    "Checked",
    "Counters",
    "Decision",
    "DnsRecordRow",
    "DnsRecords",
    "Error",
    "FaultCounts",
    "FaultRow",
    "FaultSettings",
    "FaultsRow",
    "Flow",
    "Flows",
    "FlowsToCheck",
    "Forward",
    "Forwards",
    "GuestForwardRow",
    "GuestForwards",
    "Info",
    "Lease",
    "Leases",
    "Link",
    "LinkFaults",
    "Links",
    "Neighbor",
    "Neighbors",
    "NetworkRow",
    "Networks",
    "NewCapture",
    "NewFaults",
    "NewPolicy",
    "Place",
    "PolicyRow",
    "Record",
    "Rule",
]


class Shape(BaseModel):
    """Base: unknown fields are mistakes."""

    model_config = ConfigDict(extra="forbid")


class Error(Shape):
    error: str = Field(description="What is wrong, what is allowed, and what to do.")


class NetworkRow(Shape):
    name: str
    path: str = Field(description="All paths of the API exist below it, too.", examples=["/networks/lan0"])
    networks: list[str] = Field(examples=[["10.0.2.0/24"]])


class Networks(Shape):
    networks: list[NetworkRow]


class Place(Shape):
    address: str
    port: int = Field(ge=0, le=65535)


class Info(Shape):
    version: str = Field(description="Of slirpy.")
    pid: int
    networks: list[str] = Field(
        description="Networks of the guests, such as 10.0.2.0/24; none for a switch alone."
    )
    gateways: list[str]
    links: int = Field(description="Number of links.")
    flows: int = Field(description="Number of flows.")
    uptime: float = Field(description="Seconds since the control server started.")


class Flow(Shape):
    protocol: Literal["tcp", "udp", "icmp"]
    state: str = Field(
        description="A state of RFC 9293, CONNECTING, or OPEN; of a closed flow, the way it ended."
    )
    guest: Place = Field(description="For ICMP, the identifier instead of a port.")
    host: Place | None = Field(
        description="The other end, as the guest addresses it; null for UDP and ICMP, where one socket serves all."
    )
    inbound: bool = Field(description="Whether it was opened from outside, through a forward.")
    bytes_in: int = Field(description="Payload bytes from the guest.")
    bytes_out: int = Field(description="Payload bytes to the guest.")
    packets_in: int
    packets_out: int
    queued_in: int = Field(description="Bytes from the guest that the far side has yet to accept.")
    queued_out: int = Field(description="Bytes to the guest that it has yet to acknowledge.")
    age: float = Field(description="Seconds since it began.")
    idle: float = Field(description="Seconds since the last packet.")


class Flows(Shape):
    total: int = Field(description="Number of flows, including those that are left out.")
    flows: list[Flow]


class Counters(Shape):
    counters: dict[str, int] = Field(description="By name; see the reference of counters.")


class Lease(Shape):
    address: str
    mac: str
    hostname: str | None
    state: str
    client_id: str | None = Field(description="Option 61, in hexadecimal; null: none but the MAC address.")
    expires: float | None = Field(description="Seconds until it expires; null: never.")
    idle: float | None = Field(description="Seconds since its client asked for it; null: before the start.")
    reserved: bool


class Leases(Shape):
    leases: list[Lease]


class Neighbor(Shape):
    address: str
    mac: str
    idle: float = Field(description="Seconds since the last packet from it.")


class Neighbors(Shape):
    neighbors: list[Neighbor]


class Rule(Shape):
    rule: str = Field(description="Such as tcp:127.0.0.1:8080-:80.", max_length=4096)


class Forward(Shape):
    rule: str = Field(description="With the port that was chosen.")
    protocol: Literal["tcp", "udp", "unix"]
    host: Place | None = Field(description="null for a Unix socket.")
    path: str | None = Field(description="Of the Unix socket.")
    guest: str | None = Field(description="null: the guest that leased an address first.")
    guest_port: int
    count: int = Field(description="Number of consecutive ports.")


class Forwards(Shape):
    forwards: list[Forward]


class PolicyRow(Shape):
    kind: Literal["none", "rules", "function"]
    rules: list[str]
    default: str | None = Field(description="What happens to a flow that no rule matches.")


class NewPolicy(Shape):
    rules: list[str] = Field(
        description="Such as allow tcp:example.org:443, in their order.", max_length=10_000
    )
    default: Literal["allow", "reject", "drop", "ask"] = "reject"


class FlowsToCheck(Shape):
    flows: list[str] = Field(max_length=1000)
    policy: NewPolicy | None = Field(default=None, description="null: the policy in force.")


class Decision(Shape):
    flow: str
    action: str = Field(description="allow, reject, drop, or redirect with its destination.")
    rule: str | None = Field(description="The rule that decides; null: the default.")
    number: int | None = Field(description="Its place, from 1.")
    text: str = Field(description="The decision in words.")


class Checked(Shape):
    flows: list[Decision]
    warnings: list[str]


class QuestionRow(Shape):
    number: int
    flow: str = Field(description="The destination, as a rule names it, such as tcp:example.org:443.")
    protocol: str
    guest: Place = Field(description="For ICMP, the identifier instead of a port.")
    destination: Place
    names: list[str] = Field(description="Names that the destination stands for; guests may have chosen them.")
    rule: str | None = Field(description="The rule that asks; null: the default.")
    left: float = Field(description="Seconds until the flow is refused.")


class Questions(Shape):
    questions: list[QuestionRow]


class Answer(Shape):
    answer: Literal["yes", "no", "always", "never"] = Field(
        description="always and never hold for the destination from now on."
    )


class GuestForwardRow(Shape):
    rule: str
    server: str | None = Field(description="null: every address.")
    port: int | None = Field(description="null: every port.")
    target: str


class GuestForwards(Shape):
    guest_forwards: list[GuestForwardRow]


class Record(Shape):
    record: str = Field(max_length=4096)


class DnsRecordRow(Shape):
    record: str = Field(description="The whole record, as DELETE takes it.")
    name: str
    type: str
    value: str
    ttl: int


class DnsRecords(Shape):
    records: list[DnsRecordRow]


class Link(Shape):
    number: int
    kind: str
    mtu: int
    checksum_offload: bool
    segmentation_offload: bool
    blocked: bool = Field(description="Whether it has no room for frames at the moment.")


class Links(Shape):
    links: list[Link]


class NewCapture(Shape):
    file: str | None = Field(
        default=None,
        max_length=4096,
        description="Absolute path, on the machine of the network; null: keep the last frames in memory.",
    )
    links: list[int] | None = Field(
        default=None, max_length=100, description="Numbers of links; null: all, and those that come later."
    )
    format: Literal["pcap", "pcapng"] | None = Field(
        default=None, description="null: by the name of the file, pcapng if it ends in .pcapng."
    )
    max_bytes: int = Field(
        default=FILE_BYTES, ge=1000, le=1 << 40, description="Size at which the next file begins."
    )
    max_files: int = Field(
        default=2, ge=1, le=1000, description="Number of files to keep; the oldest is deleted."
    )
    overwrite: bool = Field(default=False, description="Replace earlier captures of slirpy, but no other file.")


class CaptureRow(Shape):
    number: int
    kind: Literal["file", "memory", "stream"]
    file: str | None
    links: int = Field(description="Number of links that it records now.")
    running: bool
    began: float = Field(description="Seconds since 1970.")
    frames: int = Field(description="Number of frames recorded.")
    lost: int = Field(description="Number of frames dropped, because a reader is too slow.")
    evicted: int = Field(description="Number of frames in memory that made room for later ones.")
    error: str | None = Field(description="What ended it early.")


class Captures(Shape):
    captures: list[CaptureRow]


Chance = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0, le=3600, description="In seconds.")]


class FaultSettings(Shape):
    loss: Chance = Field(default=0.0, description="Chance that a frame is lost.")
    duplicate: Chance = Field(default=0.0, description="Chance that a frame arrives twice.")
    corrupt: Chance = Field(default=0.0, description="Chance that one bit is wrong.")
    delay: Seconds = 0.0
    jitter: Seconds = 0.0
    reorder: Chance = Field(default=0.0, description="Chance that others overtake a frame.")
    reorder_delay: Seconds = 0.01
    rate: int | None = Field(default=None, ge=1, le=1 << 50, description="Bits per second; null: unlimited.")
    burst: int = Field(default=65549, ge=1, le=1 << 30, description="Bytes that pass at once after a pause.")
    queue: int = Field(default=262_144, ge=0, le=1 << 26, description="Bytes that may wait for the rate.")
    limit: int = Field(default=1000, ge=1, le=100_000, description="Frames that may be held.")


class NewFaults(Shape):
    links: list[int] | None = Field(
        default=None, max_length=100, description="Numbers of links; null: all that there are."
    )
    to_guest: FaultSettings = FaultSettings()
    from_guest: FaultSettings = FaultSettings()
    seed: int | None = Field(
        default=None,
        ge=0,
        le=1 << 53,
        description="Makes the chances repeatable, for links that have no faults yet.",
    )


class FaultCounts(Shape):
    frames: int
    lost: int
    duplicated: int
    corrupted: int
    delayed: int
    reordered: int
    dropped: int = Field(description="By the queue before the rate, or beyond the limit.")


class FaultRow(Shape):
    faults: FaultSettings
    counters: FaultCounts


class LinkFaults(Shape):
    link: int = Field(description="Number of the link.")
    to_guest: FaultRow
    from_guest: FaultRow


class FaultsRow(Shape):
    links: list[LinkFaults] = Field(description="The links that have faults.")
