"""The registers of a live process's threads: sampled, or read while it is stopped.

The pc and sp of a running goroutine are in the registers of its thread, not in memory. Three ways to read them:
`sample_threads` takes a perf sample while the thread runs, and stops nothing, `CpuSampler` many; `blocked_registers` reads
/proc for a thread that waits in the kernel; `stopped` stops the whole process.
"""

from __future__ import annotations

from spyglass.threads.architecture import Registers
from spyglass.threads.blocked import blocked_registers
from spyglass.threads.cpu_sampler import CpuSampler
from spyglass.threads.sample import Sampled, sample_threads
from spyglass.threads.stop import Stop, stopped

__all__ = [
    "CpuSampler",
    "Registers",
    "Sampled",
    "Stop",
    "blocked_registers",
    "sample_threads",
    "stopped",
]
