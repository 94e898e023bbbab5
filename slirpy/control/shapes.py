"""The JSON of the API, as its OpenAPI document describes it.

Answers are made as plain dicts (:mod:`slirpy.control.rows`); the tests compare them with these models.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "Checked",
    "Counters",
    "Decision",
    "DnsRecordRow",
    "DnsRecords",
    "Error",
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
    "Links",
    "Neighbor",
    "Neighbors",
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
    default: Literal["allow", "reject", "drop"] = "reject"


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
