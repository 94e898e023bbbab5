"""The spread of tests over processes: each test runs once, and system tests leave one process to the others."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.spread import SIZE, SYSTEM, Work, pieces
from tests.support.repository import REPOSITORY

COLLECTION = [
    *(f"tests/system/test_{file}.py::test_{number}" for file in "abcd" for number in range(30)),
    *(f"tests/unit/test_{file}.py::test_{number}" for file in "ef" for number in range(100)),
]


# ------------------------------------------------------------------------------------- who gets what


@pytest.mark.parametrize("processes", [1, 2, 3, 5])
def test_each_test_runs_once(processes: int) -> None:
    work, done = Work(COLLECTION), []
    left = dict.fromkeys(range(processes), 0)
    for number in left:
        work.join(number)
        left[number] += len(work.take(number))
    while any(left.values()):
        for number in left:
            if left[number] == 1:
                left[number] += len(work.take(number))
            if left[number]:
                done.append(work.done(number))
                left[number] -= 1
    assert sorted(done) == list(range(len(COLLECTION)))
    assert not work.remains()
    assert [work.leave(number) for number in left] == [None] * processes


def test_all_processes_but_one_begin_with_system_tests() -> None:
    work = Work(COLLECTION)
    for number in range(3):
        work.join(number)
    kinds = [{COLLECTION[index].startswith(SYSTEM) for index in work.take(number)} for number in range(3)]
    assert kinds == [{True}, {True}, {False}]


def test_a_process_that_ends_leaves_the_rest_of_its_tests_to_others() -> None:
    work = Work(COLLECTION)
    for number in range(2):
        work.join(number)
    given = work.take(0)
    work.take(1)
    assert work.done(0) == given[0]
    assert work.leave(0) == given[1]
    work.join(2)
    assert work.take(2) == given[2:]


def test_pieces_are_of_one_file() -> None:
    found = pieces(COLLECTION)
    assert [index for piece in found for index in piece] == list(range(len(COLLECTION)))
    for piece in found:
        tests = [COLLECTION[index] for index in piece]
        assert len({test.partition("::")[0] for test in tests}) == 1
        assert len(tests) <= SIZE or tests[0].startswith(SYSTEM)


# ---------------------------------------------------------------------------------------- in processes

TESTS = """
import os, random, sys, time
import pytest

@pytest.fixture(scope="session", autouse=True)
def witness(tmp_path_factory):
    yield
    open(f"ended-{os.getpid()}", "w").close()

@pytest.mark.parametrize("number", range(50))
def test_good(number, tmp_path):
    time.sleep(0.002)
    assert not list(tmp_path.iterdir())
    with open(f"{os.getpid()}.txt", "a") as file:
        print(number, random.random(), tmp_path.parent, file=file)

def test_bad():
    print("said on the way")
    assert 1 == 2

def test_exits():
    os._exit(7)

def test_left_out():
    pytest.skip("not today")
"""


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_them.py").write_text(TESTS)
    (folder / "pytest.ini").write_text("[pytest]\n")
    without = [f"-pno:{name}" for name in ("cacheprovider", "asyncio", "schemathesis", "xdist")]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-ra", *without, "-ptests.spread", *options, str(folder)],
        env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.needs("fork")
def test_processes_report_to_the_first(tmp_path: Path) -> None:
    done = run(tmp_path, "--processes", "3")
    assert "2 failed, 50 passed, 1 skipped in" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 1
    assert done.stderr == ""
    assert done.stdout.count("\nsaid on the way\n") == 1
    assert "test_them.py::test_bad - assert 1 == 2" in done.stdout
    assert "test_them.py::test_exits - the process ended in this test, with 7" in done.stdout
    assert re.search(r"^SKIPPED \[1\] test_them.py:\d+: not today$", done.stdout, re.MULTILINE)
    files = [path.read_text().splitlines() for path in tmp_path.glob("*.txt")]
    assert len(files) >= 2
    lines = [line.split() for lines in files for line in lines]
    assert sorted(int(number) for number, _, _ in lines) == list(range(50))
    assert len({drawn for _, drawn, _ in lines}) == 50
    assert len({folder for _, _, folder in lines}) == len(files)
    assert len(list(tmp_path.glob("ended-*"))) == 3  # all but the one that has exited, which is replaced


@pytest.mark.needs("fork")
def test_the_first_failure_ends_the_processes(tmp_path: Path) -> None:
    done = run(tmp_path, "--processes", "3", "-x", "-k", "good or bad")
    assert "stopping after 1 failures" in done.stdout
    assert re.search(r"^1 failed(, \d+ passed)?(, \d+ deselected)? in", done.stdout, re.MULTILINE), done.stdout
    assert done.returncode == 1


SLEEPER = """
import os, pytest, time

@pytest.fixture
def server():
    yield
    open("server-ended", "w").close()

def test_sleeps(server):
    open("server-runs", "w").close()
    time.sleep(90)
"""
WRONG = """
import os, time

def test_wrong():
    while not os.path.exists("server-runs"):
        time.sleep(0.01)
    assert 1 == 2
"""


@pytest.mark.needs("fork")
def test_fixtures_of_a_process_that_is_interrupted_end(tmp_path: Path) -> None:
    (tmp_path / "test_sleeper.py").write_text(SLEEPER)
    (tmp_path / "test_wrong.py").write_text(WRONG)
    done = run(tmp_path, "--processes", "2", "-x", "-k", "sleeps or wrong")
    assert re.search(r"^1 failed, \d+ deselected in", done.stdout, re.MULTILINE), done.stdout
    assert (tmp_path / "server-ended").exists()


def test_one_process_is_pytest_itself(tmp_path: Path) -> None:
    done = run(tmp_path, "-k", "good or bad or left")
    assert "1 failed, 50 passed, 1 skipped, 1 deselected in" in done.stdout, done.stdout
