"""Limits of memory from trees of control group files as kernels write them, and from files of /proc."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from spyglass.memory_limits import MemoryLimit, MemoryLimits
from spyglass.procfs.cgroups import Mount, parse_mounts
from spyglass.procfs.group_memory import GroupMemory, _uncovered, read_groups, read_pressure
from spyglass.procfs.memory_limits import host_limits, memory_limits, parse_resource_limits

MIB = 1 << 20
NO_LIMIT_V1 = 9223372036854771712
STAT_2 = {"anon": 90 * MIB, "file": 80 * MIB, "shmem": 20 * MIB, "inactive_file": 50 * MIB,
          "active_file": 10 * MIB, "slab_reclaimable": 3 * MIB}  # fmt: skip
EVENTS = {"low": 0, "high": 7, "max": 12, "oom": 2, "oom_kill": 1}


def lines(numbers: Mapping[str, int]) -> str:
    return "".join(f"{name} {value}\n" for name, value in numbers.items())


def write(group: Path, **files: str | int) -> None:
    """Files of a group; "__" in a name stands for a dot."""
    group.mkdir(parents=True, exist_ok=True)
    for name, contents in files.items():
        (group / name.replace("__", ".")).write_text(f"{contents}")


def write_2(
    group: Path, limit: str | int = "max", used: int = 200 * MIB, **files: str | int
) -> None:
    known: dict[str, str | int] = {
        "memory__max": limit, "memory__high": "max", "memory__current": used, "memory__peak": used + MIB,
        "memory__stat": lines(STAT_2), "memory__events": lines(EVENTS), "cgroup__events": "populated 1\n",
    }  # fmt: skip
    write(group, **(known | files))


def write_1(
    group: Path, limit: int = NO_LIMIT_V1, used: int = 200 * MIB, **files: str | int
) -> None:
    known: dict[str, str | int] = {
        "memory__limit_in_bytes": limit, "memory__usage_in_bytes": used,
        "memory__max_usage_in_bytes": used + MIB, "memory__failcnt": 9, "memory__use_hierarchy": 1,
        "memory__oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n",
        "memory__stat": lines({"inactive_file": 1, "total_inactive_file": 30 * MIB,
                               "total_active_file": 10 * MIB, "hierarchical_memory_limit": limit}),
    }  # fmt: skip
    write(group, **(known | files))


def version_2(at: Path, root: str = "/") -> list[Mount]:
    return parse_mounts(f"31 23 0:28 {root} {at} rw shared:1 - cgroup2 cgroup2 rw\n")


def version_1(at: Path, root: str = "/") -> list[Mount]:
    return parse_mounts(f"31 23 0:28 {root} {at} rw shared:1 - cgroup cgroup rw,memory\n")


def named(found: GroupMemory, name: str, path: str | None = None) -> MemoryLimit:
    (row,) = (r for r in found.limits if r.name == name and path in (None, r.path))
    return row


def test_version_2_says_what_is_used_and_what_of_it_can_be_reclaimed(tmp_path: Path) -> None:
    write_2(tmp_path / "pod" / "app", 256 * MIB, memory__high=240 * MIB)
    write_2(tmp_path / "pod", 512 * MIB, used=500 * MIB)
    write(tmp_path, memory__stat=lines(STAT_2))  # the root has neither limit nor use
    found = read_groups({"": "/pod/app"}, version_2(tmp_path))
    assert [(row.name, row.path, row.effect) for row in found.limits] == [
        ("memory.max", "/pod/app", "kill"),
        ("memory.high", "/pod/app", "slow"),
        ("memory.max", "/pod", "kill"),
    ]
    assert named(found, "memory.max", "/pod/app") == MemoryLimit(
        "cgroup", "memory.max", "kill", "/pod/app", bytes=256 * MIB, used_bytes=200 * MIB,
        reclaimable_bytes=63 * MIB, working_set_bytes=150 * MIB, peak_bytes=201 * MIB, hits=12, oom_kills=1,
    )  # fmt: skip
    assert named(found, "memory.max", "/pod/app").headroom_bytes == (256 - 200 + 63) * MIB
    high = named(found, "memory.high")
    assert (high.bytes, high.hits, high.oom_kills) == (240 * MIB, 7, None)
    assert found.problems == ()


def test_the_least_headroom_counts_not_the_smallest_limit(tmp_path: Path) -> None:
    write_2(tmp_path / "pod" / "app", 256 * MIB)
    write_2(tmp_path / "pod", 512 * MIB, used=500 * MIB)
    found = read_groups({"": "/pod/app"}, version_2(tmp_path))
    nearest = MemoryLimits(found.limits).nearest
    assert nearest is not None
    assert (nearest.path, nearest.headroom_bytes) == ("/pod", 75 * MIB)


def test_a_group_without_a_limit_still_says_what_it_uses(tmp_path: Path) -> None:
    write_2(tmp_path / "a" / "b")
    write_2(tmp_path / "a")
    (row,) = read_groups({"": "/a/b"}, version_2(tmp_path)).limits
    assert (row.path, row.bytes, row.used_bytes, row.headroom_bytes) == (
        "/a/b",
        None,
        200 * MIB,
        None,
    )


def test_a_group_whose_controller_is_off_is_bound_by_those_above(tmp_path: Path) -> None:
    write(tmp_path / "a" / "b", cgroup__events="populated 1\n")
    write_2(tmp_path / "a", 300 * MIB)
    (row,) = read_groups({"": "/a/b"}, version_2(tmp_path)).limits
    assert (row.path, row.headroom_bytes) == ("/a", 163 * MIB)


def test_swap_is_no_limit_that_kills(tmp_path: Path) -> None:
    write_2(tmp_path / "a", 256 * MIB, memory__swap__max=0, memory__swap__current=0)
    found = read_groups({"": "/a"}, version_2(tmp_path))
    assert (named(found, "memory.swap.max").effect, found.swap_free_bytes) == ("swap", 0)
    nearest = MemoryLimits(found.limits).nearest
    assert nearest is not None
    assert nearest.name == "memory.max"
    write_2(tmp_path / "a", 256 * MIB, memory__swap__max=10 * MIB, memory__swap__current=4 * MIB)
    assert read_groups({"": "/a"}, version_2(tmp_path)).swap_free_bytes == 6 * MIB


def test_version_1_counts_the_groups_below(tmp_path: Path) -> None:
    write_1(tmp_path / "pod" / "app", 256 * MIB)
    write_1(tmp_path / "pod")
    write_1(tmp_path, cgroup__sane_behavior=0)
    found = read_groups({"memory": "/pod/app", "": "/"}, version_1(tmp_path))
    assert found.limits == (
        MemoryLimit(
            "cgroup", "memory.limit_in_bytes", "kill", "/pod/app", bytes=256 * MIB, used_bytes=200 * MIB,
            reclaimable_bytes=40 * MIB, working_set_bytes=170 * MIB, peak_bytes=201 * MIB, hits=9, oom_kills=4,
        ),
    )  # fmt: skip
    assert found.problems == ()


def test_version_1_has_a_limit_for_memory_and_swap_together(tmp_path: Path) -> None:
    write_1(
        tmp_path / "app", 256 * MIB, memory__memsw__limit_in_bytes=300 * MIB,
        memory__memsw__usage_in_bytes=210 * MIB, memory__memsw__failcnt=2,
    )  # fmt: skip
    row = named(read_groups({"memory": "/app"}, version_1(tmp_path)), "memory.memsw.limit_in_bytes")
    assert (row.bytes, row.used_bytes, row.hits) == (300 * MIB, 210 * MIB, 2)
    assert row.headroom_bytes == 130 * MIB


def test_version_1_without_hierarchy_binds_only_the_group_itself(tmp_path: Path) -> None:
    write_1(tmp_path / "pod" / "app", 256 * MIB, memory__use_hierarchy=0)
    write_1(tmp_path / "pod", 100 * MIB, memory__use_hierarchy=0)
    found = read_groups({"memory": "/pod/app"}, version_1(tmp_path))
    assert [row.path for row in found.limits] == ["/pod/app"]


def test_version_1_knows_of_a_smaller_limit_that_cannot_be_seen(tmp_path: Path) -> None:
    stat = lines(
        {"total_inactive_file": 0, "total_active_file": 0, "hierarchical_memory_limit": 64 * MIB}
    )
    write_1(tmp_path, 256 * MIB, memory__stat=stat)
    found = read_groups({"memory": "/docker/1"}, version_1(tmp_path, "/docker/1"))
    row = named(found, "hierarchical_memory_limit")
    assert (row.bytes, row.used_bytes, row.path) == (64 * MIB, None, None)
    assert [problem.kind for problem in found.problems] == ["unknown"]


def test_a_mount_of_another_namespace_shows_a_group_outside_of_ours(tmp_path: Path) -> None:
    write_2(tmp_path / "inner", 256 * MIB)
    write_2(tmp_path, 512 * MIB)
    found = read_groups({"": "/../app/inner"}, version_2(tmp_path, "/../app"))
    assert [row.bytes for row in found.limits] == [256 * MIB, 512 * MIB]
    assert "cannot be seen" in found.problems[0].detail
    assert read_groups({"": "/../.."}, version_2(tmp_path)).limits == ()


def test_what_is_mounted_over_the_groups_of_a_process_is_not_believed() -> None:
    cgroup = "30 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
    assert list(_uncovered(parse_mounts(cgroup)))
    for point in ("/sys/fs/cgroup", "/sys/fs", "/"):
        over = f"31 23 0:29 / {point} rw - fuse.evil evil rw\n"
        assert list(_uncovered(parse_mounts(cgroup + over))) == []
    beside = "31 23 0:29 / /sys/fs/cgroup/inner rw - fuse.evil evil rw\n"
    assert list(_uncovered(parse_mounts(cgroup + beside)))


@pytest.mark.parametrize(
    "word", ["", "x", "-1", "9" * 30, "9" * 5000, "1 2", "\x00", "²", "٣", str(1 << 63)]
)
def test_a_limit_that_is_no_number_is_none(tmp_path: Path, word: str) -> None:
    write_2(
        tmp_path / "a",
        word,
        memory__stat=f"inactive_file {word}\nactive_file\n",
        memory__events=word,
    )
    (row,) = read_groups({"": "/a"}, version_2(tmp_path)).limits
    assert (row.bytes, row.reclaimable_bytes, row.oom_kills) == (None, None, None)
    assert row.held_bytes == 200 * MIB


def test_files_that_never_end_and_endless_depths_are_bounded(tmp_path: Path) -> None:
    write_2(tmp_path / "a", memory__stat="x 1\n" * (1 << 20))
    (row,) = read_groups({"": "/a"}, version_2(tmp_path)).limits
    assert row.reclaimable_bytes is None
    path = "/".join(["d"] * 200)
    write_2(tmp_path / path, 99)
    for depth in range(1, 200):
        write_2(tmp_path / "/".join(["d"] * depth), 99)
    assert len(read_groups({"": f"/{path}"}, version_2(tmp_path)).limits) == 64


def test_more_can_never_be_reclaimed_than_is_used(tmp_path: Path) -> None:
    write_2(tmp_path / "a", 256 * MIB, used=10 * MIB)
    (row,) = read_groups({"": "/a"}, version_2(tmp_path)).limits
    assert (row.held_bytes, row.working_set_bytes, row.headroom_bytes) == (0, 0, 256 * MIB)


PSI = "some avg10=12.50 avg60=3.00 avg300=0.10 total=5\nfull avg10=1.00 avg60=0.50 avg300=0.00 total=3\n"


def test_pressure_is_that_of_the_process_s_own_group(tmp_path: Path) -> None:
    write_2(tmp_path / "a", memory__pressure=PSI)
    pressure = read_groups({"": "/a"}, version_2(tmp_path)).pressure
    assert pressure is not None
    assert (pressure.path, pressure.some_percent) == ("/a", (12.5, 3.0, 0.1))
    assert pressure.full_percent == (1.0, 0.5, 0.0)
    write(tmp_path, memory__pressure=PSI)
    assert read_groups({"": "/"}, version_2(tmp_path)).pressure is None  # the host's


@pytest.mark.parametrize(
    "contents", ["", "some", "some avg10=x avg60=1 avg300=1 total=1", "some avg10=nan avg60=1 avg300=1",
                 "some avg10=1e9 avg60=1 avg300=1", "full avg10=1 avg60=1 avg300=1", "some avg10=1"],
)  # fmt: skip
def test_pressure_that_is_none(tmp_path: Path, contents: str) -> None:
    (tmp_path / "p").write_text(contents)
    assert read_pressure(str(tmp_path / "p"), None) is None


LIMITS = """Limit                     Soft Limit           Hard Limit           Units
Max data size             1073741824           unlimited            bytes
Max address space         unlimited            2147483648           bytes
"""


def test_soft_limits_of_resources_count() -> None:
    (row,) = parse_resource_limits(LIMITS, {"VmData": "1024 kB", "VmSize": "4096 kB"})
    assert row == MemoryLimit("rlimit", "RLIMIT_DATA", "refuse", bytes=1 << 30, used_bytes=1 << 20)
    (row,) = parse_resource_limits(LIMITS, {})
    assert row.headroom_bytes is None


def test_the_host_s_headroom_is_what_is_available() -> None:
    (row, *_), _ = host_limits()
    lines = Path("/proc/meminfo").read_text().splitlines()
    meminfo = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
    assert row.bytes == meminfo["MemTotal"]
    # Others use memory meanwhile.
    assert row.headroom_bytes == pytest.approx(meminfo["MemAvailable"], rel=0.2)


def test_everything_is_read_of_a_process() -> None:
    found = memory_limits(os.getpid(), files=True)
    assert found.rows[-1].kind == "host"
    assert found.oom_score_adj is not None
    assert found.files is not None
