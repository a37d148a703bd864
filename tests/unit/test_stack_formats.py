"""Profiles and folded stacks of snapshots made by hand: what is odd, missing, or meant to break them."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pytest

from spyglass import cli
from spyglass.export.folded import write_folded
from spyglass.export.pprof import write_pprof
from spyglass.export.protobuf import number, packed, varint
from spyglass.model import Frame, Snapshot
from tests.profiles import Line, Profile, Sample, decoded
from tests.saved import with_everything
from tests.snapshots import TAKEN_AT, Row, frame, make_snapshot

PARK = Frame("runtime.gopark", "/go/proc.go", 402, 0x43210, hidden=True, offset=206)
MAIN = frame("main.main", line=30)
MINUTE_NS = 60_000_000_000


def profile(snapshot: Snapshot) -> Profile:
    stream = io.BytesIO()
    write_pprof(snapshot, stream)
    return decoded(stream.getvalue())


def folded(snapshot: Snapshot, **options: bool) -> list[str]:
    stream = io.BytesIO()
    write_folded(snapshot, stream, **options)
    return stream.getvalue().decode().splitlines()


def stacks(snapshot: Snapshot) -> Counter[tuple[tuple[str, ...], ...]]:
    """The functions of each location of each sample."""
    found: Counter[tuple[tuple[str, ...], ...]] = Counter()
    for sample, count in profile(snapshot).samples.items():
        found[tuple(tuple(line.function for line in each) for each in sample.locations)] += count
    return found


def test_equal_goroutines_are_one_sample() -> None:
    row = Row(
        1, wait_reason="select", waiting_ns=150 * 10**9, stack=(PARK, MAIN), labels={"a": "b"}
    )
    others = [
        replace(row, id=2, waiting_ns=179 * 10**9),  # two whole minutes as well
        replace(row, id=3, waiting_ns=180 * 10**9),
        replace(row, id=4, labels={}),
        Row(5, "running", stack=(PARK, MAIN)),
    ]
    made = profile(make_snapshot([row, *others]))
    stack = (
        (Line("runtime.gopark", "/go/proc.go", 402),),
        (Line("main.main", "/src/main.go", 30),),
    )
    waiting = (
        ("goroutine_state", "waiting"),
        ("wait_at_least", (120, "seconds")),
        ("wait_reason", "select"),
    )
    assert made.samples == {
        Sample(stack, (("a", "b"), *waiting)): 2,
        Sample(stack, (("a", "b"), waiting[0], ("wait_at_least", (180, "seconds")), waiting[2])): 1,
        Sample(stack, waiting): 1,
        Sample(stack, (("goroutine_state", "running"),)): 1,
    }  # fmt: skip
    assert made.mappings == [("/usr/bin/prometheus", "0123456789abcdef0123456789abcdef01234567")]
    assert made.time_ns // 1000 == TAKEN_AT.timestamp() * 1_000_000 // 1
    (comment,) = made.comments
    assert comment.endswith("goroutines of process 1234, go1.24.4")


def test_inlined_calls_are_one_location_and_addresses_are_of_calls() -> None:
    inner = Frame("main.inner", "/src/a.go", 1, 0x500, inlined=True)
    middle = Frame("main.middle", "/src/a.go", 2, 0x500, inlined=True)
    outer = Frame("main.outer", "/src/a.go", 3, 0x500, offset=16)
    other = Frame("main.other", "/src/a.go", 3, 0x500, offset=16)
    begun = Frame("main.begun", "/src/a.go", 4, 0x900)
    exit_ = Frame("runtime.goexit", "/go/asm.s", 5, 0xA00, hidden=True, offset=1)
    wrapper = Frame("main.main.gowrap1", "/src/a.go", 6, 0xB00, hidden=True, offset=9)
    rows = [
        Row(1, wait_reason="select", stack=(PARK, inner, middle, outer, wrapper, exit_)),
        Row(2, wait_reason="select", stack=(PARK, middle, outer, exit_)),  # another location
        Row(4, wait_reason="select", stack=(PARK, inner, middle, other)),  # and one more
        Row(3, "running", stack=(begun, inner)),  # a stack that ends in the middle
    ]
    snapshot = make_snapshot(rows)
    assert stacks(snapshot) == {
        (("runtime.gopark",), ("main.inner", "main.middle", "main.outer")): 1,
        (("runtime.gopark",), ("main.middle", "main.outer")): 1,
        (("runtime.gopark",), ("main.inner", "main.middle", "main.other")): 1,
        (("main.begun",), ("main.inner",)): 1,
    }
    assert set(profile(snapshot).addresses) == {0x4320F, 0x4FF, 0x900}


def test_what_is_missing_is_a_frame() -> None:
    rows = [
        Row(1, "running"),
        Row(2, "running", quality="torn"),
        Row(3, wait_reason="select", stack=(PARK, MAIN)),
    ]
    snapshot = make_snapshot(rows, elided={0: (1, 900)})
    assert stacks(snapshot) == {
        (("[no stack]",),): 2,
        (("runtime.gopark",), ("[900 frames elided]",), ("main.main",)): 1,
    }
    doubts = [dict(sample.labels).get("goroutine_quality") for sample in profile(snapshot).samples]
    assert sorted(map(str, doubts)) == ["None", "None", "torn"]
    assert folded(snapshot) == [
        "[no stack];[running] 1",
        "[no stack];[running (torn)] 1",
        "main.main;[900 frames elided];[select] 1",
    ]


def test_stacks_that_look_the_same_are_one_line_the_largest_first() -> None:
    rows = [
        Row(1, wait_reason="select", stack=(PARK, MAIN)),
        *(Row(n, wait_reason="select", stack=(PARK, frame("main.work", line=n))) for n in (2, 3, 4)),
        Row(5, wait_reason="GC worker", stack=(PARK,)),
    ]  # fmt: skip
    assert folded(make_snapshot(rows)) == [
        "main.work;[select] 3",
        "main.main;[select] 1",
        "runtime.gopark;[GC worker] 1",  # as a traceback shows it: all, where nothing else is left
    ]
    assert (
        folded(make_snapshot(rows), runtime_frames=True)[0] == "main.work;runtime.gopark;[select] 3"
    )


def test_everything_is_counted_but_the_dead() -> None:
    snapshot = with_everything()
    assert sum(profile(snapshot).samples.values()) == 5
    assert sum(int(line.rpartition(" ")[2]) for line in folded(snapshot)) == 5


def test_nothing_is_a_valid_document() -> None:
    assert profile(make_snapshot([])).samples == {}
    assert folded(make_snapshot([])) == []


def test_names_do_no_harm() -> None:
    odd = Frame("main.(*T[struct { a int; b int }]).f\n\x1b[2J 7", "/src/\udcff.go", -5, 2**64 - 1)
    row = Row(1, wait_reason="a;b\nc", stack=(odd,), labels={"\udc80": "\ud800", "": ""})
    snapshot = make_snapshot([row], taken_at=datetime(1, 1, 1, tzinfo=UTC))
    (line,) = folded(snapshot)
    assert line == r"main.(*T[struct { a int: b int }]).f\x0a\x1b[2J 7;[a:b\x0ac] 1"
    (sample,) = profile(snapshot).samples
    assert sample.locations == ((Line(odd.function, r"/src/\xff.go", 2**64 - 5),),)
    assert (r"\x80", r"\ud800") in sample.labels


def test_very_many_inlined_calls_take_no_time() -> None:
    deep = tuple(Frame(f"main.f{n}", None, n, 7, inlined=True) for n in range(20_000))
    (sample,) = profile(make_snapshot([Row(1, "running", stack=deep)])).samples
    assert sample.functions == [each.function for each in deep]


def test_numbers_are_varints() -> None:
    assert [varint(n) for n in (0, 1, 127, 128, 300)] == [
        b"\0",
        b"\1",
        b"\x7f",
        b"\x80\1",
        b"\xac\2",
    ]
    assert varint(-1) == b"\xff" * 9 + b"\1"
    assert (number(3, 0), number(3, 150)) == (b"", b"\x18\x96\1")
    values = np.array([0, 127, 128, 2**14 - 1, 2**14, 2**21, 2**32 - 1])
    encoded, at = packed(values)
    assert encoded == b"".join(map(varint, values.tolist()))
    assert [encoded[a:b] for a, b in pairwise(at)] == [*map(varint, values.tolist())]
    assert packed(np.zeros(0, np.int64))[0] == b""


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--json", "--format", "text"], "--json and --format are mutually exclusive"),
        (["--format", "svg"], "Invalid value for '--format': 'svg' is not one of 'text', 'json',"),
        (["--format", "pprof", "--threads"], "--threads requires the format text or json"),
        (["--format", "folded", "--group"], "--group requires the format text"),
        (["-o", "x.html"], "use `spyglass report` to write a page"),
    ],
)
def test_wrong_usage(capsys: pytest.CaptureFixture[str], arguments: list[str], line: str) -> None:
    assert cli.run(["dump", "x.json", *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"spyglass: {line}")


@pytest.mark.parametrize("arguments", [["--format", "pprof"], ["-o", "-", "--format", "pprof"]])
def test_a_terminal_gets_no_profile(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert cli.run(["dump", "x.json", *arguments]) == 2
    line = "spyglass: refusing to write a compressed file to a terminal; use -o FILE. "
    assert capsys.readouterr().err.startswith(line)


def test_snapshot_does_not_write_what_cannot_be_read_back(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.run(["snapshot", "x.json", "-o", "x.pb.gz"]) == 2
    line = "spyglass: use `spyglass dump` to write the format pprof. "
    assert capsys.readouterr().err.startswith(line)
