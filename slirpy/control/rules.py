"""Policy, guest forwards, DNS records and links."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import JSONResponse

from slirpy.config.dnsrecord import DnsRecord, parse_dns_record
from slirpy.config.guestfwd import Command, GuestForward, parse_guestfwd
from slirpy.config.policy import RulePolicy, check_flow, lint
from slirpy.control.rows import guest_forward_row, question_row, record_row, record_text
from slirpy.control.shapes import (
    Answer,
    Checked,
    DnsRecords,
    FlowsToCheck,
    GuestForwardRow,
    GuestForwards,
    Links,
    NewPolicy,
    PolicyRow,
    Questions,
    Record,
    Rule,
)
from slirpy.control.subject import Subject
from slirpy.errors import ForwardError
from slirpy.interfaces import Action, Policy
from slirpy.stack import Stack

__all__ = ["router"]

RuleText = Annotated[str, Query(max_length=4096, description="As the list shows it.")]


def router(subject: Subject) -> APIRouter:
    """The paths of this part."""
    routes = APIRouter(tags=["rules"])

    # ------------------------------------------------------------------------------- questions

    @routes.get("/questions", response_model=Questions, operation_id="questions")
    async def questions() -> JSONResponse:
        """List the flows that wait for an answer, since the policy says ask. Each waits for 30 seconds at most."""

        def look(stack: Stack) -> list[dict[str, Any]]:
            return [question_row(each, stack.now) for each in stack.questions.open()]

        return JSONResponse({"questions": await subject.ask(look)})

    @routes.post("/questions/{number}", response_model=Questions, operation_id="answer_question")
    async def answer_question(number: Annotated[int, Path(ge=1, le=2**53)], body: Answer) -> JSONResponse:
        """Answer a question; returns it. 404: it is not open (any more)."""

        def answer(stack: Stack) -> list[dict[str, Any]]:
            question = stack.questions.answer(number, body.answer)
            return [] if question is None else [question_row(question, stack.now)]

        rows = await subject.ask(answer)
        if not rows:
            return JSONResponse({"error": f"question {number} is not open; it may have been answered"}, 404)
        return JSONResponse({"questions": rows})

    # ---------------------------------------------------------------------------------- policy

    @routes.get("/policy", response_model=PolicyRow, operation_id="policy")
    async def policy() -> JSONResponse:
        """Show the policy in force. `kind` is `function` if a program decides, which has no rules to show."""
        return JSONResponse(_policy_row(await subject.ask(lambda stack: stack.policy)))

    @routes.put("/policy", response_model=PolicyRow, operation_id="replace_policy")
    async def replace_policy(body: NewPolicy) -> JSONResponse:
        """Replace the policy. Flows that are open and that the new one does not allow are reset."""
        new = RulePolicy(body.rules, Action(body.default))

        def replace(stack: Stack) -> Policy | None:
            stack.policy = new
            return stack.policy

        return JSONResponse(_policy_row(await subject.ask(replace)))

    @routes.delete("/policy", response_model=PolicyRow, operation_id="remove_policy")
    async def remove_policy() -> JSONResponse:
        """Remove the policy: everything is allowed."""

        def remove(stack: Stack) -> None:
            stack.policy = None

        await subject.ask(remove)
        return JSONResponse(_policy_row(None))

    @routes.post("/policy/check", response_model=Checked, operation_id="check_policy")
    async def check_policy(body: FlowsToCheck) -> JSONResponse:
        """Say what the policy in force, or the one given, decides about flows, and warn of its weaknesses.

        A flow is written as for `slirpy policy check`: `tcp:example.org:443`, `udp:192.0.2.1:53`, `host:8000`.
        """
        found: Policy | None
        if body.policy is not None:
            found = RulePolicy(body.policy.rules, Action(body.policy.default))
        else:
            found = await subject.ask(lambda stack: stack.policy)
        if found is not None and not isinstance(found, RulePolicy):
            return JSONResponse({"error": "a function decides, and cannot be asked without a flow"}, 409)
        asked = found or RulePolicy((), Action.ALLOW)
        rows = [
            {"flow": text, "action": each.action, "rule": each.rule, "number": each.number, "text": each.text}
            for text in body.flows
            for each in check_flow(asked, text)
        ]
        return JSONResponse({"flows": rows, "warnings": lint(asked)})

    # -------------------------------------------------------------------------- guest forwards

    @routes.get("/guest-forwards", response_model=GuestForwards, operation_id="guest_forwards")
    async def guest_forwards() -> JSONResponse:
        """List the addresses of the network at which programs of the host answer."""
        rows = [guest_forward_row(each) for each in await subject.ask(Stack.guestfwds)]
        return JSONResponse({"guest_forwards": rows})

    @routes.post(
        "/guest-forwards", response_model=GuestForwardRow, status_code=201, operation_id="add_guest_forward"
    )
    async def add_guest_forward(body: Rule, request: Request) -> JSONResponse:
        """Let a program answer at an address: `tcp:10.0.2.100:80-tcp:127.0.0.1:8080`. Commands need a Unix socket."""
        forward = parse_guestfwd(body.rule)
        if isinstance(forward.target, Command) and request.client is not None:
            return JSONResponse({"error": "a command is started only for clients of a Unix socket"}, 403)
        added = await subject.ask(lambda stack: stack.add_guestfwd(forward))
        return JSONResponse(guest_forward_row(added), 201)

    @routes.delete("/guest-forwards", response_model=GuestForwardRow, operation_id="remove_guest_forward")
    async def remove_guest_forward(rule: RuleText) -> JSONResponse:
        """Remove the program at an address; connections stay open."""

        def remove(stack: Stack) -> GuestForward | str:
            forward = next((each for each in stack.guestfwds() if str(each) == rule), None)
            try:
                forward = forward or parse_guestfwd(rule)
                stack.remove_guestfwd(forward)
            except ForwardError as error:
                return str(error)
            return forward

        removed = await subject.ask(remove)
        if isinstance(removed, str):
            return JSONResponse({"error": removed}, 404)
        return JSONResponse(guest_forward_row(removed))

    # ------------------------------------------------------------------------------------- DNS

    @routes.get("/dns/records", response_model=DnsRecords, operation_id="dns_records")
    async def dns_records() -> JSONResponse:
        """List the records that guests are answered from."""
        records = await subject.ask(lambda stack: stack.dns_records)
        return JSONResponse({"records": [record_row(each) for each in records]})

    @routes.post("/dns/records", response_model=DnsRecords, status_code=201, operation_id="add_dns_record")
    async def add_dns_record(body: Record) -> JSONResponse:
        """Add a record: `web.test=192.0.2.7`, `*.web.test A 192.0.2.7`, `mail.test 300 MX 10 mx.test`."""
        record = parse_dns_record(body.record)

        def add(stack: Stack) -> list[DnsRecord]:
            if record not in stack.dns_records:
                stack.dns_records = [*stack.dns_records, record]
            return stack.dns_records

        return JSONResponse({"records": [record_row(each) for each in await subject.ask(add)]}, 201)

    @routes.delete("/dns/records", response_model=DnsRecords, operation_id="remove_dns_record")
    async def remove_dns_record(record: RuleText) -> JSONResponse:
        """Remove a record, written as the list shows it, or all of a name."""

        def remove(stack: Stack) -> list[DnsRecord] | None:
            name = record.lower().removesuffix(".")
            kept = [each for each in stack.dns_records if record_text(each) != record and each.name != name]
            if len(kept) == len(stack.dns_records):
                return None
            stack.dns_records = kept
            return kept

        kept = await subject.ask(remove)
        if kept is None:
            return JSONResponse({"error": f'there is no record "{record}"'}, 404)
        return JSONResponse({"records": [record_row(each) for each in kept]})

    # ----------------------------------------------------------------------------------- links

    @routes.get("/links", response_model=Links, operation_id="links")
    async def links() -> JSONResponse:
        """List the links to guests."""

        def look() -> list[dict[str, Any]]:
            return [
                {
                    "number": number,
                    "kind": type(port.link).__name__,
                    "mtu": port.mtu,
                    "checksum_offload": port.checksum_offload,
                    "segmentation_offload": port.segmentation_offload,
                    "blocked": port.blocked,
                }
                for number, port in enumerate(subject.network.ports)
            ]

        return JSONResponse({"links": await subject.do(look)})

    return routes


def _policy_row(policy: Policy | None) -> dict[str, Any]:
    if policy is None:
        return {"kind": "none", "rules": [], "default": "allow"}
    if not isinstance(policy, RulePolicy):
        return {"kind": "function", "rules": [], "default": None}
    return {"kind": "rules", "rules": [str(rule) for rule in policy.rules], "default": policy.default.value}
