"""A profile read from the form of profile.proto: one that `profile_pprof` wrote, Go's own, or any other of processor
or wall-clock time.

What such a file does not say is not known: null in a document. A file of spyglass has a note for what
the form has no place for (`profile_pprof.NOTE`). It can come from anyone: size, memory and numbers of things are
bounded, and what refers to something is checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec
import numpy as np
from msgspec import Struct
from msgspec.structs import asdict

from spyglass.errors import BadDataError
from spyglass.export import profile_proto as proto
from spyglass.export import schema_types
from spyglass.export.document_rows import OBJECT_BYTES, Memory, Numbers
from spyglass.export.profile_pprof import GOROUTINE, NOTE, STATE, THREAD
from spyglass.export.profile_reader import AccountRecord, account_of
from spyglass.export.protobuf import Message
from spyglass.export.pseudo_frames import NO_STACK
from spyglass.export.schema_types import KnownCount, checked
from spyglass.export.snapshot_reader import model_part
from spyglass.model import NONE, Frame, Problem, Process
from spyglass.profile import Account, Mode, Profile, Samples

__all__ = ["read_pprof"]

#: The largest file, unpacked: hundreds of times one of Go's.
_MAX_BYTES = 1 << 28
#: What a byte of a file may need: two copies, and a reference to a number.
_BYTES_FOR_EACH = 10
_MAX_STATES = np.iinfo(np.int16).max
_MAX_INT = (1 << 63) - 1
_MAX_TOTAL = 1 << 62
_MAX_LINE = 1 << 31
#: The kinds of values that are a time of this mode: fgprof calls wall-clock time so.
_MODES: dict[str, Mode] = {"cpu": "cpu", "wall": "wall", "time": "wall"}
_UNITS_NS = {"nanoseconds": 1, "microseconds": 10**3, "milliseconds": 10**6, "seconds": 10**9}
_COUNTS = ("samples", "sample")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_TIME_NS = 1 << 62


class _ProcessRecord(Struct, frozen=True):
    pid: KnownCount = None
    go_version: str | None = None
    module: str | None = None
    module_version: str | None = None
    arch: str | None = None
    stripped: bool | None = None
    pie: bool | None = None
    cgo: bool | None = None


class _Note(Struct, frozen=True):
    """What spyglass says in a note of the file."""

    mode: Literal["cpu", "wall", "offcpu"]
    rate_hz: schema_types.Rate
    account: AccountRecord
    process: _ProcessRecord
    own_labels: list[str]
    chosen_from: KnownCount = None
    problems: list[schema_types.Problem] = []


_NOTE = msgspec.json.Decoder(_Note)


def read_pprof(pieces: Iterable[bytes], max_bytes: int) -> Profile:
    """The profile in `pieces`, unpacked. `BadDataError` if it is none, does not say when and how long it was
    recorded, has no time of processors or of goroutines, or needs more than `max_bytes` of memory."""
    raw, memory = _joined(pieces, min(max_bytes, _MAX_BYTES)), Memory(max_bytes)
    memory.need(_BYTES_FOR_EACH * len(raw))
    return _File(Message(raw), memory).profile()


def _joined(pieces: Iterable[bytes], max_bytes: int) -> bytes:
    found, size = [], 0
    for piece in pieces:
        size += len(piece)
        if size > max_bytes:
            raise BadDataError(f"a profile of more than {max_bytes:,} bytes is not read")
        found.append(piece)
    return b"".join(found)


class _File:
    """The tables of one file, and what they are turned into."""

    def __init__(self, top: Message, memory: Memory) -> None:
        self._top, self._memory = top, memory
        strings = top.pieces(proto.STRING)
        memory.need(OBJECT_BYTES * len(strings))
        self._strings = [text.decode("utf-8", "backslashreplace") for text in strings]
        self._note = self._own_note()
        self._frames: list[Frame] = []
        #: By the id of a location: the numbers of its frames, innermost first.
        self._locations: dict[int, tuple[int, ...]] = {}
        self._stacks, self._states, self._sets = Numbers(), Numbers(), Numbers()

    def profile(self) -> Profile:
        """The file as a profile."""
        mode, count, time, unit_ns = self._values()
        self._read_locations()
        samples = self._samples(count, time, unit_ns)
        lengths = [sum(len(self._locations[each]) for each in stack) for stack in self._stacks]
        self._memory.need(16 * sum(lengths))
        flat = [
            frame for stack in self._stacks for each in stack for frame in self._locations[each]
        ]
        said = self._note
        return Profile(
            mode=said.mode if said else mode, process=self._process(),
            started_at=self._started_at(), duration_ns=self._duration_ns(), rate_hz=self._rate_hz(),
            account=account_of(said.account) if said else _account(samples, mode),
            samples=samples, frames=tuple(self._frames),
            stack_offsets=np.cumsum([0, *lengths]).astype(np.int64),
            stack_frames=np.array(flat, np.int32), states=tuple(self._states),
            label_sets=tuple(map(dict, self._sets)),
            problems=tuple(model_part(Problem, each) for each in said.problems) if said else (),
            chosen_from=said.chosen_from if said else None,
        )  # fmt: skip

    def _text(self, index: int) -> str:
        if not 0 <= index < max(len(self._strings), 1):
            raise BadDataError(f"there is no string {index:,}")
        return self._strings[index] if self._strings else ""

    def _own_note(self) -> _Note | None:
        """What spyglass has put last into the table of strings. A tool that writes the file again leaves it out,
        for nothing refers to it: then it may be of other samples."""
        last = self._strings[-1] if self._strings else ""
        if not last.startswith(NOTE):
            return None
        return checked(_NOTE, last.removeprefix(NOTE).encode(), "the note: ")

    def _kinds(self, raws: Sequence[bytes]) -> list[tuple[str, str]]:
        """Name and unit of kinds of values."""
        names = (proto.TYPE_TYPE, proto.TYPE_UNIT)
        kinds = ([self._text(kind.number(each)) for each in names] for kind in map(Message, raws))
        return [(name, unit) for name, unit in kinds]

    def _values(self) -> tuple[Mode, int, int, int]:
        """The mode, which value is the count and which the time, and the ns of its unit."""
        kinds = self._kinds(self._top.pieces(proto.SAMPLE_TYPE))
        times = [at for at, kind in enumerate(kinds) if kind[0] in _MODES and kind[1] in _UNITS_NS]
        counts = [at for at, kind in enumerate(kinds) if kind[0] in _COUNTS]
        if not times:
            names = ", ".join("/".join(kind) for kind in kinds) or "nothing"
            what = f"it is a profile of {names}, not of processor or wall-clock time"
            raise BadDataError(what)
        if not counts:
            raise BadDataError("it does not say how many samples there were")
        name, unit = kinds[times[0]]
        return _MODES[name], counts[0], times[0], _UNITS_NS[unit]

    def _read_locations(self) -> None:
        functions: dict[int, tuple[str, str | None]] = {}
        for raw in self._top.pieces(proto.FUNCTION):
            self._memory.need(4 * OBJECT_BYTES)
            each = Message(raw)
            name, file = each.number(proto.FUNCTION_NAME), each.number(proto.FUNCTION_FILE)
            functions[each.number(proto.FUNCTION_ID)] = (
                self._text(name),
                self._text(file) or None,
            )
        for raw in self._top.pieces(proto.LOCATION):
            each = Message(raw)
            begin = len(self._frames)
            self._frames += self._calls(each, functions)
            numbers = tuple(range(begin, len(self._frames)))
            self._locations[each.number(proto.LOCATION_ID)] = numbers

    def _calls(
        self, location: Message, functions: dict[int, tuple[str, str | None]]
    ) -> Iterator[Frame]:
        """The calls at one pc; all but the last are inlined."""
        address = max(location.number(proto.LOCATION_ADDRESS), 0)
        pieces = location.pieces(proto.LOCATION_LINE)
        self._memory.need(8 * OBJECT_BYTES * (len(pieces) + 1))
        lines = [Message(raw) for raw in pieces]
        if not lines:
            yield Frame(hex(address), None, None, address)
        for at, line in enumerate(lines, 1):
            function = line.number(proto.LINE_FUNCTION)
            if function not in functions:
                raise BadDataError(f"there is no function {function:,}")
            name, file = functions[function]
            number = line.number(proto.LINE_LINE)
            known = number if 0 < number < _MAX_LINE else None
            yield Frame(name or hex(address), file, known, address, inlined=at < len(lines))

    def _samples(self, count: int, time: int, unit_ns: int) -> Samples:
        rows: list[tuple[int, ...]] = []
        totals = [0, 0]
        for at, raw in enumerate(self._top.pieces(proto.SAMPLE)):
            self._memory.need(4 * OBJECT_BYTES)
            each = Message(raw)
            values = each.numbers(proto.SAMPLE_VALUE)
            if len(values) <= max(count, time):
                raise BadDataError(f"sample {at:,} has {len(values)} values")
            pair = (values[count], values[time] * unit_ns)
            totals = [total + value for total, value in zip(totals, pair, strict=True)]
            if min(pair) < 0 or max(totals) > _MAX_TOTAL:
                raise BadDataError(f"sample {at:,}: a value is negative, or the sum too large")
            rows.append((*self._key(each), *pair))
        columns = np.array(rows, np.int64).reshape(-1, 7).T
        return Samples(
            stack=columns[0].astype(np.int32), labels=columns[1].astype(np.int32),
            state=columns[2].astype(np.int16), thread=columns[3], goroutine=columns[4],
            count=columns[5], value_ns=columns[6],
        )  # fmt: skip

    def _key(self, sample: Message) -> tuple[int, int, int, int, int]:
        """Stack, labels, state, thread and goroutine of a sample."""
        labels = self._labels(sample)
        own = [labels.pop(each, None) if self._is_own(each) else None for each in _OWN]
        state = NONE if own[0] is None else self._states[own[0]]
        if state > _MAX_STATES:
            raise BadDataError("there are too many states")
        locations = tuple(sample.numbers(proto.SAMPLE_LOCATION))
        for each in locations:
            if each not in self._locations:
                raise BadDataError(f"there is no location {each:,}")
        stack = self._without_state(locations, own[0])
        before = len(self._stacks) + len(self._sets)
        found = self._stacks[stack], self._sets[tuple(labels.items())] if labels else NONE
        if len(self._stacks) + len(self._sets) > before:
            self._memory.need(OBJECT_BYTES * (1 + len(stack) + 3 * len(labels)))
        return *found, state, _integer(own[1]), _integer(own[2])

    def _labels(self, sample: Message) -> dict[str, str]:
        """The labels of a sample, numbers with their units as texts."""
        found = {}
        for raw in sample.pieces(proto.SAMPLE_LABEL):
            label = Message(raw)
            text = self._text(label.number(proto.LABEL_STR))
            if not text:
                unit = self._text(label.number(proto.LABEL_NUM_UNIT))
                number = label.number(proto.LABEL_NUM)
                text = f"{number} {unit}".rstrip() if number or unit else ""
            found[self._text(label.number(proto.LABEL_KEY))] = text
        return found

    def _is_own(self, label: str) -> bool:
        return self._note is not None and label in self._note.own_labels

    def _without_state(self, locations: tuple[int, ...], state: str | None) -> tuple[int, ...]:
        """`locations` without the frame that says the state, or that there is no stack."""
        if self._note is None or not locations:
            return locations
        frames = self._locations[locations[0]]
        innermost = self._frames[frames[0]] if frames else None
        added = (f"[{state}]", NO_STACK)
        is_added = innermost is not None and innermost.file is None and innermost.function in added
        return locations[1:] if is_added else locations

    def _process(self) -> Process:
        """The program, which is that of the first mapping (``proto/profile.proto``: Profile.mapping)."""
        mappings = self._top.pieces(proto.MAPPING)[:1]
        first = Message(mappings[0] if mappings else b"")
        said = asdict(self._note.process) if self._note else asdict(_ProcessRecord())
        return Process(
            exe=self._text(first.number(proto.MAPPING_FILE)) or None,
            build_id=self._text(first.number(proto.MAPPING_BUILD_ID)) or None,
            cmdline=(), started_at=None, uptime_seconds=None, rss_bytes=None, container=None,
            memory_limit_bytes=None, **said,
        )  # fmt: skip

    def _started_at(self) -> datetime:
        time_ns = self._top.number(proto.TIME_NANOS)
        if not 0 < time_ns < _MAX_TIME_NS:
            raise BadDataError("it does not say when it was recorded")
        return _EPOCH + timedelta(microseconds=time_ns // 1000)

    def _duration_ns(self) -> int:
        duration_ns = self._top.number(proto.DURATION_NANOS)
        if duration_ns <= 0:
            raise BadDataError("it does not say how long it was recorded")
        return duration_ns

    def _rate_hz(self) -> float:
        """Samples a second; 0 if nothing says so."""
        if self._note is not None:
            return self._note.rate_hz
        kinds = self._kinds(self._top.pieces(proto.PERIOD_TYPE))
        period = self._top.number(proto.PERIOD)
        if period <= 0 or not kinds or kinds[-1][0] not in _MODES:
            return 0.0
        return min(1e9 / (period * _UNITS_NS.get(kinds[-1][1], _MAX_INT)), 1e6)


#: Labels of spyglass, if the comment says so.
_OWN = (STATE, THREAD, GOROUTINE)


def _integer(text: str | None) -> int:
    """The number that a label says, `NONE` if it says none."""
    if text is None or not (text.isascii() and text.isdecimal() and len(text) < 19):
        return NONE
    return int(text)


def _account(samples: Samples, mode: Mode) -> Account:
    """What the samples themselves say; the rest is not known."""
    return Account(
        samples=int(samples.count.sum()), lost=None, throttled=None, cut=None, goroutine_known=None,
        goroutine_unknown=None, threads_seen=None,
        cpu_sampled_ns=int(samples.value_ns.sum()) if mode == "cpu" else 0,
    )  # fmt: skip
