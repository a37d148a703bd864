"""What the file descriptors of a process are of, and for sockets both ends of the connection.

Source: proc_pid_fd(5), proc_pid_net(5), and in the kernel net/ipv4/tcp_ipv4.c (``tcp4_seq_show``), net/unix/af_unix.c
(``unix_seq_show``), include/net/tcp_states.h.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from spyglass.procfs.files import text
from spyglass.wait_graph import Connection

__all__ = ["read_connections"]

#: The most of a table of sockets that is read: some 400,000 lines.
_MAX_TABLE_BYTES = 1 << 26
_CHUNK_BYTES = 1 << 16
_MAX_NAMESPACES = 16
_MAX_THREADS = 1 << 12
_TCP_STATES = (
    "", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE",
    "CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING", "NEW_SYN_RECV",
)  # fmt: skip
_LISTEN = "LISTEN"
#: ``SO_ACCEPTCON`` among the flags of a Unix socket.
_ACCEPTS = 1 << 16


class _Table(NamedTuple):
    """A file of /proc/PID/net: the protocol of its sockets, in which column the inode is, and whether
    they have addresses."""

    name: str
    protocol: str
    inode: int
    addresses: bool


_TABLES = (
    _Table("tcp", "tcp", 9, True),
    _Table("tcp6", "tcp", 9, True),
    _Table("unix", "unix", 6, False),
    _Table("udp", "udp", 9, True),
    _Table("udp6", "udp", 9, True),
    _Table("udplite", "udplite", 9, True),
    _Table("udplite6", "udplite", 9, True),
    _Table("raw", "raw", 9, True),
    _Table("raw6", "raw", 9, True),
    _Table("icmp", "icmp", 9, True),
    _Table("icmp6", "icmp", 9, True),
    _Table("netlink", "netlink", 9, False),
    _Table("packet", "packet", 8, False),
)


def read_connections(pid: int, fds: Iterable[int]) -> dict[int, Connection]:
    """What each of the file descriptors `fds` of process `pid` is of; without those that are closed, or
    that this user may not look at.

    A socket of a network namespace that no thread of the process is in any longer has no addresses
    ("socket").
    """
    found: dict[int, Connection] = {}
    inodes: dict[int, int] = {}
    for fd in fds:
        try:
            link = os.readlink(f"/proc/{pid}/fd/{fd}")
        except OSError:
            continue
        kind, _, number = link.partition(":[")
        if kind == "socket" and number[:-1].isdigit():
            inodes[fd] = int(number[:-1])
        else:
            found[fd] = _other(pid, fd, link)
    sockets = _sockets(pid, inodes.values())
    for fd, inode in inodes.items():
        found[fd] = sockets.get(inode) or Connection(_unlisted(pid, fd))
    return found


def _other(pid: int, fd: int, link: str) -> Connection:
    """What a file is of that is no socket."""
    if link.startswith("anon_inode:"):
        return Connection(link.removeprefix("anon_inode:").strip("[]"))
    if link.startswith("pipe:"):
        return Connection("pipe")
    try:
        mode = os.stat(f"/proc/{pid}/fd/{fd}").st_mode
    except OSError:
        return Connection("file", link)
    if stat.S_ISFIFO(mode):
        return Connection("pipe", link)
    if stat.S_ISCHR(mode):
        is_tty = link.startswith(("/dev/pts/", "/dev/tty"))
        return Connection("tty" if is_tty else "device", link)
    return Connection("file", link)


def _unlisted(pid: int, fd: int) -> str:
    """The name of a socket that is in no table: that of its protocol, if the kernel says it
    (net/socket.c: ``sockfs_xattr_get``)."""
    try:
        name = os.getxattr(f"/proc/{pid}/fd/{fd}", "system.sockprotoname")
    except OSError:
        return "socket"
    protocol = text(name.rstrip(b"\0")).lower().removesuffix("v6").removesuffix("-stream")
    return f"socket:{protocol}"


def _sockets(pid: int, inodes: Iterable[int]) -> dict[int, Connection]:
    """The sockets with these `inodes`, by inode."""
    wanted = {b"%d" % inode: inode for inode in inodes}
    found: dict[int, Connection] = {}
    for directory in _directories(pid) if wanted else ():
        for table in _TABLES:
            if not wanted:
                return found
            found |= _listed(f"{directory}/{table.name}", table, wanted)
            for inode in found:
                wanted.pop(b"%d" % inode, None)
    return found


def _directories(pid: int) -> Iterator[str]:
    """The tables of the network namespace of the process, then those of threads that are in another."""
    yield f"/proc/{pid}/net"
    try:
        seen = {os.readlink(f"/proc/{pid}/ns/net")}
        tids = os.listdir(f"/proc/{pid}/task")[:_MAX_THREADS]
    except OSError:
        return
    for tid in tids:
        try:
            namespace = os.readlink(f"/proc/{pid}/task/{tid}/ns/net")
        except OSError:
            continue
        if namespace not in seen and len(seen) < _MAX_NAMESPACES:
            seen.add(namespace)
            yield f"/proc/{pid}/task/{tid}/net"


def _listed(
    path: str, table: _Table, wanted: Mapping[bytes, int]
) -> Iterator[tuple[int, Connection]]:
    """The sockets of the table at `path` that are `wanted`, by inode."""
    left = dict(wanted)
    for line in _lines(path):
        columns = line.split(None, table.inode + 1)
        if len(columns) > table.inode and columns[table.inode] in left:
            inode = left.pop(columns[table.inode])
            try:
                yield inode, _connection(table, columns)
            except (ValueError, IndexError, OSError):
                yield inode, Connection(f"socket:{table.protocol}")
        if not left:
            return


def _lines(path: str) -> Iterator[bytes]:
    """The lines of the table at `path`, read when they are needed: to find its end the kernel goes through buckets for
    all connections of the host once more, which takes milliseconds."""
    try:
        with open(path, "rb", _CHUNK_BYTES) as table:
            room = _MAX_TABLE_BYTES
            while room > 0 and (line := table.readline(_CHUNK_BYTES)):
                room -= len(line)
                yield line
    except OSError:
        return


def _connection(table: _Table, columns: list[bytes]) -> Connection:
    target = f"socket:{table.protocol}"
    if table.protocol == "unix":
        path = text(columns[7].rstrip()) if len(columns) > 7 else None
        return Connection(target, path, state=_LISTEN if int(columns[3], 16) & _ACCEPTS else None)
    if not table.addresses:
        return Connection(target)
    state = _TCP_STATES[int(columns[3], 16)] if table.protocol == "tcp" else None
    queues: tuple[int, ...] = ()
    # Elsewhere these count connections, a SYN or FIN as a byte, or the memory of packets.
    if state == "ESTABLISHED":
        unsent, unread = (int(part, 16) for part in columns[4].split(b":"))
        queues = unread, unsent
    return Connection(target, _address(columns[1]), _remote(columns[2]), state, *queues)


def _remote(column: bytes) -> str | None:
    """The other end; None for a socket that is not connected."""
    return _address(column) if column.strip(b"0") != b":" else None


def _address(column: bytes) -> str:
    """ "0100007F:1F90" as "127.0.0.1:8080": words of 4 bytes in the processor's order."""
    words, port = column.split(b":")
    raw = bytes.fromhex(words.decode())
    raw = b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
    if len(raw) == 16 and raw.startswith(b"\0" * 10 + b"\xff\xff"):
        raw = raw[12:]  # as Go writes it
    if len(raw) == 4:
        return f"{'.'.join(map(str, raw))}:{int(port, 16)}"
    import socket  # takes longer than reading the table

    return f"[{socket.inet_ntop(socket.AF_INET6, raw)}]:{int(port, 16)}"
