from __future__ import annotations

import re
from collections.abc import Iterable
from functools import partial

import numpy as np
import pytest

from fixtures.layouts import TABLES as TABLE_FOLDER
from fixtures.layouts import all_versions
from spyglass.binary.types import Member, Type
from spyglass.errors import BadDataError, MissingInfo
from spyglass.runtime.discovery import layouts
from spyglass.runtime.discovery.layouts import (
    GoVersion,
    Layouts,
    StructLayout,
    candidate_layouts,
    resolve,
)
from spyglass.runtime.discovery.required_fields import STRUCTS, Field, limit_headroom_percent
from tests.support import ALL_MINORS, NEWEST, minor_after

TABLES = sorted(
    (f"go{match[1]}", match[2])
    for path in TABLE_FOLDER.iterdir()
    if (match := re.fullmatch(r"go(\d+\.\d+)-(\w+)\.json", path.name))
)
NOT_RECORDED = [
    "go1.11",
    "go1.16",
    "go1.16.15",
    "go1.18.10",
    f"go{minor_after(NEWEST)}.1",
    "go2.27",
]


def of_table(version: str, arch: str = "amd64") -> Layouts:
    return next(candidate_layouts(version, arch, None, None, None))


@pytest.mark.parametrize(
    ("text", "major", "minor", "plain"),
    [
        ("go1.27.3", 1, 27, True),
        ("go1.16", 1, 16, True),
        ("go1.20.3 X:nocoverageredesign", 1, 20, False),
        ("go1.27rc1", 1, 27, False),
        ("go1.19.8 (Red Hat 1.19.8-1.el9)", 1, 19, False),
        ("devel go1.28-3f4977bd58 Mon Nov 2 10:00:00 2026 +0000", 1, 28, False),
        ("go1.24.4-microsoft", 1, 24, False),
    ],
)
def test_a_version_is_read_with_what_is_odd_about_it(
    text: str, major: int, minor: int, plain: bool
) -> None:
    version = GoVersion.parse(text)
    assert version is not None
    assert (version.major, version.minor, version.plain) == (major, minor, plain)


@pytest.mark.parametrize("text", ["", "devel +a1b2c3 Mon", "1.27", "gopher", "go1", "go999999.1"])
def test_what_is_no_version_is_none(text: str) -> None:
    assert GoVersion.parse(text) is None
    assert list(candidate_layouts(text, "amd64", None, None, None)) == []


def test_every_version_that_has_a_program_with_debug_information_has_a_table() -> None:
    """Also of arm64 where there is a toolchain to compile for it."""
    wanted = {(f"go{minor}", "amd64") for minor in all_versions()}
    wanted |= {(f"go{minor}", "arm64") for minor in ALL_MINORS}
    assert wanted <= set(TABLES)


@pytest.mark.parametrize(("version", "arch"), TABLES)
def test_a_table_has_what_must_be_known_of_every_struct(version: str, arch: str) -> None:
    known = of_table(version, arch)
    assert known.source == f"table {version}"
    for name in known.structs:
        for wanted in STRUCTS[name]:
            assert known.has(name, wanted.name) or wanted.optional, f"{name}.{wanted.name}"
    assert {"g", "m", "p", "schedt", "mstats", "moduledata"} <= set(known.structs)


@pytest.mark.parametrize(("name", "fields"), STRUCTS.items())
def test_every_field_is_one_that_some_version_has_and_some_lack_if_it_is_optional(
    name: str, fields: Iterable[Field]
) -> None:
    tables = [of_table(version, arch) for version, arch in TABLES]
    having = [known for known in tables if name in known]
    for wanted in fields:
        there = [known.has(name, wanted.name) for known in having]
        assert any(there), f"no version has {name}.{wanted.name}"
        if wanted.optional and wanted.name not in EVERYWHERE_AND_YET_OPTIONAL:
            assert not all(there) or len(having) < len(tables), f"{name}.{wanted.name} is in all"


#: gcwaiting: neighbours of a version without a table disagree on its offset. The others: what reads them
#: can do without.
EVERYWHERE_AND_YET_OPTIONAL = {
    "gcwaiting", "syscalltick", "incgo", "vdsoSP", "vdsoPC", "procresizetime", "totaltime", "gc_cpu_fraction",
    "ncgocall",
    "stacks_sys", "mspan_sys", "mcache_sys", "buckhash_sys", "gcMiscSys", "other_sys",
    "spanalloc.inuse", "cachealloc.inuse", "allocCount", "sweepgen", "allocBits", "freeindex", "heapArenas", "arenas",
    "waiting", "_defer", "timer", "selectDone", "data", "edata", "bss", "ebss", "next",
    "gcdatamask.bytedata", "gcbssmask.bytedata",
}  # fmt: skip


@pytest.mark.parametrize("version", NOT_RECORDED)
def test_a_version_without_a_table_gets_none(version: str) -> None:
    assert list(candidate_layouts(version, "amd64", None, None, None)) == []
    assert list(candidate_layouts(f"go{NEWEST}.3", "riscv64", None, None, None)) == []


@pytest.mark.parametrize(
    "version", ["go1.20.3 X:nocoverageredesign", f"devel go{NEWEST}-abcdef", f"go{NEWEST}rc1"]
)
def test_the_table_of_an_odd_version_is_not_taken_unseen(version: str) -> None:
    assert list(candidate_layouts(version, "amd64", None, None, None)) == []


def test_a_dtype_reads_fields_where_they_are() -> None:
    kind = Layouts.of(
        "test",
        {
            "g": StructLayout(
                48,
                {
                    "stack.lo": (0, "u8"),
                    "stack.hi": (8, "u8"),
                    "id": (20, "i4"),
                    "ring": (24, "(2,)u8"),
                },
            )
        },
    )["g"]
    words = np.arange(12, dtype="<u8")
    rows = words.view(kind)
    assert (kind.itemsize, len(rows)) == (48, 2)
    assert rows["stack"]["hi"].tolist() == [1, 7]
    assert rows["ring"].tolist() == [[3, 4], [9, 10]]
    assert rows["id"].tolist() == [0, 0]


def test_nested_fields_may_come_from_elsewhere_in_the_struct() -> None:
    """``sched.runq.size`` was ``sched.runqsize``: behind the struct that it is now a member of."""
    layout = StructLayout(
        32, {"runq.head": (0, "u8"), "runq.tail": (8, "u8"), "runq.size": (24, "i4")}
    )
    row = np.array([1, 2, 3, 4], "<u8").view(Layouts.of("test", {"schedt": layout})["schedt"])[0]
    assert (row["runq"]["head"], row["runq"]["tail"], row["runq"]["size"]) == (1, 2, 4)


def test_a_struct_that_is_not_known_is_missing_info() -> None:
    known = Layouts("here", {}, {"mstats": "go1.17 and go1.19 differ in it"})
    with pytest.raises(
        MissingInfo, match=r"runtime\.mstats is not known: go1\.17 and go1\.19 differ"
    ):
        known["mstats"]
    with pytest.raises(MissingInfo, match="here does not have it"):
        known["g"]
    assert "g" not in known
    assert not known.has("g", "goid")


def struct(size: int, **members: tuple[int, str, int]) -> Type:
    return Type(
        size,
        members={
            name: Member(at, partial(Type, length, code))
            for name, (at, code, length) in members.items()
        },
    )


def only_heap_stats(found: Type) -> dict[str, StructLayout]:
    def find(name: str) -> Type:
        if name == "runtime.heapStatsDelta":
            return found
        raise MissingInfo(name)

    return resolve(find)


WORDS = ("committed", "released", "inHeap", "inStacks", "inWorkBufs")


def test_fields_are_resolved_by_name_and_the_rest_is_left_out() -> None:
    members = {name: (8 * i, "i8", 8) for i, name in enumerate(WORDS)}
    found = only_heap_stats(struct(48, **members, tinyAllocCount=(40, "u8", 8)))
    assert found["heapStatsDelta"] == StructLayout(
        48, {name: (8 * i, "i8") for i, name in enumerate(WORDS)}
    )


@pytest.mark.parametrize(
    ("name", "older", "now"),
    [
        ("p", "gfreecnt", "gFree.size"),
        ("schedt", "runqsize", "runq.size"),
        ("schedt", "ngfree", "gFree.n"),
    ],
)
def test_a_field_is_found_by_the_name_that_it_had(name: str, older: str, now: str) -> None:
    """Its struct has everything else by the newest name; it alone is at the end, by an older one."""
    members = {}
    for at, wanted in enumerate(each for each in STRUCTS[name] if not each.optional):
        if wanted.name != now:
            members[wanted.name] = (8 * at, *FILLING[wanted.shape])
    end = max(at + size for at, _, size in members.values())
    members[older] = (end, "i4", 4)
    found = layouts._resolve_struct(nested(end + 4, members), STRUCTS[name])
    assert found is not None
    assert found.fields[now] == (end, "i4")


FILLING = {"number": ("u8", 8), "ring": ("(256,)u8", 2048)}


def nested(size: int, members: dict[str, tuple[int, str, int]]) -> Type:
    """A struct of members by path: member pc of member sched for "sched.pc"."""
    inner: dict[str, dict[str, tuple[int, str, int]]] = {}
    for path, place in members.items():
        name, _, rest = path.partition(".")
        inner.setdefault(name, {})[rest] = place
    made = {}
    for name, places in inner.items():
        begin = min(at for at, _, _ in places.values())
        kind = Type(places[""][2], places[""][1]) if "" in places else _inner(places, begin)
        made[name] = Member(begin, partial(_same, kind))
    return Type(size, members=made)


def _inner(places: dict[str, tuple[int, str, int]], begin: int) -> Type:
    """A struct that begins at `begin`, and one more member, so that nobody sees through it."""
    within = {rest: (at - begin, code, size) for rest, (at, code, size) in places.items()}
    end = max(at + size for at, _, size in within.values())
    return nested(end + 4, within | {"more": (end, "i4", 4)})


def _same(kind: Type) -> Type:
    return kind


def test_a_struct_without_a_field_that_it_must_have_is_left_out() -> None:
    members = {name: (8 * i, "i8", 8) for i, name in enumerate(WORDS[:-1])}
    assert only_heap_stats(struct(48, **members)) == {}


def test_a_field_of_another_kind_is_not_taken() -> None:
    members = {name: (8 * i, "f8" if name == "inHeap" else "i8", 8) for i, name in enumerate(WORDS)}
    assert only_heap_stats(struct(48, **members)) == {}


def test_a_field_outside_its_struct_is_refused() -> None:
    members = {name: (8 * i, "i8", 8) for i, name in enumerate(WORDS)}
    with pytest.raises(BadDataError, match="outside"):
        only_heap_stats(struct(36, **members))


def test_neighbours_serve_as_far_as_they_agree() -> None:
    described = layouts._table_structs(_table("go1.19"))
    described = {name: described[name] for name in ("g", "m", "p")}
    known = layouts._with_neighbours(described, GoVersion(1, 18), "amd64")
    below, above = of_table("go1.17"), of_table("go1.19")
    assert known["g"] == above["g"]
    for path in ("nmidle", "npidle", "ngsys", "runq.size", "gFree.n"):
        assert known.has("schedt", path)
        *outer, last = path.split(".")
        places = {_place(each["schedt"], outer, last) for each in (known, below, above)}
        assert len(places) == 1
    assert not known.has("schedt", "gcwaiting")
    assert "mstats" not in known
    assert known.doubts["mstats"] == "go1.17 and go1.19 differ in it"
    assert "go1.17 and go1.19" in known.source
    assert "g" not in known.doubts


def test_beyond_the_newest_table_nothing_is_guessed() -> None:
    described = layouts._table_structs(_table(f"go{NEWEST}"))
    known = layouts._with_neighbours({"g": described["g"]}, GoVersion(1, 99), "amd64")
    assert set(known.structs) == {"g"}
    assert known.doubts["schedt"] == "it is not described"


def _table(version: str) -> dict[str, object]:
    parsed = GoVersion.parse(version)
    assert parsed is not None
    table = layouts._load_table(parsed, "amd64")
    assert table is not None
    return table


def _place(kind: np.dtype[np.void], outer: Iterable[str], last: str) -> tuple[int, str]:
    offset = 0
    for name in (*outer, last):
        fields = kind.fields
        assert fields is not None
        offset += fields[name][1]
        kind = fields[name][0]
    return offset, kind.str


@pytest.mark.parametrize(
    ("version", "percent"), [((1, 19), 0), ((1, 20), 0), ((1, 21), 3), ((1, 27), 3), (None, 3)]
)
def test_the_headroom_below_the_memory_limit_is_that_of_the_version(
    version: tuple[int, int] | None, percent: int
) -> None:
    assert limit_headroom_percent(version) == percent
