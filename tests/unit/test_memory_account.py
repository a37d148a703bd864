"""What is said of an account of memory, and its document."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from spyglass import cli
from spyglass.analysis.memory_parts import ObjectShares, object_shares, shown_parts
from spyglass.analysis.memory_view import MemoryView, memory_view
from spyglass.export.memory_document import write_memory
from spyglass.export.snapshot_file import save
from spyglass.memory_account import (
    CLASSES,
    GcStats,
    GoMemory,
    MemoryAccount,
    Part,
    ResidentMapping,
    ResidentPart,
)
from spyglass.memory_limits import MemoryForecast, MemoryLimit, MemoryLimits
from spyglass.model import Problem
from spyglass.render.memory_view import render
from spyglass.render.view_options import View
from tests.saved import with_everything
from tests.snapshots import MEMORY, PROCESS, TAKEN_AT, Row, make_snapshot

MIB = 1 << 20
SCHEMA = json.loads(files("spyglass.export").joinpath("memory.schema.json").read_text())
CAUSES: dict[Part, str] = {
    "go_heap_free": "memory-kept", "go_heap_unused": "memory-fragmented", "go_stacks": "memory-stacks",
    "c": "memory-c", "files": "memory-files", "shared": "memory-shared",
}  # fmt: skip


def account(*parts: ResidentPart, go: GoMemory | None = None) -> MemoryAccount:
    return MemoryAccount(
        process=PROCESS, taken_at=TAKEN_AT, took_ns=1, rss_bytes=sum(each.bytes for each in parts),
        resident=parts, go=go or GoMemory(dict.fromkeys(CLASSES)),
    )  # fmt: skip


def part(name: Part, mebibytes: int, lazy: int = 0) -> ResidentPart:
    return ResidentPart(name, mebibytes * MIB, "smaps", lazy_free_bytes=lazy * MIB)


def kinds(made: MemoryAccount) -> list[str]:
    return [each.kind for each in view(made).findings if each.kind != "rss-limit"]


def view(made: MemoryAccount) -> MemoryView:
    memory = replace(MEMORY, gogc_percent=100, memory_limit_bytes=None, recent_gc_count=0)
    return memory_view(make_snapshot([Row(1, "waiting")], memory=memory), made)


@pytest.mark.parametrize(("name", "kind"), CAUSES.items())
def test_the_largest_part_is_named_and_only_that(name: Part, kind: str) -> None:
    assert kinds(account(part(name, 100), part("binary", 30), part("go_heap_objects", 20))) == [
        kind
    ]


def test_little_memory_and_small_shares_are_not_named() -> None:
    assert kinds(account(part("c", 63))) == []
    assert kinds(account(part("c", 100), part("binary", 160))) == []
    assert kinds(account()) == []


def test_free_heap_that_the_kernel_may_take_is_apart() -> None:
    assert kinds(account(part("go_heap_free", 100, lazy=90))) == ["memory-lazy-free"]
    words = [each.words for each in shown_parts(account(part("go_heap_free", 100, lazy=90)))]
    assert words == ["Go heap: freed, the kernel may take it (LazyFree)", "Go heap: free and kept"]


def test_objects_are_told_apart_by_what_the_last_collection_found() -> None:
    go = GoMemory({}, heap_live_bytes=50 * MIB, heap_now_bytes=200 * MIB, heap_goal_bytes=None)
    made = account(part("go_heap_objects", 100), go=go)
    assert object_shares(made) == ObjectShares(25 * MIB, 75 * MIB, 0)
    assert [each.bytes // MIB for each in shown_parts(made)] == [25, 75]
    (finding,) = view(made).findings
    assert (finding.kind, finding.severity) == ("memory-garbage", "warning")
    assert (
        "75 % is objects allocated since the last collection; there will be none" in finding.title
    )


@pytest.mark.parametrize(("resident", "every"), [(300, 300), (300, None), (300, 200), (150, 300)])
def test_garbage_that_is_not_swept_is_neither_live_nor_new(
    resident: int, every: int | None
) -> None:
    """Of `every` MiB of objects 30 are live, and 60 in all were not found dead."""
    classes = {} if every is None else {"heap/objects": every * MIB}
    go = GoMemory(
        classes, heap_live_bytes=30 * MIB, heap_now_bytes=60 * MIB, heap_goal_bytes=120 * MIB
    )
    objects = replace(part("go_heap_objects", resident), doubtful_bytes=MIB)
    made = account(objects, go=go)
    shown = {
        each.words: (each.bytes * 10 // resident // MIB, each.doubtful_bytes)
        for each in shown_parts(made)
    }
    assert shown == {
        "Go heap: live at the last collection": (1, 0),
        "Go heap: allocated since": (1, 0),
        "Go heap: garbage, not swept yet": (8, MIB),
    }
    assert kinds(made) == ["memory-unswept"]


def test_collections_that_take_much_are_found() -> None:
    busy = GcStats(cycles=20, cpu_fraction=0.25)
    assert kinds(account(go=GoMemory({}, gc=busy))) == ["gc-bound"]
    assert kinds(account(go=GoMemory({}, gc=replace(busy, cycles=19)))) == []
    assert kinds(account(go=GoMemory({}, gc=replace(busy, cpu_fraction=0.24)))) == []


def test_a_limit_that_makes_go_collect_all_the_time_is_found() -> None:
    go = GoMemory(
        {}, heap_live_bytes=80, heap_now_bytes=90, heap_goal_bytes=100, gogc_goal_bytes=160,
        gogc_percent=100, memory_limit_bytes=110, gc=GcStats(recent_cycles=50),
    )  # fmt: skip
    assert kinds(account(go=go)) == ["limit-thrash"]
    for other in (
        {"heap_live_bytes": 79}, {"gogc_goal_bytes": 100}, {"memory_limit_bytes": None},
        {"gc": GcStats(recent_cycles=49)},
    ):  # fmt: skip
        assert kinds(account(go=replace(go, **other))) == []


def test_settings_that_do_not_help_are_found() -> None:
    def found(limit: int | None, gogc: int, group: int | None) -> set[str]:
        memory = replace(MEMORY, memory_limit_bytes=limit, gogc_percent=gogc)
        process = replace(PROCESS, memory_limit_bytes=group)
        shown = memory_view(make_snapshot([], memory=memory, process=process), account())
        return {each.kind for each in shown.findings} & {"gogc-off", "limit-above-group"}

    assert found(None, -1, None) == {"gogc-off"}
    assert found(200 << 30, -1, 100 << 30) == {"limit-above-group"}
    assert found(100 << 30, 100, 100 << 30) == set()


def test_an_account_without_residency_is_shown() -> None:
    made = replace(account(), rss_bytes=None)
    text = "\n".join(line.plain for line in render(view(made), View(width=80, height=40)))
    assert "resident   not known" in text


def test_names_of_files_do_no_harm_to_a_terminal() -> None:
    mapping = ResidentMapping("files", "/a\x1b[2Jb\n", 1 << 20, 90 * MIB, 90 * MIB)
    made = replace(account(part("files", 100)), mappings=(mapping,))
    text = "\n".join(line.plain for line in render(view(made), View(width=None, height=None)))
    assert "\x1b" not in text
    assert "b\n (" not in text


def test_the_document_fits_its_schema() -> None:
    limit = MemoryLimit("cgroup", "memory.max", "kill", "/x", 100, 90, 10, 80, 95, 3, 1)
    made = replace(
        account(part("c", 100), go=GoMemory(dict.fromkeys(CLASSES, 1))),
        mappings=(ResidentMapping("c", "", 4096, 4096, 4096),),
        limits=MemoryLimits((limit,), swap_free_bytes=0, oom_score_adj=-5, files=()),
        forecast=MemoryForecast(0, 1.5, None, "goal", 2.0),
        problems=(Problem("unknown", "memory", "x"),),
    )
    stream = io.BytesIO()
    write_memory(view(made), stream)
    document = json.loads(stream.getvalue())
    Draft202012Validator.check_schema(SCHEMA)
    Draft202012Validator(SCHEMA).validate(document)
    assert set(document) == set(SCHEMA["properties"])
    assert document["limits"][0]["headroom_bytes"] == 20
    assert document["forecast"]["latest_in_seconds"] is None


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.run(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_saved_account_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "one.json.gz")
    save(with_everything(), path)
    code, shown, _ = said(capsys, "memory", path, "--all")
    assert code == 0
    assert f"saved      {path}" in shown
    assert "resident   sum 2.9 KiB" in shown
    assert "/srv/secret/data.db (2 mappings)" in shown
    made = json.loads(said(capsys, "memory", path, "--json")[1])
    Draft202012Validator(SCHEMA).validate(made)
    assert [each["part"] for each in made["resident"]] == [
        "go_heap_objects",
        "go_heap_free",
        "files",
    ]
    assert [each["name"] for each in made["limits"]] == ["memory.max", "RLIMIT_AS"]


@pytest.mark.parametrize("option", ["--heap", "--block", "--mutex", "--spans", "--types"])
def test_a_saved_snapshot_has_no_heap(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "one.json")
    save(with_everything(), path)
    code, out, err = said(capsys, "memory", path, option)
    assert (code, out) == (2, "")
    assert "a saved snapshot has no heap and no profiles" in err


def test_a_snapshot_without_an_account_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "old.json")
    save(make_snapshot(), path)
    code, out, err = said(capsys, "memory", path)
    assert (code, out) == (1, "")
    assert "saved without an account of memory" in err
