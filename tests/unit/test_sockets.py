"""What file descriptors are of: the kernel's tables, and our own descriptors."""

from __future__ import annotations

import os
import pty
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from spyglass.procfs import sockets
from spyglass.procfs.sockets import read_connections
from spyglass.wait_graph import Connection

TCP = next(table for table in sockets._TABLES if table.name == "tcp")
UNIX = next(table for table in sockets._TABLES if table.name == "unix")


def line(local: str, remote: str, state: str, queues: str = "00000000:00000000") -> str:
    return f"   0: {local} {remote} {state} {queues} 00:00000000 00000000  1000        0 77 1 0 100"


def parsed(table: sockets._Table, text: str, path: Path) -> Connection | None:
    path.write_text(f"header\n{text}\n")
    return dict(sockets._listed(str(path), table, {b"77": 77})).get(77)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            line("0100007F:1F90", "0703000A:1538", "01", "00000010:00000020"),
            Connection("socket:tcp", "127.0.0.1:8080", "10.0.3.7:5432", "ESTABLISHED", 32, 16),
        ),
        (
            line("00000000:0050", "00000000:0000", "0A", "00000080:00000001"),
            Connection("socket:tcp", "0.0.0.0:80", None, "LISTEN", None, None),
        ),
        (
            line("0" * 24 + "01000000:0050", "0" * 32 + ":0000", "02", "00000001:00000000"),
            Connection("socket:tcp", "[::1]:80", None, "SYN_SENT", None, None),
        ),
        (
            line("0100007F:1F90", "0703000A:1538", "08", "00000000:00000001"),
            Connection("socket:tcp", "127.0.0.1:8080", "10.0.3.7:5432", "CLOSE_WAIT", None, None),
        ),
        (
            line(
                "0000000000000000FFFF00000703000A:0050",
                "0000000000000000FFFF00000100007F:0051",
                "01",
            ),
            Connection("socket:tcp", "10.0.3.7:80", "127.0.0.1:81", "ESTABLISHED", 0, 0),
        ),
        (line("xyz", "0100007F:1F90", "01"), Connection("socket:tcp")),
        (line("0100007F:1F90", "0100007F:1F90", "7F"), Connection("socket:tcp")),
        (line("0100007F:1F90", "0100007F:1F90", "01", "1"), Connection("socket:tcp")),
        ("77 77", None),
    ],
)
def test_a_line_of_tcp(text: str, expected: Connection | None, tmp_path: Path) -> None:
    assert parsed(TCP, text, tmp_path / "tcp") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0: 00000003 00000000 00000000 0001 03 77", Connection("socket:unix")),
        (
            "0: 00000002 00000000 00010000 0001 01 77 /run/a socket",
            Connection("socket:unix", "/run/a socket", state="LISTEN"),
        ),
        (
            "0: 00000002 00000000 00000000 0002 01 77 @\x1b[31m",
            Connection("socket:unix", "@\x1b[31m"),
        ),
    ],
)
def test_a_line_of_unix_sockets(text: str, expected: Connection, tmp_path: Path) -> None:
    assert parsed(UNIX, text, tmp_path / "unix") == expected


def test_a_table_is_read_as_far_as_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zeros = " ".join(["0"] * 9)
    path = tmp_path / "tcp"
    path.write_text("header\n" + "".join(f"{zeros} {inode} 1\n" for inode in range(1000)))
    read, lines = [], sockets._lines

    def counted(name: str) -> Iterator[bytes]:
        for each in lines(name):
            read.append(each)
            yield each

    monkeypatch.setattr(sockets, "_lines", counted)
    found = dict(sockets._listed(str(path), TCP, {b"7": 7, b"3": 3}))
    assert (sorted(found), len(read)) == ([3, 7], 1 + 8)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_our_own_descriptors(stack: ExitStack, tmp_path: Path) -> None:
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    here = stack.enter_context(socket.create_connection(listener.getsockname()))
    there = stack.enter_context(listener.accept()[0])
    here.sendall(b"abc")
    again = stack.enter_context(here.dup())
    path = str(tmp_path / "socket")
    unix = stack.enter_context(socket.socket(socket.AF_UNIX))
    unix.bind(path)
    unix.listen()
    pipe, terminal = os.pipe(), pty.openpty()
    file = stack.enter_context((tmp_path / "file").open("w"))
    event = os.eventfd(0)
    for fd in (*pipe, *terminal, event):
        stack.callback(os.close, fd)
    places = [f"{host}:{port}" for host, port in (listener.getsockname(), here.getsockname())]
    expected = {
        listener.fileno(): Connection("socket:tcp", places[0], None, "LISTEN"),
        here.fileno(): Connection("socket:tcp", places[1], places[0], "ESTABLISHED", 0, 0),
        again.fileno(): Connection("socket:tcp", places[1], places[0], "ESTABLISHED", 0, 0),
        there.fileno(): Connection("socket:tcp", places[0], places[1], "ESTABLISHED", 3, 0),
        unix.fileno(): Connection("socket:unix", path, state="LISTEN"),
        pipe[0]: Connection("pipe"),
        terminal[1]: Connection("tty", os.ttyname(terminal[1])),
        file.fileno(): Connection("file", file.name),
        event: Connection("eventfd"),
    }
    assert read_connections(os.getpid(), [*expected, 1 << 29]) == expected


def test_a_socket_that_is_in_no_table_has_its_protocol() -> None:
    with socket.socket() as bare:  # neither bound nor connected
        assert read_connections(os.getpid(), [bare.fileno()]) == {
            bare.fileno(): Connection("socket:tcp")
        }


def test_of_a_process_that_ended_nothing_is_known() -> None:
    assert read_connections((1 << 22) + 1, [0, 1]) == {}
