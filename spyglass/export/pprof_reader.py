"""A profile read from the form of profile.proto: one that `profile_pprof` wrote, Go's own, or any other of processor
or wall-clock time.

What such a file does not say is not known: null in a document. A file of spyglass has a note for what
the form has no place for (`profile_pprof.NOTE`). It can come from anyone: size, memory and numbers of things are
bounded, and what refers to something is checked.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Literal

import msgspec
import numpy as np
from msgspec import Struct
from msgspec.structs import asdict

from spyglass.errors import BadDataError
from spyglass.export import profile_proto as proto
from spyglass.export import schema_types
from spyglass.export.document_rows import OBJECT_BYTES, Memory, Numbers
from spyglass.export.pprof_tables import PprofTables, opened
from spyglass.export.profile_pprof import GOROUTINE, NOTE, STATE, THREAD
from spyglass.export.profile_reader import AccountRecord, account_of
from spyglass.export.protobuf import Message
from spyglass.export.pseudo_frames import NO_STACK
from spyglass.export.schema_numbers import KnownCount, Rate
from spyglass.export.schema_types import checked
from spyglass.export.snapshot_reader import model_part
from spyglass.model import NONE, Problem, Process
from spyglass.profile import Account, Mode, Profile, Samples

__all__ = ["read_pprof", "read_times"]

_MAX_STATES = np.iinfo(np.int16).max
_MAX_INT = (1 << 63) - 1
_MAX_TOTAL = 1 << 62
#: The kinds of values that are a time of this mode: fgprof calls wall-clock time so.
_MODES: dict[str, Mode] = {"cpu": "cpu", "wall": "wall", "time": "wall"}
_UNITS_NS = {"nanoseconds": 1, "microseconds": 10**3, "milliseconds": 10**6, "seconds": 10**9}
_COUNTS = ("samples", "sample")


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
    rate_hz: Rate
    account: AccountRecord
    process: _ProcessRecord
    own_labels: list[str]
    chosen_from: KnownCount = None
    problems: list[schema_types.Problem] = []


_NOTE = msgspec.json.Decoder(_Note)


def read_pprof(pieces: Iterable[bytes], max_bytes: int) -> Profile:
    """The profile in `pieces`, unpacked. `BadDataError` if it is none, does not say when and how long it was
    recorded, has no time of processors or of goroutines, or needs more than `max_bytes` of memory."""
    return read_times(*opened(pieces, max_bytes))


def read_times(top: Message, memory: Memory) -> Profile:
    """The profile of the message `top`. Raises as `read_pprof`."""
    return _File(top, memory).profile()


class _File(PprofTables):
    """The tables of one file, and what they are turned into."""

    def __init__(self, top: Message, memory: Memory) -> None:
        super().__init__(top, memory)
        self._note = self._own_note()
        self._states, self._sets = Numbers(), Numbers()

    def profile(self) -> Profile:
        """The file as a profile."""
        mode, count, time, unit_ns = self._values()
        self.read_locations()
        samples = self._samples(count, time, unit_ns)
        offsets, stack_frames = self.stack_columns()
        said = self._note
        return Profile(
            mode=said.mode if said else mode, process=self._process(),
            started_at=self._started_at(), duration_ns=self._duration_ns(), rate_hz=self._rate_hz(),
            account=account_of(said.account) if said else _account(samples, mode),
            samples=samples, frames=tuple(self.frames), stack_offsets=offsets,
            stack_frames=stack_frames, states=tuple(self._states),
            label_sets=tuple(map(dict, self._sets)),
            problems=tuple(model_part(Problem, each) for each in said.problems) if said else (),
            chosen_from=said.chosen_from if said else None,
        )  # fmt: skip

    def _own_note(self) -> _Note | None:
        """What spyglass has put last into the table of strings. A tool that writes the file again leaves it out,
        for nothing refers to it: then it may be of other samples."""
        last = self.strings[-1] if self.strings else ""
        if not last.startswith(NOTE):
            return None
        return checked(_NOTE, last.removeprefix(NOTE).encode(), "the note: ")

    def _values(self) -> tuple[Mode, int, int, int]:
        """The mode, which value is the count and which the time, and the ns of its unit."""
        kinds = self.kinds(self.top.pieces(proto.SAMPLE_TYPE))
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

    def _samples(self, count: int, time: int, unit_ns: int) -> Samples:
        rows: list[tuple[int, ...]] = []
        totals = [0, 0]
        for at, raw in enumerate(self.top.pieces(proto.SAMPLE)):
            self.memory.need(4 * OBJECT_BYTES)
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
        stack = self._without_state(self.locations_of(sample), own[0])
        before = len(self.stacks) + len(self._sets)
        found = self.stacks[stack], self._sets[tuple(labels.items())] if labels else NONE
        if len(self.stacks) + len(self._sets) > before:
            self.memory.need(OBJECT_BYTES * (1 + len(stack) + 3 * len(labels)))
        return *found, state, _integer(own[1]), _integer(own[2])

    def _labels(self, sample: Message) -> dict[str, str]:
        """The labels of a sample, numbers with their units as texts."""
        found = {}
        for raw in sample.pieces(proto.SAMPLE_LABEL):
            label = Message(raw)
            text = self.text(label.number(proto.LABEL_STR))
            if not text:
                unit = self.text(label.number(proto.LABEL_NUM_UNIT))
                number = label.number(proto.LABEL_NUM)
                text = f"{number} {unit}".rstrip() if number or unit else ""
            found[self.text(label.number(proto.LABEL_KEY))] = text
        return found

    def _is_own(self, label: str) -> bool:
        return self._note is not None and label in self._note.own_labels

    def _without_state(self, locations: tuple[int, ...], state: str | None) -> tuple[int, ...]:
        """`locations` without the frame that says the state, or that there is no stack."""
        if self._note is None or not locations:
            return locations
        frames = self.locations[locations[0]]
        innermost = self.frames[frames[0]] if frames else None
        added = (f"[{state}]", NO_STACK)
        is_added = innermost is not None and innermost.file is None and innermost.function in added
        return locations[1:] if is_added else locations

    def _process(self) -> Process:
        process = self.process()
        return replace(process, **asdict(self._note.process)) if self._note else process

    def _started_at(self) -> datetime:
        taken_at = self.taken_at()
        if taken_at is None:
            raise BadDataError("it does not say when it was recorded")
        return taken_at

    def _duration_ns(self) -> int:
        duration_ns = self.top.number(proto.DURATION_NANOS)
        if duration_ns <= 0:
            raise BadDataError("it does not say how long it was recorded")
        return duration_ns

    def _rate_hz(self) -> float:
        """Samples a second; 0 if nothing says so."""
        if self._note is not None:
            return self._note.rate_hz
        kinds = self.kinds(self.top.pieces(proto.PERIOD_TYPE))
        period = self.top.number(proto.PERIOD)
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
