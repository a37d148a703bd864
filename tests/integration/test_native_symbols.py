from __future__ import annotations

import ctypes
import io
import os
import re
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

import spyglass
from spyglass import procfs
from spyglass.binary.executable import Executable
from spyglass.errors import PermissionDenied
from spyglass.memory.process import ProcessMemory
from spyglass.threads import Registers, blocked_registers
from spyglass.threads.native_symbols import Symbols
from tests.children import NOBODY, become, forked, in_child, needs_root, sleeping, wait_until
from tests.running import IN_SYSTEM_CALL, goroutines_by_tid, spinning
from tests.support import NEWEST, Flavour, GoProcess, build, start

pytestmark = pytest.mark.live


@contextmanager
def symbols_of(pid: int) -> Iterator[Symbols]:
    memory = ProcessMemory(pid)
    try:
        yield Symbols(pid, procfs.maps(pid), memory)
    finally:
        memory.close()


def is_blocked(pid: int) -> bool:
    return procfs.threads(pid)[0].os_state == "sleeping"


# Threads that wait in the kernel


def test_a_thread_that_sleeps_is_behind_a_system_call_and_on_its_stack() -> None:
    with sleeping() as child:
        wait_until(lambda: is_blocked(child.pid))
        registers = blocked_registers(child.pid, child.pid)
        assert registers is not None
        assert registers.tid == child.pid
        with symbols_of(child.pid) as symbols:
            place = symbols.describe(registers.pc)
        stack = next(each for each in procfs.maps(child.pid) if each.path == "[stack]")
    assert re.fullmatch(r"libc.*!clock_nanosleep\+0x[0-9a-f]+", place)
    assert stack.start <= registers.sp < stack.end


def test_a_thread_that_runs_tells_nothing() -> None:
    with spinning() as (pid,):
        assert blocked_registers(pid, pid) is None


def test_a_thread_that_has_ended_tells_nothing() -> None:
    with sleeping() as child:
        pid = child.pid
        child.kill()
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert blocked_registers(pid, pid) is None
    assert blocked_registers(pid, pid) is None


def test_goroutines_in_system_calls_are_on_their_stacks(truth_process: GoProcess) -> None:
    with spyglass.attach(truth_process.pid) as inspector:
        goroutines = goroutines_by_tid(inspector, IN_SYSTEM_CALL)
        blocked = {tid: blocked_registers(truth_process.pid, tid) for tid in goroutines}
        assert len(goroutines) >= 2
        for tid, goroutine in goroutines.items():
            registers = blocked[tid]
            assert registers is not None
            assert goroutine.low <= registers.sp < goroutine.high
            function = inspector.runtime.functions.at(registers.pc)
            assert function is not None
            # os/signal waits in the runtime itself, the others read.
            assert "yscall" in function.name or function.name == "runtime.futex"


@needs_root
def test_the_threads_of_others_tell_nothing_and_the_reason_is_given() -> None:
    def look() -> Registers | None:
        become()
        return blocked_registers(pid, pid)

    with (
        forked(lambda: None) as pid,
        pytest.raises(PermissionDenied, match="it runs as root, and spyglass as nobody"),
    ):
        in_child(look)


# Names


def functions_of(elf: ELFFile, table: str) -> dict[tuple[int, int], set[str]]:
    """Address and size -> names, as pyelftools reads them."""
    found = defaultdict(set)
    section = elf.get_section_by_name(table)
    assert isinstance(section, SymbolTableSection)
    for symbol in section.iter_symbols():
        if (
            symbol["st_info"]["type"] in ("STT_FUNC", "STT_LOOS")
            and symbol["st_shndx"] != "SHN_UNDEF"
        ):
            found[symbol["st_value"], symbol["st_size"]].add(symbol.name)
    return found


def test_every_function_of_the_c_library_is_found_by_its_first_and_last_byte() -> None:
    address = ctypes.cast(ctypes.CDLL(None).read, ctypes.c_void_p).value or 0
    (mapping,) = [each for each in procfs.maps(os.getpid()) if each.start <= address < each.end]
    library = next(each for each in procfs.maps(os.getpid()) if each.path == mapping.path)
    with open(mapping.path, "rb") as stream, symbols_of(os.getpid()) as symbols:
        functions = functions_of(ELFFile(stream), ".dynsym")
        assert len(functions) > 1000
        for (value, size), names in functions.items():
            for offset in {0, max(size - 1, 0)}:
                module, _, place = symbols.describe(library.start + value + offset).partition("!")
                assert module == os.path.basename(mapping.path)
                name, _, into = place.rpartition("+")
                assert name in names
                assert int(into, 16) == offset
        gap = next(
            value + size for value, size in functions if not covered(functions, value + size)
        )
        expected = f"{os.path.basename(mapping.path)}+{gap:#x}"
        assert symbols.describe(library.start + gap) == expected


def covered(functions: dict[tuple[int, int], set[str]], address: int) -> bool:
    return any(value <= address < value + max(size, 1) for value, size in functions)


def test_the_kernels_own_library_has_names() -> None:
    (vdso,) = [each for each in procfs.maps(os.getpid()) if each.path == "[vdso]"]
    memory = ProcessMemory(os.getpid())
    elf = ELFFile(io.BytesIO(memory.read(vdso.start, vdso.end - vdso.start)))
    functions = functions_of(elf, ".dynsym")
    assert functions
    with symbols_of(os.getpid()) as symbols:
        for (value, _), names in functions.items():
            module, _, place = symbols.describe(vdso.start + value).partition("!")
            assert module == "[vdso]"
            assert place.removesuffix("+0x0") in names


@pytest.mark.parametrize(
    ("flavour", "module"),
    [
        (Flavour.CGO, r"libc\.so\.6"),
        (Flavour.STATIC, "cgo-.*"),
        (Flavour.EXTERNAL_PIE, r"libc\.so\.6"),
    ],
)
def test_goroutines_in_c_code_are_where_c_is(flavour: Flavour, module: str) -> None:
    with start("cgo", NEWEST, flavour) as process, symbols_of(process.pid) as symbols:
        threads = procfs.threads(process.pid)
        blocked = [blocked_registers(process.pid, thread.tid) for thread in threads]
        places = [symbols.describe(registers.pc) for registers in blocked if registers]
    in_read = [place for place in places if re.fullmatch(module + r"!_*(libc_)?read\+0x\w+", place)]
    assert len(in_read) >= 2, places


def test_what_has_no_file_has_no_name() -> None:
    with symbols_of(os.getpid()) as symbols:
        stack = next(each for each in procfs.maps(os.getpid()) if each.path == "[stack]")
        assert symbols.describe(stack.start + 16) == "[stack]+0x10"
        anonymous = next(each for each in procfs.maps(os.getpid()) if not each.path)
        assert symbols.describe(anonymous.start) == f"{anonymous.start:#x}"


@pytest.mark.parametrize(
    ("ordinary", "place"),
    [
        pytest.param(False, r"program!main\.main\+0x0", marks=needs_root),
        (True, r"program\+0x[0-9a-f]+"),
    ],
)
def test_names_never_come_from_a_file_that_took_the_place(ordinary: bool, place: str) -> None:
    """Root can open what was mapped although it has been replaced; others do without."""

    def names_before_and_after() -> list[str]:
        if ordinary:
            become()
        with GoProcess([program]) as process:
            before = names(process.pid)
            os.replace(other, program)
            return [before, names(process.pid)]

    def names(pid: int) -> str:
        with symbols_of(pid) as symbols:
            return symbols.describe(main)

    with tempfile.TemporaryDirectory() as folder:  # pytest's own is for this user alone
        program, other = Path(folder, "program"), Path(folder, "other")
        shutil.copy(build("truth", NEWEST), program)
        shutil.copy(build("demo", NEWEST), other)
        main = Executable.open(str(program)).symbol("main.main") or 0
        for path in (Path(folder), program):
            path.chmod(0o755)
            if os.geteuid() == 0:
                os.chown(path, NOBODY, NOBODY)
        before, after = in_child(names_before_and_after)
    assert before == "program!main.main+0x0"
    assert re.fullmatch(place, after)
