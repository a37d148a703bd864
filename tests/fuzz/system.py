"""Targets: what the kernel and the runtimes of containers say, some of which processes choose."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from spyglass.container_names import ContainerNames
from spyglass.errors import SpyglassError
from spyglass.procfs import (
    cgroups,
    containers,
    cpu_times,
    files,
    group_memory,
    namespaces,
    process_facts,
    smaps,
    sockets,
    system_calls,
)
from spyglass.procfs.access_rules import read_attempt
from spyglass.procfs.memory_limits import parse_resource_limits
from spyglass.procfs.memory_maps import maps
from spyglass.threads.kernel_symbols import KernelSymbols
from tests.fuzz.documents import change_json
from tests.fuzz.target import Target

_ID = "0123456789abcdef" * 4


class _Folder:
    """A directory in the place of /proc/PID: `pid` leads there from /proc."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="fuzz-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)
        self.pid: Any = f"..{self.path}"
        for name in ("net", "task/1", "ns"):
            (self.path / name).mkdir(parents=True)

    def put(self, name: str, data: bytes) -> str:
        """Write file `name`; its path."""
        path = self.path / name
        path.write_bytes(data)
        return str(path)


_FOLDER = _Folder()
_INODE = {b"4711": 4711}

#: Files, whoever reads them, and what one of them holds.
_FILES: list[tuple[str, Callable[[Any, str], object], bytes]] = [
    ("stat", lambda pid, _: files.read_stat(pid), b"7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 5 6 0 0 20 0 9 0 1234 1 1 1"),
    ("stat", lambda _, path: cpu_times._ticks_ns(Path(path).read_bytes()), b"7 (orders) S 1 7 7 0 -1 4194560 1 0 0 0 5 6 0 0 20 0 9 0 1234 1 1"),
    ("status", lambda pid, _: files.read_status(pid), b"Name:\torders\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nNSpid:\t7\t1\n"),
    ("status", lambda pid, _: namespaces._ids(pid), b"Name:\torders\nNSpid:\t7\t1\n"),
    ("maps", lambda pid, _: maps(pid), b"00400000-00401000 r-xp 00000000 08:01 1234 /srv/a b (deleted)\n7f00-7f01 rw-p 0 00:00 0 \n"),
    ("smaps", lambda pid, _: smaps.smaps(pid), b"00400000-00401000 r-xp 00000000 08:01 1234 /srv/a\nRss: 4 kB\nPss: 4 kB\nAnonHugePages: 0 kB\n"),
    ("mountinfo", lambda pid, _: _mounts(pid), b"25 1 0:22 / /proc rw shared:5 - proc proc rw\n26 1 0:23 /a\\040b /dev/shm rw - tmpfs tmpfs rw\n"),
    ("cgroup", lambda pid, _: containers.membership(pid), f"0::/kubepods/pod0a-1/cri-containerd-{_ID}.scope\n1:cpu,memory:/a\n".encode()),
    ("mountinfo", lambda pid, _: containers.kubelet_mount(pid), b"25 1 0:22 /var/lib/kubelet/pods/0a-1/containers/app/1 /dev/termination-log rw - ext4 /dev/sda rw\n"),
    ("net/tcp", lambda _, path: _listed(path, 0), b"sl\n 0: 0100007F:1F90 00000000:0000 0A 00000000:00000001 00:0 0 0 0 4711 1\n"),
    ("net/tcp6", lambda _, path: _listed(path, 1), b" 0: 0000000000000000FFFF00000100007F:1F90 00000000000000000000000000000000:0000 01 0:1 0:0 0 0 0 4711 1\n"),
    ("net/unix", lambda _, path: _listed(path, 2), b"0: 2 0 00010000 0001 01 4711 /run/a b\n"),
    ("net/netlink", lambda _, path: _listed(path, 11), b"0 0 7 0 0 0 0 2 0 4711\n"),
    ("memory.stat", lambda _, path: group_memory.read_numbers(path), b"anon 4096\nfile 1\n"),
    ("memory.pressure", lambda _, path: group_memory.read_pressure(path, "/a"), b"some avg10=1.00 avg60=0.50 avg300=0.00 total=7\nfull avg10=0 avg60=0 avg300=0 total=0\n"),
    ("cpu.max", lambda _, path: cgroups._quota_v2(os.path.dirname(path)), b"200000 100000\n"),
    ("cpu.stat", lambda _, path: cgroups._quota(os.path.dirname(path), "1", "2"), b"nr_periods 7\nnr_throttled 1\nthrottled_usec 5\n"),
    ("limits", lambda _, path: _limits(path), b"Limit  Soft Limit Hard Limit Units\nMax address space  unlimited  4096 bytes\nMax locked memory 1 2 bytes\n"),
    ("task/1/syscall", lambda pid, _: system_calls.system_call(pid, 1), b"0 0x3 0x0 0x0 0x0 0x0 0x0 0x7ffe 0x7f00\n"),
    ("task/1/wchan", lambda pid, _: system_calls.wait_channel(pid, 1), b"ep_poll"),
    ("timens_offsets", lambda _, path: namespaces.parse_offsets(_text(path)), b"monotonic 86400 5\nboottime 0 0\n"),
    ("cmdline", lambda pid, _: process_facts.command_line(pid), b"orders\0-v\0"),
    ("kallsyms", lambda _, path: KernelSymbols(path).name(0xFFFFFFFF81000010), b"ffffffff81000000 T _stext\nffffffff81000000 t a\t[b]\n"),
    ("status", lambda pid, _: read_attempt(pid, True), b"Uid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nCapPrm:\t0\nCapEff:\t1f\nCapBnd:\t1f\n"),
]  # fmt: skip


def _mounts(pid: Any) -> None:
    mounts = cgroups.mounts_of(pid)
    containers.find_mounted_container(mounts)
    smaps.tmpfs_devices(pid)
    for option in (None, "memory"):
        list(cgroups.directories("/a/b", cgroups.having(mounts, "cgroup", option)))


def _listed(path: str, number: int) -> None:
    dict(sockets._listed(path, sockets._TABLES[number], _INODE))


def _text(path: str) -> str:
    return files.text(Path(path).read_bytes())


def _limits(path: str) -> None:
    text = _text(path)
    parse_resource_limits(
        text, dict(line.split(":", 1) for line in text.split("\n") if ":" in line)
    )


def _seeds() -> Iterator[bytes]:
    for number, (_, _, content) in enumerate(_FILES):
        yield bytes([number]) + content


def _read(data: bytes) -> None:
    """A byte chooses the file, the rest is in it."""
    name, reader, _ = _FILES[data[0] % len(_FILES) if data else 0]
    path = _FOLDER.put(name, data[1:])
    try:
        with suppress(OSError):  # no process is there
            reader(_FOLDER.pid, path)
    finally:
        (_FOLDER.path / name).unlink()


#: Below the root of the host: config.json of containerd and of storages, of Docker, and lists of storages.
_STATES = (
    f"run/containerd/io.containerd.runtime.v2.task/k8s.io/{_ID}/config.json",
    f"var/lib/docker/containers/{_ID}/config.v2.json",
    f"var/lib/containers/storage/overlay-containers/{_ID}/userdata/config.json",
    "var/lib/containers/storage/overlay-containers/containers.json",
)


def _states() -> Iterator[bytes]:
    yield b'\x00{"annotations":{"io.kubernetes.cri.container-name":"app","io.kubernetes.cri.sandbox-name":"web-0"}}'
    yield b'\x01{"Name":"/app","Config":{"Labels":{"io.kubernetes.container.name":"app","io.kubernetes.pod.name":"web"}}}'
    yield b'\x02{"annotations":{"io.kubernetes.cri-o.Labels":"{\\"io.kubernetes.pod.name\\":\\"web\\"}"}}'
    yield b'\x03[{"id":"%s","names":["app"]}]' % _ID.encode()


def _read_state(data: bytes) -> None:
    """A byte chooses the file, the rest is in it."""
    name = _STATES[data[0] % len(_STATES) if data else 0]
    path = _FOLDER.path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data[1:])
    try:
        names = ContainerNames((str(_FOLDER.path),))
        names.of(os.getpid(), containers.Membership(_ID, "0a-1", ("/a",)))
    except SpyglassError:
        raise AssertionError("names are looked for, and may be missing") from None
    finally:
        path.unlink()


def _change_state(data: bytes, most: int, chance: Any) -> bytes:
    changed = change_json(data[1:], most - 1, chance)
    return data[:1] + changed if changed else b""


TARGETS = {
    "procfs": Target(_read, _seeds, max_bytes=512),
    "containers": Target(_read_state, _states, _change_state, max_bytes=512),
}
