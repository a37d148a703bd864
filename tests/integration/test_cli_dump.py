"""``spyglass dump`` of real processes, as a user runs it, compared with what they print of themselves."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from rich.cells import cell_len

import spyglass
from tests.command import ESCAPES, on_terminal, piped
from tests.support import Flavour, GoProcess, in_ends, in_milestones, start
from tests.traceback_text import TextGoroutine, goroutines_of_text

pytestmark = [pytest.mark.live, pytest.mark.go]

SCHEMA = json.loads(files("spyglass.export").joinpath("snapshot.schema.json").read_text())

#: The goroutine that answers: it runs while it speaks, and waits for the next command when we look.
SPEAKER = 1

ACCOUNT = re.compile(
    r"(?P<who>([\d,]+( \(\+\d+ runtime\))? of )?[\d,]+ \(\+\d+ runtime\) goroutines( match)?)(?P<remark>[^:]*):"
    r" (?P<stable>[\d,]+) stable, (?P<moved>[\d,]+) moved, 0 torn, 0 unreadable;"
    r" read in \d+\.\d\d s without stopping the program\n"
)


def dump(process: GoProcess, *arguments: str) -> str:
    done = piped("dump", "-p", str(process.pid), *arguments)
    assert (done.returncode, bool(ACCOUNT.fullmatch(done.stderr))) == (0, True), done.stderr
    return done.stdout


def dumped(process: GoProcess, *arguments: str) -> dict[int, TextGoroutine]:
    return {each.id: plain(each) for each in goroutines_of_text(dump(process, *arguments))}


def blocks(text: str) -> dict[int, list[str]]:
    """The lines of each goroutine by its id."""
    found = (block.split("\n") for block in text.strip("\n").split("\n\n"))
    return {int(lines[0].split()[1]): lines for lines in found}


def as_dumped(lines: list[str]) -> list[str]:
    """What the program printed, as a dump is to print it: without the words of arguments."""
    return [
        re.sub(r"^(?![\t.]|goroutine |created by )(.*)\([^()]*\)$", r"\1(...)", x) for x in lines
    ]


def as_elided(lines: list[str], said: list[str]) -> list[str]:
    """The lines of a dump, with as much left out as the program left out of a deep stack: since Go
    1.21 the frames between the first and last 50; before that those behind the first 100, hidden
    ones counted, without a word (``runtime/traceback.go: traceback2``)."""
    header, frames, creator = parted(lines)
    number = len(parted(said)[1])
    if any(line.endswith("frames elided...") for line in said):
        frames = [*frames[:100], f"...{len(frames) // 2 - 100} frames elided...", *frames[-100:]]
    elif 2 * 90 < number <= 2 * 100:
        frames = frames[:number]
    return [*header, *frames, *creator]


def parted(lines: list[str]) -> tuple[list[str], list[str], list[str]]:
    end = next((i for i, line in enumerate(lines) if line.startswith("created by ")), len(lines))
    return lines[:1], lines[1:end], lines[end:]


@pytest.mark.parametrize(
    "flavour", [Flavour.EXE, Flavour.CGO, Flavour.STRIPPED, Flavour.STRIPPED_EXTERNAL_PIE]
)
def test_it_is_what_the_program_prints_letter_for_letter(minor: str, flavour: Flavour) -> None:
    with start("truth", minor, flavour) as process:
        said = blocks(process.truth().stacks)
        ours = blocks(dump(process))
    assert ours.keys() == said.keys()
    assert len(ours) > 70
    for goid in ours.keys() - {SPEAKER}:
        assert as_elided(ours[goid], said[goid]) == as_dumped(said[goid])


def test_hidden_frames_and_system_goroutines_are_what_the_program_prints(minor: str) -> None:
    with start("truth", minor, env={"GOTRACEBACK": "system"}) as process:
        ours = dumped(process, "--system", "--runtime-frames")
        said = {each.id: plain(each) for each in process.quit_traceback() if each.id}
        assert ours.keys() == said.keys()
    assert any(each.functions[-1] == "runtime.goexit" for each in ours.values())
    for goid in ours:
        assert as_said(ours[goid], said[goid]) == said[goid]


def plain(said: TextGoroutine) -> TextGoroutine:
    """Without what is printed only with GOTRACEBACK=system, and what a dump does not tell."""
    frames = tuple(replace(frame, sp=None, pc=None, inlined=False) for frame in said.frames)
    created_by = said.created_by and replace(said.created_by, inlined=False)
    return replace(said, frames=frames, created_by=created_by, m=None)


def as_said(ours: TextGoroutine, said: TextGoroutine) -> TextGoroutine:
    """With as many frames left out as the program left out, which prints 100 of a deep stack."""
    frames = ours.frames
    if len(frames) > 100 and 90 < len(said.frames) <= 100:
        outer = 50 if said.elided and said.frames[-1] == frames[-1] else 0  # before Go 1.21: none
        frames = frames[: len(said.frames) - outer] + frames[len(frames) - outer :]
    return replace(ours, frames=frames, elided=said.elided)


def said_by(process: GoProcess) -> dict[int, TextGoroutine]:
    """What the program says of its goroutines, but for the one that speaks."""
    return {each.id: plain(each) for each in process.truth().goroutines if each.id != SPEAKER}


@in_ends
@pytest.mark.parametrize(
    ("arguments", "is_wanted"),
    [
        (["--state", "chan receive"], lambda g: "chan receive" in g.state),
        (["--state", "Sleep", "--state", "SELECT"], lambda g: "sleep" in g.state or "select" in g.state),
        (["--function", r"recurse|\.child$"], lambda g: {"main.recurse", "main.child"} & set(g.functions)),
        (["--creator", r"^main\.parent$"], lambda g: g.created_by and g.created_by.function == "main.parent"),
        (["--function", "main", "--state", "select"],
         lambda g: "select" in g.state and any("main" in name for name in g.functions)),
    ],
)  # fmt: skip
def test_those_that_are_asked_for_are_shown(
    truth_process: GoProcess, arguments: list[str], is_wanted: Callable[[TextGoroutine], object]
) -> None:
    expected = {goid for goid, each in said_by(truth_process).items() if is_wanted(each)}
    assert expected
    assert dumped(truth_process, *arguments).keys() - {SPEAKER} == expected


@in_milestones
def test_waits_are_known_since_a_collection_came_by(truth_process: GoProcess) -> None:
    """The program collected garbage before it was ready, with all parked (``mgcmark.go: markroot``)."""
    assert (
        dumped(truth_process, "--min-wait", "1ns").keys() - {SPEAKER}
        == said_by(truth_process).keys()
    )


@in_ends
def test_labels_are_asked_for(truth_process: GoProcess) -> None:
    expected = {
        i for i, each in said_by(truth_process).items() if "main.labelled" in each.functions
    }
    wanted = ["--label", "tenant=blue", "--label", "request=42"]
    assert len(expected) == 2
    assert dumped(truth_process, *wanted).keys() == expected
    assert_nothing_matches(truth_process, *wanted, "--label", "tenant=red")


@in_ends
def test_goroutines_are_asked_for_by_id_be_they_the_runtimes(truth_process: GoProcess) -> None:
    own = min(said_by(truth_process))
    with spyglass.attach(truth_process.pid) as inspector:
        runtimes = min(each.id for each in inspector.snapshot() if each.system)
    both = ["--goroutine", str(runtimes), "--goroutine", str(own)]
    assert dumped(truth_process, *both).keys() == {runtimes, own}
    why = assert_nothing_matches(truth_process, "--goroutine", str(runtimes), "--no-system")
    assert why.endswith("--system includes runtime goroutines, of which 1 match\n")


@in_ends
def test_a_wait_that_is_too_long_for_all(truth_process: GoProcess) -> None:
    why = assert_nothing_matches(truth_process, "--min-wait", "1d")
    assert why.startswith(
        "spyglass: no goroutine is known to have a wait of 1d or more; the longest "
    )


def assert_nothing_matches(process: GoProcess, *arguments: str) -> str:
    """Why, in one line."""
    done = piped("dump", "-p", str(process.pid), *arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    return done.stderr


@in_ends
def test_the_account_says_what_was_chosen(truth_process: GoProcess) -> None:
    number = truth_process.truth().num_goroutine
    pid = str(truth_process.pid)
    sleeping = sum(each.state == "sleep" for each in said_by(truth_process).values())
    for arguments, who, remark in (
        ([], f"{number} goroutines", ""),
        (["--state", "sleep"], f"{sleeping} of {number} goroutines match", ""),
        (["--limit", "3"], f"{number} goroutines", ", the first 3 shown"),
        (["--group", "state", "--state", "sleep"], f"{sleeping} of {number} goroutines match", " in 1 group"),
    ):  # fmt: skip
        account = ACCOUNT.fullmatch(piped("dump", "-p", pid, *arguments).stderr)
        assert account
        chosen = re.sub(r" \(\+\d+ runtime\)", "", account["who"])
        assert (chosen, account["remark"]) == (who, remark)


@in_ends
def test_at_most_so_many(truth_process: GoProcess) -> None:
    every = dumped(truth_process)
    assert list(dumped(truth_process, "--limit", "3")) == list(every)[:3]
    assert len(groups(dump(truth_process, "--group", "--limit", "2"))) == 2
    document = json.loads(dump(truth_process, "--json", "--limit", "4"))
    assert len(document["goroutines"]) == 4


def groups(text: str) -> list[tuple[int, str]]:
    """How many goroutines are in each group, and the group's text."""
    found = [block for block in text.split("\n\n") if block]
    return [(int(block.split()[0].replace(",", "")), block) for block in found]


@in_ends
@pytest.mark.parametrize(
    "by", [[], ["stack"], ["function"], ["creator"], ["state"], ["label:tenant"]]
)
def test_groups_add_up_the_largest_first(truth_process: GoProcess, by: list[str]) -> None:
    counts = [count for count, _ in groups(dump(truth_process, "--group", *by))]
    assert sum(counts) == truth_process.truth().num_goroutine
    assert counts == sorted(counts, reverse=True)
    assert len(counts) > 1


@in_ends
def test_a_group_has_its_stack_once(truth_process: GoProcess) -> None:
    stacks = Counter(
        tuple((frame.function, frame.file, frame.line) for frame in each.frames)
        for each in dumped(truth_process).values()
    )
    found: Counter[tuple[tuple[str, str, int], ...]] = Counter()
    for count, block in groups(dump(truth_process, "--group")):
        lines = [
            line[11:] for line in block.split("\n")[1:] if not line[11:].startswith("created by ")
        ]
        calls = zip(lines[::2], lines[1::2], strict=True)
        places = ((function, *place.strip().rsplit(":", 1)) for function, place in calls)
        found[tuple((function, file, int(line)) for function, file, line in places)] += count
    assert found == stacks


@in_ends
def test_groups_by_state_and_label_are_those_of_the_program(truth_process: GoProcess) -> None:
    states = Counter(each.state for goid, each in dumped(truth_process).items())
    text = dump(truth_process, "--group", "state")
    assert {block[11:].split("  ")[0]: count for count, block in groups(text)} == states
    text = dump(truth_process, "--group", "label:tenant")
    titles = {block[11:].split("  ")[0]: count for count, block in groups(text)}
    assert titles == {"(no label tenant)": states.total() - 2, "tenant=blue": 2}


@in_milestones
def test_json_is_the_whole_document(truth_process: GoProcess) -> None:
    before = dumped(truth_process, "--system", "--runtime-frames")
    document = json.loads(dump(truth_process, "--json"))
    Draft202012Validator(SCHEMA).validate(document)
    assert document["chosen_from"] is None
    shown = dumped(truth_process, "--system", "--runtime-frames")
    ours = {each["id"]: each for each in document["goroutines"]}
    assert ours.keys() == shown.keys()
    # The runtime's own goroutines may wait elsewhere a moment later.
    moved = [goid for goid in ours if before[goid].frames != shown[goid].frames]
    assert len(moved) <= 2
    for goid, each in ours.items():
        if goid in moved:
            continue
        assert [place(frame) for frame in stack_of(document, each)] == [
            (frame.function.replace("panic", "runtime.gopanic") if frame.function == "panic" else frame.function,
             frame.file, frame.line, frame.offset)
            for frame in shown[goid].frames
        ]  # fmt: skip
    assert {each["system"] for each in ours.values()} == {True, False}


def stack_of(document: dict[str, Any], goroutine: dict[str, Any]) -> list[dict[str, Any]]:
    return [document["frames"][number] for number in document["stacks"][goroutine["stack"]]]


def place(frame: dict[str, Any]) -> tuple[str, str, int, int | None]:
    return frame["function"], frame["file"], frame["line"], frame["offset"]


@in_ends
def test_json_of_some_has_no_more_than_they_need(truth_process: GoProcess) -> None:
    wanted = ["--function", "recurse", "--json"]
    document = json.loads(dump(truth_process, *wanted))
    Draft202012Validator(SCHEMA).validate(document)
    assert document["chosen_from"] > len(document["goroutines"]) == 4
    assert len(document["stacks"]) == 2
    for each in document["goroutines"]:
        assert "main.recurse" in {frame["function"] for frame in stack_of(document, each)}
    summary = json.loads(piped("summary", "-p", str(truth_process.pid), *wanted).stdout)
    assert [g["id"] for g in summary["goroutines"]] == [g["id"] for g in document["goroutines"]]


@in_ends
def test_summary_takes_the_same_filters(truth_process: GoProcess) -> None:
    pid = str(truth_process.pid)
    number = truth_process.truth().num_goroutine
    done = piped("summary", "-p", pid, "--function", "main.recurse", "--state", "chan receive")
    assert (done.returncode, done.stderr) == (0, "")
    said = re.sub(r" \(\+\d+ runtime\)", "", done.stdout)
    assert f"\ngoroutines 4 of {number} match  waiting 4\nwaiting    chan receive 4\n" in said
    done = piped("summary", "-p", pid, "--limit", "2")
    assert done.stdout.splitlines()[-1].startswith("… and ")


@in_ends
def test_groups_keep_to_the_terminal(truth_process: GoProcess) -> None:
    pid = str(truth_process.pid)
    received = on_terminal("dump", "-p", pid, "--group", "state", width=60, height=24)
    assert "\x1b[" in received
    lines = ESCAPES.sub("", received).splitlines()
    facts = [line for line in lines if re.match(r"\d+ ", line) and "goroutines" not in line]
    assert len(facts) > 5
    assert max(map(cell_len, facts)) <= 60


@in_ends
def test_a_reader_that_leaves_is_no_error(truth_process: GoProcess) -> None:
    pid = truth_process.pid
    command = f"{sys.executable} -m spyglass dump -p {pid} --runtime-frames | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("goroutine ")
    assert "Traceback" not in done.stderr


@in_ends
def test_debug_shows_how_long_each_phase_took(truth_process: GoProcess) -> None:
    done = piped("dump", "-p", str(truth_process.pid), "--debug")
    assert re.search(r"^goroutines +\d+\.\d{3} ms$", done.stderr, re.MULTILINE)
    assert re.search(r"^output +\d+\.\d{3} ms$", done.stderr, re.MULTILINE)
