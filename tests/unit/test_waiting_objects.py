"""What goroutines wait on, out of memory made by hand: as it should be, and as it should not."""

from __future__ import annotations

import time
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from spyglass.model import STATUSES, Goroutines
from spyglass.runtime.context import Runtime
from spyglass.runtime.discovery.layouts import Layouts, candidate_layouts
from spyglass.runtime.heap.type_names import type_names
from spyglass.runtime.waiting.channels import find_channels
from spyglass.runtime.waiting.found import Found, kind
from spyglass.runtime.waiting.object_state import StateReader
from spyglass.runtime.waiting.objects import Resolved, resolve_waits
from spyglass.runtime.waiting.options import Moment
from spyglass.runtime.waiting.population import Population
from spyglass.runtime.waiting.sudogs import ranked
from spyglass.targets.target_process import TargetProcess
from spyglass.wait_graph import KINDS, OPERATIONS, UNKNOWN, UNRESOLVED
from tests.image import ImageMemory

G, SUDOG, CHANNEL, LOCK = 0x10000, 0x20000, 0x30000, 0x40000
STEP = 0x200
KERNEL = 0xFFFF_8000_0000_0000
REASONS = ("", "chan receive", "chan send", "select")
RECEIVE, SEND, SELECT = 1, 2, 3


def layouts() -> Layouts:
    return next(iter(candidate_layouts("go1.27.3", "amd64", None, None, None)))


class Image:
    """A runtime whose goroutines wait, and its memory."""

    def __init__(self) -> None:
        self.memory = ImageMemory({})
        self.layouts = layouts()
        self.waits: list[tuple[int, int]] = []  # wait reason, g.waiting

    def goroutine(self, reason: int, waiting: int) -> int:
        """A goroutine that waits; its address."""
        self.waits.append((reason, waiting))
        return G + STEP * (len(self.waits) - 1)

    def sudog(self, number: int, g: int, channel: int, **fields: int) -> int:
        """An entry of a queue; its address."""
        row = np.zeros(1, self.layouts["sudog"])
        row["g"], row["c"]["maybeTraceablePtr"]["vu"] = g, channel
        for name, value in fields.items():
            row[name] = value
        self.memory.place(SUDOG + STEP * number, row)
        return SUDOG + STEP * number

    def channel(self, number: int, receivers: int = 0, senders: int = 0, **fields: int) -> int:
        """A channel with the first entries of its queues; its address."""
        row = np.zeros(1, self.layouts["hchan"])
        row["recvq"]["first"], row["sendq"]["first"] = receivers, senders
        for name, value in fields.items():
            row[name] = value
        self.memory.place(CHANNEL + STEP * number, row)
        return CHANNEL + STEP * number

    def runtime(self) -> Runtime:
        return Runtime(self.memory, self.layouts, {}, cast(Any, None), "amd64", "go1.27.3")

    def population(self) -> Population:
        count = len(self.waits)
        reasons, waiting = np.array(self.waits, np.uint64).reshape(-1, 2).T
        g = np.zeros(count, self.layouts["g"])
        g["waiting"] = waiting
        goroutines = Goroutines.of(
            count,
            id=np.arange(1, count + 1, dtype=np.uint64),
            status=np.full(count, STATUSES.index("waiting"), np.uint8),
            wait_reason=reasons.astype(np.int16),
        )
        pointers = (G + STEP * np.arange(count)).astype(np.uint64)
        return Population(
            self.runtime(), cast(Any, None), goroutines, REASONS, pointers, np.zeros(count, np.int64),
            g, np.ones(count, np.bool_), Moment(None, {}, True, frozenset()), g.dtype,
        )  # fmt: skip


def found(image: Image) -> list[tuple[int, str, int]]:
    """Goroutines by number, what they want, and the channels."""
    population = image.population()
    rows = find_channels(population, np.arange(len(image.waits)))
    operations = [OPERATIONS[code] for code in rows.operation.tolist()]
    return sorted(zip(rows.row.tolist(), operations, rows.address.tolist(), strict=True))


def resolved_of(population: Population) -> Resolved:
    reader = StateReader(population, cast(TargetProcess, None))
    return resolve_waits(population, reader, population.waiting)


def test_channels_and_the_cases_of_a_select() -> None:
    image = Image()
    one = image.goroutine(RECEIVE, SUDOG)
    two = image.goroutine(SELECT, SUDOG + STEP)
    a = image.channel(0, receivers=SUDOG)
    b = image.channel(1, senders=SUDOG + 2 * STEP)
    image.sudog(0, one, a, next=SUDOG + STEP)
    image.sudog(1, two, a, isSelect=1, waitlink=SUDOG + 2 * STEP)
    image.sudog(2, two, b, isSelect=1)
    assert found(image) == [(0, "receive", a), (1, "receive", a), (1, "send", b)]
    resolved = resolved_of(image.population())
    assert resolved.waits.goroutine.tolist() == [1, 2, 2]
    assert resolved.sudog.tolist() == [SUDOG, SUDOG + STEP, SUDOG + 2 * STEP]
    assert len(resolved.unresolved) == 0


def test_waiters_are_in_the_order_of_their_queue() -> None:
    image = Image()
    order = [3, 1, 0, 2]  # who came first
    for number in range(4):
        image.goroutine(SEND, SUDOG + STEP * number)
    channel = image.channel(0, senders=SUDOG + STEP * order[0])
    for number, following in zip(order, [*order[1:], None], strict=True):
        after = SUDOG + STEP * following if following is not None else 0
        image.sudog(number, G + STEP * number, channel, next=after)
    resolved = resolved_of(image.population())
    assert (resolved.waits.goroutine - 1).tolist() == order


@pytest.mark.parametrize(
    "entry",
    [
        {},  # nothing there
        {"g": G + 0x100000},  # of another goroutine
        {"channel": 0},
        {"channel": CHANNEL + 1},
    ],
)
def test_an_entry_that_is_not_the_goroutine_s_is_no_wait(entry: dict[str, int]) -> None:
    image = Image()
    g = image.goroutine(RECEIVE, SUDOG)
    channel = image.channel(0)
    if entry:
        image.sudog(0, **{"g": g, "channel": channel, **entry})
    assert found(image) == []
    resolved = resolved_of(image.population())
    assert len(resolved.waits) == len(resolved.objects) == 0
    assert [UNRESOLVED[why] for why in resolved.unresolved.why.tolist()] == ["not understood"]


@pytest.mark.parametrize("pointer", [0, 1, 0x123, KERNEL, KERNEL + 8, (1 << 64) - 8, (1 << 64) - 1])
def test_pointers_to_nowhere_are_no_waits(pointer: int) -> None:
    image = Image()
    image.goroutine(RECEIVE, pointer)
    good = image.goroutine(SELECT, SUDOG)
    other = image.goroutine(SELECT, SUDOG + STEP)
    channel = image.channel(0, receivers=pointer, senders=SUDOG)
    image.sudog(0, good, channel, isSelect=1, next=pointer)
    image.sudog(1, other, channel, isSelect=1, waitlink=pointer or 8)
    expected = [(1, "send", channel)] if not pointer else []
    assert [row for row in found(image) if row[0] != 1] == []
    assert [row for row in found(image) if row[0] == 1] in (expected, [(1, "send", channel)], [])


def test_cases_that_lead_in_a_circle_end() -> None:
    image = Image()
    g = image.goroutine(SELECT, SUDOG)
    same = image.goroutine(SELECT, SUDOG + 2 * STEP)
    a, b = image.channel(0), image.channel(1)
    image.sudog(0, g, a, isSelect=1, waitlink=SUDOG + STEP)
    image.sudog(1, g, b, isSelect=1, waitlink=SUDOG)
    image.sudog(2, same, a, isSelect=1, waitlink=SUDOG + 2 * STEP)
    began = time.monotonic()
    assert found(image) == []
    assert time.monotonic() - began < 1


def test_queues_that_lead_in_a_circle_have_no_order_but_waiters() -> None:
    image = Image()
    for number in range(3):
        image.goroutine(RECEIVE, SUDOG + STEP * number)
    channel = image.channel(0, receivers=SUDOG)
    for number in range(3):
        image.sudog(number, G + STEP * number, channel, next=SUDOG + STEP * ((number + 1) % 3))
    assert found(image) == [(number, "receive", channel) for number in range(3)]


def test_the_state_of_a_channel_that_cannot_be_is_not_known() -> None:
    image = Image()
    for number, fields in enumerate(
        ({"qcount": 1, "dataqsiz": 3}, {"qcount": 4, "dataqsiz": 3}, {"elemtype": KERNEL})
    ):
        g = image.goroutine(RECEIVE, SUDOG + STEP * number)
        image.sudog(number, g, image.channel(number, receivers=SUDOG + STEP * number, **fields))
    resolved = resolved_of(image.population())
    assert resolved.objects.length.tolist() == [1, UNKNOWN, 0]
    assert resolved.objects.capacity.tolist() == [3, UNKNOWN, 0]
    assert resolved.objects.type.tolist() == [-1, -1, -1]


def states(name: str, words: list[int], address: int = LOCK) -> dict[str, Any]:
    """What the words (int32) at an object of a kind mean."""
    image = Image()
    image.memory.place(
        address & ~7, bytes(address & 7) + np.array(words, np.int32).tobytes() + bytes(8)
    )
    reader = StateReader(image.population(), cast(TargetProcess, None))
    of = Found.of_goroutines(
        np.zeros(1, np.int64), kind=kind(name), address=np.array([address], np.uint64)
    )
    objects = reader.read(of)
    assert KINDS[int(objects.kind[0])] == name
    return {
        column: getattr(objects, column)[0].item()
        for column in ("locked", "readers", "waiters_state", "counter")
    }


NEVER = {"locked": -1, "readers": UNKNOWN, "waiters_state": UNKNOWN, "counter": UNKNOWN}


@pytest.mark.parametrize("address", [LOCK, LOCK + 4])
def test_what_the_words_of_locks_mean(address: int) -> None:
    mutex = states("mutex", [1 | 3 << 3, 0], address)
    assert mutex == {**NEVER, "locked": 1, "waiters_state": 3}
    assert states("mutex", [4], address)["locked"] == 0
    once = states("once", [0, 1 | 2 << 3, 0], address)
    assert once == {**NEVER, "locked": 1, "waiters_state": 2}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([0, 0, 0, 0, 2, 0], (0, 2, 0)),
        ([1, 0, 0, 0, 2 - (1 << 30), 2], (0, 2, 1)),  # a writer waits for two readers
        ([1, 0, 0, 0, 3 - (1 << 30), 2], (0, 2, 2)),  # and a reader for the writer
        ([1 | 2 << 3, 0, 0, 0, 3 - (1 << 30), 0], (1, 0, 5)),  # a writer has it, two writers wait
        ([0, 0, 0, 0, -(1 << 31), 9], (-1, UNKNOWN, UNKNOWN)),
    ],
)
def test_what_the_words_of_an_rwmutex_mean(
    words: list[int], expected: tuple[int, int, int]
) -> None:
    found = states("rwmutex", words)
    assert (found["locked"], found["readers"], found["waiters_state"]) == expected


def test_what_the_words_of_wait_groups_and_conditions_mean() -> None:
    assert states("waitgroup", [2, 3, 0])["counter"] == 3
    assert states("waitgroup", [2 - (1 << 31), 3, 0])["waiters_state"] == 2  # with Go 1.25's flag
    assert (
        states("waitgroup", [0, 2, 3], LOCK + 4)["counter"] == 3
    )  # up to Go 1.17: behind the semaphore
    assert states("cond", [0, 0, 0, 0, 7, 4])["waiters_state"] == 3
    assert states("cond", [0, 0, 0, 0, -(1 << 31), (1 << 31) - 1])["waiters_state"] == 1


@pytest.mark.parametrize("address", [8, KERNEL, (1 << 64) - 8])
@pytest.mark.parametrize("name", [each for each in KINDS if each not in ("nothing", "runtime")])
def test_objects_that_cannot_be_read_have_no_state(name: str, address: int) -> None:
    image = Image()

    class Process:
        def connections(self, fds: object) -> dict[int, object]:
            return {}

    reader = StateReader(image.population(), cast(TargetProcess, Process()))
    of = Found.of_goroutines(
        np.zeros(1, np.int64), kind=kind(name), address=np.array([address], np.uint64)
    )
    objects = reader.read(of)
    for column, known in objects.columns().items():
        if column not in ("kind", "address"):
            assert getattr(objects, column)[0] == known.default


@pytest.mark.parametrize("address", [0, 1, KERNEL, (1 << 64) - 8])
def test_types_without_a_descriptor_have_no_name(address: int) -> None:
    assert type_names(Image().runtime(), np.array([address], np.uint64)) == [""]


def places(following: list[int]) -> tuple[list[int], list[int]]:
    first, position = ranked(np.array(following, np.int64))
    return first.tolist(), position.tolist()


def test_places_in_queues() -> None:
    assert places([]) == ([], [])
    assert places([1, 2, -1, -1]) == ([0, 0, 0, 3], [0, 1, 2, 0])
    assert places([1, 0, -1]) == ([-1, -1, 2], [0, 0, 0])  # a circle
    assert places([0]) == ([-1], [0])
    first, position = places([2, 2, -1])  # two are before the same
    assert sorted(first) in ([0, 0, 1], [0, 1, 1])
    assert sorted(position) == [0, 0, 1]


def test_a_queue_of_a_million_takes_no_time() -> None:
    order: NDArray[np.int64] = np.random.default_rng(1).permutation(1 << 20)
    following = np.full(len(order), -1)
    following[order[:-1]] = order[1:]
    began = time.monotonic()
    first, position = ranked(following)
    assert time.monotonic() - began < 10
    assert (first == order[0]).all()
    assert (position[order] == np.arange(len(order))).all()
