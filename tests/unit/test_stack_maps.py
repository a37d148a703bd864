"""Pointer maps of frames: of real programs, compared with what the compiler says is live, and made to harm."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import capstone
import pytest

from fixtures.build import go_environment
from spyglass.binary.executable import Executable
from spyglass.binary.inline_trees import InlineTrees
from spyglass.binary.pclntab import Function
from spyglass.binary.stack_maps import FrameMap, StackMaps
from spyglass.errors import BadDataError
from tests.support import MATRIX, Flavour, toolchain
from tests.unit.test_pclntab import RealTable, built, finished

#: Every variable is a pointer, so that each live one is one word.
PROGRAM = """
package main

//go:noinline
func use(p *int) {}

//go:noinline
func point() {}

//go:noinline
func make3() (a, b, c *int) { return new(int), new(int), new(int) }

//go:noinline
func fill(p *[3]*int) { p[1] = new(int) }

//go:noinline
func one(a *int) {
	point()
	use(a)
}

//go:noinline
func two(a, b *int) {
	point()
	use(a)
	point()
	use(b)
	point()
}

//go:noinline
func locals() {
	a, b, c := make3()
	point()
	use(b)
	point()
	use(a)
	use(c)
}

//go:noinline
func object() {
	var x [3]*int
	fill(&x)
	point()
	use(x[1])
}

func main() {
	one(new(int))
	two(new(int), new(int))
	locals()
	object()
}
"""
#: What is called where nothing stops, so that there is no map (up to Go 1.14).
NOT_STOPPED = (
    "runtime.gcWriteBarrier", "runtime.panicIndex", "runtime.panicSlice", "runtime.typedmemmove",
    "runtime.duffcopy",
)  # fmt: skip
_LIVE = re.compile(r"live\.go:(\d+):\d+: live at call to (\w+): (.+)")


@pytest.fixture(params=["amd64", "arm64"])
def compiled(minor: str, request: pytest.FixtureRequest, tmp_path: Path) -> Compiled:
    return Compiled(minor, request.param, tmp_path)


class Compiled:
    """`PROGRAM`, and what the compiler said is live at its calls: names by line and called function."""

    def __init__(self, minor: str, arch: str, folder: Path) -> None:
        source = folder / "live.go"
        source.write_text(PROGRAM)
        done = subprocess.run(
            [toolchain(minor), "build", "-gcflags=-live", "-o", folder / "live", source],
            capture_output=True, text=True, check=True, env=go_environment(arch=arch),
        )  # fmt: skip
        self.said = {
            (int(line), called): names.split() for line, called, names in _LIVE.findall(done.stderr)
        }
        self.real = RealTable(folder / "live")


def maps_of(real: RealTable) -> StackMaps:
    return StackMaps(real.table, real.trees, real.executable.arch == "arm64")


def calls_in(executable: Executable, function: Function) -> Iterator[tuple[int, int]]:
    """The return addresses of the calls in `function`, and what they call (0: not known)."""
    x86 = executable.arch == "amd64"
    decoder = capstone.Cs(
        capstone.CS_ARCH_X86 if x86 else capstone.CS_ARCH_ARM64,
        capstone.CS_MODE_64 if x86 else capstone.CS_MODE_ARM,
    )
    code = executable.read(function.entry, function.end - function.entry)
    for at, size, mnemonic, operands in decoder.disasm_lite(code, function.entry):
        if mnemonic in ("call", "bl", "blr") and at + size < function.end:
            target = operands.lstrip("#")
            yield at + size, int(target, 16) if target.startswith("0x") else 0


def test_live_words_are_those_that_the_compiler_says(compiled: Compiled) -> None:
    real, compared = compiled.real, 0
    maps = maps_of(real)
    for name in ("main.one", "main.two", "main.locals", "main.object"):
        function = real.table.named(name)
        assert function is not None
        for pc, target in calls_in(real.executable, function):
            called = real.table.at(target)
            if called is None or not called.name.startswith("main."):
                continue
            line = real.table.locations(function, pc - 1, real.trees)[0].line
            names = compiled.said.get((line, called.name.removeprefix("main.")), [])
            frame = maps.at(function, pc)
            assert frame is not None
            # Of "x", an array of three on the stack, the compiler says "x" where its words are live.
            words = sum(3 if each == "x" else 1 for each in names)
            assert len(frame.live) == words, (name, line, called.name, names)
            compared += 1
    assert compared >= 12


def test_a_variable_whose_address_is_taken_is_an_object(compiled: Compiled) -> None:
    function = compiled.real.table.named("main.object")
    assert function is not None
    pc = next(calls_in(compiled.real.executable, function))[0]
    frame = maps_of(compiled.real).at(function, pc)
    assert frame is not None
    assert [each.words for each in frame.objects] == [3]
    one = compiled.real.table.named("main.one")
    assert one is not None
    without = maps_of(compiled.real).at(one, next(calls_in(compiled.real.executable, one))[0])
    assert without is not None
    assert without.objects == ()


def assert_maps_lie_within_their_frames(real: RealTable) -> None:
    maps, seen, unknown = maps_of(real), 0, set()
    for index in range(0, len(real.table), max(len(real.table) // 300, 1)):
        function = real.table.function(index)
        for pc, target in calls_in(real.executable, function):
            frame = maps.at(function, pc)
            if frame is None:
                called = real.table.at(target)
                if called is None or not called.name.startswith(NOT_STOPPED):
                    unknown.add(function.name)
                continue
            seen += 1
            assert_within(frame)
    assert seen > 1000
    # Only code that was written in assembly has none.
    assert len(unknown) <= 15
    assert not {name for name in unknown if name.startswith(("main.", "fmt.", "net/", "os."))}


def assert_within(frame: FrameMap) -> None:
    """Locals are below the caller's saved frame pointer, arguments above the return address."""
    for at in frame.live:
        assert 0 <= at < frame.size - 1 or at > frame.size
    for begin, words in frame.objects:
        assert 0 <= begin
        assert begin + words <= frame.size - 1 or begin > frame.size


@pytest.mark.parametrize("flavour", [Flavour.EXE, Flavour.ARM64], ids=["amd64", "arm64"])
def test_maps_lie_within_their_frames(minor: str, flavour: Flavour) -> None:
    assert_maps_lie_within_their_frames(built(minor, flavour))


@pytest.mark.parametrize("name", ["esbuild-0.0.2", "esbuild-0.1.0", "esbuild-0.1.26"])
def test_maps_of_old_programs_lie_within_their_frames(name: str) -> None:
    assert_maps_lie_within_their_frames(finished(name))


def test_nonsense_is_not_understood() -> None:
    """A map that claims too much, or cannot be read, is none: the caller takes every word then."""
    real = built(MATRIX[-1], Flavour.EXE)
    function = real.table.named("main.main")
    assert function is not None
    pc = next(calls_in(real.executable, function))[0]
    for raw in (b"\xff", b"\x7f", b"\x00", b"\x01\x00\x00\x00\xff\xff\xff\x7f"):
        trees = InlineTrees(partial(repeated, raw), real.executable.symbol("go:func.*"))
        assert StackMaps(real.table, trees, False).at(function, pc) is None


def repeated(raw: bytes, address: int, size: int) -> bytes:
    """`raw` again and again, whatever the address."""
    if size > 1 << 24:
        raise BadDataError("too much")
    return (raw * size)[:size]
