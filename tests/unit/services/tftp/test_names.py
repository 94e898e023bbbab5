"""Names of files stay inside the folder, whatever a guest writes and however the folder is built."""

from __future__ import annotations

import errno
import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from slirpy import Config, ConfigError
from slirpy.services.tftp import paths as tftp_paths
from slirpy.services.tftp.files import open_read, open_write
from slirpy.wire.tftp import RefusalError
from tests.unit.services.tftp.client import ACK, Client, Server

posix = pytest.mark.skipif(sys.platform == "win32", reason="symbolic links")


@pytest.fixture(params=["descriptors", "real paths"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of staying inside: the one of Linux, and the one where there are no descriptors of folders."""
    if request.param == "real paths":
        monkeypatch.setattr(tftp_paths, "BY_DESCRIPTOR", False)
    elif not tftp_paths.BY_DESCRIPTOR:
        pytest.skip("this system cannot open relative to a descriptor")
    return str(request.param)


def content(root: Path, name: str, **more: Any) -> bytes | int:
    """Return the content that a guest gets for a name, or the code of its error."""
    server = Server(root, **more)
    client = Client(server)
    client.ask(name)
    opcode, number, rest = client.one()
    server.service.close()
    if opcode == 5:
        return number
    return rest


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    "name",
    ["small", "/small", "//small", "./small", "sub/deep/file", "/sub//deep/./file", "sub/deep/../../small"],
)
def test_names_inside_the_folder(root: Path, name: str) -> None:
    expected = {"small": b"hello", "file": b"deep"}[name.rpartition("/")[2]]
    assert content(root, name) == (2 if ".." in name else expected)


def test_the_way_that_is_taken(root: Path, way: str) -> None:
    place = tftp_paths.resolve(root, "sub/deep/file")
    assert (place.folder is None) == (way == "real paths")
    place.close()


def test_a_system_that_reads_less_than_it_is_asked_for(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it is read, and never more than was asked for."""
    read = os.read
    (root / "much").write_bytes(bytes(range(200)))
    monkeypatch.setattr("slirpy.services.tftp.files.os.read", lambda fd, size: read(fd, min(size, 90)))
    source = open_read(root, "much", False)
    pieces = [source.read(100) for _ in range(3)]
    source.close()
    assert pieces == [bytes(range(100)), bytes(range(100, 200)), b""]


@posix
@pytest.mark.usefixtures("way")
def test_a_colon_in_a_name(root: Path) -> None:
    """Only Windows has another use for it: the streams of a file."""
    (root / "boot:cfg").write_bytes(b"colon")
    assert content(root, "boot:cfg") == b"colon"


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    "name", ["nothing", "/etc/passwd", "sub/nothing", "nothing/small", "small/x", "...x", "con.x.y/z"]
)
def test_missing_files(root: Path, name: str) -> None:
    assert content(root, name) == (2 if name.startswith("con") else 1)


TRICKS = [
    "", "/", ".", "sub", "sub/", "..", "../secret", "/../secret", "sub/../../secret", "./../secret",
    "../srv-other/secret", "sub/..", "..\\secret", "sub\\..\\..\\secret", "\\..\\secret", "/..\\secret",
    "C:\\boot.ini", "C:/boot.ini", "c:x", "/c:/x", "X:/x", "/x:y",
    "CON", "nul", "Aux.txt", "com1", "LPT9.log", "nul .txt", ".. ",
    "... ", "sub/. ./x", "a\nb", "\x7f", "x" * 600, "a/" * 300 + "x", "x" * 513, "..;/secret", "%2e%2e/secret",
    ".slirpy-tftp-0123456789abcdef", "com¹", "LPT³.txt", "a\x85b", "a\u2028b",
]  # fmt: skip


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("name", TRICKS)
def test_tricks_are_refused(root: Path, name: str) -> None:
    """Error 2 for what may not be; 1 for what is only a strange name of nothing."""
    assert content(root, name) == (1 if name in ("..;/secret", "%2e%2e/secret") else 2)


@pytest.mark.needs("posix", detail="names of files that differ in case only, or are long")
@pytest.mark.usefixtures("way")
def test_a_name_that_is_too_long_for_the_system(root: Path) -> None:
    assert content(root, "x" * 300) == 2


@pytest.mark.usefixtures("way")
def test_the_longest_name(root: Path) -> None:
    assert content(root, "small".rjust(tftp_paths.MAX_NAME, "/")) == b"hello"
    assert content(root, "small".rjust(tftp_paths.MAX_NAME + 1, "/")) == 2


@pytest.mark.usefixtures("way")
def test_a_name_of_capitals(root: Path) -> None:
    (root / "X.X").write_bytes(b"window system")
    assert content(root, "X.X") == b"window system"


@posix
@pytest.mark.skipif(not tftp_paths.BY_DESCRIPTOR, reason="the system has a bound of its own")
def test_how_many_links_are_followed(root: Path) -> None:
    target = "small"
    for number in range(tftp_paths.LINKS_MAX + 1):
        (root / f"link{number}").symlink_to(target)
        target = f"link{number}"
    assert content(root, f"link{tftp_paths.LINKS_MAX - 1}") == b"hello"
    assert content(root, f"link{tftp_paths.LINKS_MAX}") == 2


@pytest.mark.usefixtures("way")
def test_names_in_utf_8(root: Path) -> None:
    """RFC 1350 has ASCII; clients send what was typed, and QEMU's server takes it."""
    (root / "größe").mkdir()
    (root / "größe" / "日本語 🐍").write_bytes(b"found")
    assert content(root, "größe/日本語 🐍") == b"found"
    assert content(root, "/größe/日本") == 1
    assert content(root, "größe") == 2
    assert content(root, "größe/../../secret") == 2


def test_utf_8_names_in_folders_and_for_functions(root: Path) -> None:
    client = Client(Server(root, tftp_write=True))
    client.write("größe", b"written", {"blksize": 100})
    assert (root / "größe").read_bytes() == b"written"
    asked: list[str] = []
    Client(Server(asked.append)).ask("größe", {"blksize": 100})
    assert asked == ["größe"]


def test_names_that_are_not_utf_8(root: Path) -> None:
    server = Server(root)
    client = Client(server)
    client.ask("größe".encode("latin-1"))
    assert client.refused() == 1
    client.ask(b"\xed\xb3\xa9")  # half of a surrogate pair, with which Python stands for bytes it cannot read
    assert client.refused() == 1
    client.ask("größe\0octet".encode() + b"\xff")
    assert client.refused() == 4
    client.ask(b"small\0oc\xff")
    assert client.refused() == 4


@posix
@pytest.mark.usefixtures("way")
@pytest.mark.skipif(sys.platform == "darwin", reason="names are Unicode there")
@pytest.mark.parametrize("name", [b"gr\xfc\xdfe.cfg", b"\xff", b"sub/\xa4/\x8d"])
def test_the_bytes_of_a_name_are_those_of_the_file(root: Path, name: bytes) -> None:
    path = os.path.join(os.fsencode(root), name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(b"found")
    server = Server(root, tftp_write=True)
    client = Client(server)
    client.ask(name)
    assert client.one() == (3, 1, b"found")
    Client(server, 3000).ask(name.replace(b"/", b"\\"))
    assert Client(server, 3000).one() == (3, 1, b"found")
    writer = Client(server, 4000)
    writer.ask(name, write=True)
    assert writer.one() == (ACK, 0, b"")
    writer.data(1, b"written")
    with open(path, "rb") as file:
        assert file.read() == b"written"


def test_a_function_can_tell_which_bytes_were_sent(root: Path) -> None:
    asked: list[str] = []
    Client(Server(asked.append)).ask(b"gr\xfc\xdfe")
    assert [name.encode("utf-8", "surrogateescape") for name in asked] == [b"gr\xfc\xdfe"]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    "name",
    ["sub\\deep\\file", "\\sub\\deep\\file", "/sub\\deep/file", "\\\\sub\\deep\\file", ".\\sub\\deep\\file"],
)
def test_backslashes_are_slashes(root: Path, name: str) -> None:
    """Windows' boot loaders have such names built in."""
    assert content(root, name) == b"deep"


@pytest.mark.usefixtures("way")
def test_backslashes_in_a_name_that_is_written(root: Path) -> None:
    client = Client(Server(root, tftp_write=True))
    client.write("\\sub\\new", b"written", {"blksize": 100})
    assert (root / "sub" / "new").read_bytes() == b"written"
    assert sorted(path.name for path in root.iterdir()) == sorted(["small", "full", "empty", "sub"])


@pytest.mark.needs("posix", detail="names of files that differ in case only, or are long")
@pytest.mark.usefixtures("way")
def test_names_in_another_case(root: Path) -> None:
    (root / "Boot").mkdir()
    (root / "Boot" / "BCD").write_bytes(b"bcd")
    (root / "Boot" / "boot.SDI").write_bytes(b"one")
    (root / "Boot" / "Boot.sdi").write_bytes(b"two")
    (root / "größe").write_bytes(b"g")
    for name in ("BOOT/BCD", "boot\\bcd", "\\bOOT/bcd"):
        assert content(root, name) == 1
        assert content(root, name, tftp_ignore_case=True) == b"bcd"
    assert content(root, "boot/boot.SDI", tftp_ignore_case=True) == b"one"
    assert content(root, "boot/BOOT.SDI", tftp_ignore_case=True) == b"two"
    assert content(root, "GRÖSSE", tftp_ignore_case=True) == b"g"
    assert content(root, "boot/bce", tftp_ignore_case=True) == 1
    assert content(root, "boots/bcd", tftp_ignore_case=True) == 1
    assert content(root, "SMALL/x", tftp_ignore_case=True) == 1
    assert content(root, "BOOT", tftp_ignore_case=True) == 2
    assert content(root, "BOOT/../SMALL", tftp_ignore_case=True) == 2


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("name", TRICKS)
def test_tricks_are_refused_in_any_case(root: Path, name: str) -> None:
    (root / ".slirpy-tftp-0123456789ABCDEF").write_bytes(b"half")
    assert content(root, name.swapcase(), tftp_ignore_case=True) in (1, 2)


@posix
@pytest.mark.usefixtures("way")
def test_links_in_another_case_stay_inside(root: Path) -> None:
    (root / "Link").symlink_to("sub/deep")
    (root / "Out").symlink_to("../secret")
    (root / "Away").symlink_to("..")
    assert content(root, "LINK/FILE", tftp_ignore_case=True) == b"deep"
    assert content(root, "OUT", tftp_ignore_case=True) == 2
    assert content(root, "AWAY/SECRET", tftp_ignore_case=True) == 2
    assert content(root, "AWAY/SRV-OTHER/secret", tftp_ignore_case=True) == 2


@pytest.mark.usefixtures("way")
def test_a_write_replaces_the_file_of_another_case(root: Path) -> None:
    server = Server(root, tftp_write=True, tftp_ignore_case=True)
    Client(server).write("SUB/DEEP/FILE", b"news", {"blksize": 100})
    Client(server, 3000).write("SUB/New", b"more", {"blksize": 100})
    assert (root / "sub" / "deep" / "file").read_bytes() == b"news"
    assert (root / "sub" / "New").read_bytes() == b"more"
    assert len(list((root / "sub").iterdir())) == 2


@pytest.mark.needs("posix", detail="names of files that differ in case only, or are long")
@pytest.mark.usefixtures("way")
def test_how_many_names_are_compared(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tftp_paths, "ENTRIES_MAX", 3)
    for number in range(10):
        (root / f"File{number}").write_bytes(b"x")
    found = [content(root, f"file{number}", tftp_ignore_case=True) for number in range(10)]
    assert found.count(1) >= 7
    assert content(root, "File9", tftp_ignore_case=True) == b"x"


@pytest.mark.needs("posix", detail="names of files that differ in case only, or are long")
@pytest.mark.usefixtures("way")
def test_how_many_names_are_compared_on_the_whole_way(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise each part of a long name could cost as much as a large folder."""
    monkeypatch.setattr(tftp_paths, "ENTRIES_MAX", 7)
    for folder in (root / "many", root / "many" / "More"):
        folder.mkdir()
        for number in range(4):
            (folder / f"File{number}").write_bytes(b"x")
    assert content(root, "many/more/File0", tftp_ignore_case=True) == b"x", "one folder is searched"
    assert content(root, "many/more/file0", tftp_ignore_case=True) == 1, "two folders have 9 entries"


@posix
@pytest.mark.skipif(not tftp_paths.BY_DESCRIPTOR, reason="the system walks the way")
def test_links_with_many_parts_are_given_up(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """39 links of 200 parts each took 13 ms, during which all guests waited."""
    parts = "sub/../" * 100
    for number in range(39):
        (root / f"way{number}").symlink_to(parts + (f"way{number + 1}" if number < 38 else "small"))
    (root / "short").symlink_to("sub/../" * 20 + "small")
    looks = []
    stat = os.stat

    def counted(*given: Any, **more: Any) -> os.stat_result:
        looks.append(given)
        return stat(*given, **more)

    monkeypatch.setattr(os, "stat", counted)
    assert content(root, "way0") == 2
    assert len(looks) <= tftp_paths.STEPS_MAX
    assert content(root, "short") == b"hello"


def test_a_nul_ends_the_name(root: Path) -> None:
    """The following word is the mode, and there is no such mode."""
    client = Client(Server(root))
    client.ask(b"small\0../../secret")
    assert client.refused() == 4


@posix
@pytest.mark.usefixtures("way")
def test_links_that_stay_inside_are_followed(root: Path) -> None:
    (root / "link").symlink_to("sub/deep/file")
    (root / "sub" / "up").symlink_to("../small")
    (root / "sub" / "deep" / "absolute").symlink_to(root / "small")
    (root / "folder").symlink_to("sub/deep")
    (root / "chain").symlink_to("folder/../up")
    assert content(root, "link") == b"deep"
    assert content(root, "sub/up") == b"hello"
    assert content(root, "sub/deep/absolute") == b"hello"
    assert content(root, "folder/file") == b"deep"
    assert content(root, "chain") == b"hello"


@posix
@pytest.mark.usefixtures("way")
def test_the_whole_file_system_may_be_served(root: Path) -> None:
    (root / "absolute").symlink_to(root / "small")
    assert content(Path("/"), str(root / "absolute")) == b"hello"


@posix
@pytest.mark.usefixtures("way")
def test_links_that_lead_out_are_refused(root: Path) -> None:
    (root / "out").symlink_to("../secret")
    (root / "absolute").symlink_to(root.parent / "secret")
    (root / "etc").symlink_to("/etc")
    (root / "beside").symlink_to(root.parent / "srv-other")  # whose name begins like the folder's
    (root / "sub" / "far").symlink_to("../../srv/../secret")
    (root / "self").symlink_to("self")
    (root / "folder").symlink_to("sub")
    (root / "there").symlink_to(".")
    for name in ("out", "absolute", "etc/passwd", "beside/secret", "sub/far", "folder", "there"):
        assert content(root, name) == 2, name
    assert content(root, "self") in (1, 2)
    assert content(root, "out/x") in (1, 2)


@posix
@pytest.mark.skipif(not tftp_paths.BY_DESCRIPTOR, reason="needs descriptors of folders")
def test_a_folder_that_is_replaced_by_a_link_meanwhile(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the opening, a folder or a file becomes a link that leads out."""
    real = os.stat

    def look(path: str, **more: object) -> os.stat_result:
        status = real(path, **more)  # type: ignore[arg-type] # each value fits its argument
        if path == "sub":
            (root / "sub").rename(root / "old")
            (root / "sub").symlink_to(root.parent)
        if path == "small":
            (root / "small").unlink(missing_ok=True)
            (root / "small").symlink_to("../secret")
        return status

    monkeypatch.setattr(os, "stat", look)
    assert content(root, "sub/secret") in (1, 2)
    assert content(root, "small") == 2


@posix
@pytest.mark.usefixtures("way")
def test_special_files_are_not_opened(root: Path) -> None:
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(root / "socket"))
    (root / "null").symlink_to("/dev/null")
    assert content(root, "fifo") == 2
    assert content(root, "socket") == 2
    assert content(root, "null") == 2


def test_a_file_without_read_permission_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def refuse(path: str, *arguments: Any, **more: Any) -> int:  # as the system does to everyone but root
        if os.fspath(path).endswith("small"):
            raise PermissionError(errno.EACCES, "permission denied", path)
        return opened(path, *arguments, **more)

    monkeypatch.setattr(os, "open", refuse)
    assert content(root, "small") == 2


@posix
@pytest.mark.usefixtures("way")
def test_descriptors_are_given_back(root: Path) -> None:
    (root / "out").symlink_to("../secret")
    (root / "link").symlink_to("sub/deep/file")
    server = Server(root, tftp_write=True)
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for name in ("link", "out", "nothing", "sub", "sub/deep/file", "small/x", "../x"):
        client = Client(server)
        client.ask(name)
        client.take()
        client.ask(name, write=True)
        client.take()
    server.service.close()
    if before:
        assert len(os.listdir("/proc/self/fd")) == before


# ------------------------------------------------------------------------------------------- writing


@pytest.mark.usefixtures("way")
def test_a_written_file_appears_when_it_is_complete(root: Path) -> None:
    server = Server(root, tftp_write=True)
    client = Client(server)
    client.ask("sub/new", write=True)
    assert client.one() == (ACK, 0, b"")
    client.data(1, b"x" * 512)
    assert client.one() == (ACK, 1, b"")
    assert not (root / "sub" / "new").exists()
    client.data(2, b"end")
    assert client.one() == (ACK, 2, b"")
    assert (root / "sub" / "new").read_bytes() == b"x" * 512 + b"end"
    assert sorted(os.listdir(root / "sub")) == ["deep", "new"]


@pytest.mark.usefixtures("way")
def test_a_file_is_replaced_in_one_step_and_keeps_its_mode(root: Path) -> None:
    (root / "small").chmod(0o640)
    client = Client(Server(root, tftp_write=True))
    client.write("small", b"new content")
    assert (root / "small").read_bytes() == b"new content"
    if sys.platform != "win32":
        assert (root / "small").stat().st_mode & 0o777 == 0o640


@pytest.mark.usefixtures("way")
def test_an_incomplete_write_leaves_no_file(root: Path) -> None:
    server = Server(root, tftp_write=True)
    for end in ("silence", "error", "close"):
        client = Client(server)
        client.ask("small", write=True)
        client.take()
        client.data(1, b"y" * 512)
        client.take()
        if end == "silence":
            server.net.run(100)
        elif end == "error":
            client.give(b"\0\5\0\0no\0")
        else:
            server.service.close()
        assert (root / "small").read_bytes() == b"hello", end
        assert sorted(os.listdir(root)) == ["empty", "full", "small", "sub"], end


@posix
@pytest.mark.usefixtures("way")
def test_writing_stays_inside_too(root: Path) -> None:
    (root / "out").symlink_to("../secret")
    (root / "far").symlink_to(root.parent / "not-there")
    (root / "near").symlink_to("sub/made")
    (root / "etc").symlink_to(root.parent)
    server = Server(root, tftp_write=True)
    for name in (*TRICKS[:20], "out", "far", "etc/x", "sub"):
        client = Client(server)
        client.ask(name, write=True)
        assert client.refused() == 2, name
    client.ask("nothing/x", write=True)
    assert client.refused() == 1
    Client(server).write("near", b"through a link")
    assert (root / "sub" / "made").read_bytes() == b"through a link"
    assert (root.parent / "secret").read_bytes() == b"secret"
    assert sorted(os.listdir(root.parent)) == ["secret", "srv", "srv-other"]


def test_writing_has_to_be_allowed(root: Path) -> None:
    client = Client(Server(root))
    client.ask("small", write=True)
    assert client.refused() == 2
    client.ask("new", write=True)
    assert client.refused() == 2
    assert not (root / "new").exists()


@posix
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG, errno.EDQUOT])
def test_a_full_disk_is_reported_to_the_client(
    root: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(root, tftp_write=True)
    client = Client(server)
    client.ask("new", write=True)
    client.take()

    def full(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "write", full)
    client.data(1, b"x" * 512)
    assert client.refused() == 3
    assert server.stats.tftp_failed == 1
    assert sorted(os.listdir(root)) == ["empty", "full", "small", "sub"]


def test_more_than_the_disk_has_is_refused_at_once(root: Path) -> None:
    client = Client(Server(root, tftp_write=True))
    client.ask("new", {"tsize": 1 << 62}, write=True)
    assert client.refused() == 3
    assert sorted(os.listdir(root)) == ["empty", "full", "small", "sub"]


def test_two_guests_write_the_same_file(root: Path) -> None:
    """Each guest writes its own copy; the last one wins, and nothing is mixed."""
    server = Server(root, tftp_write=True)
    one, two = Client(server, 2000), Client(server, 2001)
    for client in (one, two):
        client.ask("new", write=True)
        client.take()
    for client, letter in ((one, b"1"), (two, b"2")):
        client.data(1, letter * 512)
        client.take()
    two.data(2, b"2")
    one.data(2, b"1")
    assert (root / "new").read_bytes() == b"1" * 513


def test_the_refusals_are_exceptions_of_the_service_only(root: Path) -> None:
    with pytest.raises(RefusalError):
        open_read(root, "../x", False)
    with pytest.raises(RefusalError):
        open_write(root, "../x", Server(root).net.random)


# ------------------------------------------------------------------------------------- configuration


def test_the_folder_is_checked_at_the_start(root: Path, tmp_path: Path) -> None:
    assert Config(tftp=str(root)).tftp == root
    assert Config(tftp=root).tftp == root
    assert Config().tftp is None
    for given, text in (
        (tmp_path / "missing", "does not exist; make it with: mkdir"),
        (root / "small", "is not a folder"),
        ("", "neither a folder nor a callable"),
        (7, "neither a folder nor a callable"),
    ):
        with pytest.raises(ConfigError, match=text):
            Config(tftp=given)  # type: ignore[arg-type] # the mistake
    with pytest.raises(ConfigError, match="tftp_write needs a folder"):
        Config(tftp_write=True)
    with pytest.raises(ConfigError, match="instead of a callable"):
        Config(tftp=lambda name: b"", tftp_write=True)
    with pytest.raises(ConfigError, match="tftp_ignore_case needs a folder to find files in; give tftp="):
        Config(tftp_ignore_case=True)
    with pytest.raises(ConfigError, match=r"tftp_ignore_case needs a folder .* instead of a callable"):
        Config(tftp=lambda name: b"", tftp_ignore_case=True)
    with pytest.raises(ConfigError, match="tftp_single_port is for TFTP, which is off; give tftp="):
        Config(tftp_single_port=True)
    assert Config(tftp=lambda name: b"", tftp_single_port=True).tftp_single_port


def test_a_folder_without_permission_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.R_OK)
    with pytest.raises(ConfigError, match="may not be read by this user"):
        Config(tftp=root)
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    assert Config(tftp=root).tftp == root
    with pytest.raises(ConfigError, match="may not be written to by this user"):
        Config(tftp=root, tftp_write=True)


def test_a_relative_folder_stays_where_it_was(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root.parent)
    plan = Config(tftp="srv")
    assert plan.tftp == root
    assert Config.from_qemu(f"user,tftp={root}").tftp == root


def test_non_ascii_names_on_an_ascii_system(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With LC_ALL=C and without UTF-8 mode such a file does not exist, and nothing is raised."""
    monkeypatch.setattr(os, "fsencode", lambda name: name.encode("ascii"))
    assert content(root, "größe") == 1
    assert content(root, "small") == b"hello"
