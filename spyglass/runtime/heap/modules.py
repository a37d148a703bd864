"""The modules of a program: its executable, and plugins (``runtime/symtab.go: moduledata``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spyglass.errors import BadDataError, MissingInfo

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.runtime.context import Runtime

__all__ = [
    "are_types",
    "pointers_among_globals",
    "read_modules",
    "variable_addresses",
    "words_of_globals",
]

_MAX_MODULES = 1 << 8
_MAX_BYTES = 1 << 28
_SECTIONS = (("data", "edata"), ("bss", "ebss"))
_MASKS = ("gcdatamask", "gcbssmask")


def read_modules(runtime: Runtime) -> NDArray[Any]:
    """The ``moduledata`` of each module, that of the executable first.

    Raises `MissingInfo` if it is not known where their variables are.
    """
    dtype = runtime.layouts["moduledata"]
    for name in ("next", *(name for section in _SECTIONS for name in section)):
        if name not in (dtype.names or ()):
            raise MissingInfo(f"runtime.moduledata has no {name} in this version")
    found: list[NDArray[Any]] = []
    address = runtime.address("firstmoduledata")
    while address and len(found) < _MAX_MODULES:
        found.append(runtime.memory.array(address, dtype, 1))
        address = int(found[-1][0]["next"])
    return np.concatenate(found)


def words_of_globals(runtime: Runtime, modules: NDArray[Any]) -> NDArray[np.uint64]:
    """All words of the variables that may hold pointers (sections data and bss)."""
    parts, total = [], 0
    for module in modules:
        for begin_name, end_name in _SECTIONS:
            begin, end = int(module[begin_name]) & ~7, int(module[end_name])
            total += end - begin
            if not 0 < begin <= end or total > _MAX_BYTES:
                raise BadDataError(f"implausible variables from {begin:#x} to {end:#x}")
            parts.append(runtime.memory.array(begin, "<u8", (end - begin) // 8))
    return np.concatenate(parts)


def pointers_among_globals(runtime: Runtime, modules: NDArray[Any]) -> NDArray[np.bool_]:
    """Which of `words_of_globals` the collector takes for pointers (``runtime/mgcmark.go: markrootBlock``).

    Raises `MissingInfo` where this version has no masks that are known, `MemoryFault`.
    """
    parts = []
    for module in modules:
        for (begin_name, end_name), name in zip(_SECTIONS, _MASKS, strict=True):
            if name not in (modules.dtype.names or ()):
                raise MissingInfo(f"runtime.moduledata has no {name} in this version")
            words = (int(module[end_name]) - (int(module[begin_name]) & ~7)) // 8
            raw = runtime.memory.read(int(module[name]["bytedata"]), (words + 7) // 8)
            bits = np.unpackbits(np.frombuffer(raw, np.uint8), bitorder="little")
            parts.append(bits[:words].astype(np.bool_))
    return np.concatenate(parts)


def variable_addresses(modules: NDArray[Any], at: NDArray[np.intp]) -> NDArray[np.uint64]:
    """The addresses of the words `at` (ascending indices) of `words_of_globals`."""
    begins = np.array(
        [int(each[name]) & ~7 for each in modules for name, _ in _SECTIONS], np.uint64
    )
    ends = np.array([int(each[name]) for each in modules for _, name in _SECTIONS], np.uint64)
    first = np.cumsum(np.append(0, (ends - begins) // np.uint64(8)).astype(np.int64))
    section = np.searchsorted(first, at, side="right") - 1
    return begins[section] + (at - first[section]).astype(np.uint64) * np.uint64(8)


def are_types(modules: NDArray[Any], words: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which of `words` can be addresses of type descriptors."""
    found = np.zeros(len(words), np.bool_)
    for module in modules:
        found |= (words >= module["types"]) & (words < module["etypes"])
    return found
