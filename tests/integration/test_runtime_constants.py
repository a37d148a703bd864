"""Numbers of the Go runtime that the code repeats are those of every toolchain's own sources."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import spyglass
from spyglass.binary import gotypes, pclntab
from spyglass.binary.dwarf import Dwarf
from spyglass.binary.go_executable import GoExecutable
from spyglass.binary.types import locate
from spyglass.binary.value_types import KINDS
from spyglass.errors import MissingInfo
from spyglass.model import STATUSES
from spyglass.runtime.discovery import module
from spyglass.runtime.discovery.required_fields import limit_headroom_percent
from spyglass.runtime.goroutines import decode, hmap
from spyglass.runtime.heap import (
    buckets,
    descriptors,
    memstats,
    profile_variables,
    shapes,
    span_table,
    spans,
    type_names,
    type_reader,
)
from spyglass.runtime.heap.classes import CLASS_SIZES
from spyglass.runtime.scheduler import run_waits, sched
from spyglass.runtime.waiting import contended, object_state, polls, timers
from spyglass.wait_graph import MODES
from tests.go_source import constants
from tests.support import build, toolchain

#: The constants of our modules whose comments cite the runtime: by what they are compared, or why not.
CITED = {
    "_FREE": "bits of a byte: maps are compared with what the program says of them",
    "_ITAB_TYPE": "a field of a struct: interfaces are compared with what the program says of them",
    "_CONTENTION_WORDS": "the size of a struct: profiles are compared with the program's own",
    "_MAX_TICKS_BYTES": "a bound: times are compared with the program's own profile",
    "MAX_SHAPED_BYTES": "test_what_is_kept_of_types",
    "_MARKS_BYTES": "test_what_is_kept_of_types",
    "_HEADER_BYTES": "test_what_is_kept_of_types",
    "_PROGRAM": "test_what_is_kept_of_types",
    "STATUSES": "test_statuses_of_goroutines",
    "_PARKED": "test_statuses_of_goroutines",
    "_NOT_SYSTEM": "names of functions: goroutines are compared with Go's own tracebacks",
    "_STACKS": "names of fields: the tables of layouts have them",
    "SCAN": "test_statuses_of_goroutines",
    "_DEAD_EXTRA": "test_statuses_of_goroutines",
    "_P_STATUSES": "test_statuses_of_processors",
    "_INLINE": "test_funcdata_and_pcdata",
    "TOP_FRAME": "test_flags_of_functions",
    "_MIN_TOP_HASH": "test_maps",
    "_SAME_SIZE_GROW": "test_maps",
    "_BUCKET": "test_maps",
    "_PAGE_BYTES": "test_the_pacer",
    "_GOAL_FIELDS": "names of fields: the tables of layouts have them",
    "_NO_LIMIT": "a value of package math",
    "_MINPC_OLD": "test_the_beginning_of_moduledata",
    "TYPE_HEADER": "type descriptors are compared with debug information",
    "_STRUCT": "type descriptors are compared with debug information",
    "_ARRAY_TAIL": "type descriptors are compared with debug information",
    "_MAX_REASON_BYTES": "a limit of ours",
    "_MAX_PS": "a limit of ours",
    "_MAX_DEEP_FRAMES": "a limit of ours",
    "_OLDEST": "no toolchain is that old; the debug information of esbuild 0.0.2 is of Go 1.12",
    "_BOTTOMS": "names of functions: stacks are compared with Go's own tracebacks",
    "_INJECTED": "names of functions: stacks are compared with Go's own tracebacks",
    "_HANDLERS": "names of functions: stacks are compared with Go's own tracebacks",
    "_BEYOND_G0_BYTES": "a limit of ours",
    "_GLOBALS": "names of variables: addresses are compared with symbols",
    "_EXIST": "test_statuses_of_goroutines",
    "_FIRST_GOROUTINES": "a limit of ours",
    "CYCLES": "test_profiles_of_allocations",
    "MEMORY": "test_profiles_of_allocations",
    "_CYCLE_WRAP": "test_profiles_of_allocations",
    "_MAX_DEPTH": "test_profiles_of_allocations",
    "_HEADER_WORDS": "heap profiles are compared with Go's own",
    "_KINDS": "test_histograms",
    "_SYSTEM_CALLS": "names of functions: profiles are compared with Go's own",
    "_VARP": "frames are compared with the program's own truth (test_stuck, test_holders)",
    "_WITHOUT_POINTERS_BYTES": "a limit of ours",
    "_MUTEX_OF_ONCE": "objects are compared with the program's own addresses (test_blocked)",
    "_FD_LOCKED": "test_states_of_locks",
    "_LOCKED": "test_states_of_locks",
    "_MAX_READERS": "test_states_of_locks",
    "_WAITERS_MASK": "counters are compared with the program's own (test_blocked)",
    "_PD_WAIT": "test_states_of_polls_and_timers",
    "_FD_MUTEX": "objects are compared with the program's own addresses (test_blocked)",
    "_ESCAPED": "names are compared with the program's own (test_object_names)",
    "_LIST_AT": "objects are compared with the program's own addresses (test_blocked)",
    "_EXTRA_STAR": "test_kinds_of_types",
    "_MAX_CASES": "a limit of ours",
    "_PARTS": "a number of ours",
    "_WAITING": "test_states_of_polls_and_timers",
    "_IN_USE": "test_spans_and_arenas",
    "ARENA_BYTES": "test_spans_and_arenas",
    "ARENA_BASES": "test_spans_and_arenas",
    "CLASS_SIZES": "test_sizes_of_classes",
    "_MAX_PAGES_OF_MANY": "a limit of ours",
    "_WORDS": "what finalizers keep alive is compared with the program's own truth (test_stuck)",
}


@cache
def goroot(minor: str) -> Path:
    return toolchain(minor).parent.parent


@cache
def constants_of(minor: str) -> dict[str, int]:
    """Those of the packages that the runtime's numbers are in."""
    return constants(goroot(minor), "internal/abi", "internal/runtime/maps", "runtime")


def number_of(minor: str) -> int:
    return int(minor.partition(".")[2])


def test_statuses_of_goroutines(minor: str) -> None:
    found = constants_of(minor)
    ours = {f"_G{word}": number for number, word in enumerate(STATUSES)}
    names = {"_Gmoribund": "_Gmoribund_unused", "_Genqueue": "_Genqueue_unused"}
    theirs = {name: found[names.get(name, name)] for name in ours if names.get(name, name) in found}
    assert theirs == {name: ours[name] for name in theirs}
    assert len(theirs) >= 9
    assert found["_Gscan"] == decode.SCAN
    exist = {value for name, value in found.items() if re.fullmatch(r"_G[a-z]+", name)}
    exist -= {found["_Gscan"], decode._DEAD_EXTRA}
    exist = {number for number in exist if number < found["_Gscan"]}
    assert exist <= set(np.flatnonzero(decode._EXIST).tolist())
    assert found.get("_Gdeadextra", decode._DEAD_EXTRA) == decode._DEAD_EXTRA


def test_statuses_of_processors(minor: str) -> None:
    found = constants_of(minor)
    for number, word in enumerate(sched._P_STATUSES):
        assert found.get(f"_P{word}", found.get(f"_P{word}_unused")) == number
    source = (goroot(minor) / "src/runtime/runtime2.go").read_text()
    assert f"runq     [{sched._RUN_QUEUE_LENGTH}]guintptr" in source


def format_of(minor: str) -> pclntab._Format:
    """The format of the function table of that version's programs."""
    found = constants_of(minor)
    magic = found.get("CurrentPCLnTabMagic") or found.get("Go120PCLnTabMagic")
    if magic is None:
        source = (goroot(minor) / "src/runtime/symtab.go").read_text()
        match = re.search(r"(?:hdr\.magic|pcln32\[0\]) != (0xf{6}\w+)", source)
        assert match is not None
        magic = int(match[1], 16)
    return pclntab._FORMATS[magic]


def test_funcdata_and_pcdata(minor: str) -> None:
    found = constants_of(minor)
    indices = format_of(minor).inline_indices[0]
    assert found["FUNCDATA_InlTree"] == indices.funcdata
    assert found["PCDATA_InlTreeIndex"] == indices.pcdata


def test_flags_of_functions(minor: str) -> None:
    spelled = {name.lower().replace("_", ""): n for name, n in constants_of(minor).items()}
    if number_of(minor) < 17:
        assert not [name for name in spelled if name.startswith("funcflag")]
    else:
        assert spelled["funcflagtopframe"] == pclntab.TOP_FRAME
        assert spelled["funcflagspwrite"] == pclntab.SP_WRITE


def test_the_function_id_of_wrappers_is_the_last(minor: str) -> None:
    found = constants_of(minor)
    ids = {name: value for name, value in found.items() if re.match(r"(?i)funcid_?\w", name)}
    wrapper = ids.get("FuncIDWrapper", ids.get("funcID_wrapper"))
    assert len(ids) > 10
    assert wrapper == max(ids.values())


def offsets(minor: str, struct: str, *fields: str) -> list[int]:
    with GoExecutable.open(str(build("demo", minor))) as executable:
        found = Dwarf.of(executable).struct(f"runtime.{struct}")
    places = [locate(found, field) for field in fields]
    return [-1 if place is None else place[0] for place in places]


def test_records_of_functions(minor: str) -> None:
    """``_func``, ``inlinedCall`` and ``pcHeader``, as the debug information of a program has them."""
    ours = format_of(minor)
    name = "nameOff" if number_of(minor) >= 20 else "nameoff"
    read = offsets(minor, "_func", name, "args", "pcsp", "npcdata", "funcID", "nfuncdata")
    start = ours.name
    assert read == [start, start + 4, start + 12, start + 24, ours.func_id, ours.nfuncdata]
    if ours.cu is not None:
        assert offsets(minor, "_func", "cuOffset") == [ours.cu]
    if ours.subtables is not None:
        assert offsets(minor, "pcHeader", "funcnameOffset") == [ours.subtables]
    call = ours.inlined_call
    name = "nameOff" if number_of(minor) >= 20 else "func_"
    parent = "parentPc"
    assert offsets(minor, "inlinedCall", "funcID", name, parent) == [*call[1:]]


def test_the_beginning_of_moduledata(minor: str) -> None:
    at = module._MINPC_OLD if number_of(minor) < 16 else module._MINPC
    words = [8 * at, 8 * at + 8, 8 * at + 16]
    assert offsets(minor, "moduledata", "minpc", "maxpc", "text") == words


def test_maps(minor: str) -> None:
    """Up to Go 1.23; later versions have them behind a build tag."""
    if number_of(minor) > 23:
        return
    found = constants_of(minor)
    assert found["minTopHash"] == hmap._MIN_TOP_HASH
    assert found["sameSizeGrow"] == hmap._SAME_SIZE_GROW
    cells = found.get("bucketCnt") or found.get("MapBucketCount") or 1 << found["bucketCntBits"]
    assert hmap._BUCKET["tophash"].shape == (cells,)


def test_the_pacer(minor: str) -> None:
    found = constants_of(minor)
    source = "".join(path.read_text() for path in (goroot(minor) / "src/runtime").glob("m[gs]*.go"))
    assert 1 << found.get("PageShift", found.get("_PageShift", 13)) == memstats._PAGE_BYTES
    assert re.search(rf"\[{memstats._PAUSES}\]uint64 // circular buffer of recent gc", source)
    if number_of(minor) >= 16:
        assert re.search(rf"stats +\[{memstats._GENERATIONS}\]heapStatsDelta", source)
    if number_of(minor) >= 19:
        assert found["minRunway"] == memstats._MIN_RUNWAY
        old, new = "memoryLimitHeapGoalHeadroom", "memoryLimitMinHeapGoalHeadroom"
        assert found.get(new, found.get(old)) == memstats._MIN_HEADROOM
        percent = found.get("memoryLimitHeapGoalHeadroomPercent", 0)
        assert limit_headroom_percent((1, number_of(minor))) == percent


def test_what_is_kept_of_types(minor: str) -> None:
    if int(minor.partition(".")[2]) < 22:
        pytest.skip("before Go 1.22 the runtime does not keep the types of objects")
    found = {name.lower(): value for name, value in constants_of(minor).items()}
    sources = [
        *(goroot(minor) / "src").glob("runtime/m*.go"),
        goroot(minor) / "src/internal/runtime/gc/malloc.go",
    ]
    text = "\n".join(path.read_text() for path in sources if path.exists())
    assert re.search(r"[mM]inSizeForMallocHeader += goarch.PtrSize \* (goarch.P|p)trBits", text)
    assert shapes.MAX_SHAPED_BYTES == 8 * 64
    assert re.findall(r"[mM]allocHeaderSize = (\d+)\n", text) == [str(type_reader._HEADER_BYTES)]
    marks = re.findall(r"\[(\d+)\]uint8 +// (?:scanned|mark) bits\.", text)
    if marks:
        assert sum(map(int, marks)) + 2 == shapes._MARKS_BYTES
    kinds = [kind for kind in KINDS if kind != "invalid"]
    assert [found[kind.rpartition(".")[2].lower()] for kind in kinds[:-1]] == list(range(1, 26))
    if "kindgcprog" in found:
        assert found["kindgcprog"] == descriptors._PROGRAM
    else:
        assert found["tflaggcmaskondemand"] == descriptors._ON_DEMAND


def test_spans_and_arenas(minor: str) -> None:
    found = constants_of(minor)
    assert found["mSpanInUse"] == spans._IN_USE == span_table._IN_USE
    assert found["mSpanManual"] == span_table._MANUAL
    source = (goroot(minor) / "src/runtime/malloc.go").read_text()
    (base,) = re.findall(r"arenaBaseOffset = 0x(\w+)\*\w+\.(?:IsAmd64|GoarchAmd64) ", source)
    assert int(base, 16) == span_table.ARENA_BASES["amd64"]
    (parts,) = re.findall(r"logHeapArenaBytes = \((\d+)\+20\)\*\(_64bit", source)
    assert 1 << int(parts) + 20 == span_table.ARENA_BYTES


def test_sizes_of_classes(minor: str) -> None:
    folder = goroot(minor) / "src"
    places = (folder / "internal/runtime/gc/sizeclasses.go", folder / "runtime/sizeclasses.go")
    source = next(path for path in places if path.exists()).read_text()
    (sizes,) = re.findall(r"(?:SizeClassToSize|class_to_size) = \[\w+\]uint16\{([\d, ]+)\}", source)
    theirs = [int(size) for size in sizes.split(",")]
    # Up to Go 1.15 without 24; then nothing is computed from them.
    assert theirs == [size for size in CLASS_SIZES if size != 24 or number_of(minor) > 15]


def test_states_of_locks(minor: str) -> None:
    found = constants(goroot(minor), "sync", "internal/sync", "internal/poll")
    assert found["mutexLocked"] == object_state._LOCKED
    assert found["mutexWaiterShift"] == object_state._WAITERS_SHIFT
    assert found["rwmutexMaxReaders"] == object_state._MAX_READERS
    read, write = (MODES.index(mode) for mode in ("read", "write"))
    locked = {read: found["mutexRLock"], write: found["mutexWLock"]}
    assert locked == contended._FD_LOCKED


def test_states_of_polls_and_timers(minor: str) -> None:
    found = constants_of(minor)
    assert found["pdWait"] == polls._PD_WAIT > found["pdReady"]
    if number_of(minor) < 23:
        later = (found["timerModifiedEarlier"], found["timerModifiedLater"])
        assert (found["timerWaiting"], later) == (timers._WAITING, timers._MODIFIED)


def test_kinds_of_types(minor: str) -> None:
    found = constants_of(minor)
    assert found.get("TFlagExtraStar", found.get("tflagExtraStar")) == type_names._EXTRA_STAR
    prefix = "" if "Array" in found else "kind"
    wanted = {
        "Array": gotypes._ARRAY, "Interface": gotypes._INTERFACE, "Slice": gotypes._SLICE,
        "String": gotypes._STRING, "Struct": gotypes._STRUCT_KIND,
    }  # fmt: skip
    assert {name: found[f"{prefix}{name}"] for name in wanted} == wanted
    numbers = {
        "Bool": "u1", "Int32": "i4", "Uint64": "u8", "Float64": "f8", "Pointer": "u8", "Func": "u8",
    }  # fmt: skip
    for name, code in numbers.items():
        kind = found.get(f"{prefix}{name}", found.get(f"{prefix}Ptr" if name == "Pointer" else ""))
        assert kind is not None
        assert gotypes._SCALARS[kind] == code


def test_the_count_of_stops_has_eight_bits(minor: str) -> None:
    """What the docstring of `signature` says of the limit of "stable"."""
    with GoExecutable.open(str(build("demo", minor))) as executable:
        try:
            g = Dwarf.of(executable).struct("runtime.g")
        except MissingInfo:  # pragma: no cover
            pytest.fail("no debug information")
    place = locate(g, "trackingSeq")
    assert place is None if number_of(minor) < 17 else place is not None and place[1] == "u1"


def test_profiles_of_allocations(minor: str) -> None:
    found = constants_of(minor)
    assert found["memProfile"] == buckets.MEMORY
    assert found.get("maxProfStackDepth", found.get("maxStack", 0)) <= buckets._MAX_DEPTH
    source = (goroot(minor) / "src/runtime/mprof.go").read_text()
    assert f"future [{buckets.CYCLES - 1}]memRecordCycle" in source
    assert "mProfCycleWrap = uint32(len(memRecord{}.future)) * (2 << 24)" in source
    assert profile_variables._CYCLE_WRAP == (buckets.CYCLES - 1) * (2 << 24)


def test_histograms(minor: str) -> None:
    found = constants_of(minor)
    if "timeHistNumSubBuckets" not in found:
        pytest.skip("this version has no histograms")
    sub = found["timeHistNumSubBuckets"]
    number = found.get("timeHistNumBuckets", found.get("timeHistNumSuperBuckets", 0)) * sub
    first = found.get("timeHistMinBucketBits", 0) - 1 - found["timeHistSubBucketBits"]
    assert run_waits._KINDS[number] == (sub, max(first, 0))


def test_every_number_that_cites_the_runtime_is_compared() -> None:
    """A constant with a number in it whose comment names a Go file, or something in double backquotes, is
    in `CITED`."""
    root = Path(spyglass.__file__).parent
    files = [*root.glob("runtime/**/*.py"), *root.glob("binary/[gip]*.py"), root / "model.py"]
    cited = {name for path in files for name in _cited(path.read_text())}
    assert len(cited) > 10
    assert cited - CITED.keys() == set()
    tests = {name for name in CITED.values() if name.startswith("test_")}
    assert tests <= globals().keys()


def _cited(text: str) -> set[str]:
    pattern = r"((?:^#:.*\n)+)^(\w+)(?:, \w+)*(?:: [^=]+)? = (.*)"
    return {
        name
        for comment, name, value in re.findall(pattern, text, re.MULTILINE)
        if re.search(r"\.go\b|``", comment) and re.search(r"\d", value)
    }
