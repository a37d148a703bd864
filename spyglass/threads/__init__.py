"""The registers of a live process's threads: sampled, or read while it is stopped.

Where a goroutine runs is not in memory but in the registers of its thread. Three ways lead to them:
`sample_threads` asks the kernel for the next moment at which a thread runs, and stops nothing;
`blocked_registers` is for a thread that waits in the kernel; `stopped` stops the whole process.
"""

from __future__ import annotations

from spyglass.threads.architecture import Registers
from spyglass.threads.blocked import blocked_registers
from spyglass.threads.sample import Sampled, sample_threads
from spyglass.threads.stop import Stop, stopped

__all__ = ["Registers", "Sampled", "Stop", "blocked_registers", "sample_threads", "stopped"]
