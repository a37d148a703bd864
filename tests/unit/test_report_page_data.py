"""The data of a page: every goroutine once, and only text that is safe to show."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from spyglass.analysis.call_tree import CallTree
from spyglass.analysis.code_origin import origin
from spyglass.analysis.group_by import groups_by
from spyglass.analysis.selection import selected
from spyglass.analysis.shown_frames import shown_frames
from spyglass.model import NONE, UNREAD, Frame, Problem, Snapshot
from spyglass.report.page_data import report_data
from spyglass.words.calls import call_text
from tests.pages import goroutines_of
from tests.snapshots import Row, frame, make_snapshot

MAIN, WORK, SERVE = frame("main.main", line=30), frame("main.work", line=15), frame("main.serve")
PARK = Frame("runtime.gopark", "/go/src/runtime/proc.go", 402, 0x43210, hidden=True)
EXIT = Frame("runtime.goexit", "/go/src/runtime/asm_amd64.s", 1700, 0x43999, hidden=True)


def place(frame: Frame) -> tuple[str, str | None, int]:
    return frame.function, frame.file, frame.line or 0


def one(*rows: Row, **changes: object) -> dict[str, Any]:
    """What the page says of the only goroutine of a snapshot."""
    (found,) = goroutines_of(report_data(make_snapshot(rows, **changes)))
    return found


def test_goroutines_that_are_alike_are_one_cell_and_keep_their_ids_and_waits() -> None:
    def row(goid: int, waiting_ns: int | None) -> Row:
        return Row(goid, wait_reason="select", waiting_ns=waiting_ns, stack=(WORK, MAIN))

    rows = [row(9, None), row(4, 5_000), row(7, 90_000), row(2**53 - 1, 5_000), row(3, 0)]
    data = report_data(make_snapshot(rows))
    assert data["cells"]["count"] == [5]
    assert [(g["id"], g["waiting_ns"]) for g in goroutines_of(data)] == [
        (7, 90_000), (4, 5_000), (2**53 - 1, 5_000), (3, 0), (9, NONE),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "other",
    [
        Row(2, "syscall", None, stack=(WORK, MAIN), creator=SERVE),
        Row(2, "waiting", "select", stack=(WORK, MAIN), creator=SERVE),
        Row(2, wait_reason="chan send", stack=(MAIN,), creator=SERVE),
        Row(2, wait_reason="chan send", stack=(WORK, MAIN, PARK), creator=SERVE),
        Row(2, wait_reason="chan send", stack=None, creator=SERVE),
        Row(2, wait_reason="chan send", stack=(WORK, MAIN), creator=MAIN),
        Row(2, wait_reason="chan send", stack=(WORK, MAIN), creator=SERVE, where=MAIN),
        Row(2, wait_reason="chan send", stack=(WORK, MAIN), creator=SERVE, call=MAIN),
        Row(2, wait_reason="chan send", stack=(WORK, MAIN), creator=SERVE, labels={"a": "b"}),
        Row(2, wait_reason="chan send", stack=(WORK, MAIN), creator=SERVE, labels=None),
        Row(2, wait_reason="chan send", stack=(WORK, MAIN), creator=SERVE, system=True),
        Row(2, wait_reason="chan send", stack=(WORK, MAIN), creator=SERVE, locked=True),
        Row(2, wait_reason="chan send", stack=(WORK, MAIN), creator=SERVE, quality="torn"),
    ],
)
def test_goroutines_that_differ_in_anything_are_two_cells(other: Row) -> None:
    row = Row(1, wait_reason="chan send", stack=(WORK, MAIN), creator=SERVE)
    assert report_data(make_snapshot([row, other]))["cells"]["count"] == [1, 1]


def test_dead_goroutines_are_left_out_and_there_may_be_none() -> None:
    assert goroutines_of(report_data(make_snapshot([Row(1, "dead")]))) == []
    assert goroutines_of(report_data(make_snapshot())) == []


def test_a_stack_is_there_as_go_shows_it_and_whole() -> None:
    found = one(Row(1, stack=(PARK, WORK, MAIN, EXIT), where=WORK))
    assert found["shown"] == [place(WORK), place(MAIN)]
    assert found["all"] == [place(PARK), place(WORK), place(MAIN), place(EXIT)]


def test_frames_on_one_line_are_one_place() -> None:
    again = Frame(WORK.function, WORK.file, WORK.line, pc=0x999)
    data = report_data(make_snapshot([Row(1, stack=(WORK, MAIN)), Row(2, stack=(again, MAIN))]))
    assert data["cells"]["count"] == [2]


def test_the_ends_of_a_stack_that_is_not_known_are_shown() -> None:
    gap = ("(stack not known)", None, 0)
    assert one(Row(1, start=WORK, where=SERVE))["shown"] == [place(SERVE), gap, place(WORK)]
    assert one(Row(1, start=WORK))["all"] == [gap, place(WORK)]
    assert one(Row(1))["shown"] == [gap]


def test_frames_left_out_of_a_deep_stack_are_counted() -> None:
    found = one(Row(1, stack=(WORK, MAIN)), elided={0: (1, 12_345)})
    assert found["shown"] == [place(WORK), ("(12,345 frames left out)", None, 0), place(MAIN)]


def test_a_tree_has_what_stacks_share_once() -> None:
    tree = CallTree.of(np.array([1, 2, 1, 3, 1, 2, 3, 1, 2]), np.array([0, 2, 4, 7, 7, 9]))
    assert tree.leaves.tolist() == [2, 3, 4, 0, 2]
    assert tree.parents.tolist() == [NONE, 0, 1, 1, 2]
    assert tree.calls.tolist() == [NONE, 1, 2, 3, 3]


@pytest.mark.parametrize("count", [0, 1, 40, 500])
def test_a_tree_leads_back_to_every_stack(count: int) -> None:
    random = np.random.default_rng(count)
    stacks = [random.integers(0, 3, random.integers(0, 12)).tolist() for _ in range(count)]
    offsets = np.cumsum([0, *map(len, stacks)])
    tree = CallTree.of(np.array([call for stack in stacks for call in stack], np.int64), offsets)
    for stack, leaf in zip(stacks, tree.leaves.tolist(), strict=True):
        found, node = [], leaf
        while node:
            assert tree.parents[node] < node
            found.append(int(tree.calls[node]))
            node = int(tree.parents[node])
        assert found[::-1] == stack
    pairs = list(zip(tree.parents.tolist(), tree.calls.tolist(), strict=True))
    assert (
        len(set(pairs))
        == len(pairs)
        == len({tuple(s[:i]) for s in stacks for i in range(len(s) + 1)} | {()})
    )


@pytest.mark.parametrize("seed", range(5))
def test_the_trees_have_the_shown_frames_of_every_stack(seed: int) -> None:
    random = np.random.default_rng(seed)
    frames = [
        replace(frame(name, line=line), hidden=name.startswith("runtime."))
        for line, name in enumerate(["main.a", "main.b", "runtime.c", "runtime.d", "net.e"], 1)
    ]
    frames.append(frame("runtime.gopanic", line=9))
    rows = [
        Row(number, stack=tuple(frames[i] for i in random.integers(0, 6, random.integers(1, 6))))
        for number in range(1, 200)
    ]
    plain = make_snapshot(rows)
    lengths = np.diff(plain.stack_offsets).tolist()
    gaps = {n: (int(random.integers(0, lengths[n] + 1)), n + 1) for n in range(0, len(lengths), 3)}
    snapshot = replace(plain, elided=gaps)
    data = report_data(snapshot)
    for kind, everything in (("shown", False), ("all", True)):
        found = {g["id"]: g[kind] for g in goroutines_of(data)}
        for number in range(199):
            stack = int(snapshot.goroutines.stack[number])
            expected = [
                (f"({gaps[stack][1]:,} frames left out)", None, 0)
                if at == NONE
                else (call_text(snapshot.frames[at]), *place(snapshot.frames[at])[1:])
                for at in shown_frames(snapshot, stack, runtime_frames=everything)
            ]
            assert found[number + 1] == expected


def test_ids_that_javascript_would_round_are_text() -> None:
    huge = 2**64 - 1
    data = report_data(make_snapshot([Row(huge), Row(2**53 + 1)]))
    assert set(data["goroutines"]["ids"]) == {str(huge), str(2**53 + 1)}
    assert {g["id"] for g in goroutines_of(data)} == {huge, 2**53 + 1}


def test_the_creator_is_named_where_one_goroutine_made_them_all() -> None:
    rows = [Row(2, creator=MAIN, creator_id=1), Row(3, creator=MAIN, creator_id=1)]
    assert report_data(make_snapshot(rows))["cells"]["creator_id"] == [1]
    rows.append(Row(4, creator=MAIN, creator_id=2))
    assert report_data(make_snapshot(rows))["cells"]["creator_id"] == [NONE]
    assert one(Row(2, creator=MAIN, creator_id=2**60))["creator_id"] == NONE


def test_labels_that_could_not_be_read_are_not_the_same_as_none() -> None:
    data = report_data(make_snapshot([Row(1), Row(2, labels=None), Row(3, labels={"k": "v"})]))
    labels = {g["id"]: g["labels"] for g in goroutines_of(data)}
    assert labels == {1: NONE, 2: UNREAD, 3: 0}
    assert [[data["strings"][i] for i in pair] for pair in data["label_sets"][0]] == [["k", "v"]]


def test_states_are_in_the_words_of_a_traceback() -> None:
    found = one(Row(1, "leaked", "chan receive"))
    assert (found["status"], found["reason"], found["state"]) == (
        "leaked", "chan receive", "chan receive (leaked)",
    )  # fmt: skip


def test_lists_are_complete_except_for_too_many_problems() -> None:
    problems = tuple(Problem("torn", f"goroutine {i}", "moved") for i in range(10_001))
    snapshot = make_snapshot([Row(1)], problems=problems)
    data = report_data(snapshot)
    assert [thread["tid"] for thread in data["threads"]] == [1234, 1236, 1240]
    assert data["threads"][2]["m"] is None
    assert [p["schedtick"] for p in data["processors"]] == [642, 7001]
    assert len(data["problems"]) == 10_000
    assert data["problem_count"] == 10_001
    assert data["problems"][1] == {"kind": "torn", "subject": "goroutine 1", "detail": "moved"}


HOSTILE = "</script>\x1b[31m\u2028\u202e\ud800\udcff\x00<img onerror=alert(1)>\ufeff"


#: `HOSTILE` as it is shown.
SHOWN = r"</script>\x1b[31m\u2028\u202e\ud800\xff\x00<img onerror=alert(1)>\ufeff"


def hostile_snapshot() -> Snapshot:
    evil = Frame(HOSTILE, HOSTILE, 7, 0x1000)
    row = Row(
        1, wait_reason=HOSTILE, where=evil, start=evil, creator=evil, stack=(evil, MAIN),
        labels={HOSTILE: HOSTILE},
    )  # fmt: skip
    return make_snapshot([row], problems=(Problem(HOSTILE, HOSTILE, HOSTILE),))


def test_every_text_can_be_shown_as_it_is() -> None:
    data = report_data(hostile_snapshot())
    texts = [*data["strings"], *(value for row in data["problems"] for value in row.values())]
    assert texts.count(SHOWN) == 5  # function; file, state and label; what, about what, and why
    unseen = [c for text in texts for c in text if unicodedata.category(c)[0] in "CZ" and c != " "]
    assert unseen == []
    assert json.dumps(texts, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("function", "whose"),
    [
        ("main.main", "own"),
        ("main.(*server).run.func1", "own"),
        ("github.com/acme/shop/cart.(*Cart).Add", "own"),
        ("github.com/acme/shop.Run", "own"),
        ("github.com/acme/shopping.Run", "dependency"),
        ("gopkg.in/yaml%2ev3.Unmarshal", "dependency"),
        ("net/http.(*conn).serve", "standard"),
        ("slices.SortFunc[go.shape.[]main.T,go.shape.struct{}]", "standard"),
        ("runtime/pprof.Do", "standard"),
        ("runtime.gopark", "runtime"),
        ("internal/runtime/maps.(*Map).Get", "runtime"),
        ("", "standard"),
    ],
)
def test_whose_code_a_function_is(function: str, whose: str) -> None:
    assert origin(function, "github.com/acme/shop") == whose


def test_in_a_program_of_an_unknown_module_nothing_is_called_a_dependency() -> None:
    assert origin("github.com/acme/shop.Run", None) == "either"
    assert origin("main.main", None) == "own"
    assert origin("net/http.(*conn).serve", None) == "standard"


def test_groups_of_one_stack_are_those_of_a_dump() -> None:
    rows = [
        Row(i, wait_reason="select", stack=stack, start=WORK)
        for i, stack in enumerate([(WORK, MAIN), (PARK, WORK, MAIN), (SERVE,), None, (SERVE,), None])
    ]  # fmt: skip
    snapshot = make_snapshot(rows)
    found: dict[int, list[int]] = {}
    data = report_data(snapshot)
    cells = data["cells"]
    for g in goroutines_of({**data, "cells": {**cells, "leaf": cells["shown"]}}):
        found.setdefault(g["leaf"], []).append(g["id"])
    expected = groups_by(snapshot, selected(snapshot.goroutines), "stack")
    ids = snapshot.goroutines.id
    assert sorted(map(sorted, found.values())) == sorted(sorted(ids[c].tolist()) for c in expected)
