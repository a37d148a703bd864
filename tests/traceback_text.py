"""Reads the text of a Go traceback (runtime.Stack, SIGQUIT, /debug/pprof/goroutine?debug=2).

What the runtime says of itself is what spyglass is compared with. The form is printed by
`goroutineheader`, `printcreatedby1` and `traceback2` of runtime/traceback.go, and is the same from
Go 1.15 to 1.27 except for what is optional here.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

_HEADER = re.compile(
    r"goroutine (?P<id>\d+)(?: gp=0x[0-9a-f]+ m=(?P<m>\d+|nil)(?: mp=0x[0-9a-f]+)?)?"
    r" \[(?P<state>[^\]]*)\](?: \{(?P<labels>.*)\})?:$"
)
_PLACE = re.compile(
    r"\t(?P<file>.+):(?P<line>\d+)(?: \+(?P<offset>0x[0-9a-f]+))?"
    r"(?: fp=(?P<fp>0x[0-9a-f]+) sp=(?P<sp>0x[0-9a-f]+) pc=(?P<pc>0x[0-9a-f]+))?$"
)
_CREATED_BY = re.compile(r"created by (?P<function>.+?)(?: in goroutine (?P<id>\d+))?$")
_MINUTES = re.compile(r"(\d+) minutes$")
_MARKS = re.compile(r" \((?:scan|leaked)\)$")


@dataclass(frozen=True)
class TextFrame:
    """A frame as it is printed; `sp` and `pc` only with GOTRACEBACK=system."""

    function: str
    file: str
    line: int
    offset: int | None = None
    inlined: bool = False
    sp: int | None = None
    pc: int | None = None


@dataclass(frozen=True)
class TextGoroutine:
    """A goroutine as it is printed: `state` is the wait reason, or the status when there is none."""

    id: int
    state: str
    frames: tuple[TextFrame, ...]
    wait_minutes: int = 0
    locked_to_thread: bool = False
    m: int | None = None
    labels: str | None = None
    created_by: TextFrame | None = None
    creator_id: int | None = None
    elided: bool = False

    @property
    def functions(self) -> list[str]:
        """The names of its frames, innermost first."""
        return [frame.function for frame in self.frames]


def goroutines_of_text(text: str) -> list[TextGoroutine]:
    """All goroutines of a traceback, in its order; what is between them (registers, say) is skipped."""
    return [_goroutine(header, block) for header, block in _blocks(text)]


def _blocks(text: str) -> Iterator[tuple[re.Match[str], list[str]]]:
    header: re.Match[str] | None = None
    block: list[str] = []
    for line in [*text.splitlines(), ""]:
        if start := _HEADER.match(line):
            header, block = start, []
        elif line:
            block.append(line)
        elif header:
            yield header, block
            header = None


def _goroutine(header: re.Match[str], block: list[str]) -> TextGoroutine:
    state, *remarks = header["state"].split(", ")
    minutes = [int(found[1]) for remark in remarks if (found := _MINUTES.match(remark))]
    frames: list[TextFrame] = []
    created_by: TextFrame | None = None
    creator_id: int | None = None
    for call, place in _calls(block):
        if created := _CREATED_BY.match(call):
            created_by = _frame(created["function"], place)
            creator_id = int(created["id"]) if created["id"] else None
            break
        function, _, arguments = call.rpartition("(")
        frames.append(_frame(function, place, inlined=arguments == "...)"))
    return TextGoroutine(
        id=int(header["id"]),
        state=_MARKS.sub("", state),
        frames=tuple(frames),
        wait_minutes=minutes[0] if minutes else 0,
        locked_to_thread="locked to thread" in remarks,
        m=int(header["m"]) if header["m"] not in (None, "nil") else None,
        labels=header["labels"],
        created_by=created_by,
        creator_id=creator_id,
        elided=any(line.endswith("frames elided...") for line in block),
    )


def _calls(block: list[str]) -> Iterator[tuple[str, re.Match[str]]]:
    """Each line that names a function, with the line after it that says where."""
    for call, where in itertools.pairwise(block):
        place = _PLACE.match(where)
        if place and not call.startswith("\t"):
            yield call, place


def _frame(function: str, place: re.Match[str], *, inlined: bool = False) -> TextFrame:
    return TextFrame(
        function=function,
        file=place["file"],
        line=int(place["line"]),
        offset=_hexadecimal(place["offset"]),
        inlined=inlined,
        sp=_hexadecimal(place["sp"]),
        pc=_hexadecimal(place["pc"]),
    )


def _hexadecimal(text: str | None) -> int | None:
    return int(text, 16) if text else None
