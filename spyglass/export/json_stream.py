"""The text of a large JSON object, read piece by piece: some of its arrays in batches of elements.

A document of a million goroutines is half a gigabyte of text. Here it is cut between elements of its
large arrays, whose batches are decoded and given up one after the other, wherever the text has its
whitespace and in whatever order its members come. What is a cut is proved by decoding: text of elements
that parses as a whole array ends where an element ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

from spyglass.errors import BadDataError

__all__ = ["Elements", "read_object"]

#: Text decoded at a time.
_BATCH_BYTES = 1 << 19
#: Members that are no such arrays, and each element of one, are not longer.
_MAX_REST_BYTES = 1 << 26

#: The beginning of a member of the object whose value is an array.
_ARRAY = re.compile(rb'\s*,?\s*"(\w+)"\s*:\s*\[')
#: How long a name and what is around it may be where an array is to be read in batches.
_NAME_BYTES = 1 << 12
#: A comma between two objects, or two arrays. Perhaps it is in a string, or deeper than it should be.
_SEPARATOR = re.compile(rb"[}\]]\s*(,)\s*[{\[]")
_SEPARATOR_BYTES = 1 << 16
#: What tells the structure: strings, as a whole, and punctuation; a quote alone begins a string that is
#: not all there yet.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["{}\[\],]', re.DOTALL)
_BEFORE_MEMBER = re.compile(rb"\s*,?")
_OPENING, _CLOSING = b"{[", b"}]"


class Elements(Protocol):
    """What takes the elements of one array."""

    def begin(self) -> None:
        """Forget what was added: the array begins, perhaps for a second time."""

    def decode(self, text: bytes) -> Any:
        """The elements in `text`, a JSON array. Raises `BadDataError` if it is none, or if they do not
        fit the schema."""

    def add(self, elements: Any) -> None:
        """Take the next elements, as they were decoded."""


def read_object(pieces: Iterable[bytes], arrays: Mapping[str, Elements]) -> bytes:
    """The text of the JSON object in `pieces`, with `arrays`, members of it, left empty.

    The elements of these are added to what `arrays` has for them; an array that is written in an
    unusual way (an escape in its name) is left in the text. Raises `BadDataError` if there is much text
    beside these arrays, and for elements that do not fit; other text is left to its decoder.
    """
    return _Reader(pieces, arrays).read()


class _Reader:
    """`text` is what was read of the pieces and not used yet."""

    def __init__(self, pieces: Iterable[bytes], arrays: Mapping[str, Elements]) -> None:
        self._pieces = _cut(pieces)
        self._arrays = arrays
        self._rest: list[bytes] = []
        self._rest_bytes = 0
        self._text = b""
        self._ended = False

    def read(self) -> bytes:
        self._need(1)
        self._keep(len(self._text) - len(self._text.lstrip()))
        if not self._text.startswith(b"{"):
            return self._all()
        self._keep(1)
        while True:
            self._need(_NAME_BYTES)
            found = _ARRAY.match(self._text)
            if found and (elements := self._arrays.get(found[1].decode("latin-1"))):
                self._keep(found.end())
                self._read_array(elements)
                continue
            end = self._member_end()
            if end is None or self._text[end] in _CLOSING:
                return self._all()
            self._keep(end)

    def _all(self) -> bytes:
        """The text that is kept, and all that comes yet."""
        while not self._ended or self._text:
            self._need(_BATCH_BYTES)
            self._keep(len(self._text))
        return b"".join(self._rest)

    def _need(self, size: int) -> None:
        """Have `size` bytes of text, if there are as many."""
        if len(self._text) >= size or self._ended:
            return
        parts, have = [self._text], len(self._text)
        while have < size:
            piece = next(self._pieces, None)
            if piece is None:
                self._ended = True
                break
            parts.append(piece)
            have += len(piece)
        self._text = b"".join(parts)

    def _need_more(self) -> bool:
        """Have twice as much text; False if there is no more."""
        size = len(self._text)
        if size > _MAX_REST_BYTES:
            raise _too_much()
        self._need(2 * size + _BATCH_BYTES)
        return len(self._text) > size

    def _keep(self, size: int) -> None:
        """Move `size` bytes of text to what is kept."""
        self._rest.append(self._text[:size])
        self._rest_bytes += size
        self._text = self._text[size:]
        if self._rest_bytes > _MAX_REST_BYTES:
            raise _too_much()

    def _member_end(self) -> int | None:
        """Where the member ends that is next: at a comma or a bracket; None where that is missing."""
        before = _BEFORE_MEMBER.match(self._text)
        at, depth = before.end() if before else 0, 0
        while True:
            for token in _TOKEN.finditer(self._text, at):
                symbol = token[0]
                if symbol == b'"':
                    break
                at = token.end()
                if symbol in _OPENING:
                    depth += 1
                elif (symbol == b"," and not depth) or (symbol in _CLOSING and not depth):
                    return token.start()
                elif symbol in _CLOSING:
                    depth -= 1
            if not self._need_more():
                return None

    def _read_array(self, elements: Elements) -> None:
        """Give all elements of an array whose opening bracket was kept; keep its closing bracket."""
        elements.begin()
        begun = False
        while True:
            self._need(_BATCH_BYTES)
            if self._give_batch(elements):
                begun = True
                continue
            end, closed = self._elements_end()
            content = self._text[:end]
            if content.strip() or begun or not closed:
                # Where an element is missing, or the end of all, the decoder says so.
                elements.add(elements.decode(_as_array(content, closed, end < len(self._text))))
            begun = True
            self._text = self._text[end:]
            if closed:
                self._keep(1)
                return
            self._text = self._text[1:]

    def _give_batch(self, elements: Elements) -> bool:
        """Give the elements up to the last comma in sight that seems to part two; False if that is not
        so."""
        if len(self._text) < _BATCH_BYTES:
            return False
        cut = -1
        for found in _SEPARATOR.finditer(self._text, len(self._text) - _SEPARATOR_BYTES):
            cut = found.start(1)
        if cut < 0:
            return False
        try:
            decoded = elements.decode(b"[%b]" % self._text[:cut])
        except BadDataError:
            return False
        elements.add(decoded)
        self._text = self._text[cut + 1 :]
        return True

    def _elements_end(self) -> tuple[int, bool]:
        """Where a batch of elements ends, at a comma or at the bracket that closes the array, and
        whether it is the latter. At the end of the text if there is neither."""
        at, depth, comma = 0, 0, -1
        while True:
            for token in _TOKEN.finditer(self._text, at):
                symbol = token[0]
                if symbol == b'"':
                    break
                at = token.end()
                if symbol in _OPENING:
                    depth += 1
                elif symbol in _CLOSING:
                    if not depth:
                        return token.start(), True
                    depth -= 1
                elif symbol == b"," and not depth:
                    comma = token.start()
            if (comma >= 0 and not self._ended) or comma >= _BATCH_BYTES:
                return comma, False
            if not self._need_more():
                return (comma, False) if comma >= 0 else (len(self._text), False)


def _cut(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """`pieces`, none of which is longer than a batch."""
    for piece in pieces:
        for begin in range(0, len(piece), _BATCH_BYTES):
            yield piece[begin : begin + _BATCH_BYTES]


def _as_array(content: bytes, closed: bool, goes_on: bool) -> bytes:
    """`content` as the text of an array, which is cut off where it neither is closed nor goes on."""
    if not content.strip():
        return b"[,]"
    return b"[%b]" % content if closed or goes_on else b"[" + content


def _too_much() -> BadDataError:
    return BadDataError(
        f"it has more than {_MAX_REST_BYTES:,} bytes beside its goroutines and stacks"
    )
