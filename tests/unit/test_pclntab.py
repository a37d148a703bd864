"""Function tables: of real programs, compared with what Go and DWARF say of them, and made to harm."""

from __future__ import annotations

import random
import struct
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest
from elftools.dwarf.callframe import FDE
from elftools.elf.elffile import ELFFile

from fixtures.build import go_environment
from spyglass.binary import pc_values
from spyglass.binary.executable import Executable
from spyglass.binary.inline_trees import InlineIndices, InlineTrees
from spyglass.binary.pclntab import Function, FunctionTable, find_pclntab
from spyglass.errors import BadDataError
from tests.elf_writer import PT_LOAD, Part, write_elf
from tests.finished import finished_program
from tests.pclntab_writer import FunctionSpec, pc_table, varint, write_table
from tests.support import Flavour, build, toolchain

#: Finished programs of versions that no toolchain makes: between them every format there has been.
FINISHED = ("esbuild-0.0.2", "esbuild-0.1.0", "buildifier-4.2.5")


class RealTable:
    """The table of a program that has symbols."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.executable = Executable.open(str(path))
        place = find_pclntab(self.executable)
        text = self.executable.symbol("runtime.text")
        assert place is not None
        assert text is not None
        image = memoryview(self.executable.image.read(place.offset, place.size))
        self.table = FunctionTable(image, text)
        self.trees = InlineTrees(
            self.executable.read, self.executable.symbol("go:func.*") or self._old()
        )

    def _old(self) -> int | None:
        return self.executable.symbol("go.func.*")

    def sample(self, count: int) -> list[tuple[Function, int]]:
        """Some functions, and a pc in each: its first, its last, or one between."""
        chance, step = random.Random(1), self.table.quantum
        found = []
        for index in chance.sample(range(len(self.table)), min(count, len(self.table))):
            function = self.table.function(index)
            if function.end - function.entry >= 2 * step and "." in function.name:
                pc = chance.choice(
                    [
                        function.entry,
                        function.end - step,
                        chance.randrange(function.entry, function.end, step),
                    ]
                )
                found.append((function, pc))
        return found


@cache
def built(minor: str, flavour: Flavour) -> RealTable:
    return RealTable(build("truth", minor, flavour))


@cache
def finished(name: str) -> RealTable:
    return RealTable(finished_program(name))


@pytest.fixture(params=[Flavour.EXE, Flavour.ARM64], ids=["amd64", "arm64"])
def real(minor: str, request: pytest.FixtureRequest) -> RealTable:
    return built(minor, request.param)


def said_by_go(path: Path, pcs: Sequence[int]) -> list[tuple[str, str]]:
    """What ``go tool addr2line`` says of addresses: the function, and the place in its file."""
    done = subprocess.run(
        [toolchain(), "tool", "addr2line", path],
        input="".join(f"{pc:#x}\n" for pc in pcs),
        capture_output=True,
        text=True,
        env=go_environment(),
        check=True,
    )
    lines = done.stdout.splitlines()
    return list(zip(lines[0::2], lines[1::2], strict=True))


def assert_places_agree(real: RealTable) -> None:
    sample = real.sample(400)
    ours = []
    for function, pc in sample:
        calls = real.table.locations(function, pc, real.trees)
        known = calls[0].file != "?"
        ours.append((calls[-1].function, f"{calls[0].file}:{calls[0].line}" if known else ":-1"))
    assert len(ours) > 100
    assert ours == said_by_go(real.path, [pc for _, pc in sample])


def test_places_are_those_that_go_says(real: RealTable) -> None:
    assert_places_agree(real)


@pytest.mark.parametrize("name", FINISHED)
def test_places_in_old_programs_are_those_that_go_says(name: str) -> None:
    assert_places_agree(finished(name))


@pytest.mark.parametrize("name", ["esbuild-0.0.2", "esbuild-0.1.0", "esbuild-0.1.26"])
def test_indices_of_inlining_trees_are_those_of_the_debug_information(name: str) -> None:
    """The magic number of Go 1.12 and 1.13 is the same, the indices are not."""
    real = finished(name)
    constants = runtime_constants(real.path)
    assert real.trees.indices(real.table) == InlineIndices(
        constants["_FUNCDATA_InlTree"], constants["_PCDATA_InlTreeIndex"]
    )


def runtime_constants(path: Path) -> dict[str, int]:
    """The constants of package runtime in the debug information of a program."""
    with path.open("rb") as file:
        for unit in ELFFile(file).get_dwarf_info(relocate_dwarf_sections=False).iter_CUs():
            if unit.get_top_DIE().attributes["DW_AT_name"].value == b"runtime":
                return {
                    die.attributes["DW_AT_name"].value.decode().removeprefix("runtime."):
                    die.attributes["DW_AT_const_value"].value
                    for die in unit.get_top_DIE().iter_children()
                    if die.tag == "DW_TAG_constant"
                }  # fmt: skip
    raise AssertionError(f"{path} has no debug information of package runtime")


def assert_frames_agree(real: RealTable) -> None:
    """The debug information tells where the caller's frame begins from where the stack pointer is."""
    return_address_bytes = 8 if real.executable.arch == "amd64" else 0
    theirs = frame_sizes(real.path, return_address_bytes)
    compared = 0
    for function, pc in real.sample(3000):
        size = real.table.frame_size(function, pc)
        if size is not None and function.entry in theirs:
            assert size == theirs[function.entry](pc), (function, hex(pc))
            compared += 1
    assert compared > 500


class FrameSizes:
    """The frame sizes within one function, as its frame description entry has them."""

    def __init__(self, entry: FDE, return_address_bytes: int) -> None:
        self.rows: list[tuple[int, int]] = [
            (row["pc"], row["cfa"].offset - return_address_bytes)
            for row in entry.get_decoded().table
        ]

    def __call__(self, pc: int) -> int:
        return [size for begin, size in self.rows if begin <= pc][-1]


def frame_sizes(path: Path, return_address_bytes: int) -> dict[int, FrameSizes]:
    with path.open("rb") as file:
        debug = ELFFile(file).get_dwarf_info()
        entries = [each for each in debug.CFI_entries() if isinstance(each, FDE)]
        return {
            each.header["initial_location"]: FrameSizes(each, return_address_bytes)
            for each in entries
        }


def test_frame_sizes_are_those_of_the_debug_information(real: RealTable) -> None:
    assert_frames_agree(real)


@pytest.mark.parametrize("name", FINISHED)
@pytest.mark.slow
def test_frame_sizes_in_old_programs_are_those_of_the_debug_information(name: str) -> None:
    assert_frames_agree(finished(name))


def test_functions_are_found_by_name_and_by_pc(real: RealTable) -> None:
    for name in (
        "main.recurse",
        "runtime.gopark",
        "main.(*worker).pointerMethod",
    ):
        function = real.table.named(name)
        assert function is not None
        assert function.name == name
        assert function.entry == real.executable.symbol(name)
        assert real.table.at(function.entry) == real.table.at(function.end - 1) == function
        assert real.table.at(function.end) != function
    names = ["main.nowhere", "runtime.main", "main.main", "runtime.nowhere"]
    others = FunctionTable(real.table._image, real.table.text)
    assert {name: each.entry for name, each in others.named_all(names).items()} == {
        name: each.entry for name in names if (each := real.table.named(name)) is not None
    }
    assert set(others.named_all(names)) == {"runtime.main", "main.main"}
    assert real.table.named("main.nowhere") is None
    assert real.table.named("main.recurs") is None
    assert real.table.at(0) is None
    assert real.table.at((1 << 64) - 1) is None


def test_wrappers_are_known(real: RealTable) -> None:
    wrapper, own = (
        real.table.named(name) for name in ("main.(*worker).valueMethod", "main.worker.valueMethod")
    )
    if wrapper is None or own is None:
        pytest.skip("this version makes no such wrapper")
    assert real.table.locations(wrapper, wrapper.entry, real.trees)[-1].wrapper
    assert not real.table.locations(own, own.entry, real.trees)[-1].wrapper


# Tables made for the purpose.

WRAPPER = FunctionSpec("runtime.wrapper", 16, pc_table([(16, 0)]), func_id=22)
MAIN = FunctionSpec(
    "main.main", 64, pc_table([(4, 0), (56, 48), (4, 0)]), pc_table([(10, 7), (54, 1 << 20)])
)
TEXT = 0x1000
NOWHERE = InlineTrees(lambda address, size: bytes(size), None)


def table_of(*functions: FunctionSpec, quantum: int = 1) -> FunctionTable:
    return FunctionTable(memoryview(write_table(functions, quantum)), TEXT)


def test_a_made_table_is_read_as_it_was_made() -> None:
    table = table_of(WRAPPER, MAIN)
    main = table.named("main.main")
    assert main is not None
    assert (main.entry, main.end) == (TEXT + 16, TEXT + 80)
    sizes = [table.frame_size(main, main.entry + at) for at in (0, 3, 4, 59, 60, 63)]
    assert sizes == [0, 0, 48, 48, 0, 0]
    assert table.frame_size(main, main.end) is table.frame_size(main, main.entry - 1) is None
    lines = [table.locations(main, main.entry + at, NOWHERE)[0].line for at in (0, 9, 10, 63)]
    assert lines == [7, 7, 1 << 20, 1 << 20]


def test_steps_are_counted_in_instructions() -> None:
    spec = FunctionSpec("main.main", 64, pc_table([(4, 0), (60, 96)], quantum=4))
    table = table_of(WRAPPER, spec, quantum=4)
    main = table.named("main.main")
    assert main is not None
    assert [table.frame_size(main, main.entry + at) for at in (0, 4, 60)] == [0, 96, 96]


@pytest.mark.parametrize(
    "frames",
    [
        b"\x80" * 64,
        b"\xff" * 64,
        b"\x02" + b"\x80" * 64,
        b"\x02\x00" * 32,
        varint((1 << 32) - 1) + varint(64) + b"\0",
        b"\x01\x40\0",
    ],
    ids=["endless", "endless", "endless advance", "no advance", "too large", "negative"],
)
def test_frame_sizes_that_cannot_be_are_not_known(frames: bytes) -> None:
    table = table_of(WRAPPER, FunctionSpec("main.main", 64, frames))
    main = table.named("main.main")
    assert main is not None
    with suppress(BadDataError):
        assert table.frame_size(main, main.entry + 32) is None


def test_tables_of_values_are_not_read_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pc_values, "_MAX_STEPS_IN_ALL", 1 << 18)
    endless = FunctionSpec("main.main", 1 << 30, b"\x02\x01" * (1 << 20))
    table = table_of(WRAPPER, endless)
    main = table.named("main.main")
    assert main is not None
    assert table.frame_size(main, main.entry + 1000) == 1000
    began = time.monotonic()
    for at in range(1 << 25, 1 << 29, 1 << 19):
        assert table.frame_size(main, main.entry + at) is None
    assert table.frame_size(main, main.entry + 1000) is None
    assert time.monotonic() - began < 10
    table.allow_steps()  # for the next look at the process
    assert table.frame_size(main, main.entry + 1000) == 1000


def test_a_name_without_an_end_ends() -> None:
    table = table_of(WRAPPER, FunctionSpec("main." + "x" * 100_000, 16, pc_table([(16, 0)])))
    assert len(table.function(1).name) <= 1 << 13


INTACT = write_table([WRAPPER, MAIN])
OFFSET_OF_INDEX = 64


@pytest.mark.parametrize("length", range(0, len(INTACT), 7))
def test_a_table_that_is_cut_off_anywhere_gives_answers_or_errors(length: int) -> None:
    read_everything(INTACT[:length])


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_table_gives_answers_or_errors(seed: int) -> None:
    chance, image = random.Random(seed), bytearray(INTACT)
    for _ in range(chance.choice([1, 2, 8, 50])):
        image[chance.randrange(len(image))] = chance.randrange(256)
    read_everything(bytes(image))


@pytest.mark.parametrize("seed", range(40))
def test_numbers_that_cannot_be_give_answers_or_errors(seed: int) -> None:
    chance, image = random.Random(seed), bytearray(INTACT)
    number = chance.choice([1 << 63, (1 << 64) - 1, (1 << 32) - 1, 1 << 31, len(INTACT), 1 << 22])
    struct.pack_into("<Q", image, chance.randrange(0, len(image) - 8, 4), number)
    read_everything(bytes(image))


def read_everything(image: bytes) -> None:
    """Ask a table all that can be asked: only errors of ours may come out, and soon."""
    try:
        table = FunctionTable(memoryview(image), TEXT)
    except BadDataError:
        return
    for index in range(min(len(table), 8)):
        try:
            function = table.function(index)
            for pc in (function.entry, function.entry + 5, function.end - 1, TEXT, 1 << 63):
                table.frame_size(function, pc)
                table.locations(function, pc, NOWHERE)
        except BadDataError:
            continue
    with suppress(BadDataError):
        table.named("main.main")
    with suppress(BadDataError):
        table.at(TEXT + 20)


# Where the table is.


def place_in(*parts: Part, named: bool = True) -> tuple[int, int] | None:
    image = write_elf(parts, named=named)
    place = find_pclntab(Executable(image, "program"))
    if place is None:
        return None
    assert image[place.offset : place.offset + len(INTACT)] == INTACT
    return place.address, place.size


@pytest.mark.parametrize("name", [".gopclntab", ".data.rel.ro.gopclntab"])
def test_the_table_is_found_by_its_section(name: str) -> None:
    assert place_in(Part(name, INTACT, 0x5000, PT_LOAD)) == (0x5000, len(INTACT))


def test_the_table_is_found_within_a_segment() -> None:
    data = Part(".data.rel.ro", b"other   " * 500 + INTACT + b"data" * 8, 0x5000, PT_LOAD)
    for named in (True, False):
        assert place_in(data, named=named) == (0x5000 + 4000, len(INTACT) + 32)


def test_what_looks_like_a_table_and_is_none_is_passed_over() -> None:
    looks = struct.pack("<IBBBBQ", 0xFFFFFFF1, 0, 0, 1, 8, 1 << 60)
    data = Part(".data", looks * 20 + INTACT, 0x5000, PT_LOAD)
    assert place_in(data) == (0x5000 + 320, len(INTACT))


def test_very_many_that_look_like_a_table_are_not_looked_at_for_ever() -> None:
    looks = struct.pack("<IBBBBQ", 0xFFFFFFF1, 0, 0, 1, 8, 1 << 60)
    began = time.monotonic()
    assert place_in(Part(".data", looks * (1 << 20), 0x5000, PT_LOAD)) is None
    assert time.monotonic() - began < 10
