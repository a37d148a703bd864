"""The fixtures are what they say they are: otherwise the tests that use them show nothing."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

import spyglass
from tests.finished import FINISHED, running
from tests.support import Flavour, GoProcess, build, c_shared_host, start

pytestmark = pytest.mark.live

# What an executable of each flavour has: its ELF type, and which of these parts.
EXPECTED = {
    Flavour.EXE: ("ET_EXEC", {"sections", "symbols", "dwarf"}),
    Flavour.STRIPPED: ("ET_EXEC", {"sections"}),
    Flavour.STRIP: ("ET_EXEC", {"sections"}),
    Flavour.NO_SECTIONS: ("ET_EXEC", set()),
    Flavour.PIE: ("ET_DYN", {"sections", "symbols", "dwarf", "interpreter"}),
    Flavour.STRIPPED_PIE: ("ET_DYN", {"sections", "interpreter"}),
    Flavour.CGO: ("ET_EXEC", {"sections", "symbols", "dwarf", "interpreter"}),
    Flavour.STATIC: ("ET_EXEC", {"sections", "symbols", "dwarf"}),
    Flavour.EXTERNAL_PIE: ("ET_DYN", {"sections", "symbols", "dwarf", "interpreter"}),
    Flavour.STRIPPED_EXTERNAL_PIE: ("ET_DYN", {"sections", "interpreter"}),
    Flavour.ARM64: ("ET_EXEC", {"sections", "symbols", "dwarf"}),
}
RUNNABLE = [flavour for flavour in EXPECTED if flavour is not Flavour.ARM64]


def _parts(elf: ELFFile) -> set[str]:
    names = {section.name for section in elf.iter_sections()}
    found = {
        "sections": bool(names),
        "symbols": ".symtab" in names,
        "dwarf": bool(names & {".debug_info", ".zdebug_info"}),
        "interpreter": any(segment["p_type"] == "PT_INTERP" for segment in elf.iter_segments()),
    }
    return {part for part, present in found.items() if present}


@pytest.mark.parametrize("flavour", EXPECTED, ids=lambda flavour: flavour.value)
def test_an_executable_has_the_shape_of_its_flavour(minor: str, flavour: Flavour) -> None:
    with build("truth", minor, flavour).open("rb") as file:
        elf = ELFFile(file)
        assert (elf["e_type"], _parts(elf)) == EXPECTED[flavour]
        assert elf["e_machine"] == ("EM_AARCH64" if flavour is Flavour.ARM64 else "EM_X86_64")


@pytest.mark.parametrize("flavour", RUNNABLE, ids=lambda flavour: flavour.value)
def test_every_flavour_tells_the_truth(minor: str, flavour: Flavour) -> None:
    with start("truth", minor, flavour, "-n", "3") as process:
        truth = process.truth()
    assert truth.go_version.startswith(f"go{minor}.")
    assert len(truth.goroutines) == truth.num_goroutine
    functions = Counter(name for each in truth.goroutines for name in set(each.functions))
    assert functions["main.selectOfTwo"] == functions["main.readBlocking"] == 3


def test_nothing_moves_between_two_questions(truth_process: GoProcess) -> None:
    first, second = truth_process.truth(), truth_process.truth()
    assert first.heap_inuse_bytes == second.heap_inuse_bytes
    assert first.num_gc == second.num_gc
    assert [(each.id, each.state) for each in first.goroutines] == [
        (each.id, each.state) for each in second.goroutines
    ]


def test_settings_are_part_of_the_truth(minor: str) -> None:
    with start(
        "truth", minor, Flavour.EXE, "-gogc", "40", env={"GOMEMLIMIT": "1000000000"}
    ) as process:
        truth = process.truth()
    assert (truth.gogc_percent, truth.memory_limit_bytes) == (40, 1_000_000_000)


def test_cgo_parks_in_c_and_in_go_that_c_called(minor: str) -> None:
    with start("cgo", minor, Flavour.CGO) as process:
        goroutines = process.truth().goroutines
    through_c = [each for each in goroutines if "main.goCallback" in each.functions]
    assert Counter(each.state for each in through_c) == {"chan receive": 6, "syscall": 4}


def test_a_library_runs_inside_another_program(minor: str) -> None:
    with c_shared_host(minor, goroutines=4) as process:
        truth = process.truth()
        assert "python" in Path(f"/proc/{process.pid}/exe").resolve().name
    assert Counter(each.functions[-1] for each in truth.goroutines)["main.awaitJob"] == 4


def test_park_has_as_many_goroutines_as_asked_for(minor: str) -> None:
    with start("park", minor, Flavour.EXE, "-n", "500") as process:
        assert int(process.ask("gap")) > 0
        goroutines = process.quit_traceback()
    parked = [len(each.functions) for each in goroutines if "main.walk" in each.functions]
    assert len(parked) == 500
    assert (min(parked), max(parked)) >= (4, 20)


def test_demo_is_busy_when_it_says_so(minor: str) -> None:
    with start("demo", minor) as process:
        goroutines = process.quit_traceback()
    waiting = Counter(name for each in goroutines for name in each.functions)
    assert waiting["main.(*connectionPool).acquireConnection"] >= 8
    assert waiting["main.(*ledger).count"] == 6


@pytest.mark.parametrize("name", FINISHED)
def test_a_finished_program_stays_up(name: str) -> None:
    with running(name) as process:
        assert process.is_alive()
        goroutines = process.quit_traceback()
    assert any(each.id == 1 and "main.main" in each.functions for each in goroutines)


@pytest.mark.slow
def test_paths_has_no_stack_twice(minor: str) -> None:
    """Each goroutine's functions spell its number; what is read of them is just that."""
    with start("paths", minor, Flavour.EXE, "-n", "3000") as process:
        with spyglass.attach(process.pid) as inspector:
            snapshot = inspector.snapshot()
        truth = [each.functions for each in process.truth().goroutines]
    spelled = set()
    for goroutine in snapshot:
        functions = [frame.function for frame in goroutine.stack or ()]
        if functions[2:3] in (["main.zero"], ["main.one"]):
            assert not {"main.zero", "main.one"} & set(functions[19:])
            bits = ["01"[name == "main.one"] for name in functions[2:19]]
            spelled.add(int("".join(bits), 2))
    assert spelled == set(range(3000))
    walks = [[name for name in each if name in ("main.zero", "main.one")] for each in truth]
    assert len({tuple(walk) for walk in walks if walk}) == 3000
