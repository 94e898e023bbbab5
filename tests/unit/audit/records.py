"""The schema of audit records, and rules about whole logs that it cannot express."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Sequence
from typing import Any

import jsonschema

from tests.support.repository import PACKAGE

Record = dict[str, Any]


@functools.cache
def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads((PACKAGE / "audit" / "schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def check(records: Iterable[Record]) -> None:
    """Each record is as the schema says."""
    for record in records:
        error = jsonschema.exceptions.best_match(validator().iter_errors(record))
        assert error is None, f"{record}: {error.message}"


def check_numbers(records: Sequence[Record]) -> None:
    """No record is missing in a run whose absence is not on record."""
    seen = [record["seq"] for record in records]
    assert seen == sorted(set(seen))
    missing = set(range(seen[-1] + 1)) - set(seen)
    counts = [record for record in records if record["event"] in ("omitted", "lost")]
    assert len(missing) == sum(record["count"] for record in counts)
    for number in missing:
        assert any(record["first"] <= number <= record["last"] for record in counts), number


def lines(data: bytes) -> list[Record]:
    """The records of a log, each of which is a whole line of plain ASCII without control characters."""
    assert data.endswith(b"\n")
    assert all(0x20 <= byte < 0x7F or byte == 0x0A for byte in data)
    return [json.loads(line) for line in data.splitlines()]
