"""Program counters of one program, looked up once each: what unwinding and naming need of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from spyglass.binary.inline_trees import InlineTrees
from spyglass.binary.pclntab import (
    SP_WRITE,
    TOP_FRAME,
    CallSite,
    Function,
    FunctionTable,
)
from spyglass.errors import BadDataError, SpyglassError
from spyglass.model import Frame
from spyglass.runtime.stacks.function_names import Printer, hidden, printed

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Entry", "Step", "Symbolizer"]

#: Functions below which there is nothing, in versions whose tables do not say so
#: (``runtime/traceback.go: topofstack`` up to Go 1.16).
_BOTTOMS = frozenset(
    f"runtime.{name}"
    for name in ("goexit", "mstart", "mcall", "morestack", "rt0_go", "externalthreadhandler")
)


class Entry:
    """How a function was entered, as far as it matters for the one below it: bits of a number.

    Plain numbers, because they are parts of keys that are looked up for every frame.
    """

    CALL = 0
    #: By a fault or a signal: what was interrupted is at its very pc, which is no return address.
    TRAP = 1
    #: It panics: wrappers below it are shown (``elideWrapperCalling``).
    PANIC = 2
    #: A signal handler made what it interrupted call it.
    INJECTED_CALL = 4
    BITS = 3


_ENTRIES = {
    "runtime.sigpanic": Entry.TRAP | Entry.PANIC | Entry.INJECTED_CALL,
    "runtime.gopanic": Entry.PANIC,
    "runtime.panicwrap": Entry.PANIC,
    "runtime.asyncPreempt": Entry.INJECTED_CALL,
    "runtime.debugCallV2": Entry.INJECTED_CALL,
}
#: Those of the faked calls whose caller was named as any caller up to Go 1.20 (``gentraceback:
#: waspanic``; since then ``unwinder.next: isInjectedCall``).
_INJECTED = ("runtime.asyncPreempt", "runtime.debugCallV2")


class Step(NamedTuple):
    """How to get from a pc to its caller, and what the pc is.

    `frame_size`: bytes from sp to the return address, whole words, or a negative number if it is not
    known.
    `end`: the stack ends here, or Go's traceback does. `outside`: one of the calls at this pc is not
    the runtime's. `entry`: how this function was entered.
    """

    frame_size: int
    end: bool
    outside: bool
    entry: int


_WORD_BYTES = 8
_UNKNOWN = Step(-1, False, False, Entry.CALL)


class Symbolizer:
    """The code of one module: steps and frames of program counters, remembered.

    Frames are numbered in the order they are first seen; `frames` has them all. Where a pc is asked
    for, so is how the function that it called was entered.
    """

    def __init__(
        self, functions: FunctionTable, trees: InlineTrees, print_name: Printer = printed
    ) -> None:
        self.functions = functions
        self.frames: list[Frame] = []
        self._trees = trees
        self._printed = print_name
        self._steps: dict[int, Step] = {}
        self._calls: dict[int, tuple[int, ...]] = {}
        self._numbers: dict[Frame, int] = {}
        self._outside: dict[int, bool] = {}
        self._runtime_files = _runtime_files(self._file_of)
        self._entries = dict(_ENTRIES)
        if functions.named("runtime.(*unwinder).next") is not None:
            self._entries.update(dict.fromkeys(_INJECTED, Entry.TRAP | Entry.INJECTED_CALL))

    @property
    def known(self) -> int:
        """How many program counters, or frames if those are more, are remembered."""
        return max(len(self._steps), len(self._calls), len(self.frames))

    def step(self, pc: int, called: int) -> Step:
        """The step at `pc`."""
        key = pc << Entry.BITS | called
        known = self._steps.get(key)
        if known is None:
            known = self._steps[key] = self._find_step(pc, called)
        return known

    def _find_step(self, pc: int, called: int) -> Step:
        try:
            function = self.functions.at(pc)
            if function is None:
                return _UNKNOWN
            size = self.functions.frame_size(function, pc)
            calls = self.calls(pc, called)
        except SpyglassError:
            return _UNKNOWN
        outside = any(self._outside[call] for call in calls)
        entry = self._entries.get(function.name, Entry.CALL)
        if size is None or size % _WORD_BYTES:
            size = -1
        return Step(size, _ends(function), outside, entry)

    def calls(self, pc: int, called: int = Entry.CALL) -> tuple[int, ...]:
        """The frame numbers of the calls at `pc`, innermost first; empty if it is in no function.

        A return address is the instruction behind the call: the call's own line is found at pc - 1,
        unless the function has just begun (``runtime/traceback.go: unwinder.symPC``).
        """
        key = pc << Entry.BITS | called
        known = self._calls.get(key)
        if known is None:
            known = self._calls[key] = self._find_calls(pc, called)
        return known

    def _find_calls(self, pc: int, called: int) -> tuple[int, ...]:
        function = self.functions.at(pc)
        if function is None:
            return ()
        inside = self._inside(function, pc, called)
        numbers = []
        for call in self.functions.locations(function, inside, self._trees):
            # Up to Go 1.17 an inlined call was shown or hidden as the function that it was inlined
            # in: gentraceback gave that one to showframe.
            name = call.function if self.functions.relative else function.name
            elided = call.wrapper and not called & Entry.PANIC
            numbers.append(self._number(call, function, pc, elided or hidden(name)))
            called = self._entries.get(call.function, Entry.CALL)
        return tuple(numbers)

    def first_outside(self, pc: int, called: int) -> int:
        """The frame number of the innermost call at `pc` that is not the runtime's, or -1."""
        return next((call for call in self.calls(pc, called) if self._outside[call]), -1)

    def place(self, pc: int) -> int:
        """The frame number of function, file and line at `pc`, as Go names creators: the function
        itself even if the line is that of a call inlined in it. -1 if there is no such function."""
        try:
            function = self.functions.at(pc) if pc else None
            if function is None:
                return -1
            inside = self._inside(function, pc, Entry.CALL)
            innermost = self.functions.locations(function, inside, self._trees)[0]
        except SpyglassError:
            return -1
        place = innermost._replace(function=function.name, inlined=False, wrapper=False)
        return self._number(place, function, pc, hidden(function.name))

    def foreign(self, name: str, pc: int) -> int:
        """The frame number of code at `pc` that is not Go's, but was found to be `name`."""
        return self._numbered(Frame(name, None, None, pc))

    def _inside(self, function: Function, pc: int, called: int) -> int:
        return pc if called & Entry.TRAP or pc <= function.entry else pc - 1

    def _number(self, location: CallSite, function: Function, pc: int, is_hidden: bool) -> int:
        name, file, line, inlined, _ = location
        name = self._printed(name)
        offset = pc - function.entry if not inlined and pc > function.entry else None
        frame = Frame(
            name, file if file != "?" else None, line or None, pc, inlined, is_hidden, offset
        )
        number = self._numbered(frame)
        if number not in self._outside:
            self._outside[number] = not self._is_runtime(location)
        return number

    def _numbered(self, frame: Frame) -> int:
        number = self._numbers.get(frame)
        if number is None:
            number = self._numbers[frame] = len(self.frames)
            self.frames.append(frame)
        return number

    def _is_runtime(self, location: CallSite) -> bool:
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


def _ends(function: Function) -> bool:
    """Whether Go's traceback ends at `function`: nothing is below it, or what is cannot be found.

    ``runtime/traceback.go: unwinder.resolveInternal``; cgocallback moves sp, but so that both of its
    stacks can be walked through it.
    """
    if function.name in _BOTTOMS or function.flags & TOP_FRAME:
        return True
    return bool(function.flags & SP_WRITE) and function.name != "runtime.cgocallback"
