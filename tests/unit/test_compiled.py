"""The optional build by mypyc: its list of modules, and what its part of setup.py says when it cannot compile.

``.ci/compiled`` builds the package, and runs the tests on it.
"""

from __future__ import annotations

import ast
import re
import runpy
import sys
import tomllib
from typing import Any

import pytest

from tests.support.repository import PACKAGE, REPOSITORY

LISTED: list[str] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["slirpy"]["compiled"]

LOWERED = {
    "LINK_BYTES",
    "MAX_BYTES",
    "MAX_FLOWS",
    "MAX_NEIGHBORS",
    "MAX_OPENING",
    "MAX_ROUTES",
    "MAX_TIME_WAIT",
    "PINS_MAX",
    "QUEUE_LIMIT",
    "SHORT",
    "WIDE_BYTES",
}
"""Bounds that tests lower, so they are not Final. None is looked at for each frame of a known flow."""
CONSTANT = re.compile(r"-?(\d+|None|True|False|'.*'|\w*\.?_?[A-Z][A-Z_]+)( [*+] (\d+|\w*\.?_?[A-Z][A-Z_]+))*")
"""A value that mypyc supports in the body of a class."""


def trees() -> dict[str, ast.Module]:
    """Each listed module, parsed."""
    return {name: ast.parse((REPOSITORY / (name.replace(".", "/") + ".py")).read_text()) for name in LISTED}


def test_each_module_is_listed_once_and_in_order() -> None:
    assert sorted(set(LISTED)) == LISTED
    assert "slirpy._version" in LISTED  # by which the package knows that it is compiled


def test_nothing_is_hidden_from_type_checkers() -> None:
    """mypyc leaves out what a type checker does not reach, and raises an exception there."""
    hidden = [
        f"{name}:{node.lineno}"
        for name, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.If)
        and "TYPE_CHECKING" in ast.unparse(node.test)
        and (node.orelse or "not" in ast.unparse(node.test))
    ]
    assert not hidden


def test_bodies_of_classes_compute_no_attributes() -> None:
    """mypyc supports only values there that it knows: constants, members of an Enum, and arithmetic on them."""
    computed = [
        f"{name}:{line.lineno}"
        for name, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and not any("NamedTuple" in ast.unparse(base) for base in node.bases)
        if not any("Enum" in ast.unparse(base) for base in node.bases)
        for line in node.body
        if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) != "__slots__"
        if not CONSTANT.fullmatch(ast.unparse(line.value))
    ]
    assert not computed


def test_constants_are_final() -> None:
    """mypyc then knows their values; it looks up other names of a module in a dict."""
    others = {
        target.id
        for tree in trees().values()
        for line in tree.body
        if isinstance(line, ast.Assign | ast.AnnAssign) and "TypeVar(" not in ast.unparse(line)
        if not isinstance(line, ast.AnnAssign) or not {"Final", "TypeAlias"} & names(line.annotation)
        for target in ast.walk(line.targets[0] if isinstance(line, ast.Assign) else line.target)
        if isinstance(target, ast.Name) and not target.id.startswith("__") and target.id != "TYPE_CHECKING"
        if not isinstance(line.value, ast.Subscript)  # an alias of a type
    }
    assert others <= LOWERED


def names(tree: ast.AST) -> set[str]:
    """The names in an expression."""
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def test_interpreted_classes_inherit_only_from_marked_ones() -> None:
    compiled = {
        node.name: any("allow_interpreted_subclasses" in ast.unparse(mark) for mark in node.decorator_list)
        for tree in trees().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and not any("NamedTuple" in ast.unparse(base) for base in node.bases)
    }
    listed = {REPOSITORY / (name.replace(".", "/") + ".py") for name in LISTED}
    unmarked = {
        f"{path.relative_to(REPOSITORY)}: {node.name}({base.id})"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path not in listed
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
        for base in map(unsubscripted, node.bases)
        if isinstance(base, ast.Name) and not compiled.get(base.id, True)
    }
    assert not unmarked


def test_no_class_declares_an_attribute_that_it_inherits() -> None:
    """Python's garbage collector would visit its value twice, and keep all that refers to it."""
    classes = {
        node.name: node
        for tree in trees().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    again = [
        f"{name}.{attribute} of {base}"
        for name, node in classes.items()
        for base in inherited(node, classes)
        for attribute in sorted(declared(node) & declared(classes[base]))
    ]
    assert not again


def inherited(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> set[str]:
    """The names of the compiled classes from which a class is derived."""
    direct = {base.id for base in map(unsubscripted, node.bases) if isinstance(base, ast.Name)} & classes.keys()
    return direct.union(*(inherited(classes[base], classes) for base in direct))


def declared(node: ast.ClassDef) -> set[str]:
    """The attributes that a class annotates, in its body or in a method."""
    fields = {
        line.target.id
        for line in node.body
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
    }
    return fields | {
        line.target.attr
        for line in ast.walk(node)
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Attribute)
        if isinstance(line.target.value, ast.Name) and line.target.value.id == "self"
    }


def unsubscripted(base: ast.expr) -> ast.expr:
    """A base without the types in brackets behind it."""
    return base.value if isinstance(base, ast.Subscript) else base


# ------------------------------------------------------------------------------ setup.py


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run setup.py; returns its names and the arguments of ``setup``."""
    setuptools = pytest.importorskip("setuptools")

    def run(value: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
        given: dict[str, Any] = {}
        monkeypatch.setattr(setuptools, "setup", lambda **arguments: given.update(arguments))
        if value is None:
            monkeypatch.delenv("SLIRPY_COMPILE", raising=False)
        else:
            monkeypatch.setenv("SLIRPY_COMPILE", value)
        return runpy.run_path(str(REPOSITORY / "setup.py")), given

    return run


@pytest.mark.parametrize("value", [None, "", "0"])
def test_the_build_is_pure_by_default(build: Any, value: str | None) -> None:
    _, given = build(value)
    assert not given["ext_modules"]
    assert not given["setup_requires"]
    assert "build_ext" not in given["cmdclass"]


def test_a_compiled_build_needs_mypyc_and_is_one_of_this_platform(build: Any) -> None:
    names, given = build("1")
    assert given["ext_modules"]
    assert given["setup_requires"] == [names["MYPYC"]]
    assert given["cmdclass"]["build_ext"] is names["Compile"]


def test_another_value_is_refused(build: Any) -> None:
    with pytest.raises(SystemExit, match=r"^slirpy: SLIRPY_COMPILE=yes: write 1 to compile, 0 or nothing for"):
        build("yes")


def test_without_mypyc_one_line_says_so(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    names, _ = build("1")
    monkeypatch.setitem(sys.modules, "mypyc.build", None)
    with pytest.raises(SystemExit, match=r"^slirpy: SLIRPY_COMPILE=1 needs mypyc: pip install 'mypy~=[^\n]*$"):
        names["translated"]("build")


def test_without_a_compiler_one_line_says_so(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    names, _ = build("1")
    monkeypatch.setenv("CC", "no-such-cc -pthread")
    with pytest.raises(
        SystemExit, match=r"^slirpy: SLIRPY_COMPILE=1 needs a C compiler, and there is no 'no-such-cc"
    ):
        names["check_compiler"]()
