from __future__ import annotations

import gc
import random
import struct
from contextlib import suppress

import numpy as np
import pytest

from spyglass.binary.gotypes import GoTypes
from spyglass.binary.types import locate
from spyglass.errors import BadDataError, MissingInfo
from spyglass.runtime.context import Runtime
from spyglass.runtime.discovery.layouts import candidate_layouts
from spyglass.runtime.waiting.struct_types import StructTypes
from tests.image import ImageMemory

BASE = 0x4A0000
BOOL, UINT32, INT64, UINTPTR, FUNC, INTERFACE, POINTER, SLICE, STRING, ARRAY, STRUCT = (
    1, 10, 6, 12, 19, 20, 22, 23, 24, 17, 25,
)  # fmt: skip
EXTRA_STAR = 2


class DescriptorWriter:
    """Writes type descriptors as Go's linker does; `old`: as before Go 1.17 and 1.19."""

    def __init__(self, old_names: bool, old_offsets: bool) -> None:
        self.old_names, self.old_offsets = old_names, old_offsets
        self.data = bytearray(16)

    def name(self, text: str) -> int:
        """An ``abi.Name``; its offset."""
        at = len(self.data)
        length = len(text).to_bytes(2, "big") if self.old_names else bytes([len(text)])
        self.data += b"\0" + length + text.encode()
        return at

    def type(self, kind: int, size: int, name: str, rest: bytes = b"", flags: int = 0) -> int:
        """An ``abi.Type`` with what follows it; its address."""
        where = self.name(name)
        self.data += bytes(-len(self.data) % 8)
        at = len(self.data)
        self.data += (
            struct.pack("<QQIBBBBQQiI", size, 0, 0, flags, 8, 8, kind, 0, 0, where, 0) + rest
        )
        return BASE + at

    def struct(
        self, name: str, size: int, *fields: tuple[str, int, int], package: str = "runtime"
    ) -> int:
        """A ``StructType`` with fields (name, offset, type)."""
        names = [self.name(field) for field, _, _ in fields]
        where = self.name(package)
        self.data += bytes(-len(self.data) % 8)
        first = len(self.data)
        for at, (_, offset, kind) in zip(names, fields, strict=True):
            self.data += struct.pack(
                "<QQQ", BASE + at, kind, offset * 2 if self.old_offsets else offset
            )
        rest = struct.pack("<QQQQ", BASE + where, BASE + first, len(fields), len(fields))
        return self.type(STRUCT, size, f"*{name}", rest, EXTRA_STAR)


def write_runtime(writer: DescriptorWriter) -> None:
    uintptr = writer.type(UINTPTR, 8, "uintptr")
    int64 = writer.type(INT64, 8, "int64")
    uint32 = writer.type(UINT32, 4, "uint32")
    empty = writer.struct("atomic.noCopy", 0, package="runtime/internal/atomic")
    atomic = writer.struct(
        "atomic.Uint32", 4, ("_", 0, empty), ("value", 0, uint32), package="runtime/internal/atomic"
    )
    gobuf = writer.struct("runtime.gobuf", 16, ("sp", 0, uintptr), ("g", 8, uintptr))
    ring = writer.type(ARRAY, 2048, "[256]uintptr", struct.pack("<QQQ", uintptr, 0, 256))
    g_pointer = writer.type(POINTER, 8, "*runtime.g")
    writer.struct(
        "runtime.g",
        2200,
        ("sched", 0, gobuf),
        ("atomicstatus", 16, atomic),
        ("m", 24, g_pointer),
        ("writebuf", 32, writer.type(SLICE, 24, "[]uint8")),
        ("name", 56, writer.type(STRING, 16, "string")),
        ("arg", 72, writer.type(INTERFACE, 16, "interface {}")),
        ("preempt", 88, writer.type(BOOL, 1, "bool")),
        ("fn", 96, writer.type(FUNC, 8, "func()")),
        ("runq", 104, ring),
        ("gcAssistBytes", 2192, int64),
    )


EXPECTED = {
    "sched.g": (8, "u8"),
    "atomicstatus": (16, "u4"),
    "m": (24, "u8"),
    "writebuf": (32, "(3,)u8"),
    "name": (56, "(2,)u8"),
    "arg": (72, "(2,)u8"),
    "preempt": (88, "u1"),
    "fn": (96, "u8"),
    "runq": (104, "(256,)u8"),
    "gcAssistBytes": (2192, "i8"),
    "absent": None,
}
VERSIONS = pytest.mark.parametrize(
    ("old_names", "old_offsets"),
    [(True, True), (False, True), (False, False)],
    ids=["go1.16", "go1.18", "go1.19"],
)


def read(data: bytes | bytearray) -> GoTypes:
    return GoTypes(ImageMemory({BASE: bytes(data)}), BASE, BASE + len(data))


@VERSIONS
def test_fields_are_found_in_every_encoding(old_names: bool, old_offsets: bool) -> None:
    writer = DescriptorWriter(old_names, old_offsets)
    write_runtime(writer)
    g = read(writer.data).struct("runtime.g")
    assert g.size == 2200
    assert {path: locate(g, path) for path in EXPECTED} == EXPECTED


def test_types_leave_no_garbage() -> None:
    """They are megabytes, which `spyglass serve` reads for one process after the other."""
    writer = DescriptorWriter(False, False)
    write_runtime(writer)
    row = np.array([(BASE, BASE + len(writer.data))], [("types", "<u8"), ("etypes", "<u8")])
    memory = ImageMemory({BASE: bytes(writer.data), 64: row.tobytes()})
    runtime = Runtime(
        memory, {"moduledata": row.dtype}, {"firstmoduledata": 64}, None, "amd64", "go1.27"  # type: ignore[arg-type]
    )  # fmt: skip
    gc.collect()
    gc.disable()
    try:
        types = StructTypes(runtime, memory.read)
        receiver = types.receiver("runtime.(*g).guintptr")
        assert receiver is not None
        assert receiver.pointer_at(0, types.of_kind("mutex")) is None
        described = BASE, BASE + len(writer.data)
        assert not list(candidate_layouts("go1.99", "amd64", None, memory, described))
        del receiver, types
        assert not any(isinstance(each, GoTypes) for each in gc.get_objects())
    finally:
        gc.enable()


@VERSIONS
def test_a_type_of_another_package_of_that_name_is_not_taken(
    old_names: bool, old_offsets: bool
) -> None:
    writer = DescriptorWriter(old_names, old_offsets)
    word = writer.type(UINTPTR, 8, "uintptr")
    fields = [(f"field{i}", i * 8, word) for i in range(4)]
    writer.struct("runtime.g", 32, *fields, package="example.com/runtime")
    write_runtime(writer)
    writer.struct("runtime.p", 32, *fields, package="example.com/runtime")
    types = read(writer.data)
    assert types.struct("runtime.g").size == 2200
    with pytest.raises(MissingInfo, match=r"runtime\.p"):
        types.struct("runtime.p")


@VERSIONS
def test_of_two_types_of_a_name_none_is_taken(old_names: bool, old_offsets: bool) -> None:
    """Types within functions are called as the package's own."""
    writer = DescriptorWriter(old_names, old_offsets)
    word = writer.type(UINTPTR, 8, "uintptr")
    write_runtime(writer)
    writer.struct("main.pool", 8, ("free", 0, word), package="main")
    writer.struct("main.queue", 8, ("n", 0, word), package="main")
    writer.struct("main.pool", 16, ("state", 0, word), ("closed", 8, word), package="main")
    writer.struct("main.pool", 16, ("a", 0, word), ("b", 8, word), package="example.com/main")
    types = read(writer.data)
    assert types.struct_of("main", "main.pool") is None
    assert types.struct_of("main", "main.queue") is not None
    assert types.struct_of("example.com/main", "main.pool") is not None


def test_a_pointer_type_of_that_name_is_not_taken() -> None:
    writer = DescriptorWriter(False, False)
    write_runtime(writer)
    writer.type(POINTER, 8, "*runtime.m")
    with pytest.raises(MissingInfo):
        read(writer.data).struct("runtime.m")


def test_a_program_without_a_runtime_has_none() -> None:
    with pytest.raises(MissingInfo, match=r"runtime\.g"):
        read(bytes(4096))


@pytest.mark.parametrize("end", [BASE, BASE - 1, BASE + (1 << 40)])
def test_a_range_that_cannot_be_is_refused(end: int) -> None:
    with pytest.raises(BadDataError):
        GoTypes(ImageMemory({BASE: bytes(64)}), BASE, end)


def test_a_field_whose_type_is_elsewhere_is_refused() -> None:
    writer = DescriptorWriter(False, False)
    write_runtime(writer)
    writer.struct("runtime.p", 16, ("id", 0, BASE - 4096), ("m", 8, BASE + (1 << 30)))
    with pytest.raises(BadDataError, match="leads out"):
        locate(read(writer.data).struct("runtime.p"), "m")


@pytest.mark.parametrize("seed", range(8))
def test_damage_is_bad_data_and_nothing_else(seed: int) -> None:
    chance = random.Random(seed)
    writer = DescriptorWriter(old_names=seed % 2 == 0, old_offsets=seed % 4 < 2)
    write_runtime(writer)
    survived = 0
    for _ in range(300):
        data = bytearray(writer.data)
        for _ in range(chance.randint(1, 8)):
            data[chance.randrange(len(data))] = chance.choice(
                (0, 1, 0x80, 0xFF, chance.getrandbits(8))
            )
        with suppress(BadDataError, MissingInfo):
            g = read(data[: chance.choice((len(data), chance.randrange(1, len(data))))]).struct(
                "runtime.g"
            )
            survived += 1
            for path in EXPECTED:
                locate(g, path)
    assert survived > 10
