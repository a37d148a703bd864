"""What the kernel says about a process: facts from /proc/PID, and nothing about Go.

Nothing here changes a process. What a process chose itself (its names, its command line) is of
bounded size and may hold any character; `spyglass.escape.visible` makes it safe to print.
`spyglass.procfs.host_processes`, which needs psutil, is imported where it is used.
"""

from __future__ import annotations

from spyglass.procfs.access import explain_denied, why_denied
from spyglass.procfs.cgroups import CpuQuota, cpu_quota, memory_limit_bytes
from spyglass.procfs.containers import container
from spyglass.procfs.cpu_times import CpuReading, processors, read_cpu
from spyglass.procfs.identity import Identity, open_process, start_time
from spyglass.procfs.memory_maps import Mapping, maps
from spyglass.procfs.namespaces import monotonic_offset_ns, outer_tids
from spyglass.procfs.process_facts import (
    comm,
    command_line,
    executable,
    owner,
    rss_bytes,
    started_at,
    thread_count,
    uptime_seconds,
)
from spyglass.procfs.tasks import ThreadState, threads

__all__ = [
    "CpuQuota",
    "CpuReading",
    "Identity",
    "Mapping",
    "ThreadState",
    "comm",
    "command_line",
    "container",
    "cpu_quota",
    "executable",
    "explain_denied",
    "maps",
    "memory_limit_bytes",
    "monotonic_offset_ns",
    "open_process",
    "outer_tids",
    "owner",
    "processors",
    "read_cpu",
    "rss_bytes",
    "start_time",
    "started_at",
    "thread_count",
    "threads",
    "uptime_seconds",
    "why_denied",
]
