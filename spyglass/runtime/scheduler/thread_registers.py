"""The registers of the threads that run goroutines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from spyglass.threads import Registers, sample_threads

__all__ = ["Threads"]

_MAX_NESTED_SIGNALS = 4


@dataclass
class Threads:
    """Finds the registers of Ms' threads: by samples of a live process, or among the `saved` ones.

    `tids` maps the address of an M to its thread id. `stopped`: the threads do not run, and `saved` maps
    thread ids to registers. `before` gives, for registers in a signal handler, those that the signal
    interrupted. `denied`: why the kernel refused to sample, None if it did not.
    """

    tids: Mapping[int, int]
    stopped: bool = False
    saved: Mapping[int, Registers] = field(default_factory=dict)
    before: Callable[[Registers], Registers | None] = lambda _: None
    denied: str | None = None
    sampled: dict[int, Registers] = field(default_factory=dict)

    @property
    def found(self) -> Mapping[int, Registers]:
        """The registers read up to now, by thread id: all of them if the process is stopped."""
        return self.saved if self.stopped else self.sampled

    def sample(self, ms: Iterable[int], accept: Callable[[Registers], bool]) -> list[Registers]:
        """The registers of the threads of `ms` (addresses), as far as `accept` holds for them."""
        wanted = [self.tids[m] for m in ms if m in self.tids]
        if self.stopped:
            found = [self._saved(tid, accept) for tid in wanted]
            return [registers for registers in found if registers is not None]
        if self.denied or not wanted:
            return []
        sampled = sample_threads(wanted, accept)
        self.denied = sampled.denied
        self.sampled.update(sampled.registers)
        return list(sampled.registers.values())

    def _saved(self, tid: int, accept: Callable[[Registers], bool]) -> Registers | None:
        """The registers of thread `tid`, or those that a signal interrupted; handlers may be nested."""
        registers = self.saved.get(tid)
        for _ in range(_MAX_NESTED_SIGNALS):
            if registers is None or accept(registers):
                return registers
            registers = self.before(registers)
        return None
