"""Targets: core files, what they note, and what is read from the memory in them."""

from __future__ import annotations

import io
import random
import struct
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np

import spyglass
from spyglass.binary.corefile import CoreFile
from spyglass.binary.corenotes import (
    MappedFile,
    Note,
    ProcessInfo,
    ThreadStatus,
    pack_auxv,
    pack_files,
    pack_process,
    pack_thread,
)
from spyglass.export import write_json
from spyglass.process_list import Names
from spyglass.render.summary_view import render
from spyglass.render.view_options import View
from spyglass.runtime.waiting.options import WaitOptions
from spyglass.targets.core_metadata import CoreMetadata
from spyglass.targets.core_process import CoreProcess
from spyglass.targets.target_process import Facts
from spyglass.wait_graph import Connection
from tests.cores import write_core
from tests.fuzz.documents import change_json
from tests.fuzz.files import MemoryFile
from tests.fuzz.target import Target
from tests.saved_cores import SavedCore

_PAGE = 512
_STACK, _RANDOM = 0x7FFE_0000_0000, 0x7FFE_0000_0180


def _metadata() -> bytes:
    facts = Facts(host="web", exe="/srv/orders", cmdline=("orders", "-v"), started_at=None, uptime_seconds=1.5,
                  rss_bytes=4096, container="c0ffee", names=Names("cart", "cart-1"))  # fmt: skip
    connections = {7: Connection("socket:tcp", "10.0.0.1:80", None, "LISTEN", None, 0)}
    taken = datetime(2026, 11, 20, tzinfo=UTC)
    threads = ((1, "orders", "S"), (2, None, None))
    made = CoreMetadata(
        taken, 5, True, facts, threads, {1: 2}, frozenset([3]), frozenset([4]), connections
    )
    return made.pack()


def _cores() -> Iterator[bytes]:
    for arch, words in (("amd64", 27), ("arm64", 34)):
        auxv = {3: 0x400040, 5: 4, 9: 0x401000, 25: _RANDOM, 31: _STACK + 0x100}
        notes = [
            pack_thread(ThreadStatus(7, 6, tuple(range(words)))),
            pack_thread(ThreadStatus(8, 0, tuple(range(words)))),
            pack_process(ProcessInfo(7, "orders", "orders -v")),
            pack_auxv(auxv),
            pack_files([MappedFile(0x400000, 0x401000, 0, "/nowhere/orders"), MappedFile(0x500000, 0x501000, 4096, "/nowhere/lib")]),
            Note("spyglass", 1, _metadata()),
        ]  # fmt: skip
        stack = struct.pack("<4Q", 2, _STACK + 0x100, _STACK + 0x107, 0) + struct.pack("<Q", 0)
        stack += b"".join(struct.pack("<QQ", *pair) for pair in auxv.items()) + bytes(16)
        page = stack.ljust(0x100, b"\0") + b"orders\0-v\0"
        content = np.frombuffer(page.ljust(_PAGE, b"\0") * 2, np.uint8).reshape(2, _PAGE)
        stream = io.BytesIO()
        write_core(stream, arch, notes, np.array([0x400000, _STACK], np.uint64), content)
        yield stream.getvalue()


_FILE, _EXE = MemoryFile(), MemoryFile()


def _read_core(data: bytes) -> None:
    with CoreFile(_FILE.hold(data)) as core:
        assert core.own is not None
        for part in (core.segments, core.missing, core.threads, core.auxv, core.files):
            len(part)
        assert core.process is None or core.process.pid >= 0
    process = CoreProcess(_FILE.path)
    try:
        for fact in (process.facts(), process.threads(), process.program_path):
            repr(fact)
    finally:
        process.close()


def _read_metadata(data: bytes) -> None:
    found = CoreMetadata.parse(data)
    assert CoreMetadata.parse(found.pack()) == found


# Memory that lies, in a core of a real program.

_CHANGE = struct.Struct("<IQ")
_WORDS = (0, 1, 8, 0xFFF, 1 << 31, 1 << 32, 1 << 46, 1 << 47, 1 << 63, (1 << 64) - 8, (1 << 64) - 1)


@cache
def _base() -> tuple[bytes, bytes, int]:
    """A core, its program, and where memory begins in the core."""
    with tempfile.TemporaryDirectory() as folder:
        saved = SavedCore.unpack("go1.18-amd64", Path(folder))
        with CoreFile(str(saved.core)) as file:
            begin = int(file.segments["offset"].min())
        return saved.core.read_bytes(), saved.exe.read_bytes(), begin


def _read_small_core(data: bytes) -> None:
    """Changes of 12 bytes: a position, whose lowest two bits say what becomes of the word there, and a number: the number
    itself, another word of the core, more by so much, or a byte of the program's file."""
    raw, program, begin = _base()
    core, exe = bytearray(raw), bytearray(program)
    words = memoryview(core)[begin : begin + (len(core) - begin) // 8 * 8].cast("Q")
    for place, number in _CHANGE.iter_unpack(data[: len(data) // _CHANGE.size * _CHANGE.size]):
        at = (place >> 2) % len(words)
        if place & 3 == 0:
            words[at] = number
        elif place & 3 == 1:
            words[at] = words[number % len(words)]
        elif place & 3 == 2:
            words[at] = (words[at] + number) & ((1 << 64) - 1)
        else:
            exe[(place >> 2) % len(exe)] = number & 0xFF
    words.release()
    with spyglass.open_core(_FILE.hold(bytes(core)), _EXE.hold(bytes(exe))) as process:
        snapshot = process.snapshot(thread_stacks=True, waits=WaitOptions(heap=False))
    write_json(snapshot, io.BytesIO())
    for line in render(snapshot, View(debug=True)):
        assert line.plain.isprintable()


def _change_words(data: bytes, most: int, chance: random.Random) -> bytes:
    """A change more, or less, where there is something."""
    raw, exe, begin = _base()
    kind = chance.randrange(4)
    size = len(exe) if kind == 3 else (len(raw) - begin) // 8
    at = chance.randrange(size)
    for _ in range(20):
        if (exe[at] if kind == 3 else any(raw[begin + 8 * at :][:8])) != 0:
            break
        at = chance.randrange(size)
    number = chance.choice(
        [*_WORDS, chance.getrandbits(64), chance.getrandbits(20), chance.getrandbits(6)]
    )
    kept = data[: len(data) // 12 * 12]
    if kept and chance.random() < 0.3:
        cut = chance.randrange(0, len(kept), 12)
        kept = kept[:cut] + kept[cut + 12 :]
    return (kept + _CHANGE.pack(at << 2 | kind, number))[-most:]


TARGETS = {
    "core-file": Target(_read_core, _cores, max_bytes=6000),
    "core-metadata": Target(_read_metadata, lambda: [_metadata()], change_json, max_bytes=4096),
    "small-core": Target(
        _read_small_core,
        lambda: [b"", _CHANGE.pack(4000, 1)],
        _change_words,
        max_bytes=12 * 40,
    ),
}
