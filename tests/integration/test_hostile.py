"""Executables that are damaged or made to harm, and memory that lies: an answer, or an error of ours.

Nothing may take for ever or all memory, and no exception but ours may come out. What is tried is random,
but the same every time.
"""

from __future__ import annotations

import io
import os
import random
import resource
import signal
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray

from spyglass.analysis.memory_view import memory_view
from spyglass.binary.go_executable import GoExecutable
from spyglass.binary.pclntab import find_pclntab
from spyglass.errors import BadDataError, MemoryFault, SpyglassError, UnsupportedGoVersion
from spyglass.export import write_json
from spyglass.export.memory_document import write_memory
from spyglass.export.snapshot_reader import snapshot_of
from spyglass.inspector import Inspector
from spyglass.memory.base import Gathered, Memory
from spyglass.model import Snapshot
from spyglass.runtime.account.reader import read_memory_account
from spyglass.runtime.context import Runtime
from spyglass.runtime.discovery.module import find_module
from spyglass.runtime.heap.modules import read_modules
from spyglass.runtime.heap.spans import Spans, span_pointers
from spyglass.targets import Target
from tests.agreement import disagreements
from tests.children import in_child
from tests.snapshots import PROCESS, TAKEN_AT, make_snapshot
from tests.support import Flavour, Truth, in_ends, in_milestones, start

pytestmark = pytest.mark.live

T = TypeVar("T")

SPEAKER = 1
#: What one test may take beyond what this process has already.
ROOM_BYTES = 1 << 30
TIME_SECONDS = 60


def bounded(function: Callable[[], T]) -> T:
    """What `function` returns, or raises, in a child that is short of memory and time."""

    def limit_and_call() -> T:
        with open("/proc/self/statm") as statm:
            used_bytes = int(statm.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used_bytes + ROOM_BYTES,) * 2)
        signal.alarm(TIME_SECONDS)
        return function()

    return in_child(limit_and_call)


def outcome(look: Callable[[], Snapshot]) -> str:
    """The name of our error, or what else came of it; what can be shown of it is looked at."""
    try:
        snapshot = look()
    except SpyglassError as error:
        return type(error).__name__ if error.message.isprintable() else error.message
    assert len(list(snapshot)) == len(snapshot.goroutines)
    write_json(snapshot, io.BytesIO())
    return "problems" if snapshot.problems else "no problems"


# Memory that lies.


class LyingMemory(Memory):
    """`memory`, but for the words at the addresses that `lies` has."""

    def __init__(self, memory: Memory, lies: dict[int, int]) -> None:
        self.memory = memory
        self.places = np.array(sorted(lies), np.uint64)
        self.words = {address: word.to_bytes(8, "little") for address, word in lies.items()}

    def read(self, address: int, size: int) -> bytes:
        data = bytearray(self.memory.read(address, size))
        self._lie(memoryview(data), address)
        return bytes(data)

    def gather(self, addresses: NDArray[np.uint64], sizes: NDArray[np.uint64] | int) -> Gathered:
        found = self.memory.gather(addresses, sizes)
        buffer = found.buffer.copy()
        lengths = np.broadcast_to(np.asarray(sizes, np.uint64), addresses.shape)
        for i in np.flatnonzero(found.ok & self._touched(addresses, lengths)).tolist():
            begin = int(found.offsets[i])
            self._lie(buffer[begin : begin + int(lengths[i])].data, int(addresses[i]))
        return Gathered(buffer, found.offsets, found.ok)

    def _touched(
        self, addresses: NDArray[np.uint64], sizes: NDArray[np.uint64]
    ) -> NDArray[np.bool_]:
        begin = np.searchsorted(self.places, addresses)
        touched: NDArray[np.bool_] = begin < np.searchsorted(self.places, addresses + sizes)
        return touched

    def _lie(self, data: memoryview, address: int) -> None:
        first, last = np.searchsorted(self.places, [address, address + len(data)])
        for place in self.places[first:last].tolist():
            word = self.words[place][: len(data) - (place - address)]
            data[place - address : place - address + len(word)] = word


@dataclass(frozen=True)
class Subject:
    """A process, what it says of itself, and where in its memory the runtime's structures are."""

    target: Target
    truth: Truth
    areas: dict[str, list[tuple[int, int]]]

    def look(self, memory: Memory) -> Snapshot:
        return Inspector(replace(self.target, memory=memory)).snapshot()


@pytest.fixture(scope="module")
def subject(minor: str) -> Iterator[Subject]:
    with start("truth", minor, Flavour.STRIPPED, "-n", "1") as process:
        truth = process.truth()
        target = Target.attach(process.pid)
        yield Subject(target, truth, areas_of(Inspector(target)))
        target.close()


def areas_of(program: Inspector) -> dict[str, list[tuple[int, int]]]:
    """Addresses and sizes of everything that is looked at, by what it is."""
    runtime, target = program.runtime, program._target
    memory, sizes = (
        runtime.memory,
        {name: runtime.layouts[name].itemsize for name in ("g", "m", "p")},
    )
    areas = {name: [(address, VARIABLES.get(name, 8))] for name, address in runtime.globals.items()}
    slices = {}
    for name in ("allgs", "allp"):
        begin, length = memory.array(runtime.globals[name], "<u8", 2).tolist()
        areas[f"{name} array"] = [(begin, 8 * length)]
        slices[name] = memory.array(begin, "<u8", length)
    areas["g"] = [(g, sizes["g"]) for g in slices["allgs"].tolist()]
    areas["p"] = [(p, min(sizes["p"], 4096)) for p in slices["allp"].tolist()]
    areas["m"] = [(m, sizes["m"]) for m in addresses_of_ms(program)]
    goroutines = memory.gather(slices["allgs"], sizes["g"]).rows(runtime.layouts["g"])
    tops = goroutines["sched"]["sp"].astype(int) & ~7
    areas["stack"] = [(sp, 400) for sp in tops.tolist() if sp]
    areas["moduledata"] = [(find_module(target).address, 600)]
    return areas


#: How much of the larger variables is looked at.
VARIABLES = {
    "allgs": 24, "allp": 24, "sched": 400, "memstats": 4096, "gcController": 512,
    "waitReasonStrings": 16 * 45, "buildVersion": 16,
}  # fmt: skip


def addresses_of_ms(program: Inspector) -> list[int]:
    memory, kind = program.runtime.memory, program.runtime.layouts["m"]
    found = [memory.u64(program.runtime.globals["allm"])]
    while following := int(memory.array(found[-1], kind, 1)["alllink"][0]):
        found.append(following)
    return found


class Liar:
    """Makes up lies."""

    def __init__(self, subject: Subject, seed: int) -> None:
        self.chance = random.Random(seed)
        self.subject = subject
        self.addresses = [begin for area in subject.areas.values() for begin, _ in area]

    def memory(self, areas: list[str]) -> LyingMemory:
        """The memory of the subject with a few lies in `areas`, or with very many in all of them."""
        count = self.chance.choice([1, 1, 2, 5, 50] if len(areas) == 1 else [100, 500, 2000])
        places = [self.place(areas) for _ in range(count)]
        lies = {place: self.word(place) % (1 << 64) for place in places}
        return LyingMemory(self.subject.target.memory, lies)

    def place(self, areas: list[str]) -> int:
        begin, size = self.chance.choice(self.subject.areas[self.chance.choice(areas)])
        return begin + self.chance.randrange(size) & ~7

    def word(self, place: int) -> int:
        chance = self.chance
        true = self.subject.target.memory.u64(place)
        return chance.choice(
            [
                *(0, 1, (1 << 64) - 1, 1 << 63, (1 << 31) - 1, os.getpid()),
                *(1 << 20, (1 << 24) - 1, 1 << 26, 1 << 30, 1 << 32, 1 << 47),
                *(true ^ (1 << chance.randrange(64)), true + chance.choice([-8, -1, 1, 8, 4096])),
                *(chance.getrandbits(64), chance.getrandbits(chance.randrange(1, 40))),
                *(chance.choice(self.addresses), chance.choice(self.addresses)),
                chance.choice(self.addresses) + chance.randrange(-64, 64),
            ]
        )


AREAS = (
    "g", "stack", "allgs", "allgs array", "m", "allm", "p", "allp", "allp array", "sched", "memstats",
    "gcController", "gomaxprocs", "waitReasonStrings", "moduledata",
)  # fmt: skip
#: Those that are lied about in the short run too, and with more versions.
SOON = ("g", "stack", "allgs", "p", "moduledata")


@in_milestones
@pytest.mark.parametrize("area", SOON)
def test_a_few_lies_give_an_answer_or_an_error(subject: Subject, area: str) -> None:
    assert_few_lies_do_no_harm(subject, area)


@in_ends
@pytest.mark.slow
@pytest.mark.parametrize("area", [each for each in AREAS if each not in SOON])
def test_a_few_lies_elsewhere_give_an_answer_or_an_error(subject: Subject, area: str) -> None:
    assert_few_lies_do_no_harm(subject, area)


def assert_few_lies_do_no_harm(subject: Subject, area: str) -> None:
    liar = Liar(subject, seed=1)

    def look_often() -> Counter[str]:
        return Counter(outcome(lambda: subject.look(liar.memory([area]))) for _ in range(8))

    assert_all_are_ours(bounded(look_often))


def assert_all_are_ours(outcomes: Counter[str]) -> None:
    ours = {kind.__name__ for kind in all_subclasses(SpyglassError)}
    assert set(outcomes) <= ours | {"problems", "no problems"}


def all_subclasses(kind: type[SpyglassError]) -> Iterator[type[SpyglassError]]:
    for subclass in kind.__subclasses__():
        yield subclass
        yield from all_subclasses(subclass)


@in_milestones
def test_very_many_lies_give_an_answer_or_an_error(subject: Subject) -> None:
    liar = Liar(subject, seed=2)

    def look_often() -> Counter[str]:
        return Counter(outcome(lambda: subject.look(liar.memory(list(AREAS)))) for _ in range(30))

    outcomes = bounded(look_often)
    assert_all_are_ours(outcomes)
    assert outcomes["no problems"] < 5


@in_milestones
def test_an_account_of_memory_that_lies(subject: Subject) -> None:
    """Fields that are read with other numbers than they have, some as large as can be."""
    runtime = Inspector(subject.target).runtime
    heap, spans = runtime.layouts["mheap"], runtime.layouts["mspan"].itemsize
    begin = runtime.globals["mheap_"]
    assert heap.fields is not None
    fields = [begin + at & ~7 for _, at, *_ in heap.fields.values()]
    allspans, count = runtime.memory.array(begin + heap.fields["allspans"][1], "<u8", 2).tolist()
    first = runtime.memory.u64(allspans)
    stats = [
        runtime.globals[name] + 8 * i for name in ("memstats", "gcController") for i in range(48)
    ]
    structs = [*range(allspans, allspans + 8 * min(count, 8), 8), *range(first, first + spans, 8)]
    places, chance = [*fields, *stats, *structs], random.Random(5)
    words = (0, 1, 1 << 20, 1 << 47, (1 << 63) - 1, (1 << 64) - 1, allspans, 4096)
    lies = [
        {place: chance.choice(words) for place in chance.sample(places, number)}
        for number in [1, 3, 10] * 15
    ]

    def look_often() -> Counter[str]:
        return Counter(account_of_lies(subject, runtime, each) for each in lies)

    outcomes = bounded(look_often)
    assert_all_are_ours(outcomes)
    assert outcomes["problems"] > 5


def account_of_lies(subject: Subject, runtime: Runtime, lies: dict[int, int]) -> str:
    memory = LyingMemory(subject.target.memory, lies)
    lied_to = replace(runtime.for_reading(), memory=memory)
    try:
        account = read_memory_account(subject.target, lied_to, PROCESS, TAKEN_AT)
    except SpyglassError as error:
        return type(error).__name__
    write_memory(memory_view(make_snapshot([]), account), io.BytesIO())
    return "problems" if account.problems else "no problems"


@in_milestones
@pytest.mark.parametrize("number", [30, 1, 1000])
@pytest.mark.slow
def test_types_and_chains_of_a_heap_that_lies(subject: Subject, number: int) -> None:
    """Spans, type descriptors, variables and objects with other words than they have."""
    inspector = Inspector(subject.target)
    runtime, chance = inspector.runtime, random.Random(6)
    spans, module = Spans.read(runtime), read_modules(runtime)[0]
    heads = spans.start[spans.pointers].tolist()
    types = range(int(module["types"]), int(module["etypes"]), 8)
    structs = span_pointers(runtime).tolist()
    areas = [
        [head + 8 * i for head in heads for i in range(1024)], types,
        range(int(module["data"]) & ~7, int(module["edata"]), 8),
        [each + 8 * i for each in structs for i in range(runtime.layouts["mspan"].itemsize // 8)],
    ]  # fmt: skip

    def word() -> int:
        bits = chance.getrandbits(64)
        some = [0, 1, 1 << 47, (1 << 64) - 1, chance.choice(heads), chance.choice(types), bits]
        return int(chance.choice(some))

    lies = [
        {place: word() for place in chance.sample(area, min(number, len(area)))} for area in areas
    ]

    def look_often() -> Counter[str]:
        return Counter(heap_of_lies(inspector, each, hex(chance.choice(heads))) for each in lies)

    outcomes = bounded(look_often)
    assert_all_are_ours(outcomes)
    # A thousand lies about the structs of spans hide most of the heap.
    assert outcomes["problems"] + outcomes["no problems"] >= (1 if number == 1000 else 2), outcomes


def heap_of_lies(inspector: Inspector, lies: dict[int, int], address: str) -> str:
    truth = inspector.runtime
    inspector.runtime = replace(truth, memory=LyingMemory(truth.memory, lies))
    try:
        types = inspector.heap_types(seconds=2)
        # No object may be where one was, and up to Go 1.21 no types are kept.
        for wanted in (address, "runtime.g"):
            with suppress(SpyglassError):
                chains = inspector.retention(wanted, seconds=2)
                assert chains.reached <= chains.objects
    except SpyglassError as error:
        return type(error).__name__
    finally:
        inspector.runtime = truth
    assert types.covered_bytes <= types.total_bytes
    return "problems" if types.problems else "no problems"


@in_milestones
@pytest.mark.parametrize("begins_with_lies", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_watch_of_a_scheduler_that_lies_can_be_saved_and_read(
    subject: Subject, begins_with_lies: bool
) -> None:
    liar = Liar(subject, seed=4)
    areas = ["g", "m", "allm", "p", "allp", "allp array", "sched", "memstats", "gomaxprocs"]
    lies = [
        {p: liar.word(p) % (1 << 64) for p in map(liar.place, [areas] * 300)} for _ in range(40)
    ]
    truth, most = subject.target.memory, {"sched": (1 << 63) - 1, "memstats": (1 << 64) - 1}
    for name, word in most.items():
        begin, size = subject.areas[name][0]
        lies.append(dict.fromkeys(range(begin & ~7, begin + size, 8), word))

    def watch_often() -> int:
        with_window = Inspector(subject.target).snapshot()
        windows = 0
        for words in lies:
            program = Inspector(subject.target)
            memories = [LyingMemory(truth, words), truth]
            program.runtime = replace(program.runtime, memory=memories[not begins_with_lies])
            watch = program.watch()
            watch._runtime = replace(watch._runtime, memory=memories[begins_with_lies])
            window = watch.window()
            text = io.BytesIO()
            write_json(replace(with_window, window=window), text)
            assert snapshot_of(text.getvalue()).window == window
            windows += 1
        return windows

    assert bounded(watch_often) == len(lies)


@in_milestones
@pytest.mark.parametrize("area", ["m", "allm", "sched", "memstats", "p", "allp"])
def test_goroutines_are_right_whatever_else_is_not(subject: Subject, area: str) -> None:
    begin, size = subject.areas[area][0]
    noise = random.Random(3)
    lies = {place: noise.getrandbits(64) for place in range(begin & ~7, begin + size, 8)}
    snapshot = bounded(lambda: subject.look(LyingMemory(subject.target.memory, lies)))
    assert disagreements(snapshot, subject.truth.goroutines, moving=[SPEAKER]) == []
    assert snapshot.problems != ()


@in_milestones
def test_a_goroutine_that_makes_no_sense_is_left_out(subject: Subject) -> None:
    lost = max(each.id for each in subject.truth.goroutines)
    begin, size = area_of_goroutine(subject, lost)
    lies = {place: (1 << 64) - 1 for place in range(begin, begin + size, 8)}
    snapshot = subject.look(LyingMemory(subject.target.memory, lies))
    said = [each for each in subject.truth.goroutines if each.id != lost]
    assert disagreements(snapshot, said, moving=[SPEAKER]) == []
    assert ("implausible", "goroutines") in {(p.kind, p.subject) for p in snapshot.problems}


def area_of_goroutine(subject: Subject, goid: int) -> tuple[int, int]:
    kind = Inspector(subject.target).runtime.layouts["g"]
    memory = subject.target.memory
    return next(
        area for area in subject.areas["g"] if memory.array(area[0], kind, 1)["goid"][0] == goid
    )


@in_milestones
def test_a_list_of_threads_without_an_end_ends(subject: Subject) -> None:
    kind = Inspector(subject.target).runtime.layouts["m"]
    assert kind.fields is not None
    (first, _), *_, (last, _) = subject.areas["m"]
    lies = {last + int(kind.fields["alllink"][1]): first}
    snapshot = bounded(lambda: subject.look(LyingMemory(subject.target.memory, lies)))
    assert disagreements(snapshot, subject.truth.goroutines, moving=[SPEAKER]) == []
    assert {thread.m for thread in snapshot.threads} == {None}
    assert "threads" in {problem.subject for problem in snapshot.problems}


@in_milestones
@pytest.mark.parametrize("length", [1 << 63, 1 << 40, (1 << 24) + 1, 1 << 24])
def test_more_goroutines_than_there_can_be_are_refused(subject: Subject, length: int) -> None:
    at = subject.areas["allgs"][0][0]
    lies = {at + 8: length, at + 16: length}
    with pytest.raises((UnsupportedGoVersion, BadDataError, MemoryFault)):
        bounded(lambda: subject.look(LyingMemory(subject.target.memory, lies)))


class EndlessMemory(LyingMemory):
    """Has something at every address: where the process has nothing, what it has elsewhere."""

    def __init__(self, memory: Memory, lies: dict[int, int], filling: bytes) -> None:
        super().__init__(memory, lies)
        self.filling = filling

    def read(self, address: int, size: int) -> bytes:
        try:
            return super().read(address, size)
        except MemoryFault:
            return (self.filling * (size // len(self.filling) + 1))[:size]

    def gather(self, addresses: NDArray[np.uint64], sizes: NDArray[np.uint64] | int) -> Gathered:
        found = super().gather(addresses, sizes)
        lengths = np.broadcast_to(np.asarray(sizes, np.int64), addresses.shape)
        for i in np.flatnonzero(~found.ok).tolist():
            begin, size = int(found.offsets[i]), int(lengths[i])
            filling = (self.filling * (size // len(self.filling) + 1))[:size]
            found.buffer[begin : begin + size] = np.frombuffer(filling, np.uint8)
        return Gathered(found.buffer, found.offsets, np.ones(len(addresses), np.bool_))


@in_ends
@pytest.mark.parametrize("count", [1 << 12, 1 << 20, pytest.param(1 << 24, marks=pytest.mark.slow)])
@pytest.mark.parametrize("filling", ["zeros", "ones", "a goroutine", "its address", "allgs"])
def test_memory_without_an_end_is_not_read_for_ever(
    subject: Subject, count: int, filling: str
) -> None:
    g, size = subject.areas["g"][0]
    pattern = {
        "zeros": bytes(4096),
        "ones": b"\xff" * 4096,
        "a goroutine": subject.target.memory.read(g, size // 8 * 8),
        "its address": struct.pack("<Q", g),
        "allgs": subject.target.memory.read(*subject.areas["allgs array"][0]),
    }[filling]
    at = subject.areas["allgs"][0][0]
    lies = {at: 1 << 40, at + 8: count, at + 16: count}
    memory = EndlessMemory(subject.target.memory, lies, pattern)
    assert bounded(lambda: outcome(lambda: subject.look(memory))) != "no problems"


# Executables that are damaged, in use: their process runs nevertheless.


class Vandal:
    """Damages executables."""

    def __init__(self, image: bytes, seed: int) -> None:
        self.chance = random.Random(seed)
        self.image = image
        self.areas = areas_of_file(image)

    def damaged(self, kind: str) -> bytes:
        image = bytearray(self.image)
        if kind == "cut off":
            return bytes(image[: self.cut()])
        begin, end = self.areas[kind]
        for _ in range(self.chance.choice([1, 1, 3, 20] if end - begin < 1 << 16 else [50, 2000])):
            at, number = self.chance.randrange(begin, end), self.number()
            image[at : at + len(number)] = number
        return bytes(image)

    def cut(self) -> int:
        edges = [edge for area in self.areas.values() for edge in area]
        near = max(self.chance.choice(edges) + self.chance.randrange(-70, 70), 0)
        return self.chance.choice([near, self.chance.randrange(len(self.image))])

    def number(self) -> bytes:
        size = self.chance.choice([1, 2, 4, 8])
        value = self.chance.choice(
            [0, 1, 1 << 63, (1 << 64) - 1, (1 << 31), (1 << 32) - 1, 0xFFFF, len(self.image) - 1,
             self.chance.getrandbits(64), self.chance.getrandbits(20)]
        )  # fmt: skip
        return struct.pack("<Q", value)[:size]


def areas_of_file(image: bytes) -> dict[str, tuple[int, int]]:
    executable = GoExecutable(image, "intact")
    place, info = find_pclntab(executable), image.find(b"\xff Go buildinf:")
    assert place is not None
    shoff, shnum = *struct.unpack_from("<Q", image, 40), *struct.unpack_from("<H", image, 60)
    areas = {
        "header": (0, 64),
        "program headers": (64, 64 + 56 * 10),
        "table header": (place.offset, place.offset + 72),
        "table": (place.offset, place.offset + place.size),
        "build info": (info, info + 64),
        "anywhere": (0, len(image)),
    }
    return areas | ({"section headers": (shoff, shoff + 64 * shnum)} if shnum else {})


DAMAGE = (
    "header", "program headers", "section headers", "table header", "table", "build info", "anywhere",
    "cut off",
)  # fmt: skip


@in_milestones
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_executable_gives_an_answer_or_an_error(subject: Subject, damage: str) -> None:
    image = subject.target.executable.image
    vandal = Vandal(image.read(0, len(image)), seed=4)

    def look(damaged: bytes) -> Snapshot:
        executable = GoExecutable(damaged, "damaged")
        return Inspector(replace(subject.target, executable=executable)).snapshot()

    def look_often() -> Counter[str]:
        return Counter(outcome(lambda: look(vandal.damaged(damage))) for _ in range(12))

    assert_all_are_ours(bounded(look_often))
