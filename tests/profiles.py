"""Profiles in the form of profile.proto, decoded without what encodes them."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

__all__ = ["Line", "Profile", "Sample", "decoded"]

Fields = dict[int, list["int | bytes"]]


class Line(NamedTuple):
    """A call; of a location with several all but the last are inlined."""

    function: str
    file: str
    line: int


class Sample(NamedTuple):
    """Locations, the innermost first, and labels, sorted: texts, or numbers with their units."""

    locations: tuple[tuple[Line, ...], ...]
    labels: tuple[tuple[str, str | tuple[int, str]], ...]

    @property
    def functions(self) -> list[str]:
        return [line.function for location in self.locations for line in location]


@dataclass(frozen=True)
class Profile:
    """The value of each sample (the last, if there are several: `values` has all), what the values are, the
    mappings' (file, build id), comments, time, duration and period."""

    samples: Counter[Sample]
    values: dict[Sample, list[int]]
    kinds: tuple[str, str]
    all_kinds: list[tuple[str, str]]
    mappings: list[tuple[str, str]]
    addresses: list[int]
    comments: list[str]
    time_ns: int
    duration_ns: int
    period: int


def decoded(raw: bytes | Path) -> Profile:
    raw = raw.read_bytes() if isinstance(raw, Path) else raw
    top = _fields(gzip.decompress(raw))
    texts = [_bytes(each).decode() for each in top[6]]
    functions = {}
    for each in map(_message, top.get(5, [])):
        functions[_one(each, 1)] = (texts[_one(each, 2)], texts[_one(each, 4)])
    locations, addresses = {}, []
    for each in map(_message, top.get(4, [])):
        lines = [_message(line) for line in each.get(4, [])]
        locations[_one(each, 1)] = tuple(
            Line(*functions[_one(line, 1)], _one(line, 2)) for line in lines
        )
        addresses.append(_one(each, 3))
    samples: Counter[Sample] = Counter()
    values: dict[Sample, list[int]] = {}
    for each in map(_message, top.get(2, [])):
        found = _numbers(each[2])
        stack = tuple(locations[number] for number in _numbers(each.get(1, [])))
        labels = sorted(_label(_message(label), texts) for label in each.get(3, []))
        sample = Sample(stack, tuple(labels))
        samples[sample] += found[-1]
        values[sample] = [
            a + b for a, b in zip(values.get(sample, [0] * len(found)), found, strict=True)
        ]
    kinds = [_message(each) for each in top[1]]
    all_kinds = [(texts[_one(kind, 1)], texts[_one(kind, 2)]) for kind in kinds]
    mappings = [_message(each) for each in top.get(3, [])]
    return Profile(
        samples,
        values,
        all_kinds[-1],
        all_kinds,
        [(texts[_one(each, 5)], texts[_one(each, 6)]) for each in mappings],
        addresses,
        [texts[number] for number in _numbers(top.get(13, []))],
        _one(top, 9),
        _one(top, 10),
        _one(top, 12),
    )


def _label(fields: Fields, texts: list[str]) -> tuple[str, str | tuple[int, str]]:
    key = texts[_one(fields, 1)]
    if 3 in fields:
        return key, (_one(fields, 3), texts[_one(fields, 4)])
    return key, texts[_one(fields, 2)]


def _one(fields: Fields, number: int) -> int:
    value = fields.get(number, [0])[0]
    assert isinstance(value, int)
    return value


def _bytes(value: int | bytes) -> bytes:
    assert isinstance(value, bytes)
    return value


def _message(value: int | bytes) -> Fields:
    return _fields(_bytes(value))


def _numbers(values: list[int | bytes]) -> list[int]:
    """A repeated number, packed or not."""
    found = []
    for value in values:
        found += [value] if isinstance(value, int) else list(_varints(value))
    return found


def _varints(raw: bytes) -> Iterator[int]:
    at = 0
    while at < len(raw):
        value, at = _varint(raw, at)
        yield value


def _fields(raw: bytes) -> Fields:
    found: Fields = {}
    at = 0
    while at < len(raw):
        tag, at = _varint(raw, at)
        number, at = _varint(raw, at)
        assert tag & 7 in (0, 2), tag
        value = raw[at : at + number] if tag & 7 == 2 else number
        at += number if tag & 7 == 2 else 0
        found.setdefault(tag >> 3, []).append(value)
    return found


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while raw[at] & 0x80:
        value |= (raw[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
    return value | raw[at] << shift, at + 1
