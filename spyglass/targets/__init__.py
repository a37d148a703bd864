"""A target: bytes at addresses, and the executable that gives them meaning.

The bytes are those of a live process or of a core; nothing above this package knows which.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spyglass.binary.go_executable import GoExecutable
from spyglass.errors import BadDataError
from spyglass.memory.base import Memory
from spyglass.targets.target_process import Facts, OsThread, Program, TargetProcess

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Facts", "OsThread", "Target", "TargetProcess"]


@dataclass(frozen=True)
class Target:
    """A process and the file in it that holds the Go runtime.

    `bias` is what must be added to addresses in `executable` to get those in the process. `library`
    is the path of that file when it is not the program itself but a library that it loaded. `process`
    tells what else is known of the process.
    """

    memory: Memory
    executable: GoExecutable
    bias: int
    process: TargetProcess
    library: str | None = None

    @classmethod
    def attach(cls, pid: int) -> Target:
        """Inspect process `pid`, which keeps running.

        Raises a `TargetError` that says why it cannot be inspected.
        """
        from spyglass.targets.live_process import LiveProcess, find_program, open_memory

        process = LiveProcess(pid)
        try:
            with process.blamed():
                program = find_program(pid)
                return cls._of(program, open_memory(pid), process)
        except BaseException:
            process.close()
            raise

    @classmethod
    def open_core(cls, path: str, exe: str | None = None) -> Target:
        """Look into the process whose core is at `path`.

        `exe` is the file with the Go runtime, if it is not where it was then. Raises OSError, or
        a `TargetError` that says why the core cannot be read.
        """
        from spyglass.targets.core_executable import find_program
        from spyglass.targets.core_process import CoreProcess

        process = CoreProcess(path)
        try:
            program, problems = find_program(process, exe)
            process.problems += tuple(problems)
            return cls._of(program, process.memory_with(program), process)
        except BaseException:
            process.close()
            raise

    @classmethod
    def _of(cls, program: Program, memory: Memory, process: TargetProcess) -> Target:
        return cls(memory, program.executable, program.bias, process, program.library)

    @property
    def pid(self) -> int:
        """The id of the process, now or when it was saved."""
        return self.process.pid

    def close(self) -> None:
        """Close the memory, the executable and the process."""
        self.memory.close()
        self.executable.close()
        self.process.close()

    def variables_at(self, addresses: NDArray[np.uint64]) -> list[tuple[str, int] | None]:
        """For each address the package-level variable that it lies in, and how many bytes behind its begin;
        None where it lies in none, or the program has no symbols."""
        return self.executable.variables_at(addresses - np.uint64(self.bias & (1 << 64) - 1))

    def code(self, address: int, size: int) -> bytes:
        """`size` bytes of code at `address`, out of the file: it is not written to."""
        return self.executable.read(address - self.bias, size)

    def constant(self, address: int, size: int) -> bytes:
        """`size` bytes at `address` that never change, from the file if it has them."""
        try:
            return self.executable.read(address - self.bias, size)
        except BadDataError:
            return self.memory.read(address, size)
