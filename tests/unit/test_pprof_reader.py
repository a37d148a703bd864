"""Profiles read from the form of pprof: those that spyglass wrote, of others, and files meant to break it."""

from __future__ import annotations

import gzip
import io
import json
import random
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from spyglass import cli
from spyglass.errors import BadDataError
from spyglass.export import pprof_reader, pprof_tables
from spyglass.export.profile_reader import is_profile, load_profile
from spyglass.export.protobuf import Message, number, piece, varint
from spyglass.export.snapshot_file import save
from spyglass.formats import EXPORTERS, exporter
from spyglass.model import NONE, Frame, Problem
from spyglass.profile import Account, Profile
from tests.made_profiles import EXIT, HASH, MAIN, SERVE, SHOP, SampleRow, make_profile
from tests.profiles import decoded
from tests.snapshots import frame, make_snapshot

SCHEMA = json.loads(files("spyglass.export").joinpath("profile.schema.json").read_text())
VALIDATOR = Draft202012Validator(SCHEMA)
PARK = Frame("runtime.gopark", "/go/proc.go", 402, 0x43210, hidden=True, offset=206)
READ = frame("internal/poll.(*FD).Read", line=165)


def written(profile: Profile, name: str = "pprof", **options: Any) -> bytes:
    stream = io.BytesIO()
    exporter("profile", name).write(profile, stream, **options)
    return stream.getvalue()


def read(raw: bytes, **options: Any) -> Profile:
    return load_profile(io.BytesIO(raw), **options)


def rows(profile: Profile) -> Counter[tuple[Any, ...]]:
    """Count and time of each different sample: stack, labels, state, thread, goroutine."""
    found: Counter[tuple[Any, ...]] = Counter()
    s = profile.samples
    for at in range(len(s)):
        calls = profile.stack(int(s.stack[at])) if s.stack[at] >= 0 else ()
        lines = tuple((f.function, f.file, f.line, f.inlined) for f in calls if f != EXIT)
        labels = profile.label_sets[int(s.labels[at])] if s.labels[at] >= 0 else {}
        state = profile.states[int(s.state[at])] if s.state[at] >= 0 else None
        key = (lines, tuple(sorted(labels.items())), state, int(s.thread[at]), int(s.goroutine[at]))
        found[(*key, "count")] += int(s.count[at])
        found[(*key, "ns")] += int(s.value_ns[at])
    return found


def test_what_was_written_is_read(tmp_path: Path) -> None:
    problem = Problem("unknown", "kernel", "not allowed")
    profile = replace(SHOP, problems=(problem,), chosen_from=200)
    path = tmp_path / "cpu.pb.gz"
    path.write_bytes(written(profile, by=("goroutine",)))
    assert is_profile(path)
    again = load_profile(path)
    columns = {name: getattr(again.samples, name).dtype for name in again.samples.__slots__}
    assert columns == {name: getattr(SHOP.samples, name).dtype for name in columns}
    without_roots = Counter(
        {
            (tuple(line for line in key[0] if line[1] is not None), *key[1:]): value
            for key, value in rows(again).items()
        }
    )
    assert without_roots == rows(profile)
    for name in ("mode", "account", "rate_hz", "duration_ns", "chosen_from", "problems"):
        assert getattr(again, name) == getattr(profile, name)
    assert abs((again.started_at - profile.started_at).total_seconds()) < 1e-5
    known = ("pid", "exe", "build_id", "go_version", "module", "arch", "stripped", "pie")
    for name in known:
        assert getattr(again.process, name) == getattr(profile.process, name)
    assert (again.process.cmdline, again.host) == ((), None)


def test_it_is_the_same_in_all_formats() -> None:
    waits = make_profile(
        [
            SampleRow((PARK, READ, MAIN, EXIT), 7, 3, 9, {"tenant": "red"}, state="IO wait"),
            SampleRow((HASH, SERVE, MAIN, EXIT), 5, 1, state="running", thread=3),
            SampleRow((), 2, 1, state="waiting"),
        ],
        mode="offcpu",
        account=Account(samples=5),
    )
    for profile in (SHOP, waits):
        again = read(written(profile))
        assert again.mode == profile.mode
        for name in ("folded", "svg"):
            assert written(again, name) == written(profile, name)
        twice = decoded(written(again))
        assert twice.values == decoded(written(profile)).values
        assert twice.addresses == decoded(written(profile)).addresses


def test_labels_of_the_program_stay_labels() -> None:
    row = SampleRow((MAIN,), 5, labels={"state": "Ohio", "thread": "7"}, state="running", thread=4)
    again = read(written(make_profile([row])))
    assert again.label_sets == ({"state": "Ohio", "thread": "7"},)
    assert again.states == ()
    assert again.samples.thread.tolist() == [NONE]


# Files of others


def text_table(*texts: str) -> bytes:
    return b"".join(piece(6, text.encode()) for text in texts)


def foreign(
    *extra: bytes, kinds: Sequence[tuple[int, int]] = ((1, 2), (3, 4)), **changes: Any
) -> bytes:
    """A profile as others write it; `changes` replace the number of a field or leave it out."""
    numbers = {"time": 1_700_000_000 * 10**9, "duration": 10**10, "period": 10**7} | changes
    line = piece(4, number(1, 1) + number(2, 12))
    inner = piece(4, number(1, 2) + number(2, 30))
    label = piece(3, number(1, 8) + number(2, 9))
    size = piece(3, number(1, 10) + number(3, 64) + number(4, 11))
    sample = piece(1, varint(1) + varint(2)) + piece(2, varint(3) + varint(30_000_000))
    parts = [
        *(piece(1, number(1, a) + number(2, b)) for a, b in kinds),
        piece(2, sample + label + size),
        piece(2, number(1, 2) + number(2, 1) + number(2, 10_000_000)),  # not packed
        piece(3, number(1, 1) + number(5, 12)),
        piece(4, number(1, 1) + number(3, 0x4011) + inner + line),
        piece(4, number(1, 2) + number(3, 0x7F00)),  # no line: not symbolised
        piece(5, number(1, 1) + number(2, 5) + number(4, 6)),
        piece(5, number(1, 2) + number(2, 7) + number(4, 6)),
        number(9, numbers["time"]), number(10, numbers["duration"]),
        piece(11, number(1, 3) + number(2, 4)), number(12, numbers["period"]),
        text_table(
            "", "samples", "count", "cpu", "nanoseconds", "main.main", "/src/main.go", "main.inner",
            "tenant", "blue", "size", "bytes", "/srv/shop", "microseconds", "alloc_space", "time",
        ),
    ]  # fmt: skip
    return b"".join([*parts, *extra])


def test_what_another_file_lacks_is_not_known() -> None:
    profile = read(gzip.compress(foreign()))
    (first,) = (key for key, value in rows(profile).items() if value == 30_000_000)
    assert first[0] == (
        ("main.inner", "/src/main.go", 30, True),
        ("main.main", "/src/main.go", 12, False),
        ("0x7f00", None, None, False),
    )
    assert first[1] == (("size", "64 bytes"), ("tenant", "blue"))
    assert first[2:5] == (None, NONE, NONE)
    assert (profile.mode, profile.rate_hz, profile.duration_ns) == ("cpu", 100.0, 10**10)
    assert (profile.process.exe, profile.process.pid, profile.process.stripped) == (
        "/srv/shop",
        None,
        None,
    )
    account = profile.account
    assert (account.samples, account.cpu_sampled_ns, account.coverage) == (4, 40_000_000, None)
    unknown = (account.lost, account.cut, account.goroutine_known, account.threads_seen)
    assert unknown == (None,) * 4
    made = json.loads(written(profile, "json"))
    VALIDATOR.validate(made)
    assert made["process"]["pid"] is None
    assert rows(read(written(profile, "json"))) == rows(profile)
    assert rows(read(foreign())) == rows(profile)  # not compressed
    for each in EXPORTERS:
        if each.takes == "profile":
            written(profile, each.name)


def test_kinds_and_units_of_values() -> None:
    assert read(foreign(kinds=((1, 2), (3, 13)))).samples.value_ns.max() == 30_000_000_000
    assert read(foreign(kinds=((1, 2), (15, 4)))).mode == "wall"
    assert read(foreign(period=0)).rate_hz == 0


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (foreign(kinds=((1, 2), (14, 11))), "a profile of samples/count, alloc_space/bytes, not of"),
        (foreign(kinds=((14, 2), (3, 4))), "it does not say how many samples there were"),
        (foreign(time=0), "it does not say when it was recorded"),
        (foreign(duration=0), "it does not say how long it was recorded"),
        (foreign(piece(2, number(1, 9) + piece(2, b"\x01\x01"))), "there is no location 9"),
        (foreign(piece(2, piece(2, b"\x01"))), "sample 2 has 1 values"),
        (foreign(piece(2, piece(2, b"\x01" + varint(-5)))), "a value is negative"),
        (foreign(piece(2, piece(2, b"\x01" + varint(1 << 62)))), "or the sum too large"),
        (foreign(piece(4, number(1, 3) + piece(4, number(1, 77)))), "there is no function 77"),
        (foreign(piece(5, number(1, 3) + number(2, 99))), "there is no string 99"),
        (foreign(piece(5, number(1, 3) + number(2, -1))), "there is no string -1"),
        (foreign(b"\x12\x7f"), "a field is cut off"),
        (foreign(b"\x13"), "a field has the kind 3"),
        (foreign(b"\x12" + b"\xff" * 20), "a number is cut off, or too long"),
        (foreign(number(2, 5)), "field 2 is a number"),
        (foreign(piece(6, b"spyglass.profile/1 {")), "it is not JSON"),
        (foreign(piece(6, b'spyglass.profile/1 {"mode": "x"}')), "the note: /mode"),
        (b"\n\x00", "it is a profile of /, not of"),
    ],
)  # fmt: skip
def test_a_refusal_says_what_is_wrong(raw: bytes, words: str) -> None:
    with pytest.raises(BadDataError) as refused:
        read(gzip.compress(raw))
    assert words in refused.value.message


@pytest.mark.slow
def test_every_change_of_a_byte_is_refused_or_read() -> None:
    """Whatever is read can be written."""
    sound = gzip.decompress(written(SHOP))
    chance, accepted = random.Random(11), 0
    for at in range(0, len(sound), 3):
        made = bytearray(sound)
        made[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, made[at] ^ 1, made[at] + 1 & 0xFF))
        try:
            profile = read(bytes(made))
        except BadDataError:
            continue
        accepted += 1
        VALIDATOR.validate(json.loads(written(profile, "json")))
        written(profile, "folded", by=("label:tenant", "thread"))
    assert accepted > 100
    for size in range(0, len(sound), 7):
        with pytest.raises(BadDataError):
            read(sound[:size] + b"\xff")


def test_a_note_that_is_not_the_last_text_is_of_other_samples() -> None:
    assert read(written(SHOP)).account == SHOP.account
    raw = gzip.decompress(written(SHOP))
    others = read(raw + piece(6, b"another"))
    assert (others.account.samples, others.account.lost, others.process.pid) == (100, None, None)
    assert {labels["state"] for labels in others.label_sets} == {"running", "g0", "C"}


def test_a_few_bytes_do_not_become_very_many_frames() -> None:
    """A location with many calls, on stacks that have it many times."""
    line = piece(4, number(1, 1))
    deep = piece(4, number(1, 3) + line * 20_000)
    stack = piece(2, piece(1, varint(3) * 50_000) + piece(2, b"\x01\x01"))
    with pytest.raises(BadDataError, match="needs more than"):
        read(foreign(deep, stack))


def test_size_and_memory_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    many = foreign() + piece(2, number(1, 1) + piece(2, b"\x01\x01")) * 20_000
    with pytest.raises(BadDataError, match="needs more than"):
        pprof_reader.read_pprof([many], 5_000_000)
    fields = b"\x70\x01" * 100_000
    with pytest.raises(BadDataError, match="more than 50,000 fields"):
        Message(fields, 50_000)
    monkeypatch.setattr(pprof_tables, "_MAX_BYTES", 1_000_000)
    packer = zlib.compressobj(9, wbits=31)
    bomb = packer.compress(foreign() + piece(13, b"\x01" * 3_000_000)) + packer.flush()
    assert len(bomb) < 10_000
    with pytest.raises(BadDataError, match="a profile of more than 1,000,000 bytes is not read"):
        read(bomb)


def test_what_is_no_profile_is_not_taken_for_one(tmp_path: Path) -> None:
    for text in (b"runtime.main 7\n", b"\n\n", b'"text"', b"BM", b"\x7fELF" + bytes(60)):
        path = tmp_path / "x"
        path.write_bytes(text)
        assert not is_profile(path)


# Commands


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pb.gz").write_bytes(written(SHOP))
    (tmp_path / "a.json").write_bytes(written(SHOP, "json"))
    (tmp_path / "foreign.pb.gz").write_bytes(gzip.compress(foreign()))
    wall = make_profile([SampleRow((MAIN,), 5)], mode="wall")
    (tmp_path / "wall.pb.gz").write_bytes(written(wall))
    return tmp_path


def test_a_file_of_pprof_is_converted(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["record", "--from", "a.pb.gz", "-o", "x.folded"]) == 0
    assert (saved / "x.folded").read_bytes() == written(SHOP, "folded")
    assert capsys.readouterr().err.startswith("100 samples for 1.01 s of 1.02 s CPU time used")
    assert cli.run(["record", "--from", "foreign.pb.gz", "-o", "."]) == 0
    said = capsys.readouterr()
    assert said.out == "shop-20231114T221320Z-cpu.pb.gz\n"
    assert "4 samples for 0.04 s of ? CPU time used (coverage ?)" in said.err
    assert (
        cli.run(["record", "--from", "foreign.pb.gz", "-o", "x.html", "--label", "tenant=blue"])
        == 0
    )
    assert np.all(load_profile("foreign.pb.gz").samples.value_ns > 0)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("a.json", "a CPU profile"),
        ("a.json.gz", "a CPU profile"),
        ("a.pb.gz", "a profile in the form of pprof"),
        ("wall.json", "a wall-clock profile"),
    ],
)
def test_other_commands_say_what_a_profile_is(
    saved: Path, capsys: pytest.CaptureFixture[str], name: str, what: str
) -> None:
    path = saved / name
    if name.startswith("wall"):
        path.write_bytes(written(load_profile("wall.pb.gz"), "json"))
    elif name.endswith("json.gz"):
        path.write_bytes(written(SHOP, "json.gz"))
    for command in (["summary"], ["dump"], ["waits"], ["report", "-o", "x.html"], []):
        assert cli.run([*command, str(path)]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"spyglass: {path} is {what}, not a snapshot. `")
        assert ("`go tool pprof` shows it" in line) == name.endswith(".pb.gz")
        assert (f"`spyglass record --from {name} -o x.html` shows it" in line) == ("json" in name)


def test_a_snapshot_and_a_profile_are_not_compared(
    saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(make_snapshot(), "s.json")
    for pair in (["s.json", "a.pb.gz"], ["a.pb.gz", "s.json"]):
        assert cli.run(["diff", *pair]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("spyglass: a.pb.gz is a profile, and other targets are not")
    assert cli.run(["diff", "a.json", "a.json", "-o", "difference.json"]) == 0
    capsys.readouterr()
    assert cli.run(["summary", "difference.json"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("spyglass: difference.json is a comparison of profiles, not a snapshot")


def test_files_of_pprof_and_of_json_are_compared(
    saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["diff", "a.pb.gz", "a.json", "--all"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[3] == "time       100.0 before, 100.0 after, 0"
    assert {line.split()[2] for line in lines[6:-1]} == {"0"}
    assert cli.run(["diff", "a.json", "a.pb.gz", "-o", "x.html"]) == 0
    assert cli.run(["diff", "a.pb.gz", "wall.pb.gz"]) == 1
    assert "the profiles are of modes cpu and wall" in capsys.readouterr().err
    assert cli.run(["diff", "a.pb.gz", "foreign.pb.gz", "--force"]) == 0
