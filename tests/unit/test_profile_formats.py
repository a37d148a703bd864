"""The formats of profiles: the same sums in all of them, what each shows, and documents meant to break them."""

from __future__ import annotations

import gzip
import io
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from spyglass.analysis.profile_diff import profile_difference
from spyglass.errors import BadDataError
from spyglass.export import profile_reader
from spyglass.export.profile_reader import is_profile, load_profile
from spyglass.formats import EXPORTERS, exporter, exporter_of_path
from spyglass.model import NONE, Frame, Problem
from spyglass.profile import Account, Profile
from spyglass.words.profile_account import (
    account_lines,
    account_warnings,
    profile_title,
    recording_line,
)
from tests.made_profiles import EXIT, HASH, MAIN, MALLOC, SERVE, SHOP, SampleRow, make_profile
from tests.mutants import JUNK, changed, paths
from tests.profiles import Line, decoded
from tests.snapshots import frame

FORMATS = [each.name for each in EXPORTERS if each.takes == "profile"]
STACKS = [each.name for each in EXPORTERS if each.takes == "profile" and each.only_stacks]
SCHEMA = json.loads(files("spyglass.export").joinpath("profile.schema.json").read_text())
SNAPSHOT_SCHEMA = json.loads(files("spyglass.export").joinpath("snapshot.schema.json").read_text())
VALIDATOR = Draft202012Validator(SCHEMA)
TOTAL_NS = 1_000_000_001
TENANT = ("label:tenant",)
PARK = Frame("runtime.gopark", "/go/proc.go", 402, 0x43210, hidden=True, offset=206)
NETPOLL = Frame("runtime.netpollblock", "/go/netpoll.go", 575, 0x43330, hidden=True, offset=6)
READ = frame("internal/poll.(*FD).Read", line=165)


def written(profile: Profile, name: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    exporter("profile", name).write(profile, stream, **options)
    return stream.getvalue()


def document(profile: Profile) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(written(profile, "json"))
    return made


def folded(profile: Profile, **options: Any) -> dict[str, int]:
    lines = written(profile, "folded", **options).decode().splitlines()
    return {line.rpartition(" ")[0]: int(line.rpartition(" ")[2]) for line in lines}


def page_data(profile: Profile, **options: Any) -> dict[str, Any]:
    text = written(profile, "html", **options).decode()
    found = re.search(r'id="spyglass-profile">(.*?)</script>', text)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def drawn(profile: Profile, **options: Any) -> dict[str, str]:
    """The titles of the frames of the picture: name and time."""
    root = ET.fromstring(written(profile, "svg", **options))
    titles = (
        each.findtext("{*}title") or "" for each in root.iter("{http://www.w3.org/2000/svg}g")
    )
    return dict(title.rsplit(": ", 1) for title in titles)


def test_the_sum_of_times_is_the_same_in_all_formats() -> None:
    for options in ({}, {"by": TENANT}, {"by": ("thread", "state", "goroutine")}):
        profile = decoded(written(SHOP, "pprof", **options))
        assert sum(profile.samples.values()) == TOTAL_NS
        assert sum(count for count, _ in profile.values.values()) == 100
        assert sum(folded(SHOP, **options).values()) == TOTAL_NS
        speedscope = json.loads(written(SHOP, "speedscope", **options))
        assert sum(sum(each["weights"]) for each in speedscope["profiles"]) == TOTAL_NS
        assert sum(each["endValue"] for each in speedscope["profiles"]) == TOTAL_NS
        assert sum(page_data(SHOP, **options)["rows"]["value_ns"]) == TOTAL_NS
        assert drawn(SHOP, **options)["all samples"] == "1.00 s, 100.0 %"
    assert sum(each["value_ns"] for each in document(SHOP)["samples"]) == TOTAL_NS


def test_the_account_is_in_every_format_that_has_a_place_for_it() -> None:
    lines = account_lines(SHOP)
    assert lines == [
        "100 samples for 1.01 s of 1.02 s CPU time used (coverage 99.0 %)",
        "lost 2, throttled 1, cut stacks 0",
        "goroutine known for 90 of 96 samples on goroutines",
        "9 threads, 0 missed; spyglass used 0.04 s of CPU time",
    ]
    assert set(lines) <= set(decoded(written(SHOP, "pprof")).comments)
    for name in ("speedscope", "html", "svg"):
        text = written(SHOP, name).decode()
        assert [line for line in lines if line not in text] == []
    account = document(SHOP)["account"]
    assert (account["samples"], account["lost"], account["ended"]) == (100, 2, None)
    assert account["coverage"] == pytest.approx(1_010_101 / 1_020_000)


def test_a_doubtful_picture_has_a_warning() -> None:
    low = replace(
        SHOP, account=replace(SHOP.account, cpu_used_ns=2 * 10**9, ended="it exited", lost=0)
    )
    assert account_warnings(low) == [
        "the samples stand for only 50.5 % of the CPU time that the process used"
    ]
    assert account_lines(low)[-1] == "ended early: it exited"
    for name in ("html", "svg", "pprof"):
        text = written(low, name)
        text = gzip.decompress(text) if name == "pprof" else text
        assert b"stand for only 50.5 %" in text
    few = replace(low, account=replace(low.account, cpu_used_ns=10**8, cpu_sampled_ns=10**7))
    assert account_warnings(few) == []
    none = replace(SHOP, account=Account(cpu_used_ns=3_000_000))
    assert account_warnings(none) == ["there are no samples: the process used 0.00 s of CPU time"]


def test_pprof_is_like_gos_own_cpu_profile() -> None:
    profile = decoded(written(SHOP, "pprof"))
    assert profile.all_kinds == [("samples", "count"), ("cpu", "nanoseconds")]
    assert (profile.duration_ns, profile.period) == (10 * 10**9, 10_101_010)
    assert profile.mappings == [("/usr/bin/prometheus", SHOP.process.build_id)]
    blue = next(each for each in profile.samples if ("tenant", "blue") in each.labels)
    assert blue.functions == [
        "crypto/sha256.block",
        "example.com/shop.(*Server).serve",
        "main.main",
    ]
    assert blue.labels == (("state", "running"), ("tenant", "blue"), ("thread", "11"))
    assert profile.values[blue] == [40, 400_000_000]
    inlined = next(each for each in profile.samples if "sort.Slice" in each.functions)
    assert inlined.locations[0] == (
        Line("example.com/shop.byPrice", "/src/shop/sort.go", 12),
        Line("sort.Slice", "/src/main.go", 9),
    )


def test_pprof_has_ids_of_goroutines_only_if_they_are_asked_for() -> None:
    assert not any(
        "goroutine" in dict(each.labels) for each in decoded(written(SHOP, "pprof")).samples
    )
    asked = decoded(written(SHOP, "pprof", by=("goroutine",)))
    ids = {each.functions[-1]: dict(each.labels).get("goroutine") for each in asked.samples}
    assert ids == {
        "goroutine 7": (7, ""), "goroutine 8": (8, ""), "goroutine 9": (9, ""), "[goroutine not known]": None,
        "[g0]": None, "[C]": None,
    }  # fmt: skip


def test_labels_of_the_program_come_before_ours() -> None:
    row = SampleRow((MAIN,), 5, labels={"state": "paid", "thread": "main"}, thread=3)
    (sample,) = decoded(written(make_profile([row]), "pprof")).samples
    assert sample.labels == (("state", "paid"), ("thread", "main"))


def test_a_root_frame_for_each_group() -> None:
    assert folded(SHOP, by=TENANT) == {
        "tenant=blue;main.main;example.com/shop.(*Server).serve;crypto/sha256.block": 400_000_000,
        "tenant=red;main.main;example.com/shop.(*Server).serve;sort.Slice;example.com/shop.byPrice": 250_000_000,
        "tenant=red;main.main;example.com/shop.(*Server).serve;runtime.mallocgc": 100_000_000,
        "[g0];runtime.schedule": 100_000_000,
        "[goroutine not known];main.main;example.com/shop.(*Server).serve;runtime.mallocgc": 60_000_000,
        "[C];[C]": 50_000_001,
        "[no tenant];main.main;example.com/shop.(*Server).serve;crypto/sha256.block": 40_000_000,
    }
    assert next(iter(folded(SHOP, by=("thread", "state")))).startswith("thread 11;running;")
    assert drawn(SHOP, by=TENANT)["tenant=red"] == "0.35 s, 35.0 %"
    speedscope = json.loads(written(SHOP, "speedscope", by=TENANT))
    assert [each["name"] for each in speedscope["profiles"]] == [
        "tenant=blue", "tenant=red", "[g0]", "[goroutine not known]", "[C]", "[no tenant]",
    ]  # fmt: skip
    names = [each["name"] for each in speedscope["shared"]["frames"]]
    red = speedscope["profiles"][1]
    assert [[names[number] for number in stack] for stack in red["samples"]] == [
        ["main.main", "example.com/shop.(*Server).serve", "sort.Slice", "example.com/shop.byPrice"],
        ["main.main", "example.com/shop.(*Server).serve", "runtime.mallocgc"],
    ]
    assert red["weights"] == [250_000_000, 100_000_000]


def test_lines_of_one_function_are_one_frame_of_a_flame_graph() -> None:
    rows = [SampleRow((frame("main.hot", line=n), MAIN), 10 * n) for n in (1, 2, 3)]
    profile = make_profile(rows)
    assert folded(profile) == {"main.main;main.hot": 60}
    assert [*drawn(profile)] == ["all samples", "main.main", "main.hot"]
    assert len(page_data(profile)["tree"]["parent"]) == 3
    assert len(json.loads(written(profile, "speedscope"))["shared"]["frames"]) == 2
    lines = {each.locations[0][0].line for each in decoded(written(profile, "pprof")).samples}
    assert lines == {1, 2, 3}


def test_a_wait_is_a_leaf_in_place_of_what_the_runtime_does_for_it() -> None:
    waiting = (PARK, NETPOLL, READ, SERVE, EXIT)
    rows = [
        SampleRow(waiting, 70, state="IO wait", goroutine=5),
        SampleRow((PARK,), 20, state="GC worker (idle)", goroutine=6),
        SampleRow((MALLOC, SERVE, EXIT), 10, goroutine=5),
    ]
    profile = make_profile(rows, mode="wall")
    assert folded(profile) == {
        "example.com/shop.(*Server).serve;internal/poll.(*FD).Read;[IO wait]": 70,
        "runtime.gopark;[GC worker (idle)]": 20,
        "example.com/shop.(*Server).serve;runtime.mallocgc": 10,
    }
    found = decoded(written(profile, "pprof"))
    assert found.kinds == ("wall", "nanoseconds")
    assert {dict(each.labels)["state"] for each in found.samples} == {
        "IO wait", "GC worker (idle)", "running",
    }  # fmt: skip
    assert account_lines(profile)[0] == "100 samples for 0.00 s of the time of goroutines"
    unsampled = replace(profile, account=Account(samples=1, own_cpu_ns=10**7), rate_hz=9.9576)
    assert account_lines(unsampled)[-1] == "spyglass used 0.01 s of CPU time"
    assert profile_title(unsampled) == "Wall-clock profile of prometheus (pid 1234)"
    assert recording_line(unsampled).endswith(", 10.0 s at 9.96 Hz, go1.24.4")
    assert "[IO wait]" not in str(folded(replace(profile, mode="cpu")))


@pytest.mark.parametrize("rate_hz", [0.0, 5e-324, 1e6])
def test_any_rate_can_be_written(rate_hz: float) -> None:
    base = changed(document(SHOP), ("rate_hz",), rate_hz)
    profile = load_profile(io.BytesIO(json.dumps(base).encode()))
    for name in FORMATS:
        assert written(profile, name)
    assert decoded(written(profile, "pprof")).period == (1000 if rate_hz == 1e6 else 0)
    assert profile_difference(profile, SHOP).functions


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_is_a_valid_document(name: str) -> None:
    empty = make_profile([], account=Account(), rate_hz=99.0)
    text = written(empty, name)
    assert text or name == "folded"
    if name.startswith("json"):
        assert len(load_profile(io.BytesIO(text)).samples) == 0


@pytest.mark.parametrize("name", STACKS)
def test_names_do_no_harm(name: str) -> None:
    odd = Frame(
        "main.(*T[struct { a int; b </script> int }]).f\n\x1b[2J 7", "/src/\udcff.go", -5, 2**64 - 1
    )
    labels = {"\udc80": "\ud800", "": "<b>&", "a": "</title>"}
    row = SampleRow((odd, odd), 7, labels=labels, state="a;b\nc")
    profile = make_profile([row], mode="wall", problems=(Problem("x", "<i>", "\x1b"),))
    text = written(profile, name, by=("label:a", "label:", "state")[::2])
    text = gzip.decompress(text) if name == "pprof" else text
    if name == "folded":
        assert text.count(b"\n") == 1
        assert b"\x1b" not in text
    if name in ("html", "svg"):
        assert b"\x1b" not in text
        assert b"</script> int" not in text
        assert b"<b>" not in text
    if name == "svg":
        ET.fromstring(text)
    if name == "speedscope":
        json.loads(text)


@pytest.mark.slow
def test_a_deep_stack_is_drawn_in_bounds() -> None:
    deep = tuple(frame(f"main.f{n}") for n in range(5_000))
    assert len(drawn(make_profile([SampleRow(deep, 5)]))) == 500
    assert len(page_data(make_profile([SampleRow(deep, 5)]))["tree"]["parent"]) == 5_001


def test_what_was_written_is_read(tmp_path: Path) -> None:
    problem = Problem("unknown", "kernel", "kernel time was not sampled")
    profile = replace(SHOP, problems=(problem,), host="web-3")
    for name in ("json", "json.gz"):
        path = tmp_path / f"cpu.{name}"
        path.write_bytes(written(profile, name))
        assert is_profile(path)
        assert exporter_of_path("profile", path) is exporter("profile", name)
        again = load_profile(path)
        assert document(again) == document(profile)
        for column in again.samples.__slots__:
            expected = getattr(profile.samples, column)
            assert getattr(again.samples, column).dtype == expected.dtype
            np.testing.assert_array_equal(getattr(again.samples, column), expected)
        for each in STACKS:
            assert written(again, each) == written(profile, each)


def test_the_document_fits_its_schema() -> None:
    VALIDATOR.validate(document(SHOP))
    shared = {
        name: SCHEMA["$defs"][name] for name in SCHEMA["$defs"] if name in SNAPSHOT_SCHEMA["$defs"]
    }
    assert shared == {name: SNAPSHOT_SCHEMA["$defs"][name] for name in shared}
    assert {"process", "frame", "problem"} <= set(shared)


def mutants() -> Iterator[dict[str, Any]]:
    base = document(make_profile([SampleRow((HASH, MAIN), 5, labels={"a": "b"}, thread=2)]))
    for path in paths(base):
        for value in (*JUNK, ...):
            if path or value is not ...:
                yield changed(base, path, value)


def test_what_does_not_fit_the_schema_is_refused() -> None:
    accepted = 0
    for made in mutants():
        try:
            profile = load_profile(io.BytesIO(json.dumps(made).encode()))
        except BadDataError:
            continue
        accepted += 1
        assert VALIDATOR.is_valid(made), made
        for name in ("pprof", "folded", "svg", "json"):
            written(profile, name, **({} if name == "json" else {"by": ("label:a", "goroutine")}))
    assert accepted > 100


def test_a_refusal_says_where() -> None:
    base = document(SHOP)
    for path, value, words in (
        (("samples", 2, "stack"), 99, "/samples/2/stack: there is no stack 99"),
        (("stacks", 1, 0), 99, "/stacks/1/0: there is no frame 99"),
        (("samples", 0, "value_ns"), 2**63 - 1, "/samples/0/value_ns: the sum of all is too large"),
        (("samples", 1, "labels"), {"a": 1}, "/samples/1/labels: Expected `str`, got `int`"),
        (("schema",), "spyglass.snapshot/1", "it is not a spyglass.profile/1"),
        (("rate_hz",), -1, "/rate_hz: Expected `float` >= 0.0"),
        (("started_at",), "today", "/started_at: 'today' is not a date and a time in UTC"),
    ):
        with pytest.raises(BadDataError) as refused:
            load_profile(io.BytesIO(json.dumps(changed(base, path, value)).encode()))
        assert words in refused.value.message


def test_size_and_memory_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = gzip.compress(written(SHOP, "json"))
    with pytest.raises(BadDataError, match="larger than 1,000 bytes"):
        load_profile(io.BytesIO(packed), max_bytes=1_000)
    monkeypatch.setattr(profile_reader, "MIN_MEMORY_BYTES", 0)
    base = document(make_profile([SampleRow((), 1, labels={"a": str(n)}) for n in range(5_000)]))
    text = gzip.compress(json.dumps(base).encode())
    with pytest.raises(BadDataError, match="needs more than 1,000,000 bytes of memory"):
        load_profile(io.BytesIO(text), max_bytes=1_000_000)


def test_other_files_are_no_profiles(tmp_path: Path) -> None:
    for text in (b"", b"{}", b"\x1f\x8b", b"main.main 7\n", b'{"schema":"spyglass.snapshot/1"}'):
        path = tmp_path / "x.json"
        path.write_bytes(text)
        assert not is_profile(path)
        with pytest.raises(BadDataError):
            load_profile(path)
    assert not is_profile(tmp_path / "missing.json")


def test_unknown_values_have_names() -> None:
    rows = [SampleRow((), 1), SampleRow((MAIN,), 2, state="C", thread=NONE)]
    assert folded(make_profile(rows), by=("thread",)) == {
        "[no thread];[no stack]": 1,
        "[no thread];main.main": 2,
    }
