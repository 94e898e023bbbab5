"""Scripts in packetdrill's notation, run against the bare TCP engine in virtual time.

A script says what the connection is given, what its user does, and what it must send, each with its time. It passes
if all of that is sent, in that order, at those times, **and nothing else**.
"""

from slirpy.testing.packetdrill.parser import parse
from slirpy.testing.packetdrill.report import Result
from slirpy.testing.packetdrill.runner import run, run_file, run_text
from slirpy.testing.packetdrill.script import Script, ScriptError, UnsupportedError

__all__ = ["Result", "Script", "ScriptError", "UnsupportedError", "parse", "run", "run_file", "run_text"]
