"""The tables of a file in the form of profile.proto, whatever its samples are: strings, functions, stacks.

It can come from anyone: size, memory and numbers of things are bounded, and what refers to something is checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from spyglass.errors import BadDataError
from spyglass.export import profile_proto as proto
from spyglass.export.document_rows import OBJECT_BYTES, Memory, Numbers
from spyglass.export.protobuf import Message
from spyglass.model import Frame, Process

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PprofTables", "opened"]

#: The largest file, unpacked: hundreds of times one of Go's.
_MAX_BYTES = 1 << 28
#: What a byte of a file may need: two copies, and a reference to a number.
_BYTES_FOR_EACH = 10
_MAX_LINE = 1 << 31
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_TIME_NS = 1 << 62


def opened(pieces: Iterable[bytes], max_bytes: int) -> tuple[Message, Memory]:
    """The message in `pieces`, and how much memory what is made of it may need. `BadDataError` if it is none, or has
    more than `max_bytes`."""
    raw, memory = _joined(pieces, min(max_bytes, _MAX_BYTES)), Memory(max_bytes)
    memory.need(_BYTES_FOR_EACH * len(raw))
    return Message(raw), memory


def _joined(pieces: Iterable[bytes], max_bytes: int) -> bytes:
    found, size = [], 0
    for piece in pieces:
        size += len(piece)
        if size > max_bytes:
            raise BadDataError(f"a profile of more than {max_bytes:,} bytes is not read")
        found.append(piece)
    return b"".join(found)


class PprofTables:
    """The tables of the message `top`: `strings`; `frames` and, by the id of a location, their numbers, innermost first
    (`locations`); `stacks` of locations, numbered in the order they are first asked for."""

    def __init__(self, top: Message, memory: Memory) -> None:
        self.top, self.memory = top, memory
        strings = top.pieces(proto.STRING)
        memory.need(OBJECT_BYTES * len(strings))
        self.strings = [text.decode("utf-8", "backslashreplace") for text in strings]
        self.frames: list[Frame] = []
        self.locations: dict[int, tuple[int, ...]] = {}
        self.stacks = Numbers()

    def text(self, index: int) -> str:
        """The string with number `index`."""
        if not 0 <= index < max(len(self.strings), 1):
            raise BadDataError(f"there is no string {index:,}")
        return self.strings[index] if self.strings else ""

    def kinds(self, raws: Sequence[bytes]) -> list[tuple[str, str]]:
        """Name and unit of kinds of values."""
        names = (proto.TYPE_TYPE, proto.TYPE_UNIT)
        kinds = ([self.text(kind.number(each)) for each in names] for kind in map(Message, raws))
        return [(name, unit) for name, unit in kinds]

    def read_locations(self) -> None:
        """Fill `frames` and `locations`."""
        functions: dict[int, tuple[str, str | None]] = {}
        for raw in self.top.pieces(proto.FUNCTION):
            self.memory.need(4 * OBJECT_BYTES)
            each = Message(raw)
            name, file = each.number(proto.FUNCTION_NAME), each.number(proto.FUNCTION_FILE)
            functions[each.number(proto.FUNCTION_ID)] = (
                self.text(name),
                self.text(file) or None,
            )
        for raw in self.top.pieces(proto.LOCATION):
            each = Message(raw)
            begin = len(self.frames)
            self.frames += self._calls(each, functions)
            numbers = tuple(range(begin, len(self.frames)))
            self.locations[each.number(proto.LOCATION_ID)] = numbers

    def _calls(
        self, location: Message, functions: dict[int, tuple[str, str | None]]
    ) -> Iterator[Frame]:
        """The calls at one pc; all but the last are inlined."""
        address = max(location.number(proto.LOCATION_ADDRESS), 0)
        pieces = location.pieces(proto.LOCATION_LINE)
        self.memory.need(8 * OBJECT_BYTES * (len(pieces) + 1))
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

    def locations_of(self, sample: Message) -> tuple[int, ...]:
        """The locations of a sample, innermost first; all of them are known."""
        locations = tuple(sample.numbers(proto.SAMPLE_LOCATION))
        for each in locations:
            if each not in self.locations:
                raise BadDataError(f"there is no location {each:,}")
        return locations

    def stack_columns(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """``stack_offsets`` and ``stack_frames`` of a profile with the `stacks`."""
        lengths = [sum(len(self.locations[each]) for each in stack) for stack in self.stacks]
        self.memory.need(16 * sum(lengths))
        flat = [frame for stack in self.stacks for each in stack for frame in self.locations[each]]
        return np.cumsum([0, *lengths]).astype(np.int64), np.array(flat, np.int32)

    def process(self) -> Process:
        """The program, which is that of the first mapping (``proto/profile.proto``: Profile.mapping)."""
        mappings = self.top.pieces(proto.MAPPING)[:1]
        first = Message(mappings[0] if mappings else b"")
        return Process(
            pid=None, exe=self.text(first.number(proto.MAPPING_FILE)) or None, cmdline=(),
            started_at=None, uptime_seconds=None, go_version=None, module=None,
            module_version=None, build_id=self.text(first.number(proto.MAPPING_BUILD_ID)) or None,
            arch=None, stripped=None, pie=None, cgo=None, rss_bytes=None, container=None,
            memory_limit_bytes=None,
        )  # fmt: skip

    def taken_at(self) -> datetime | None:
        """When the samples began; None if it does not say so."""
        time_ns = self.top.number(proto.TIME_NANOS)
        if not 0 < time_ns < _MAX_TIME_NS:
            return None
        return _EPOCH + timedelta(microseconds=time_ns // 1000)
