"""Scripts in packetdrill's notation, run against the bare TCP engine in virtual time.

A script defines the connection's input, its user's actions, and its expected output, each with its time. It passes
if the connection sends all of that, in that order, at those times, **and nothing else**.
"""

from slirpy.testing.packetdrill.parser import parse
from slirpy.testing.packetdrill.report import Result
from slirpy.testing.packetdrill.runner import run, run_file, run_text
from slirpy.testing.packetdrill.script import Script, ScriptError, UnsupportedError

__all__ = ["Result", "Script", "ScriptError", "UnsupportedError", "parse", "run", "run_file", "run_text"]
