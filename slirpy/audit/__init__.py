"""The audit: a record of every flow, refusal, name and lease, for programs and people."""

from __future__ import annotations
