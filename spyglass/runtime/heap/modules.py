"""The modules of a program: its executable, and plugins (``runtime/symtab.go: moduledata``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spyglass.errors import BadDataError, MissingInfo

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.runtime.context import Runtime

__all__ = ["are_types", "read_modules", "words_of_globals"]

_MAX_MODULES = 1 << 8
_MAX_BYTES = 1 << 28
_SECTIONS = (("data", "edata"), ("bss", "ebss"))


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


def are_types(modules: NDArray[Any], words: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which of `words` can be addresses of type descriptors."""
    found = np.zeros(len(words), np.bool_)
    for module in modules:
        found |= (words >= module["types"]) & (words < module["etypes"])
    return found
