"""What is said of locks by the code of functions: of calls that take or release them, and at calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol

from spyglass.binary.flow_state import Value
from spyglass.binary.instructions import Instruction, Processor

__all__ = [
    "DONE",
    "LOCK",
    "LOCKER",
    "READ",
    "UNLOCK",
    "WRITE",
    "CallFacts",
    "Callees",
    "Code",
    "Effect",
    "FlowResult",
    "LockFact",
    "Net",
    "Place",
]

#: Modes, as `spyglass.wait_graph.MODES`; and that of a ``sync.Locker``, whose methods tell which one it is.
WRITE, READ, DONE = 0, 1, 2
LOCKER = 3
#: Where the methods of a ``sync.Locker`` are in the table of an interface (``internal/abi.ITab``): sorted by
#: their names.
LOCK, UNLOCK = 24, 32


class Effect(NamedTuple):
    """What a call does to the lock at (argument number `argument`) + `offset`.

    `taken`: takes it, or releases it. `tells`: its first result says whether it did. `number`: only if
    argument 1 is this number, where it is not None. `argument` negative: of a lock that is not known, which is
    at `offset` of something. `waits_inside`: the lock was counted as taken before this call, which waits for
    it. `direct`: the function does nothing else.
    """

    argument: int
    offset: int
    mode: int
    taken: bool
    tells: bool = False
    number: int | None = None
    waits_inside: bool = False
    direct: bool = True


class Place(NamedTuple):
    """How an address is computed: v = root + steps[0]; then for each further step v = memory at v + step.

    `root`: "frame": the address of the return address of the frame; "context": the closure that was
    called; "argument": where its arguments would begin in memory; "number": 0; "waited": the address of the lock
    that the call waits for; "callee": v = argument number steps[0] of the call, where the called function has
    it in its frame, + steps[1].
    """

    root: str
    steps: tuple[int, ...]


class LockFact(NamedTuple):
    """A lock at one point: where its address is found, its mode, and what became of it (bits). `table`: of a
    Locker where the table of its methods is found."""

    place: Place
    mode: int
    mask: int
    table: Place | None = None


class Net(NamedTuple):
    """What became of a lock from the entry of a function to its returns. `table`: as in `LockFact`."""

    address: Value
    mode: int
    mask: int
    table: Value | None = None


class CallFacts(NamedTuple):
    """At a call: the locks taken or released before it (`locks`), and those that are released after it but
    were not taken (`ahead`). `lost`: whether there are held ones whose address the frame does not tell.
    `arguments`: where arguments of the function itself are found, by their numbers."""

    locks: list[LockFact]
    ahead: list[LockFact]
    lost: bool
    arguments: dict[int, Place]


class FlowResult(NamedTuple):
    """`calls`: by return address. `net`: what became of locks at all returns together. `returned`: the number of
    the argument that the function returns as its first result, None if it is none. `complete`: all of it
    was followed; else nothing is known. `steps`: instructions that were followed, each as often as it was.
    `given`: the numbers that it stores, and passes to what it calls: of functions among them it may make closures."""

    calls: Mapping[int, CallFacts] = MappingProxyType({})
    net: Sequence[Net] = ()
    returned: int | None = None
    complete: bool = False
    steps: int = 0
    given: frozenset[int] = frozenset()


class Callees(Protocol):
    """What is known of the function that begins at `entry`."""

    def effects(self, entry: int) -> list[Effect] | None:
        """Its effects on locks, None if it has none, or they are not known."""

    def returned(self, entry: int) -> int | None:
        """`FlowResult.returned`."""

    def ends(self, entry: int) -> bool:
        """Whether it never returns."""

    def keeps(self, entry: int) -> tuple[str, ...] | None:
        """The registers that it changes; None: those that Go's convention allows."""

    def area(self, entry: int) -> int:
        """Bytes of its arguments on the stack."""


class Code(NamedTuple):
    """A function's code, which begins at `entry`, and what is known of others. `in_registers`: Go's calls pass
    arguments in registers."""

    instructions: list[Instruction]
    processor: Processor
    in_registers: bool
    entry: int
    callees: Callees
