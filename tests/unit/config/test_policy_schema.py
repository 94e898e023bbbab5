"""The JSON Schema of policy files beside the function that reads them."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import jsonschema
import pytest

from slirpy import ConfigError, RulePolicy
from slirpy.config.policy.profiles import PROFILES
from slirpy.interfaces import Action
from tests.support.policies import TABLE
from tests.support.repository import PACKAGE, REPOSITORY

SCHEMA = json.loads((PACKAGE / "config" / "policy" / "schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def is_read(text: str, folder: Path) -> bool:
    """Report whether slirpy accepts a policy file."""
    path = folder / "policy.toml"
    path.write_text(text)
    try:
        RulePolicy.from_file(path)
    except ConfigError:
        return False
    return True


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert set(SCHEMA["properties"]["default"]["enum"]) == {action.value for action in Action}
    assert set(SCHEMA["properties"]["profile"]["enum"]) == set(PROFILES)


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ('default = "allow"', True),
        ('rules = ["deny private"]', True),
        ('rules = ["  ask   any:443 "]', True),
        ('profile = "agent"\nrules = ["allow example.org:443 tls=ech"]', True),
        ('rules = ["redirect tcp:any:80=host:8080 proxy-protocol"]', True),
        ("include = []", True),
        ("rules = []", True),
        ("", False),
        ('rule = ["deny private"]', False),
        ('rules = "deny private"', False),
        ("rules = [1]", False),
        ('rules = ["deny"]', False),
        ('rules = ["permit any"]', False),
        ('rules = ["redirect tcp:any:80"]', False),
        ('default = "maybe"', False),
        ("default = 1", False),
        ('profile = "none"', False),
        ('profile = ["agent"]', False),
        ('include = [""]', False),
        ('include = "base.toml"', False),
    ],
)
def test_schema_and_reader_agree(text: str, valid: bool, tmp_path: Path) -> None:
    assert (VALIDATOR.is_valid(tomllib.loads(text)), is_read(text, tmp_path)) == (valid, valid)


def test_the_schema_accepts_all_rules_that_are_read() -> None:
    for rules, _, _ in TABLE:
        VALIDATOR.validate({"rules": rules})


def test_the_policies_in_the_documentation_fit_the_schema() -> None:
    found = 0
    for page in REPOSITORY.glob("docs/**/*.md"):
        for block in page.read_text().split("```toml\n")[1:]:
            table = tomllib.loads(block.partition("```")[0])
            if "rules" in table:
                VALIDATOR.validate(table)
                found += 1
    assert found >= 2
