"""The text of large JSON documents in pieces: there may be a gigabyte of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, BinaryIO

__all__ = [
    "compact",
    "compact_rest",
    "joined",
    "numbers_text",
    "object_text",
    "quoted",
    "record_template",
    "texts_object",
    "write_line",
]

#: Elements joined at a time: what a processor's cache holds of their text.
_BATCH_ELEMENTS = 256

# `json.dumps` makes an encoder for each value.
#: A value as JSON text in ASCII.
compact = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_text = json.encoder.encode_basestring_ascii


def quoted(text: str | None) -> str:
    """`text` without characters that JSON escapes, or null."""
    return "null" if text is None else f'"{text}"'


def texts_object(members: Mapping[str, str] | None) -> str:
    """An object whose values are texts, or null; several times faster than `compact`, which makes an encoder
    for each."""
    if members is None:
        return "null"
    pairs = [f"{_text(name)}:{_text(value)}" for name, value in members.items()]
    return f"{{{','.join(pairs)}}}"


def numbers_text(numbers: list[int]) -> str:
    """An array of whole numbers; faster than `compact`, which has them encoded one by one."""
    return str(numbers).replace(" ", "")


def compact_rest(members: Mapping[str, Any]) -> str:
    """The text of an object without its opening brace: what follows `record_template`."""
    return compact(members).removeprefix("{")


def record_template(names: Iterable[str]) -> str:
    """A template (for %) of an object that begins with the members `names`, as text, and goes on with what
    `compact_rest` makes."""
    return "{" + "".join(f"{compact(name)}:%s," for name in names) + "%s"


def joined(elements: Iterable[str]) -> Iterator[str]:
    """The texts of `elements` with commas between them, in pieces."""
    rows, before = iter(elements), ""
    while batch := list(islice(rows, _BATCH_ELEMENTS)):
        yield before + ",".join(batch)
        before = ","


def object_text(members: Mapping[str, Any], lists: Mapping[str, Iterator[str]]) -> Iterator[str]:
    """The text of the object `members` in pieces; the content of arrays in `lists` is text already."""
    before = "{"
    for name, value in members.items():
        yield f"{before}{compact(name)}:"
        if name in lists:
            yield "["
            yield from lists[name]
            yield "]"
        else:
            yield compact(value)
        before = ","
    yield "}"


def write_line(pieces: Iterable[str], stream: BinaryIO) -> None:
    """Write the ASCII text `pieces` as one line."""
    for piece in pieces:
        stream.write(piece.encode("ascii"))
    stream.write(b"\n")
