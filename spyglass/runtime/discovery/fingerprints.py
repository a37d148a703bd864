"""Where the runtime keeps its variables, in programs without a symbol table.

The function table still names the runtime's functions, and their code names the variables. For a
program that has symbols, `fingerprints_of` records which functions mention which variable, at which
offset; `find_globals` then looks at the same functions of a stripped program and takes, for each
variable, the address that is mentioned by the functions that should, and by no others. The order of
instructions and the choice of registers do not matter, so neighbouring versions serve each other.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from spyglass.binary.pclntab import FunctionTable, find_pclntab
from spyglass.binary.xrefs import references
from spyglass.errors import MissingInfo

if TYPE_CHECKING:
    from spyglass.binary.executable import Executable

__all__ = ["GLOBALS", "Fingerprints", "find_globals", "fingerprints_of", "scan"]

#: The variables of package runtime that spyglass reads; not every version has every one.
GLOBALS = (
    "allgs", "allm", "allp", "gomaxprocs", "sched", "memstats", "mheap_",
    "gcController", "gcpercent", "waitReasonStrings", "iscgo", "buildVersion",
)  # fmt: skip

#: function name -> variable name -> the offsets into it that the function's code mentions
Fingerprints = Mapping[str, Mapping[str, list[int]]]

#: How well the functions that mention an address must agree with the expected ones.
_MIN_AGREEMENT = 0.6
_MAX_CODE_BYTES = 1 << 14
#: Number of addresses that are compared in full, in the order of their votes.
_MAX_BASES = 256
#: Programs share these, whatever they import: code that no runtime does without.
_ALWAYS = (
    "runtime.schedinit", "runtime.procresize", "runtime.mcommoninit", "runtime.allocm", "runtime.checkdead",
    "runtime.newproc1", "runtime.gfget", "runtime.sysmon", "runtime.gcStart", "runtime.schedtrace",
    "runtime.stopTheWorldWithSema", "runtime.startTheWorldWithSema", "runtime.waitReason.String",
    "runtime.allgadd", "runtime.main", "runtime.retake", "runtime.mstart1", "runtime.gcMarkTermination",
    "runtime.tracebackothers", "runtime.goroutineheader", "runtime.gcControllerCommit", "runtime.findrunnable",
    "runtime.findRunnable", "runtime.gcinit", "runtime.readGOGC", "runtime.forEachP", "runtime.stopm",
    "runtime.startm", "runtime.mput", "runtime.mget", "runtime.globrunqput", "runtime.mallocinit",
    "runtime.gcMarkDone", "runtime.preemptall", "runtime.dumpgstatus", "runtime.oneNewExtraM",
    "runtime.bgsweep", "runtime.bgscavenge", "runtime.gcSweep", "runtime.forcegchelper",
    "runtime.mProf_Flush", "runtime.flushallmcaches", "runtime.gcMarkTinyAllocs", "runtime.traceback2",
    "runtime.gcenable", "runtime.mdestroy", "runtime.gcResetMarkState", "runtime.newextram",
    "runtime.lockextra", "runtime/debug.setGCPercent", "runtime.gcSetTriggerRatio",
    "runtime.(*gcControllerState).startCycle", "runtime.(*gcControllerState).endCycle",
    "runtime.(*gcControllerState).revise", "runtime.setGCPercent", "runtime.mstartm0", "runtime.mexit",
)  # fmt: skip


#: function name -> the addresses that its code mentions
Mentions = Mapping[str, set[int]]


def scan(
    names: Iterable[str],
    functions: FunctionTable,
    code: Callable[[int, int], bytes],
    arch: str,
) -> Mentions:
    """The addresses that each of the functions `names` mentions; absent functions are left out.

    `code` reads (address, size) of instructions.
    """
    found = {}
    for name in names:
        function = functions.named(name)
        if function is not None and function.end - function.entry <= _MAX_CODE_BYTES:
            body = code(function.entry, function.end - function.entry)
            found[name] = references(body, function.entry, arch)
    return found


def fingerprints_of(executable: Executable) -> dict[str, dict[str, list[int]]]:
    """The fingerprints in `executable`, which has symbols (`MissingInfo` if not).

    For the tables: each function that this runtime and every other needs, and what it mentions.
    """
    place, text = find_pclntab(executable), executable.symbol("runtime.text")
    if place is None or text is None:
        raise MissingInfo(f"{executable.path} has no function table or no symbols")
    table = memoryview(executable.image.read(place.offset, place.size))
    mentions = scan(_ALWAYS, FunctionTable(table, text), executable.read, executable.arch)
    places = {name: executable.symbol_range(f"runtime.{name}") for name in GLOBALS}
    fingerprints: dict[str, dict[str, list[int]]] = {}
    for function, addresses in mentions.items():
        inside = {
            name: sorted(a - place[0] for a in addresses if place[0] <= a < place[0] + place[1])
            for name, place in places.items()
            if place is not None
        }
        fingerprints[function] = {name: offsets for name, offsets in inside.items() if offsets}
    return fingerprints


def find_globals(fingerprints: Fingerprints, mentions: Mentions) -> dict[str, list[int]]:
    """The addresses of the variables that `fingerprints` lead to in the program of `mentions`.

    Several, when nothing in the code tells them apart: the process itself must. None: left out.
    """
    index = _Index([name for name in fingerprints if name in mentions], mentions)
    expected: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for function, bit in index.bits.items():
        for name, offsets in fingerprints[function].items():
            for offset in offsets:
                expected[name][offset] |= bit
    found = {name: index.best_bases(offsets) for name, offsets in expected.items()}
    return {name: bases for name, bases in found.items() if bases}


class _Index:
    """Which functions mention an address, as bits of a number."""

    def __init__(self, names: Iterable[str], mentions: Mentions) -> None:
        self.bits = {name: 1 << i for i, name in enumerate(names)}
        self.mentions = {name: mentions[name] for name in self.bits}
        self.by: dict[int, int] = defaultdict(int)
        for name, addresses in self.mentions.items():
            for address in addresses:
                self.by[address] |= self.bits[name]

    def best_bases(self, expected: Mapping[int, int]) -> list[int]:
        """Where the variable can be whose offsets are mentioned by the functions of `expected`."""
        votes = Counter(
            address - offset
            for offset, functions in expected.items()
            for name, bit in self.bits.items()
            if functions & bit
            for address in self.mentions[name]
        )
        mentions = sum(functions.bit_count() for functions in expected.values())
        best, bases = _MIN_AGREEMENT, list[int]()
        for base, agreed in votes.most_common(_MAX_BASES):
            # The agreement is lower still if functions mention it that should not.
            if agreed / mentions < best:
                break
            score = self._agreement(base, expected)
            if score > best:
                best, bases = score, [base]
            elif score == best:
                bases.append(base)
        return bases

    def _agreement(self, base: int, expected: Mapping[int, int]) -> float:
        """From 0 to 1: the agreement of the functions that mention the variable at `base` with the expected ones."""
        both = either = 0
        for offset, functions in expected.items():
            seen = self.by.get(base + offset, 0)
            both += (seen & functions).bit_count()
            either += (seen | functions).bit_count()
        return both / either if either else 0.0
