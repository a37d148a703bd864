"""Make the cores of fixtures/cores anew: ``python -m tests.make_cores [NAME...]``.

Needs the finished programs, an emulator and Go toolchains, all of which are fetched, and takes minutes for
each: the program is cut down by trying which of its bytes matter.
"""

from __future__ import annotations

import gzip
import json
import os
import socket
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fixtures.fetch import cache_directory
from spyglass import open_core
from spyglass.binary.corenotes import MappedFile
from spyglass.binary.go_executable import GoExecutable
from spyglass.binary.image import BytesImage
from spyglass.cores.small_core import save_core
from spyglass.errors import SpyglassError
from spyglass.inspector import Inspector
from spyglass.targets import Facts, Target
from spyglass.targets.core_process import CoreProcess
from spyglass.targets.target_process import Program
from tests.agreement import disagreements
from tests.cores import emulated
from tests.finished import finished_program, running
from tests.saved_cores import FOLDER, lasting
from tests.support import Flavour, build
from tests.traceback_text import goroutines_of_text

#: Name -> the finished program that it is of.
FINISHED = {
    "go1.13-amd64": "esbuild-0.1.0",
    "go1.14-amd64": "esbuild-0.1.26",
    "go1.16-amd64": "esbuild-0.8.57",
    "go1.17-amd64": "esbuild-0.13.15",
    "go1.18-amd64": "esbuild-0.14.29",
    "go1.20-amd64": "esbuild-0.17.19",
}
#: Name -> the minor version with which the truth program is built for the emulator.
EMULATED = {"go1.21-arm64": "1.21", "go1.27-arm64": "1.27"}

_PAGE_BYTES = 4096
#: What matters in a program is found out with pieces down to this size.
_PIECE_BYTES = 256
_MAX_BYTES = 300 << 10
#: A word is put out from the beginning of the line of memory that it begins in.
_LINE_BYTES = 64
_TRIES = 5


def main() -> int:
    """Make those that are asked for, or all."""
    for name in sys.argv[1:] or [*FINISHED, *EMULATED]:
        with tempfile.TemporaryDirectory() as folder:
            program = _save(name, Path(folder) / "core")
            _forget_this_machine(Path(folder) / "core")
            _cut_down(program, Path(folder) / "core", Path(folder) / "exe")
            _keep(name, Path(folder))
        print(f"{name}: {_size(name):,} bytes", flush=True)
    return 0


def _save(name: str, core: Path) -> Path:
    """Make the core, and note what the program says of itself; the program."""
    if name in EMULATED:
        return _save_emulated(EMULATED[name], core)
    program = finished_program(FINISHED[name])
    for _ in range(_TRIES):
        with running(FINISHED[name]) as process:
            target = Target.attach(process.pid)
            _write(target, core, "/usr/bin/esbuild", stop=True)
            process.quit_traceback()
            core.with_suffix(".said").write_text(process.stderr)
        if not _disagree(core, program):
            return program
    raise SystemExit(f"{name} does not stand still: {_disagree(core, program)}")


def _save_emulated(minor: str, core: Path) -> Path:
    program = build("truth", minor, Flavour.ARM64)
    with tempfile.TemporaryDirectory() as folder:
        made = emulated("truth", minor, Path(folder), "-n", "1", "-spin", "1")
        core.with_suffix(".said").write_text(made.printed)
        _write(Target.open_core(str(made.core), str(program)), core, "/usr/bin/truth")
    if _disagree(core, program):
        raise SystemExit(f"{minor}: {_disagree(core, program)}")
    return program


def _forget_this_machine(core: Path) -> None:
    """Put zeros over what memory has of arguments and environment: the main thread's stack ends there."""
    raw = bytearray(core.read_bytes())
    for word in _traces():
        at = raw.find(word)
        while at >= 0:
            begin, end = at // _LINE_BYTES * _LINE_BYTES, at + len(word)
            raw[begin:end] = bytes(end - begin)
            at = raw.find(word, end)
    core.write_bytes(raw)


def _traces() -> list[bytes]:
    """What tells of this machine, the longest first."""
    words = {str(Path.home()), os.getcwd(), socket.gethostname(), *os.environ.values()}
    words |= {f"{name}={value}" for name, value in os.environ.items()}
    words.add(str(cache_directory()))
    return sorted((word.encode() for word in words if len(word) > 5), key=len, reverse=True)


def _disagree(core: Path, program: Path) -> list[str]:
    with open_core(str(core), str(program)) as process:
        snapshot = process.snapshot()
    said = goroutines_of_text(core.with_suffix(".said").read_text())
    return disagreements(snapshot, said, whole=True)


class _Anonymous:
    """An origin that does not tell on which machine it was, nor where there."""

    def __init__(self, origin: Any, exe: str) -> None:
        self._origin, self._exe = origin, exe

    def __getattr__(self, name: str) -> Any:
        return getattr(self._origin, name)

    def facts(self) -> Facts:
        facts: Facts = self._origin.facts()
        return replace(facts, host=None, exe=self._exe, cmdline=(self._exe,), container=None)

    def files(self) -> Sequence[MappedFile]:
        own = self._origin.facts().exe
        return [replace(file, path=self._exe) for file in self._origin.files() if file.path == own]


def _write(target: Target, core: Path, exe: str, stop: bool = False) -> None:
    anonymous: Any = _Anonymous(target.process, exe)
    with core.open("w+b") as stream:
        save_core(replace(target, process=anonymous), stream, stop=stop)
    target.close()


class _Subject:
    """A core and a program that is being cut down: what is made of both must stay the same."""

    def __init__(self, core: Path, program: Path) -> None:
        self._core = core
        self.image = bytearray(program.read_bytes())
        self._expected = self._made()
        assert self._expected is not None

    def _made(self) -> Any:
        """All that is found, and by what; None if nothing is."""
        executable = GoExecutable(BytesImage(self.image), "program")
        saved = CoreProcess(str(self._core))
        program = Program(executable, 0)
        try:
            target = Target(saved.memory_with(program), executable, 0, saved)
            inspector = Inspector(target)
            snapshot = inspector.snapshot("full", thread_stacks=True)
            runtime = inspector.runtime
            return lasting(snapshot), runtime.layouts.source, dict(runtime.globals)
        except SpyglassError:
            return None
        finally:
            saved.close()

    def cut(self, begin: int, end: int) -> None:
        """Put zeros into [begin, end) where that changes nothing."""
        kept = self.image[begin:end]
        if not any(kept):
            return
        self.image[begin:end] = bytes(end - begin)
        if self._made() == self._expected:
            return
        self.image[begin:end] = kept
        if end - begin > _PIECE_BYTES:
            middle = begin + max((end - begin) // 2 // _PIECE_BYTES, 1) * _PIECE_BYTES
            self.cut(begin, middle)
            self.cut(middle, end)


def _cut_down(program: Path, core: Path, into: Path) -> None:
    """Write `program` without what nobody asks for; its first page tells which program it is."""
    subject = _Subject(core, program)
    step = 1 << 20
    for begin in range(_PAGE_BYTES, len(subject.image), step):
        subject.cut(begin, min(begin + step, len(subject.image)))
    into.write_bytes(subject.image)


def _keep(name: str, folder: Path) -> None:
    """Pack the files into fixtures/cores, if they are as they must be."""
    core, exe = folder / "core", folder / "exe"
    with open_core(str(core), str(exe)) as process:
        expected = lasting(process.snapshot(thread_stacks=True))
    for path in (core, exe, core.with_suffix(".said")):
        _require_no_trace_of_this_machine(path)
    contents = {
        "core": core.read_bytes(),
        "exe": exe.read_bytes(),
        "said": core.with_suffix(".said").read_bytes(),
        "json": json.dumps(expected, separators=(",", ":")).encode(),
    }
    FOLDER.mkdir(exist_ok=True)
    for suffix, content in contents.items():
        (FOLDER / f"{name}.{suffix}.gz").write_bytes(gzip.compress(content, 9, mtime=0))
    if _size(name) > _MAX_BYTES:
        raise SystemExit(f"{name} is too large: {_size(name):,} bytes")


def _require_no_trace_of_this_machine(path: Path) -> None:
    raw = path.read_bytes()
    found = [word for word in _traces() if word in raw]
    if found:
        raise SystemExit(f"{path.name} tells of this machine: {found}")


def _size(name: str) -> int:
    return sum(path.stat().st_size for path in FOLDER.glob(f"{name}.*"))


if __name__ == "__main__":
    sys.exit(main())
