"""Names of types by the addresses of their descriptors.

Source: internal/abi/type.go (``Type``, ``Name``), runtime/type.go up to Go 1.20; runtime/type.go
``resolveNameOff``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spyglass.columns import numbered
from spyglass.errors import SpyglassError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.runtime.context import Runtime

__all__ = ["type_names"]

#: Types of one snapshot; a program has thousands.
_MAX_TYPES = 1 << 14
#: The part of a descriptor up to its name: flags at byte 20, the name's offset at 40.
_HEADER_BYTES, _FLAGS_AT, _NAME_AT = 48, 20, 40
#: ``TFlagExtraStar``: the name begins with a star that is not its own.
_EXTRA_STAR = 2
_MAX_NAME_BYTES = 512
_SHORTEST_NAME = 3  # "int"


def type_names(runtime: Runtime, addresses: NDArray[np.uint64]) -> list[str]:
    """The name of each type as Go prints it ("main.job", "*http.Request"); "" where it is not known."""
    different, which = numbered(addresses)
    try:
        names = _Types(runtime).names(different[:_MAX_TYPES])
    except SpyglassError:
        names = []
    names += [""] * (len(different) - len(names))
    return [names[number] for number in which.tolist()]


class _Types:
    """The type descriptors of the program."""

    def __init__(self, runtime: Runtime) -> None:
        self._memory = runtime.memory
        dtype = runtime.layouts["moduledata"]
        row = runtime.memory.array(runtime.address("firstmoduledata"), dtype, 1)[0]
        self._begin, self._end = int(row["types"]), int(row["etypes"])

    def names(self, addresses: NDArray[np.uint64]) -> list[str]:
        """The names of the types at `addresses`."""
        inside = (addresses >= self._begin) & (addresses < self._end) & (addresses % 8 == 0)
        gathered = self._memory.gather(np.where(inside, addresses, 0), _HEADER_BYTES)
        words = gathered.words(_HEADER_BYTES // 8)
        extra_star = words[:, _FLAGS_AT // 8] >> np.uint64(8 * (_FLAGS_AT % 8)) & _EXTRA_STAR
        offset = words[:, _NAME_AT // 8] & np.uint64(0xFFFFFFFF)
        there = inside & gathered.ok & (offset < self._end - self._begin)
        places = (np.uint64(self._begin) + offset).tolist()
        raw = [
            self._bytes(place) if good else b""
            for place, good in zip(places, there.tolist(), strict=True)
        ]
        # Up to Go 1.16 a length has two bytes, the higher first; no name is empty.
        is_wide = any(len(text) > 1 and text[1] == 0 for text in raw)
        texts = [_text(text, is_wide) for text in raw]
        return [
            text[1:] if star and text.startswith("*") else text
            for text, star in zip(texts, (extra_star != 0).tolist(), strict=True)
        ]

    def _bytes(self, address: int) -> bytes:
        try:
            return self._memory.read(address, min(_MAX_NAME_BYTES, self._end - address))
        except SpyglassError:
            return b""


def _text(raw: bytes, is_wide: bool) -> str:
    """The name in an ``abi.Name``: flags, length, text."""
    if len(raw) < 4:
        return ""
    if is_wide:
        begin, length = 3, raw[1] << 8 | raw[2]
    elif raw[1] < 0x80:
        begin, length = 2, raw[1]
    else:
        begin, length = 3, raw[1] & 0x7F | raw[2] << 7
    text = raw[begin : begin + length]
    if len(text) < min(length, _SHORTEST_NAME):
        return ""
    return text.decode("utf-8", "backslashreplace")
