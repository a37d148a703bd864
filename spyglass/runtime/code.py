"""Program counters of one program, looked up once each: what unwinding and naming need of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from spyglass.binary.pclntab import Function, FunctionTable, Location, Trees
from spyglass.errors import BadDataError, SpyglassError
from spyglass.model import Frame

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Code", "Step"]

#: Functions below which there is nothing: the first of a goroutine's or a thread's stack
#: (``runtime/traceback.go``: those with ``FuncFlagTopFrame``, before Go 1.17 ``topofstack``).
_BOTTOMS = frozenset(
    f"runtime.{name}"
    for name in (
        "goexit", "mstart", "mstart0", "mcall", "morestack", "rt0_go", "externalthreadhandler",
    )
)  # fmt: skip
#: A function called from an instruction that is no call: what it interrupted is at its very pc
#: (``runtime/traceback.go``: ``unwindTrap``).
_TRAPS = frozenset({"runtime.sigpanic", "runtime.asyncPreempt"})


class Step(NamedTuple):
    """How to get from a pc to its caller, and what the pc is.

    `frame_size`: bytes from sp to the return address, or a negative number if it is not known.
    `outside`: one of the calls at this pc is not the runtime's. `trap`: its caller did not call it.
    """

    frame_size: int
    bottom: bool
    outside: bool
    trap: bool


_UNKNOWN = Step(-1, False, False, False)


class Code:
    """The code of one module: steps and frames of program counters, remembered.

    Frames are numbered in the order they are first seen; `frames` has them all.
    """

    def __init__(self, functions: FunctionTable, trees: Trees) -> None:
        self.functions = functions
        self.frames: list[Frame] = []
        self._trees = trees
        self._steps: dict[tuple[int, bool], Step] = {}
        self._calls: dict[tuple[int, bool], tuple[int, ...]] = {}
        self._numbers: dict[Frame, int] = {}
        self._outside: dict[int, bool] = {}
        self._runtime_files = _runtime_files(self._file_of)

    def step(self, pc: int, trap: bool) -> Step:
        """The step at `pc`; `trap` if the frame inside it was entered by a fault or a signal."""
        known = self._steps.get((pc, trap))
        if known is None:
            known = self._steps[pc, trap] = self._find_step(pc, trap)
        return known

    def _find_step(self, pc: int, trap: bool) -> Step:
        try:
            function = self.functions.at(pc)
            if function is None:
                return _UNKNOWN
            size = self.functions.frame_size(function, pc)
            calls = self.calls(pc, trap)
        except SpyglassError:
            return _UNKNOWN
        outside = any(self._outside[call] for call in calls)
        bottom = function.name in _BOTTOMS
        return Step(-1 if size is None else size, bottom, outside, function.name in _TRAPS)

    def calls(self, pc: int, trap: bool = False) -> tuple[int, ...]:
        """The frame numbers of the calls at `pc`, innermost first; empty if it is in no function.

        A return address is the instruction behind the call: the call's own line is found at pc - 1,
        unless the function has just begun (``runtime/traceback.go: unwinder.symPC``).
        """
        known = self._calls.get((pc, trap))
        if known is None:
            known = self._calls[pc, trap] = self._find_calls(pc, trap)
        return known

    def _find_calls(self, pc: int, trap: bool) -> tuple[int, ...]:
        function = self.functions.at(pc)
        if function is None:
            return ()
        locations = self.functions.locations(
            function, self._inside(function, pc, trap), self._trees
        )
        # Up to Go 1.17 an inlined call was shown or hidden as the function that it was inlined in:
        # gentraceback gave that one to showframe.
        own_name = self.functions.relative
        return tuple(
            self._number(call, pc, call.function if own_name else function.name)
            for call in locations
        )

    def first_outside(self, pc: int, trap: bool) -> int:
        """The frame number of the innermost call at `pc` that is not the runtime's, or -1."""
        return next((call for call in self.calls(pc, trap) if self._outside[call]), -1)

    def place(self, pc: int) -> int:
        """The frame number of function, file and line at `pc`, as Go names creators: the function
        itself even if the line is that of a call inlined in it. -1 if there is no such function."""
        try:
            function = self.functions.at(pc) if pc else None
            if function is None:
                return -1
            inside = self._inside(function, pc, trap=False)
            innermost = self.functions.locations(function, inside, self._trees)[0]
        except SpyglassError:
            return -1
        place = innermost._replace(function=function.name, inlined=False, wrapper=False)
        return self._number(place, pc, function.name)

    def _inside(self, function: Function, pc: int, trap: bool) -> int:
        return pc if trap or pc <= function.entry else pc - 1

    def _number(self, location: Location, pc: int, judged: str) -> int:
        """The number of the frame at `location`, which is shown or hidden as function `judged` is."""
        name, file, line, inlined, wrapper = location
        frame = Frame(
            name,
            file if file != "?" else None,
            line or None,
            pc,
            inlined,
            wrapper or hidden(judged),
        )
        number = self._numbers.get(frame)
        if number is None:
            number = self._numbers[frame] = len(self.frames)
            self.frames.append(frame)
            self._outside[number] = not self._is_runtime(location)
        return number

    def _is_runtime(self, location: Location) -> bool:
        """Whether this is the runtime's own code, be it under another package's name
        (``time.Sleep``, ``sync.runtime_Semacquire``), or a wrapper that the compiler made."""
        directory = location.file.rpartition("/")[0]
        return (
            location.function.startswith("runtime.")
            or location.wrapper
            or directory == self._runtime_files
            or location.function.startswith(("internal/runtime/", "runtime/internal/"))
        )

    def _file_of(self, name: str) -> str:
        function = self.functions.named(name)
        if function is None:
            return ""
        return self.functions.locations(function, function.entry, self._trees)[-1].file


def _runtime_files(file_of: Callable[[str], str]) -> str:
    """The directory of the runtime's sources as this program records it."""
    for name in ("runtime.gopark", "runtime.mallocgc"):
        try:
            directory = file_of(name).rpartition("/")[0]
        except BadDataError:
            continue
        if directory:
            return directory
    return "\0"


def hidden(function: str) -> bool:
    """Whether Go's traceback leaves `function` out by default (``runtime/traceback.go: showframe``)."""
    if "." not in function:
        return True
    if function == "runtime.gopanic":
        return False  # it parts the code that panics from the deferred calls that it runs
    return function.startswith("runtime.") and not _exported(function[len("runtime.") :])


def _exported(name: str) -> bool:
    """As ``isExportedRuntime``: an exported function, or such a method of an exported type."""
    receiver, _, method = name.rpartition(".")
    if receiver.startswith("(*") and receiver.endswith(")"):
        receiver = receiver[2:-1]
    return method[:1].isupper() and (not receiver or receiver[:1].isupper())
