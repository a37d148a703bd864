"""A profile as the request that an OTLP receiver takes (opentelemetry-proto, ``collector/profiles/v1development``, public alpha: it changes).

`ExportProfilesServiceRequest` has one resource, one scope and one profile, whose values are nanoseconds, and the dictionary of tables that they
refer to. The element 0 of each table is the zero value, as the specification wants it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from spyglass.analysis.profile_frames import is_in_profile
from spyglass.export import otlp_proto as proto
from spyglass.export.plain_values import plain
from spyglass.export.pprof_encoding import call_address
from spyglass.export.profile_stacks import profile_stacks, summed
from spyglass.export.protobuf import number, piece, varint
from spyglass.export.pseudo_frames import WholeStacks
from spyglass.model import Frame
from spyglass.profile import Profile
from spyglass.version import __version__

__all__ = ["otlp_request"]

_T = TypeVar("_T")

_SCOPE = "spyglass"
#: More inlined calls at one address than this become several locations.
_MAX_LINES = 128


def otlp_request(profile: Profile, resource: Mapping[str, str | int]) -> bytes:
    """The request, not compressed. `resource`: attributes of the process, by the names of the semantic conventions."""
    tables = _Tables(profile_stacks(profile))
    body = _profile(profile, tables)
    scope = _text(proto.SCOPE_NAME, _SCOPE) + _text(proto.SCOPE_VERSION, __version__)
    scoped = piece(proto.SCOPE, scope) + piece(proto.PROFILES, body)
    attributes = b"".join(
        piece(proto.RESOURCE_ATTRIBUTES, _attribute(key, value)) for key, value in resource.items()
    )
    of_resource = piece(proto.RESOURCE, attributes) + piece(proto.SCOPE_PROFILES, scoped)
    return piece(proto.RESOURCE_PROFILES, of_resource) + piece(proto.DICTIONARY, tables.encoded())


def _profile(profile: Profile, tables: _Tables) -> bytes:
    kind = "cpu" if profile.mode == "cpu" else "wall"
    value_type = number(proto.TYPE_STRING, tables.string(kind))
    value_type += number(proto.UNIT_STRING, tables.string("nanoseconds"))
    began_ns = int(profile.started_at.timestamp() * 1e6) * 1000
    fields = [
        piece(proto.SAMPLE_TYPE, value_type),
        *_samples(profile, tables),
        _fixed64(proto.TIME, began_ns),
        number(proto.DURATION, profile.duration_ns),
        piece(proto.PERIOD_TYPE, value_type),
        number(proto.PERIOD, round(profile.period_ns)),
    ]
    return b"".join(fields)


def _samples(profile: Profile, tables: _Tables) -> Iterable[bytes]:
    s = profile.samples
    found = summed(profile, tables.whole.of_rows, s.labels, s.state, s.thread)
    stacks = tables.whole.of_rows[found.rows].tolist()
    columns = (column[found.rows].tolist() for column in (s.labels, s.state, s.thread))
    for stack, value, *key in zip(stacks, found.values_ns.tolist(), *columns, strict=True):
        attributes = [tables.attribute(*each) for each in _labels(profile, *key).items()]
        yield piece(
            proto.SAMPLES,
            number(proto.STACK_INDEX, tables.stack(stack))
            + _numbers(proto.ATTRIBUTE_INDICES, attributes)
            + _numbers(proto.VALUES, [value]),
        )


def _labels(profile: Profile, labels: int, state: int, thread: int) -> dict[str, str]:
    """The labels of a sample, those of the program before ours of the same name."""
    texts = dict(profile.label_sets[labels]) if labels >= 0 else {}
    if state >= 0:
        texts.setdefault("state", profile.states[state])
    if thread >= 0:
        texts.setdefault("thread", str(thread))
    return texts


class _Table(dict[_T, int]):
    """Elements with their numbers from 1 on; 0 is the zero value."""

    def of(self, element: _T) -> int:
        return self.setdefault(element, len(self) + 1)


class _Tables:
    """The dictionary, which grows while samples are encoded."""

    def __init__(self, whole: WholeStacks) -> None:
        self.whole = whole
        self._kept = [is_in_profile(each) for each in whole.frames]
        self._strings: _Table[str] = _Table()
        self._attributes: _Table[tuple[str, str]] = _Table()
        self._functions: _Table[tuple[int, int]] = _Table()
        self._locations: _Table[tuple[int, ...]] = _Table()
        self._stacks: _Table[tuple[int, ...]] = _Table()

    def string(self, text: str | None) -> int:
        """The number of a string; 0 of an empty one."""
        return self._strings.of(plain(text)) if text else 0

    def attribute(self, key: str, value: str) -> int:
        """The number of an attribute."""
        self.string(key)
        return self._attributes.of((plain(key), plain(value)))

    def stack(self, stack: int) -> int:
        """The number of stack `stack`: its locations, each of the frames that are inlined in one another."""
        low, high = self.whole.offsets[stack], self.whole.offsets[stack + 1]
        locations, run = list[int](), list[int]()
        for index in self.whole.stack_frames[low:high].tolist():
            if self._kept[index]:
                run.append(index)
            if run and (not self.whole.frames[index].inlined or len(run) == _MAX_LINES):
                locations.append(self._locations.of(tuple(run)))
                run = []
        if run:
            locations.append(self._locations.of(tuple(run)))
        return self._stacks.of(tuple(locations))

    def encoded(self) -> bytes:
        """The tables. Strings come last: the others add some."""
        return b"".join((
            _table(proto.LOCATION_TABLE, self._locations, self._location),
            _table(proto.FUNCTION_TABLE, self._functions, self._function),
            _table(proto.ATTRIBUTE_TABLE, self._attributes, self._key_value),
            _table(proto.STACK_TABLE, self._stacks, lambda each: _numbers(proto.LOCATION_INDICES, each)),
            piece(proto.MAPPING_TABLE, b""),
            piece(proto.LINK_TABLE, proto.NO_LINK),
            _table(proto.STRING_TABLE, self._strings, lambda text: text.encode()),
        ))  # fmt: skip

    def _location(self, run: tuple[int, ...]) -> bytes:
        frames = [self.whole.frames[each] for each in run]
        lines = b"".join(piece(proto.LINES, self._line(each)) for each in frames)
        address = call_address(frames) if run[0] < self.whole.real else 0
        return number(proto.ADDRESS, address) + lines

    def _line(self, frame: Frame) -> bytes:
        function = self._functions.of((self.string(frame.function), self.string(frame.file)))
        return number(proto.FUNCTION_INDEX, function) + number(proto.LINE, frame.line or 0)

    def _function(self, names: tuple[int, int]) -> bytes:
        name, file = names
        return number(proto.NAME_STRING, name) + number(proto.FILE_STRING, file)

    def _key_value(self, pair: tuple[str, str]) -> bytes:
        key, value = pair
        return number(proto.KEY_STRING, self.string(key)) + piece(proto.KEYED_VALUE, _any(value))


def _table(field: int, elements: Iterable[_T], encode: Callable[[_T], bytes]) -> bytes:
    """The zero value, and then all `elements`."""
    return piece(field, b"") + b"".join(piece(field, encode(each)) for each in elements)


def _attribute(key: str, value: str | int) -> bytes:
    return _text(proto.KEY, key) + piece(proto.VALUE, _any(value))


def _any(value: str | int) -> bytes:
    """An ``AnyValue``: a set field also if it is empty or 0."""
    if isinstance(value, int):
        return number(proto.INT_VALUE, value)
    return piece(proto.STRING_VALUE, plain(value).encode())


def _text(field: int, text: str) -> bytes:
    return piece(field, plain(text).encode())


def _numbers(field: int, values: Iterable[int]) -> bytes:
    """Packed integers; nothing if there are none."""
    encoded = b"".join(map(varint, values))
    return piece(field, encoded) if encoded else b""


def _fixed64(field: int, value: int) -> bytes:
    return bytes([field << 3 | proto.FIXED64]) + value.to_bytes(8, "little")
