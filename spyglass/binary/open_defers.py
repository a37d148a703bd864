"""Open-coded defers: where a frame says which of its deferred calls are pending, and what they call.

The compiler keeps a byte of bits in the frame, one for each defer statement that was executed, and the
function and arguments of each in slots; funcdata ``FUNCDATA_OpenCodedDeferInfo`` tells where. Sources:
cmd/compile/internal/ssagen/ssa.go (up to Go 1.16 gc/ssa.go) ``emitOpenDeferInfo``; runtime/panic.go
``runOpenDeferFrame``, since Go 1.22 ``initOpenCodedDefers``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from spyglass.errors import BadDataError, SpyglassError

if TYPE_CHECKING:
    from spyglass.binary.inline_trees import InlineTrees
    from spyglass.binary.pclntab import Function, FunctionTable

__all__ = ["DeferForm", "OpenDefer", "open_defers"]

#: The compiler makes no more in one function (``maxOpenDefers``).
_MOST = 8
_MAX_ARGUMENTS = 1 << 8
_MAX_OFFSET = 1 << 31
_MAX_BYTES = 1 << 12
#: The index of the funcdata by that of the inlining trees (4 in Go 1.14 and 1.15, 3 since 1.16).
_FUNCDATA = {4: 5, 3: 4}


class DeferForm(NamedTuple):
    """How the version encodes it. `arguments`: of deferred calls, too (up to Go 1.17); `slots`: the
    closures are in consecutive slots (since Go 1.22)."""

    arguments: bool
    slots: bool


class OpenDefer(NamedTuple):
    """A deferred call: pending if bit `bit` is set of the byte at `bits`; `closure`: where the pointer to the
    function is. Both are counted in bytes from the address where the frame's local variables end
    (``stkframe.varp``). `arguments`: (where it is in the arguments of the call, bytes, where it is in the
    frame) of each."""

    bits: int
    bit: int
    closure: int
    arguments: tuple[tuple[int, int, int], ...] = ()


def open_defers(
    functions: FunctionTable, trees: InlineTrees, function: Function, form: DeferForm
) -> tuple[OpenDefer, ...]:
    """The open-coded defers of `function`; none if it has none, or they cannot be read."""
    try:
        index = _FUNCDATA.get(trees.indices(functions).funcdata)
        address = trees.funcdata(functions, function, index) if index is not None else None
        if address is None:
            return ()
        return tuple(_decode(_Numbers(trees, address), form))
    except SpyglassError:
        return ()


def _decode(numbers: _Numbers, form: DeferForm) -> list[OpenDefer]:
    if form.arguments:
        numbers.next()  # the size of the largest arguments
    bits = -numbers.next()
    if form.slots:
        first = -numbers.next()
        return [OpenDefer(bits, bit, first + 8 * bit) for bit in range(_MOST)]
    count = numbers.next()
    if count > _MOST:
        raise BadDataError(f"implausible number of open-coded defers, {count}")
    found = []
    for bit in reversed(range(count)):
        if not form.arguments:
            found.append(OpenDefer(bits, bit, -numbers.next()))
            continue
        numbers.next()  # the size of its arguments
        closure, arguments = -numbers.next(), []
        for _ in range(min(numbers.next(), _MAX_ARGUMENTS)):
            offset, size, where = -numbers.next(), numbers.next(), numbers.next()
            arguments.append((where, size, offset))
        found.append(OpenDefer(bits, bit, closure, tuple(arguments)))
    return found


class _Numbers:
    """Unsigned varints at an address (``runtime/panic.go: readvarintUnsafe``)."""

    def __init__(self, trees: InlineTrees, address: int) -> None:
        self._trees = trees
        self._address = address
        self._raw = b""
        self._at = 0

    def next(self) -> int:
        """The next number."""
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
        if value >= _MAX_OFFSET:
            raise BadDataError(f"implausible offset of a deferred call, {value}")
        return value

    def _byte(self) -> int:
        if self._at >= _MAX_BYTES:
            raise BadDataError("implausible length of a list of deferred calls")
        if self._at >= len(self._raw):
            # A little at a time: what follows may be the end of a segment.
            self._raw += self._trees.read(self._address + len(self._raw), 4)
        self._at += 1
        return self._raw[self._at - 1]
