"""Label sets in memory as some Go version lays them out, sound and hostile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from spyglass.model import NONE, UNREAD, Problem
from spyglass.runtime.context import Runtime
from spyglass.runtime.discovery.layouts import candidate_layouts
from spyglass.runtime.goroutines import labels
from spyglass.runtime.goroutines.hmap import read_maps
from spyglass.runtime.goroutines.labels import LabelReader
from tests.image import ImageMemory
from tests.support import many_seeds

LISTS, MAPS = "go1.24", "go1.23"
#: What the first byte of a bucket's cell says: nothing there, and moved away (runtime/map.go).
EMPTY, EVACUATED, FULL = 1, 2, 77
NOWHERE = 0x7FFF_0000_0000
UNREADABLE = Problem(
    "unreadable",
    "labels",
    "those of 1 goroutines could not be read, are implausible, or changed meanwhile",
)

Bucket = Sequence[tuple[int, str, str]]


@dataclass
class World:
    """Memory into which sets of labels are put, as a version of Go does."""

    version: str
    memory: ImageMemory = field(default_factory=lambda: ImageMemory({}))
    at: int = 0x10000

    def __post_init__(self) -> None:
        self.layouts = next(candidate_layouts(self.version, "amd64", None, None, None))
        self.runtime = Runtime(self.memory, self.layouts, {}, None, "amd64", self.version)  # type: ignore[arg-type]
        self.reader = LabelReader(self.runtime)

    def put(self, content: bytes | np.ndarray[Any, Any], shift: int = 0) -> int:
        """Somewhere of its own, `shift` bytes behind a multiple of 8; where that is."""
        place = self.at + shift
        self.memory.place(place, content)
        self.at += (len(self.memory.segments[place]) + 0x1007) & ~7
        return place

    def words(self, *words: int, shift: int = 0) -> int:
        return self.put(np.array(words, "<u8"), shift)

    def string(self, text: str | bytes) -> tuple[int, int]:
        raw = text.encode() if isinstance(text, str) else text
        return (self.put(raw), len(raw)) if raw else (0, 0)

    def slice(self, pairs: Sequence[tuple[str | bytes, str | bytes]]) -> int:
        cells = [word for pair in pairs for text in pair for word in self.string(text)]
        return self.words(self.words(*cells), len(pairs), len(pairs))

    def bucket(self, cells: Bucket, overflow: int = 0) -> Any:
        found = np.zeros(1, BUCKET)[0]
        for i, (state, key, value) in enumerate(cells):
            found["tophash"][i] = state
            found["keys"][i], found["values"][i] = self.string(key), self.string(value)
        found["overflow"] = overflow
        return found

    def hmap(self, buckets: Sequence[Any], /, **header: int) -> int:
        """A map with these buckets; its header says so unless `header` says otherwise."""
        count = sum(int((each["tophash"] >= 5).sum()) for each in buckets)
        head = np.zeros(1, self.layouts["hmap"])[0]
        head["count"], head["B"] = count, (len(buckets) - 1).bit_length()
        head["buckets"] = self.put(np.array(buckets, BUCKET))
        for name, value in header.items():
            head[name] = value
        return self.words(self.put(head.tobytes()))

    def labels(self, pairs: Sequence[tuple[str, str]]) -> int:
        """A set in the way of this version; a map of no more than 8."""
        if self.version == LISTS:
            return self.slice(pairs)
        return self.hmap([self.bucket([(FULL, key, value) for key, value in pairs])])

    def large_set(self, pairs: Sequence[tuple[str, str]]) -> int:
        """A set in the way of this version, of any size up to 512."""
        if self.version == LISTS:
            return self.slice(pairs)
        full = [self.bucket([(FULL, *pair) for pair in pairs[i : i + 8]]) for i in range(0, 512, 8)]
        return self.hmap(full)

    def read(self, *pointers: int) -> list[Mapping[str, str] | int]:
        """The sets at `pointers`, or what stands for none."""
        column, more = self.reader.finish(self.reader.sets_at(np.array(pointers, np.uint64)))
        return [more["label_sets"][number] if number >= 0 else number for number in column.tolist()]

    @property
    def problems(self) -> list[Problem]:
        return self.runtime.problems


BUCKET = np.dtype(
    [("tophash", "u1", 8), ("keys", "<u8", (8, 2)), ("values", "<u8", (8, 2)), ("overflow", "<u8")]
)


@pytest.fixture(params=[LISTS, MAPS])
def world(request: pytest.FixtureRequest) -> World:
    return World(request.param)


@pytest.fixture
def lists() -> World:
    return World(LISTS)


@pytest.fixture
def maps() -> World:
    return World(MAPS)


def test_sets_are_read_and_their_keys_are_in_order(world: World) -> None:
    one = world.labels([("tenant", "blue"), ("request", "42")])
    other = world.labels([("größe", "東京"), ("", "no key"), ("no value", "")])
    found = world.read(one, 0, other, one)
    assert found == [
        {"request": "42", "tenant": "blue"},
        NONE,
        {"": "no key", "größe": "東京", "no value": ""},
        {"request": "42", "tenant": "blue"},
    ]
    assert [list(each) for each in found if not isinstance(each, int)][:2] == [
        ["request", "tenant"],
        ["", "größe", "no value"],
    ]
    assert world.problems == []


def test_equal_sets_have_one_number_wherever_they_are(world: World) -> None:
    first = world.labels([("a", "1"), ("b", "2")])
    again = world.labels([("b", "2"), ("a", "1")])
    other = world.labels([("a", "2"), ("b", "1")])
    column, more = world.reader.finish(world.reader.sets_at(np.array([other, first, again], "<u8")))
    assert column[0] != column[1] == column[2]
    assert len(more["label_sets"]) == 2


def test_sets_that_nobody_has_any_more_are_left_out(world: World) -> None:
    gone, kept = world.labels([("gone", "1")]), world.labels([("kept", "1")])
    world.reader.sets_at(np.array([gone, kept], "<u8"))
    column, more = world.reader.finish(world.reader.sets_at(np.array([0, kept], "<u8")))
    assert (column.tolist(), more["label_sets"]) == ([NONE, 0], ({"kept": "1"},))


def test_a_set_without_labels_is_none(lists: World, maps: World) -> None:
    assert lists.read(lists.words(0x1234560, 0, 0), lists.words(0, 0, 4)) == [NONE, NONE]
    nil, empty = maps.words(0), maps.hmap([maps.bucket([])], buckets=0)
    assert maps.read(nil, empty, maps.hmap([maps.bucket([])])) == [NONE, NONE, NONE]
    assert lists.problems == maps.problems == []


def test_nothing_is_read_where_nobody_has_labels(world: World, monkeypatch: Any) -> None:
    monkeypatch.setattr(ImageMemory, "gather", None)
    assert world.read(0, 0, 0) == [NONE, NONE, NONE]


def test_bytes_that_are_not_text_are_made_visible(lists: World) -> None:
    assert lists.read(lists.slice([(b"\xff", b"a\xc3")])) == [{r"\xff": r"a\xc3"}]


@pytest.mark.parametrize("sets", [1, 2, 7])
@pytest.mark.parametrize("texts", [1, 2, 1 << 16])
def test_batches_change_nothing(world: World, sets: int, texts: int, monkeypatch: Any) -> None:
    monkeypatch.setattr(labels, "_BATCH_SETS", sets)
    monkeypatch.setattr(labels, "_BATCH_TEXTS", texts)
    expected = [{"key": "shared", f"key {i}": f"value {i}"} for i in range(7)]
    places = [world.labels(list(each.items())) for each in expected]
    assert world.read(*places[::-1], *places) == expected[::-1] + expected


# Maps, which are in more than one place.


def test_what_overflowed_is_read(maps: World) -> None:
    last = maps.put(maps.bucket([(EMPTY, "", ""), (FULL, "c", "3")]).tobytes())
    more = maps.put(maps.bucket([(FULL, "b", "2")], overflow=last).tobytes())
    first = maps.bucket([(FULL, "a", "1")], overflow=more)
    assert maps.read(maps.hmap([first], count=3)) == [{"a": "1", "b": "2", "c": "3"}]


def test_a_map_that_grows_is_in_old_and_new_buckets(maps: World) -> None:
    old = [
        maps.bucket([(EVACUATED, "junk", "junk"), (4, "junk", "junk")]),
        maps.bucket([(FULL, "c", "3")]),
    ]
    new = [maps.bucket(cells) for cells in ([(FULL, "a", "1")], [], [(FULL, "b", "2")], [])]
    place = maps.hmap(new, count=3, oldbuckets=maps.put(np.array(old, BUCKET)))
    assert maps.read(place) == [{"a": "1", "b": "2", "c": "3"}]


def test_a_map_may_grow_without_more_buckets(maps: World) -> None:
    old = [maps.bucket([(EVACUATED, "", "")]), maps.bucket([(FULL, "b", "2")])]
    new = [maps.bucket([(FULL, "a", "1")]), maps.bucket([])]
    place = maps.hmap(new, count=2, flags=8, oldbuckets=maps.put(np.array(old, BUCKET)))
    assert maps.read(place) == [{"a": "1", "b": "2"}]
    half = maps.hmap(new, count=2, oldbuckets=maps.put(np.array(old, BUCKET)))
    assert maps.read(half) == [UNREAD]


# Memory that lies.


def list_liars(world: World) -> dict[str, int]:
    key = world.string("key")
    large = world.string("x" * 5000)[0]
    array = world.words(*[*key, *key] * 300)
    return {
        "nowhere": NOWHERE,
        "at an odd place": world.words(array, 1, 1, shift=4),
        "beyond the user's half": 0xFFFF_8000_0000_0000,
        "at the end": (1 << 64) - 8,
        "longer than its room": world.words(array, 2, 1),
        "too long to be true": world.words(array, 1 << 40, 1 << 40),
        "negative": world.words(array, (1 << 64) - 1, (1 << 64) - 1),
        "an array nowhere": world.words(NOWHERE, 1, 1),
        "no array": world.words(0, 1, 1),
        "an array at an odd place": world.words(world.words(*key, *key, shift=4), 1, 1),
        "longer than its array": world.words(world.words(*key, *key), 2, 2),
        "a key nowhere": world.words(world.words(NOWHERE, 3, *key), 1, 1),
        "a value nowhere": world.words(world.words(*key, NOWHERE, 3), 1, 1),
        "a wild key": world.words(world.words(1 << 55 | key[0], 3, *key), 1, 1),
        "a wild length": world.words(world.words(*key, large, 1 << 63), 1, 1),
        "a nil value of some length": world.words(world.words(*key, 0, 3), 1, 1),
    }


def map_liars(world: World) -> dict[str, int]:
    full, empty = world.bucket([(FULL, "key", "value")]), world.bucket([])
    loop = world.at
    world.put(world.bucket([(FULL, "again", "again")], overflow=loop).tobytes())
    odd = world.put(full.tobytes(), shift=4)
    head = world.memory.read(world.memory.u64(world.hmap([full])), 48)
    return {
        "nowhere": NOWHERE,
        "at an odd place": world.words(world.put(head), shift=4),
        "a header nowhere": world.words(NOWHERE),
        "a header at an odd place": world.words(world.put(head, shift=4)),
        "more than there are": world.hmap([full], count=2),
        "fewer than there are": world.hmap([full], count=0),
        "negative": world.hmap([full], count=-1),
        "too many to be true": world.hmap([full], count=1 << 40),
        "too many buckets to be true": world.hmap([full] + [empty] * 63, B=200),
        "buckets nowhere": world.hmap([full], buckets=NOWHERE),
        "no buckets": world.hmap([full], buckets=0),
        "buckets at an odd place": world.hmap([full], buckets=odd),
        "old buckets nowhere": world.hmap([full], oldbuckets=NOWHERE),
        "old buckets at an odd place": world.hmap([empty], oldbuckets=odd, count=1),
        "an overflow nowhere": world.hmap([world.bucket([(FULL, "k", "v")], overflow=NOWHERE)]),
        "an overflow at an odd place": world.hmap([world.bucket([], overflow=odd)], count=1),
        "an overflow without end": world.hmap([world.bucket([], overflow=loop)], count=16),
        "an overflow into a loop": world.hmap([world.bucket([], overflow=loop)], count=300),
    }


LIARS = {LISTS: list_liars, MAPS: map_liars}
EVERY_LIE = [(version, lie) for version in LIARS for lie in LIARS[version](World(version))]


@pytest.mark.parametrize(("version", "lie"), EVERY_LIE)
def test_what_makes_no_sense_is_not_shown_and_hides_nothing_else(version: str, lie: str) -> None:
    world = World(version)
    good = [world.labels([("a", "1")]), world.labels([("b", "2")])]
    assert world.read(good[0], LIARS[version](world)[lie], good[1]) == [
        {"a": "1"},
        UNREAD,
        {"b": "2"},
    ]
    assert world.problems == [UNREADABLE]


def test_there_is_one_problem_however_many_make_no_sense(world: World) -> None:
    world.read(*range(NOWHERE, NOWHERE + 800, 8), 0, world.labels([("a", "1")]))
    assert [problem.detail for problem in world.problems] == [
        "those of 100 goroutines could not be read, are implausible, or changed meanwhile"
    ]


@pytest.mark.parametrize("version", [LISTS, MAPS])
@many_seeds(40)
def test_any_words_give_a_set_or_none(version: str, seed: int) -> None:
    """Small numbers and addresses of each other, so that much of it looks right."""
    world, random = World(version), np.random.default_rng(seed)
    base, count = 0x100000, 4096
    near = base + 8 * random.integers(0, count, count)
    small = random.integers(0, 12, count)
    words = np.where(random.random(count) < 0.5, near, small).astype("<u8")
    wild = random.random(count) < 0.02
    words[wild] = random.integers(0, 1 << 63, int(wild.sum()))
    world.memory.place(base, words)
    pointers = (base + 8 * np.arange(count)).tolist()
    found = world.read(*pointers)
    assert len(found) == count
    assert sum(each == UNREAD for each in found) > 100
    assert len(world.problems) <= 2


# Limits.


def test_long_texts_are_cut_off(lists: World) -> None:
    long, longest = "x" * 4096, "x" * 4097
    places = [
        lists.slice([(long, long)]),
        lists.slice([("k", longest + "y")]),
        lists.slice([(longest, "v")]),
    ]
    assert lists.read(*places) == [{long: long}, {"k": long}, {long: "v"}]
    detail = "2 goroutines have more of them, or longer ones, than are shown"
    assert lists.problems == [Problem("truncated", "labels", detail)]


def test_many_labels_are_cut_off(world: World) -> None:
    pairs = [(f"{i:04}", "v") for i in range(257)]
    whole, cut = world.read(world.large_set(pairs[:256]), world.large_set(pairs))
    assert whole == dict(pairs[:256])
    assert not isinstance(cut, int)
    assert len(cut) == 256
    assert cut.items() <= dict(pairs).items()
    detail = "1 goroutines have more of them, or longer ones, than are shown"
    assert world.problems == [Problem("truncated", "labels", detail)]


def test_of_a_very_large_map_some_labels_are_shown(maps: World) -> None:
    buckets = [maps.bucket([(FULL, f"{i}", "v")]) for i in range(64)]
    (found,) = maps.read(maps.hmap(buckets, B=8, count=200))
    assert found == {f"{i}": "v" for i in range(64)}
    assert [problem.kind for problem in maps.problems] == ["truncated"]


def test_no_more_is_read_than_there_is_room_for(world: World, monkeypatch: Any) -> None:
    places = [world.labels([(f"key {i}", f"value {i}")]) for i in range(100)]
    monkeypatch.setattr(labels, "_BATCH_SETS", 10)
    monkeypatch.setattr(labels, "_MAX_BYTES", 50 * 8)
    world.reader = LabelReader(world.runtime)
    found = world.read(*places)
    assert UNREAD in found
    assert [problem.kind for problem in world.problems] == ["unreadable"]


def test_there_are_only_so_many_sets(world: World, monkeypatch: Any) -> None:
    monkeypatch.setattr(labels, "_MAX_SETS", 3)
    places = [world.labels([("key", f"{i}")]) for i in range(5)]
    assert world.read(*places, places[0]) == [
        *({"key": f"{i}"} for i in range(3)),
        UNREAD,
        UNREAD,
        {"key": "0"},
    ]


def test_what_many_readings_leave_has_a_bound(world: World, monkeypatch: Any) -> None:
    """A recording's reader lives for hours, in which every request may have labels of its own."""
    monkeypatch.setattr(labels, "_MAX_BYTES", 4_030)
    found = []
    for i in range(20):
        world.reader.renew()
        found += world.read(world.labels([("key", f"{i:01000}")]))
    assert found == [*({"key": f"{i:01000}"} for i in range(4)), *[UNREAD] * 16]
    assert len(world.reader._texts) == 5
    world.reader.renew()
    assert world.read(world.labels([("key", f"{0:01000}")])) == [{"key": f"{0:01000}"}]


def test_a_map_is_never_read_beyond_what_is_asked_for(maps: World) -> None:
    many = [maps.bucket([(FULL, f"{i}", "v") for i in range(8)])] * 4
    pairs = read_maps(
        maps.memory, maps.layouts["hmap"], np.array([maps.hmap(many)], np.uint64), limit=10
    )
    assert (len(pairs.owner), pairs.words.shape) == (10, (10, 4))
    assert (pairs.ok.tolist(), pairs.cut.tolist()) == ([True], [True])
