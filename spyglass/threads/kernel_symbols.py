"""Names for code of the kernel."""

from __future__ import annotations

from bisect import bisect_right

from spyglass.procfs.files import read
from spyglass.threads.native_symbols import plainness

__all__ = ["KERNEL", "KernelSymbols"]

#: Code of the kernel whose name is not known, and what names begin with.
KERNEL = "[kernel]"
_MAX_BYTES = 1 << 26
#: A line is 16 digits, a space, the type of the symbol, a space, and its name; that of a module behind a tab.
_DIGITS, _TYPE, _NAME = slice(16), slice(17, 18), slice(19, None)
_CODE = b"tTwW"
_MAX_ALIASES = 64
#: Behind the last symbol there may be anything.
_MAX_FUNCTION_BYTES = 1 << 20


class KernelSymbols:
    """The kernel's functions as /proc/kallsyms has them; none where kernel.kptr_restrict hides their addresses
    (kernel: ``kallsyms_show_value``). Takes 0.1 s."""

    def __init__(self, path: str = "/proc/kallsyms") -> None:
        try:
            lines = read(path, _MAX_BYTES).splitlines()
        except OSError:
            lines = []
        self._lines = sorted(line for line in lines if not line.startswith(b"0000000000000000"))

    @property
    def known(self) -> bool:
        """Whether there are names."""
        return bool(self._lines)

    def name(self, pc: int) -> str:
        """The function at `pc`, such as ``[kernel]!vfs_read``; ``[kernel]`` if it is not known."""
        end = bisect_right(self._lines, b"%016x\xff" % pc)
        if not end:
            return KERNEL
        start = self._lines[end - 1][_DIGITS]
        aliases = [
            line
            for line in self._lines[max(end - _MAX_ALIASES, 0) : end]
            if line[_DIGITS] == start and line[_TYPE] in _CODE
        ]
        try:
            if not aliases or pc - int(start, 16) >= _MAX_FUNCTION_BYTES:
                return KERNEL
        except ValueError:  # not a line of the kernel's
            return KERNEL
        names = [line[_NAME].partition(b"\t")[0].decode("utf-8", "replace") for line in aliases]
        return f"{KERNEL}!{min(names, key=plainness)}"
