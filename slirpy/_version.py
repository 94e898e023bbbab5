"""The one place that names the version, and knows whether mypyc has compiled this build (docs/howto/compiled.md)."""

__version__ = "0.1.0"
__compiled__ = not __file__.endswith((".py", ".pyc"))
"""True if the modules that ``pyproject.toml`` lists, of which this is one, are compiled."""
