"""Documents read in batches: the same comes of them wherever their text is cut, and whatever it is."""

from __future__ import annotations

import gzip
import io
import json
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from spyglass.errors import BadDataError
from spyglass.export import document
from spyglass.export.json_stream import read_object
from spyglass.export.snapshot_reader import load, snapshot_of
from spyglass.model import Snapshot
from tests.mutants import BASE, JUNK, changed, paths
from tests.saved import ROWS, differences, text_of
from tests.snapshots import make_snapshot

#: What looks like the end of an element, and is in a string.
ODD = '"},{"[],[]\\"}],{'


@pytest.fixture(
    params=[
        pytest.param(1, marks=pytest.mark.slow),
        pytest.param(40, marks=pytest.mark.slow),
        400,
        pytest.param(2000, marks=pytest.mark.slow),
    ]
)
def small_batches(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    size: int = request.param
    monkeypatch.setattr("spyglass.export.json_stream._BATCH_BYTES", size)
    monkeypatch.setattr("spyglass.export.json_stream._SEPARATOR_BYTES", size)
    return size


def snapshot() -> Snapshot:
    rows = [replace(ROWS[i % 5], id=i + 1) for i in range(40)]
    rows += [replace(ROWS[0], id=100 + i, labels={ODD * i: ODD}) for i in range(1, 20)]
    return make_snapshot(rows, host=ODD)


LAYOUTS: dict[str, dict[str, Any]] = {
    "compact": {"separators": (",", ":")},
    "usual": {},
    "indented": {"indent": 2},
    "tabs": {"indent": "\t", "separators": (" ,\r\n", "\t: ")},
}


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("backwards", [False, True])
def test_any_layout_and_order_is_read(layout: str, backwards: bool) -> None:
    made = document(snapshot())
    made["later"] = {"goroutines": [{"stacks": [[ODD]]}]}
    if backwards:
        made = dict(reversed(made.items()))
        made["goroutines"] = [dict(reversed(each.items())) for each in made["goroutines"]]
    text = json.dumps(made, **LAYOUTS[layout]).encode()
    assert differences(snapshot_of(text), snapshot()) == []


class Kept:
    """Takes elements of any kind."""

    def begin(self) -> None:
        self.all: list[Any] = []

    def decode(self, text: bytes) -> Any:
        try:
            return json.loads(text)
        except ValueError:
            raise BadDataError("it is not JSON") from None

    def add(self, elements: Any) -> None:
        self.all += elements


def pieces_of(text: bytes, size: int) -> Iterator[bytes]:
    return (text[at : at + size] for at in range(0, len(text), size))


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("size", [1, 2, 3, 50])
def test_the_pieces_it_comes_in_do_not_matter(size: int) -> None:
    made = {
        "a": [1, {"b": "]"}],
        "b": [{"x": ODD}, [ODD], 1, None],
        "c": ODD,
        "d": [],
        "b2": {"b": [2]},
    }
    b, d = Kept(), Kept()
    rest = read_object(pieces_of(json.dumps(made).encode(), size), {"b": b, "d": d})
    assert (b.all, d.all) == (made["b"], [])
    assert json.loads(rest) == made | {"b": [], "d": []}


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize(
    "array",
    ["[,1]", "[1,]", "[1,,2]", "[,]", "[1 2]", "[{} {}]", "[[1]", "[1", "[", '["', "[1,", "[}"],
)
def test_an_array_that_is_none_is_refused(array: str) -> None:
    for text in (f'{{"b": {array}}}', f'{{"b": {array}, "c": [[1], [2]]}}', f'{{"b": {array}'):
        with pytest.raises((BadDataError, ValueError)):
            json.loads(read_object([text.encode()], {"b": Kept()}))


def test_of_two_arrays_of_one_name_the_last_counts() -> None:
    b = Kept()
    assert read_object([b'{"b": [1, 2], "a": 1, "b": [3]}'], {"b": b})
    assert b.all == [3]
    text = text_of(snapshot())
    twice = text.replace(b'{"', b'{"stacks": [[0], [0]], "goroutines": [], "frames": [], "', 1)
    assert differences(snapshot_of(twice), snapshot()) == []
    escaped = text.replace(b'"goroutines"', b'"gorout\\u0069nes"').replace(
        b'"stacks":', b'"st\\u0061cks":'
    )
    assert differences(snapshot_of(escaped), snapshot()) == []


@pytest.mark.usefixtures("small_batches")
def test_what_is_refused_is_refused_with_the_same_words_in_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refused = 0
    sections = ("goroutines", "stacks", "frames")
    for path in [each for each in paths(BASE) if each and each[0] in sections][::3]:
        for value in JUNK:
            text = json.dumps(changed(BASE, path, value)).encode()
            in_batches = complaint_about(text)
            with monkeypatch.context() as whole:
                whole.setattr("spyglass.export.json_stream._BATCH_BYTES", 1 << 20)
                assert in_batches == complaint_about(text), (path, value)
            refused += in_batches is not None
    assert refused > 100


def complaint_about(text: bytes) -> str | None:
    try:
        snapshot_of(text)
    except BadDataError as error:
        return error.message
    return None


def test_an_element_is_named_by_its_number_in_the_document(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spyglass.export.json_stream._BATCH_BYTES", 5_000)
    made = json.loads(text_of(make_snapshot([replace(ROWS[i % 5], id=i + 1) for i in range(900)])))
    for path, value in (
        (("goroutines", 700, "id"), "x"),
        (("goroutines", 701, "start", "line"), "x"),
        (("goroutines", 702, "stack"), 10**12),
        (("goroutines", 706, "where", "frame"), 10**12),
    ):
        changes = changed(made, path, value)
        if path[2] in ("start", "where"):  # known by its text, if others have the same
            changes["goroutines"][path[1]][path[2]] |= {"function": "other"}
        with pytest.raises(BadDataError, match=f"^/{'/'.join(map(str, path))}: "):
            snapshot_of(json.dumps(changes).encode())
    made["stacks"] = [[0]] * 9_000
    made["stacks"][8_000] = [0, 0, 10**12]
    with pytest.raises(BadDataError, match=r"^/stacks/8000/2: there is no frame 1,000,000,000,000"):
        snapshot_of(json.dumps(made).encode())


# Memory.


def loaded_peak(raw: bytes, max_bytes: int) -> tuple[int, Any]:
    """The most memory that loading takes, and the snapshot, or why there is none."""
    tracemalloc.start()
    try:
        found: Any = load(io.BytesIO(raw), max_bytes=max_bytes)
    except BadDataError as error:
        found = error
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak, found


def test_a_large_document_needs_less_memory_than_its_text() -> None:
    text = text_of(make_snapshot([replace(ROWS[i % 5], id=i + 1) for i in range(30_000)]))
    peak, found = loaded_peak(gzip.compress(text, 1), 1 << 30)
    assert len(found.goroutines) == 30_000
    assert peak < len(text)


@pytest.mark.parametrize(
    ("name", "element"),
    [
        ("stacks", "[]"),
        pytest.param("stacks", "[0,0]", marks=pytest.mark.slow),
        ("goroutines", '{"id":1,"status":"dead","wait_reason":null,"waiting_ns":null,"stack":null,"start":null,'
         '"created_by":null,"m":null,"locked_to_thread":false,"system":false,"labels":{"a":"%d"},"quality":"torn"}'),
        ("frames", '{"function":"","file":null,"line":null,"pc":0,"inlined":false,"hidden":false}'),
    ],
)  # fmt: skip
def test_what_is_small_as_text_and_large_in_memory_is_refused(
    name: str, element: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    max_bytes = 1 << 23
    monkeypatch.setattr("spyglass.export.snapshot_reader.MIN_MEMORY_BYTES", 0)
    count = max_bytes // (len(element) + 5)
    elements = ",".join(element % i if "%" in element else element for i in range(count))
    text = f'{{"schema": "spyglass.snapshot/1", "{name}": [{elements}]}}'.encode()
    assert len(text) < max_bytes
    peak, found = loaded_peak(gzip.compress(text, 1), max_bytes)
    assert isinstance(found, BadDataError)
    assert found.message.endswith(f"it needs more than {max_bytes:,} bytes of memory")
    assert "--max-size" in (found.hint or "")
    assert peak < 6 * max_bytes


def test_text_beside_the_arrays_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spyglass.export.json_stream._MAX_REST_BYTES", 1 << 20)
    text = text_of(snapshot())
    assert differences(snapshot_of(text), snapshot()) == []
    for later in (
        b'"%b"' % (b"x" * (1 << 20)),
        b"[%b[]]" % (b"[]," * (1 << 19)),
        b'"' + b"x" * (1 << 22),
    ):
        with pytest.raises(BadDataError, match="it has more than 1,048,576 bytes beside"):
            snapshot_of(text.replace(b'{"', b'{"later": ' + later + b', "', 1))
