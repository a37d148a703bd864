"""What the kernel tells about a process: facts from /proc/PID, and nothing about Go.

Reading is all that happens here. Whatever a process chose itself (its names, its command line) is of
bounded size and may hold any character; `spyglass.words.text.visible` makes it safe to print.
"""

from __future__ import annotations

from spyglass.procfs.access import explain_denied, why_denied
from spyglass.procfs.cgroups import container, memory_limit_bytes
from spyglass.procfs.identity import Identity, open_process, start_time
from spyglass.procfs.memory_maps import Mapping, maps
from spyglass.procfs.namespaces import monotonic_offset_ns, outer_tids
from spyglass.procfs.process_facts import Facts, command_line, cpu_ns, facts, user_name
from spyglass.procfs.process_tree import descendants, pids
from spyglass.procfs.tasks import ThreadState, threads

__all__ = [
    "Facts",
    "Identity",
    "Mapping",
    "ThreadState",
    "command_line",
    "container",
    "cpu_ns",
    "descendants",
    "explain_denied",
    "facts",
    "maps",
    "memory_limit_bytes",
    "monotonic_offset_ns",
    "open_process",
    "outer_tids",
    "pids",
    "start_time",
    "threads",
    "user_name",
    "why_denied",
]
