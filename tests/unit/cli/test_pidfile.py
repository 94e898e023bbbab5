"""Files with process numbers: written, replaced, removed, and left alone."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from slirpy.cli.pidfile import PidFile
from slirpy.errors import ConfigError, LinkError

pytestmark = pytest.mark.needs("posix", detail="files that are locked and removed while they are open")


def test_the_number_is_written_and_the_file_removed(tmp_path: Path) -> None:
    path = tmp_path / "x.pid"
    with PidFile("--pid-file", str(path)) as file:
        assert path.read_bytes() == b""  # locked, and not ready
        file.write()
        assert path.read_bytes() == b"%d\n" % os.getpid()
        file.write(7)
        assert path.read_bytes() == b"7\n"
    assert list(tmp_path.iterdir()) == []
    file.close()


def test_a_stale_pid_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x.pid"
    path.write_text("4194304123\n")
    with PidFile("--pid-file", str(path)) as file:
        file.write(12)
        assert path.read_text() == "12\n"
        assert sys.platform == "win32" or path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("content", [b"hello\n", b"12 13\n", b"12\n13\n", b"12345678901\n", b"-3\n"])
def test_other_content_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.pid"
    path.write_bytes(content)
    with pytest.raises(LinkError, match=r'^--pid-file ".*x\.pid": it has content that slirpy did not write'):
        PidFile("--pid-file", str(path))
    assert path.read_bytes() == content


@pytest.mark.skipif(sys.platform == "win32", reason="locks of Unix")
def test_a_running_instance_keeps_its_file(tmp_path: Path) -> None:
    path = tmp_path / "x.pid"
    with PidFile("-P", str(path)) as file:
        file.write(12)
        with pytest.raises(LinkError, match=r'^-P ".*": it names process 12, which still runs'):
            PidFile("-P", str(path))
        assert path.read_text() == "12\n"


@pytest.mark.skipif(sys.platform == "win32", reason="numbers of processes are not looked up there")
def test_a_file_that_names_a_running_process_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.pid"
    path.write_text(f"{os.getppid()}\n")
    with pytest.raises(LinkError, match=f"names process {os.getppid()}, which still runs"):
        PidFile("--pid-file", str(path))
    assert path.read_text() == f"{os.getppid()}\n"
    path.write_text(f"{os.getpid()}\n")  # left behind by a process that had our number
    PidFile("--pid-file", str(path)).close()


def test_a_file_of_another_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "x.pid"
    with PidFile("--pid-file", str(path)) as file:
        file.write()
        path.unlink()
        path.write_text("5\n")
    assert path.read_text() == "5\n"


def test_where_it_cannot_be_removed_it_is_emptied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process has become another user, to whom neither the file nor its folder belongs."""
    path = tmp_path / "x.pid"

    def refuse(*_: object) -> None:
        raise PermissionError

    with PidFile("--pid-file", str(path)) as file:
        file.write()
        monkeypatch.setattr(os, "unlink", refuse)
    assert path.read_bytes() == b""
    with PidFile("--pid-file", str(path)) as file:  # it is in nobody's way
        file.write(12)
        assert path.read_text() == "12\n"


def test_a_folder_that_is_gone_does_no_harm(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with PidFile("--pid-file", str(folder / "x.pid")) as file:
        file.write()
        (folder / "x.pid").unlink()
        folder.rmdir()


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
def test_a_forked_child_leaves_the_file_to_its_parent_unless_it_writes(tmp_path: Path) -> None:
    path = tmp_path / "x.pid"
    with PidFile("--pid-file", str(path)) as file:
        file.write()
        if (child := os.fork()) == 0:
            file.close()
            os._exit(0)
        os.waitpid(child, 0)
        assert path.exists()
        if (child := os.fork()) == 0:
            file.write()
            file.close()
            os._exit(0)
        os.waitpid(child, 0)
        assert not path.exists()


@pytest.mark.parametrize("name", ["missing/x.pid", "."])
def test_a_file_that_cannot_be_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(LinkError, match=r'^--pid-file ".*": cannot be written: .*; name a file'):
        PidFile("--pid-file", str(tmp_path / name))


def test_options_behind_the_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='takes no option "mode=600"'):
        PidFile("--pid-file", f"{tmp_path}/x.pid,mode=600")
    assert list(tmp_path.iterdir()) == []
