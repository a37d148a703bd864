"""Targets: structures of the runtime and of programs in memory."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from functools import cache, partial
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from spyglass.binary.value_descriptors import ValueDescriptors
from spyglass.binary.value_types import Field, ValueType, basic_type
from spyglass.go_value import Limits, Variable
from spyglass.render.value_view import render_variables
from spyglass.render.view_options import View
from spyglass.runtime.discovery.layouts import Layouts
from spyglass.runtime.heap.buckets import (
    BLOCK,
    MEMORY,
    MUTEX,
    kind_of,
    read_buckets,
    read_contentions,
)
from spyglass.runtime.heap.descriptors import Descriptors
from spyglass.runtime.heap.shapes import Candidates
from spyglass.runtime.variables.decoder import Decoder
from tests.fuzz.target import Target
from tests.image import ImageMemory
from tests.unit.test_buckets import BASE as BUCKETS_BASE
from tests.unit.test_buckets import bucket, with_bytes
from tests.unit.test_gotypes import BASE as TYPES_BASE
from tests.unit.test_gotypes import DescriptorWriter, write_runtime
from tests.unit.test_heap_types import BASE as HEAP_BASE
from tests.unit.test_heap_types import MASKS, MODULE, TYPES, described
from tests.unit.test_labels import BUCKET, FULL, LISTS, MAPS, World

BASE = 0x7F00_0000_1000


# Values of variables.


def _basic(name: str) -> ValueType:
    found = basic_type(name)
    assert found is not None
    return found


_INT, _STRING, _ANY = _basic("int"), _basic("string"), _basic("any")


def _map(new: bool) -> ValueType:
    """map[string]int, kept as since Go 1.24 or as before."""
    pair = ValueType(
        "slot",
        "struct",
        24,
        fields=lambda: [Field("key", 0, lambda: _STRING), Field("elem", 16, lambda: _INT)],
    )
    slots = ValueType("[8]slot", "array", 192, element=lambda: pair, length=8)
    keys = ValueType("[8]string", "array", 128, element=lambda: _STRING, length=8)
    elements = ValueType("[8]int", "array", 64, element=lambda: _INT, length=8)
    groups = [Field("ctrl", 0, lambda: _INT), Field("slots", 8, lambda: slots)]
    cells = [
        Field("topbits", 0, lambda: _INT),
        Field("keys", 8, lambda: keys),
        Field("elems", 136, lambda: elements),
    ]
    storage = ValueType(
        "group", "struct", 200 if new else 208, fields=lambda: groups if new else cells
    )
    return ValueType(
        "map[string]int",
        "map",
        8,
        key=lambda: _STRING,
        element=lambda: _INT,
        storage=lambda: storage,
    )


def _pointer(target: ValueType) -> ValueType:
    return ValueType(f"*{target.name}", "pointer", 8, element=lambda: target)


def _list() -> ValueType:
    """A struct with something of everything, and a pointer to the next one."""
    kinds = [
        _STRING, _ANY, _map(True), _map(False), ValueType("[]string", "slice", 24, element=lambda: _STRING),
        ValueType("chan int", "chan", 8, element=lambda: _INT), ValueType("func()", "func", 8),
        _basic("bool"), _basic("float64"), _basic("complex128"), ValueType("[3]int", "array", 24, element=lambda: _INT, length=3),
        ValueType("error", "interface", 16, has_methods=True), ValueType("[]uint8", "slice", 24, element=lambda: _basic("uint8")),
    ]  # fmt: skip
    places = np.cumsum([0, *(-(-kind.size // 8) * 8 for kind in kinds)]).tolist()
    fields = [Field(f"f{n}", at, partial(kinds.__getitem__, n)) for n, at in enumerate(places[:-1])]
    node = ValueType(
        "main.node",
        "struct",
        places[-1] + 8,
        fields=lambda: [*fields, Field("next", places[-1], lambda: _pointer(node))],
    )
    return node


_NODE = _list()


@cache
def _described_types() -> bytes:
    writer = DescriptorWriter(False, False)
    write_runtime(writer)
    return bytes(writer.data)


def _values() -> Iterator[bytes]:
    words = [BASE + 512, 5, TYPES_BASE + 64, BASE + 512, BASE + 300, BASE + 400, BASE + 512, 2, 2, BASE + 300, BASE + 300,
             1, 0x3FF0000000000000, 1, 2, 1, 2, 3, BASE + 256, BASE + 512, BASE + 512, 3, 3, BASE]  # fmt: skip
    yield (
        struct.pack(f"<{len(words)}Q", *words).ljust(256, b"\0")
        + struct.pack("<4Q", TYPES_BASE + 64, TYPES_BASE + 128, 1, 0).ljust(256, b"\1")
        + b"hello" * 20
    )


def _read_value(data: bytes) -> None:
    types = _described_types()
    memory = ImageMemory({BASE: data, TYPES_BASE: types})
    functions = SimpleNamespace(at=lambda _pc: None)
    descriptors = ValueDescriptors(memory, TYPES_BASE, TYPES_BASE + len(types))
    channel = np.dtype({"names": ["timer"], "formats": ["<u8"], "offsets": [32], "itemsize": 96})
    layouts = Layouts("test", {"hchan": channel})
    runtime = cast(Any, SimpleNamespace(memory=memory, functions=functions, layouts=layouts))
    value = Decoder(runtime, descriptors, Limits()).value(_NODE, BASE)
    shown = Variable("main.x", BASE, value)
    for line in render_variables([shown], View()):
        assert line.plain.isprintable()


# Labels.


def _label_sets() -> Iterator[bytes]:
    for number, version in enumerate((LISTS, MAPS)):
        world = World(version)
        world.labels([("tenant", "blue"), ("request", "42")])
        raw = bytearray(world.at - 0x10000)
        for at, content in world.memory.segments.items():
            raw[at - 0x10000 : at - 0x10000 + len(content)] = content
        yield bytes([number]) + bytes(raw[:6000])
    cell = np.zeros(1, BUCKET)
    cell["tophash"][0][0], cell["overflow"] = FULL, 0x10000 + 200
    yield (
        b"\1"
        + struct.pack("<QBBHIQQQQ", 1, 0, 1, 0, 0, 0x10000 + 200, 0x10000 + 200, 0, 0).ljust(
            200, b"\0"
        )
        + cell.tobytes()
    )


def _read_labels(data: bytes) -> None:
    """A byte chooses how sets are kept; each place in the rest may be one."""
    world = _worlds()[data[:1] == b"\1"]
    world.memory.segments.clear()
    world.memory.place(0x10000, data[1:])
    world.runtime.problems.clear()
    world.reader.renew()
    world.read(*range(0x10000, 0x10000 + min(len(data), 8192), 8))


@cache
def _worlds() -> tuple[World, World]:
    return World(LISTS), World(MAPS)


# Samples of allocations and waits.


def _bucket_lists() -> Iterator[bytes]:
    second = BUCKETS_BASE + 512
    first = bucket([1, 2, 3], 64, with_bytes(64, *[1, 0] * 4), second)
    yield first.ljust(512, b"\0") + bucket([4], 8, with_bytes(8, *[2, 1] * 4), 0)
    yield bucket([1, 2], 0, [5, 900], second, BLOCK).ljust(512, b"\0") + bucket(
        [7], 0, [1, 2], 0, BLOCK
    )


def _read_buckets(data: bytes) -> None:
    memory = ImageMemory({BUCKETS_BASE: data})
    kind_of(memory, BUCKETS_BASE)
    for read in (
        read_buckets,
        partial(read_contentions, kind=BLOCK),
        partial(read_contentions, kind=MUTEX),
    ):
        try:
            found = read(memory, BUCKETS_BASE)
        except Exception as error:
            if type(error).__name__ != "BadDataError":
                raise
            continue
        assert len(found.stacks) == found.offsets[-1]
    assert MEMORY != BLOCK


# Type descriptors that objects of the heap are of.


def _regions() -> Iterator[bytes]:
    memory, _ = described((40, 0b10011), (512, 1 << 63 | 1), (8, 1), (16, 0b10))
    yield memory.segments[TYPES]


def _read_descriptors(data: bytes) -> None:
    memory = ImageMemory({TYPES: data, MASKS: bytes(range(256))})
    found = Descriptors.read(memory, np.array([(TYPES, TYPES + len(data))], MODULE))
    found.find(np.array([TYPES + 8, 0, HEAP_BASE], np.uint64))
    candidates = Candidates.of(found)
    for size, mask in ((8, 1), (48, 0b10011), (512, 1 << 63 | 1), (64, (1 << 64) - 1)):
        candidates.find(size, mask)


def _change_words(data: bytes, most: int, chance: random.Random) -> bytes:
    """Another word somewhere: a number, or an address of something."""
    made = bytearray(data)
    for _ in range(chance.choice([1, 1, 3])):
        if len(made) >= 9:
            at = chance.randrange(1, len(made) - 7)
            base = chance.choice(
                [0, 0, 1 << 63, BASE, TYPES_BASE, 0x10000, BUCKETS_BASE, TYPES, MASKS]
            )
            number = base + chance.choice(
                [0, 1, 8, 255, chance.randrange(len(made)), chance.getrandbits(40)]
            )
            made[at : at + 8] = struct.pack("<Q", number % (1 << 64))
    return bytes(made[:most])


TARGETS = {
    "values": Target(_read_value, _values, _change_words, max_bytes=2048),
    "labels": Target(_read_labels, _label_sets, _change_words, max_bytes=6001),
    "buckets": Target(_read_buckets, _bucket_lists, _change_words, max_bytes=2048),
    "descriptors": Target(_read_descriptors, _regions, _change_words, max_bytes=2048),
}
