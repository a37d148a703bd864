"""Program counters of one program, looked up once each: what unwinding and naming need of them."""

from __future__ import annotations

from typing import NamedTuple

from spyglass.binary.buildinfo import BuildInfo
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
from spyglass.runtime.stacks.standard_library import StandardLibrary

__all__ = ["FURTHER_IN", "Entry", "Step", "Symbolizer", "Where"]

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
#: How the names of functions of packages below the runtime's begin.
_BELOW_RUNTIME = ("internal/runtime/", "runtime/internal/")
#: Those of the faked calls whose caller was named as any caller up to Go 1.20 (``gentraceback:
#: waspanic``; since then ``unwinder.next: isInjectedCall``).
_INJECTED = ("runtime.asyncPreempt", "runtime.debugCallV2")


class Step(NamedTuple):
    """How to get from a pc to its caller, and what the pc is.

    `frame_size`: bytes from sp to the return address, whole words, or a negative number if it is not
    known.
    `end`: the stack ends here, or Go's traceback does. `calls`: the frame numbers of the calls at this
    pc, innermost first. `entry`: how this function was entered.
    """

    frame_size: int
    end: bool
    calls: tuple[int, ...]
    entry: int


_WORD_BYTES = 8
_UNKNOWN = Step(-1, False, (), Entry.CALL)


#: In a `Where`: the frame that was called is further in than the frames that were examined.
FURTHER_IN = -2


class Where(NamedTuple):
    """Where a stack waits (`Goroutines.where` and `call`), as far as some frames in a row tell.

    `frame`: the number of the innermost frame that is the user's; if none is, of the outermost of the
    standard library's. `call`: that of what it called. `outermost`: that of the last frame, wrappers
    left out. -1 if there is none, or if Go's traceback leaves it out. `is_users`: `frame` is the
    user's, and no frame further out changes it.
    """

    frame: int = -1
    call: int = -1
    outermost: int = -1
    is_users: bool = False

    def with_callers(self, callers: Where) -> Where:
        """The same of these frames and of their `callers`."""
        outermost = callers.outermost if callers.outermost != FURTHER_IN else self.outermost
        if self.is_users or callers.frame < 0:
            return self._replace(outermost=outermost)
        call = callers.call if callers.call != FURTHER_IN else self.outermost
        return Where(callers.frame, call, outermost, callers.is_users)


#: Whose code a function is: the runtime's; the compiler made it; the standard library's; the user's.
_RUNTIME, _GENERATED, _STANDARD, _USERS = range(4)


class Symbolizer:
    """The code of one module: steps and frames of program counters, remembered.

    Frames are numbered in the order they are first seen; `frames` has them all. Where a pc is asked
    for, so is how the function that it called was entered. `functions` and `trees`: the function table,
    and the inlining trees and other funcdata, of the module.
    """

    def __init__(
        self,
        functions: FunctionTable,
        trees: InlineTrees,
        print_name: Printer = printed,
        build_info: BuildInfo | None = None,
    ) -> None:
        self.functions = functions
        self.frames: list[Frame] = []
        self.trees = trees
        self._printed = print_name
        self._steps: dict[int, Step] = {}
        self._calls: dict[int, tuple[int, ...]] = {}
        self._numbers: dict[Frame, int] = {}
        self._origins: dict[int, int] = {}
        self._runtime_folder = self._folder_of("runtime.gopark", "runtime.mallocgc")
        folders = self._runtime_folder, self._folder_of("runtime.goexit")
        build = build_info or BuildInfo()
        self._standard = StandardLibrary.of(folders, build.modules, build.path)
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
        entry = self._entries.get(function.name, Entry.CALL)
        if size is None or size % _WORD_BYTES:
            size = -1
        return Step(size, _ends(function), calls, entry)

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
        for call in self.functions.locations(function, inside, self.trees):
            # Up to Go 1.17 an inlined call was shown or hidden as the function that it was inlined
            # in: gentraceback gave that one to showframe.
            name = call.function if self.functions.relative else function.name
            elided = call.wrapper and not called & Entry.PANIC
            numbers.append(self._number(call, function, pc, elided or hidden(name)))
            called = self._entries.get(call.function, Entry.CALL)
        return tuple(numbers)

    def where(self, calls: tuple[int, ...]) -> Where:
        """Where a stack waits with `calls` in a row, innermost first; `FURTHER_IN` stands for the
        frame that the innermost of them called."""
        found, outermost = Where(outermost=FURTHER_IN), FURTHER_IN
        for number in calls:
            origin = self._origins[number]
            if origin == _GENERATED:
                continue
            if origin != _RUNTIME and not found.is_users:
                found = Where(number, outermost, is_users=origin == _USERS)
            # Go's traceback does not show what a channel operation calls either.
            outermost = -1 if self.frames[number].hidden else number
        return found._replace(outermost=outermost)

    def place(self, pc: int) -> int:
        """The frame number of function, file and line at `pc`, as Go names creators: the function
        itself even if the line is that of a call inlined in it. -1 if there is no such function."""
        try:
            function = self.functions.at(pc) if pc else None
            if function is None:
                return -1
            inside = self._inside(function, pc, Entry.CALL)
            innermost = self.functions.locations(function, inside, self.trees)[0]
        except SpyglassError:
            return -1
        place = innermost._replace(function=function.name, inlined=False, wrapper=False)
        return self._number(place, function, pc, hidden(function.name))

    def function_at(self, pc: int) -> str:
        """The name of the function whose code is at `pc`, an inlined one's too (``runtime/symtab.go: FuncForPC``);
        "" if there is none."""
        try:
            function = self.functions.at(pc)
            found = self.functions.locations(function, pc, self.trees) if function else ()
        except SpyglassError:
            return ""
        return found[0].function if found else ""

    def is_generated(self, number: int) -> bool:
        """Whether frame `number` is of a function that the compiler made: a wrapper."""
        return self._origins.get(number) == _GENERATED

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
        if number not in self._origins:
            self._origins[number] = self._origin(location)
        return number

    def _numbered(self, frame: Frame) -> int:
        number = self._numbers.get(frame)
        if number is None:
            number = self._numbers[frame] = len(self.frames)
            self.frames.append(frame)
        return number

    def _origin(self, location: CallSite) -> int:
        """Whose code this is. The runtime's may be under another package's name (``time.Sleep``,
        ``sync.runtime_Semacquire``)."""
        name, file = location.function, location.file
        if location.wrapper or file == "<autogenerated>":
            return _GENERATED
        folder = file.rpartition("/")[0]
        if _is_runtimes(name) or folder == self._runtime_folder != "":
            return _RUNTIME
        return _STANDARD if self._standard.has(name, file) else _USERS

    def _folder_of(self, *names: str) -> str:
        """The folder of the file that the first of the functions `names` is in; empty if not known."""
        for name in names:
            try:
                function = self.functions.named(name)
                if function is not None:
                    sites = self.functions.locations(function, function.entry, self.trees)
                    return sites[-1].file.rpartition("/")[0]
            except BadDataError:
                continue
        return ""


def _is_runtimes(name: str) -> bool:
    """Whether a function called `name` is the runtime's. A module may be called ``runtime.example/x``."""
    package = name.partition("[")[0]
    is_own = package.startswith("runtime.") and "/" not in package
    return is_own or name.startswith(_BELOW_RUNTIME)


def _ends(function: Function) -> bool:
    """Whether Go's traceback ends at `function`: nothing is below it, or what is cannot be found.

    ``runtime/traceback.go: unwinder.resolveInternal``; cgocallback moves sp, but so that both of its
    stacks can be walked through it.
    """
    if function.name in _BOTTOMS or function.flags & TOP_FRAME:
        return True
    return bool(function.flags & SP_WRITE) and function.name != "runtime.cgocallback"
