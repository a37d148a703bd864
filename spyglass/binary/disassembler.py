"""Machine code as text, by capstone's library.

The library is called by ctypes, without importing capstone's package: that takes 22 ms, a tenth of a whole
`spyglass summary`, for tables of sixteen processors. The interface of its C functions is that of ``capstone.h``
of version 5; of any other version the package itself is used.
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

__all__ = ["Decoded", "disassemble"]

#: Address, size in bytes, mnemonic, operands.
Decoded = Iterator[tuple[int, int, str, str]]

_MAJOR = 5
#: ``cs_arch`` and ``cs_mode``.
_KINDS = {"amd64": (3, 1 << 3), "arm64": (1, 0)}
#: ``CS_OPT_SKIPDATA``, ``CS_OPT_ON``: go on behind bytes that are no instruction, shown as ``.byte``.
_SKIP_DATA, _ON = 5, 3


class _Instruction(ctypes.Structure):
    """``cs_insn``."""

    _fields_ = (
        ("id", ctypes.c_uint),
        ("address", ctypes.c_uint64),
        ("size", ctypes.c_uint16),
        ("bytes", ctypes.c_uint8 * 24),
        ("mnemonic", ctypes.c_char * 32),
        ("op_str", ctypes.c_char * 160),
        ("detail", ctypes.c_void_p),
    )


def disassemble(code: bytes, address: int, arch: str) -> Decoded:
    """The instructions `code` at `address` of processor `arch` ("amd64" or "arm64"), in Intel's syntax; bytes
    that are no instruction are ``.byte``. Stops early if the memory for them is not there."""
    return _decoder(arch)(code, address)


@cache
def _decoder(arch: str) -> Callable[[bytes, int], Decoded]:
    library = _library()
    return _by_package(arch) if library is None else _by_library(library, arch)


def _library() -> ctypes.CDLL | None:
    """The library that capstone's package brings along; None if it has another one, or another version."""
    package = importlib.util.find_spec("capstone")
    if package is None or package.origin is None:
        return None
    try:
        library = ctypes.CDLL(str(Path(package.origin).parent / "lib" / "libcapstone.so"))
    except OSError:
        return None
    return library if library.cs_version(None, None) >> 8 == _MAJOR else None


def _by_library(library: ctypes.CDLL, arch: str) -> Callable[[bytes, int], Decoded]:
    handle, pointer = ctypes.c_size_t(), ctypes.POINTER(_Instruction)
    library.cs_disasm.restype = ctypes.c_size_t
    library.cs_disasm.argtypes = (
        ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64, ctypes.c_size_t, ctypes.POINTER(pointer),
    )  # fmt: skip
    library.cs_free.argtypes = (pointer, ctypes.c_size_t)
    library.cs_option.argtypes = (ctypes.c_size_t, ctypes.c_int, ctypes.c_size_t)
    if library.cs_open(*_KINDS[arch], ctypes.byref(handle)):
        return _by_package(arch)
    library.cs_option(handle, _SKIP_DATA, _ON)

    def decode(code: bytes, address: int) -> Decoded:
        found = pointer()
        count = library.cs_disasm(handle, code, len(code), address, 0, ctypes.byref(found))
        try:
            for row in range(count):
                each = found[row]
                yield each.address, each.size, each.mnemonic.decode(), each.op_str.decode()
        finally:
            if count:
                library.cs_free(found, count)

    return decode


def _by_package(arch: str) -> Callable[[bytes, int], Decoded]:
    import capstone

    decoder = capstone.Cs(*_KINDS[arch])
    decoder.skipdata = True
    decode: Callable[[bytes, int], Decoded] = decoder.disasm_lite
    return decode
