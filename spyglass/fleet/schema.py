"""The columns of the Parquet files, ``spyglass.fleet/1``; docs/fleet.md says what each of them is.

A file lies at ``TABLE/date=YYYY-MM-DD/service=NAME/NAME.parquet``: the partitions `date` (UTC) and `service` are columns
of a query, but not of the file. Columns may be added; none changes its meaning or its type.
"""

from __future__ import annotations

import pyarrow as pa

from spyglass.fleet.memory_rows import CLASS_COLUMNS, RESIDENT_COLUMNS

__all__ = ["PARTITIONS", "SCHEMA", "SNAPSHOT_COLUMNS", "TABLES"]

#: The name of this format, in the metadata of each file under "schema".
SCHEMA = "spyglass.fleet/1"

_TEXT, _INT, _TIME = pa.string(), pa.int64(), pa.timestamp("us", tz="UTC")

#: The columns that follow from a file's path.
PARTITIONS = pa.schema([("date", _TEXT), ("service", _TEXT)])

#: The first columns of every table but `stacks`: which process, and when.
SNAPSHOT_COLUMNS = (
    ("snapshot_id", _TEXT),
    ("taken_at", _TIME),
    ("taken_s", _INT),
    ("instance", _TEXT),
    ("host", _TEXT),
    ("version", _TEXT),
)

_FINDING = pa.struct([("severity", _TEXT), ("kind", _TEXT), ("title", _TEXT)])
_FRAME = pa.struct([("function", _TEXT), ("file", _TEXT), ("line", pa.int32())])

_COLUMNS = {
    "processes": (
        *SNAPSHOT_COLUMNS,
        ("took_ns", _INT),
        ("source", _TEXT),
        ("redacted", pa.bool_()),
        ("pid", _INT),
        ("exe", _TEXT),
        ("cmdline", pa.list_(_TEXT)),
        ("started_at", _TIME),
        ("uptime_seconds", pa.float64()),
        ("go_version", _TEXT),
        ("module", _TEXT),
        ("module_version", _TEXT),
        ("build_id", _TEXT),
        ("arch", _TEXT),
        ("container", _TEXT),
        ("container_name", _TEXT),
        ("pod", _TEXT),
        ("namespace", _TEXT),
        ("pod_uid", _TEXT),
        ("goroutines", _INT),
        ("system_goroutines", _INT),
        ("stuck", _INT),
        ("threads", _INT),
        ("gomaxprocs", _INT),
        ("run_queue", _INT),
        ("cpu_cores", pa.float64()),
        ("cpu_limit_cores", pa.float64()),
        ("findings", pa.list_(_FINDING)),
        ("problems", _INT),
        ("waits_left_out", _INT),
    ),
    "groups": (
        *SNAPSHOT_COLUMNS,
        ("count", _INT),
        ("status", _TEXT),
        ("state", _TEXT),
        ("longest_wait_ns", _INT),
        ("doubtful", _INT),
        ("stuck", _INT),
        ("function", _TEXT),
        ("file", _TEXT),
        ("line", pa.int32()),
        ("call", _TEXT),
        ("start_function", _TEXT),
        ("creator_function", _TEXT),
        ("creator_file", _TEXT),
        ("creator_line", pa.int32()),
        ("stack_id", _TEXT),
    ),
    "stacks": (
        ("stack_id", _TEXT),
        ("frames", pa.list_(_FRAME)),
        ("elided_after", pa.int32()),
        ("elided", _INT),
    ),
    "waits": (
        *SNAPSHOT_COLUMNS,
        ("kind", _TEXT),
        ("operation", _TEXT),
        ("object", _TEXT),
        ("object_type", _TEXT),
        ("peer", _TEXT),
        ("goroutines", _INT),
        ("objects", _INT),
        ("longest_wait_ns", _INT),
        ("stuck", _INT),
        ("function", _TEXT),
        ("file", _TEXT),
        ("line", pa.int32()),
        ("holder_function", _TEXT),
        ("holder_evidence", _TEXT),
    ),
    "memory": (
        *SNAPSHOT_COLUMNS,
        ("rss_bytes", _INT),
        ("cgroup_limit_bytes", _INT),
        ("heap_in_use_bytes", _INT),
        ("heap_idle_bytes", _INT),
        ("heap_released_bytes", _INT),
        ("stacks_in_use_bytes", _INT),
        ("heap_goal_bytes", _INT),
        ("gc_count", _INT),
        ("gc_pause_total_ns", _INT),
        ("last_gc_at", _TIME),
        ("gogc_percent", _INT),
        ("gomemlimit_bytes", _INT),
        ("heap_live_bytes", _INT),
        ("swap_bytes", _INT),
        ("lazy_free_bytes", _INT),
        *((name, _INT) for name in CLASS_COLUMNS.values()),
        *((name, _INT) for name in RESIDENT_COLUMNS.values()),
        ("limit_kind", _TEXT),
        ("limit_name", _TEXT),
        ("limit_path", _TEXT),
        ("limit_effect", _TEXT),
        ("limit_bytes", _INT),
        ("limit_held_bytes", _INT),
        ("limit_headroom_bytes", _INT),
        ("oom_kills", _INT),
    ),
}

#: The schema of each table's files.
TABLES: dict[str, pa.Schema] = {
    name: pa.schema(list(columns), metadata={"schema": SCHEMA})
    for name, columns in _COLUMNS.items()
}
