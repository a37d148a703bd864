from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from spyglass.errors import BadDataError, TargetError
from spyglass.procfs import host_processes
from spyglass.procfs.access_rules import Attempt, Credentials, explain, read_attempt
from spyglass.procfs.cgroups import (
    CpuQuota,
    Mount,
    parse_mounts,
    smallest_limit,
    smallest_quota,
)
from spyglass.procfs.containers import (
    KubeletMount,
    find_container,
    find_kubelet_mount,
    find_mounted_container,
    find_pod,
)
from spyglass.procfs.files import read, read_head, split_stat
from spyglass.procfs.memory_maps import MAX_MAPPINGS, Mapping, parse_maps
from tests.children import forbid_calls, in_child

ID = "0123456789abcdef" * 4
OTHER_ID = "fedcba9876543210" * 4

SYS_PTRACE = 1 << 19
ALL_CAPABILITIES = (1 << 41) - 1
INITIAL_NAMESPACE = b"         0          0 4294967295\n"


def user(uid: int, capabilities: int = 0, bounding: int = ALL_CAPABILITIES) -> Credentials:
    return Credentials(
        (uid,) * 3, (uid,) * 3, capabilities, capabilities, bounding, INITIAL_NAMESPACE
    )


ATTEMPT = Attempt(user(54321), user(54321), dumpable=True, descendant=False, yama=0)
ROOT = user(0, ALL_CAPABILITIES)
CONTAINER_ROOT = user(0, ALL_CAPABILITIES & ~SYS_PTRACE, ALL_CAPABILITIES & ~SYS_PTRACE)


@pytest.mark.parametrize(
    ("attempt", "reason", "hint"),
    [
        (replace(ATTEMPT, target=user(0)), "it runs as root, and spyglass as 54321", "sudo"),
        (
            replace(ATTEMPT, target=replace(user(54321), uids=(54321, 0, 0))),
            "it runs as root, and spyglass as 54321",
            "sudo",
        ),
        (
            replace(ATTEMPT, caller=CONTAINER_ROOT),
            "it runs as 54321, and spyglass as root without CAP_SYS_PTRACE",
            "--cap-add SYS_PTRACE",
        ),
        (
            replace(ATTEMPT, caller=user(54321, bounding=0), target=user(0)),
            "it runs as root, and spyglass as 54321",
            "--cap-add SYS_PTRACE",
        ),
        (
            replace(ATTEMPT, target=replace(user(54321), gids=(54321, 4, 4))),
            "its group is not the group of this user",
            "sudo",
        ),
        (replace(ATTEMPT, dumpable=False), "it is protected", "sudo"),
        (replace(ATTEMPT, target=user(54321, 1 << 10)), "it has capabilities that", "sudo"),
        (
            replace(ATTEMPT, target=replace(user(54321), uid_map=b"0 1000 1\n")),
            "it is in another user namespace",
            "sudo",
        ),
        (replace(ATTEMPT, yama=1), "Yama lets only its ancestors", "ptrace_scope=0"),
        (replace(ATTEMPT, yama=1, caller=CONTAINER_ROOT, target=user(0)), "Yama", "--cap-add"),
        (replace(ATTEMPT, yama=1, descendant=True), "a security module", "audit log"),
        (replace(ATTEMPT, yama=1, memory=False), "a security module", "audit log"),
        (replace(ATTEMPT, yama=1, caller=ROOT), "a security module", "audit log"),
        (replace(ATTEMPT, yama=2, descendant=True), "Yama lets only administrators", "sudo"),
        (replace(ATTEMPT, yama=2, caller=ROOT), "a security module", "audit log"),
        (replace(ATTEMPT, yama=3, caller=ROOT), "Yama forbids", "reboot"),
        (
            replace(ATTEMPT, caller=replace(ROOT, uid_map=b"0 1000 1\n")),
            "it is in another user namespace",
            "outside of all containers",
        ),
        (replace(ATTEMPT, caller=ROOT), "a security module", "audit log"),
        (replace(ATTEMPT, caller=ROOT, filtered=True), "a seccomp filter", "--cap-add SYS_PTRACE"),
        (
            replace(ATTEMPT, caller=user(54321, 1 << 19), target=user(0), memory=False),
            "some of its files in /proc can be opened by root only",
            "CAP_DAC_READ_SEARCH",
        ),
    ],
)
def test_the_rule_that_refused_is_named(attempt: Attempt, reason: str, hint: str) -> None:
    denial = explain(attempt)
    assert denial.reason.startswith(reason)
    assert hint in denial.hint


@pytest.mark.parametrize(
    ("path", "container"),
    [
        (f"/docker/{ID}", ID),
        (f"/system.slice/docker-{ID}.scope", ID),
        (f"/system.slice/docker-{ID}.scope/app.slice/worker.service", ID),
        (f"/docker/{ID}/docker/{OTHER_ID}", OTHER_ID),
        (f"/kubepods/burstable/pod8d9b0a77-1f2b-4b57-8f4c-6a4b4e0f7c11/{ID}", ID),
        (f"/kubepods.slice/kubepods-pod1.slice/cri-containerd-{ID}.scope", ID),
        (f"/kubepods.slice/kubepods-pod1.slice/crio-{ID}.scope", ID),
        (f"/kubepods.slice/crio-conmon-{ID}.scope", None),
        (f"/machine.slice/libpod-{ID}.scope/container", ID),
        (f"/machine.slice/libpod-conmon-{ID}.scope", None),
        (f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope", ID),
        (f"/default/{ID}", ID),
        (f"/ecs/{'0' * 32}/{'a1' * 16}-1234567890", f"{'a1' * 16}-1234567890"),
        (f"/ecs/55091c13-b8cf-4801-b527-f4601742204d/{ID}", ID),
        ("/lxc/web-1", "web-1"),
        ("/lxc.payload.web-1/system.slice/cron.service", "web-1"),
        ("/lxc.monitor.web-1", None),
        ("/machine.slice/systemd-nspawn@build.service/payload", "build"),
        ("/machine.slice/machine-build.scope", "build"),
        ("/system.slice/prometheus.service", None),
        (f"/docker/{ID}ab", None),
        ("/", None),
    ],
)
def test_a_container_is_known_by_its_group(path: str, container: str | None) -> None:
    assert find_container(["/", path]) == container


UID = "8d9b0a77-1f2b-4b57-8f4c-6a4b4e0f7c11"
SLICE = f"kubepods-burstable-pod{UID.replace('-', '_')}.slice"


@pytest.mark.parametrize(
    ("path", "pod"),
    [
        (f"/kubepods/burstable/pod{UID}/{ID}", UID),
        (f"/kubepods/pod{UID}/{ID}", UID),
        (f"/kubepods.slice/kubepods-burstable.slice/{SLICE}/cri-containerd-{ID}.scope", UID),
        (f"/../../{SLICE}/crio-{ID}.scope", UID),
        (f"/docker/{ID}/kubelet.slice/kubelet-kubepods.slice/kubelet-{SLICE}/cri-containerd-{ID}.scope", UID),
        (f"/k8s.io/kubepods/besteffort/pod{'0123456789abcdef' * 2}/{ID}", "0123456789abcdef" * 2),
        (f"/docker/{ID}", None),
        (f"/pod{UID}/{ID}", None),
        (f"/kubepods/pod{UID}0/{ID}", None),
        ("/kubepods/podinfo", None),
        ("/" + "kubepods-pod" * 300, None),
    ],
)  # fmt: skip
def test_a_pod_is_known_by_its_group(path: str, pod: str | None) -> None:
    assert find_pod(["/", path]) == pod


def test_a_container_of_a_pod_is_known_by_what_kubelet_mounts() -> None:
    file = f"/var/lib/kubelet/pods/{UID}/containers/cart/0a1b2c3d"
    mounts = mounts_at(
        (f"/var/lib/kubelet/pods/{UID}/etc-hosts", Path("/etc/hosts"), "ext4 /dev/vda rw"),
        (file, Path("/dev/termination-log"), "ext4 /dev/vda rw"),
    )
    assert find_kubelet_mount(mounts) == KubeletMount(UID, "cart")
    assert find_kubelet_mount(mounts[:1]) is None


def mounts_at(*lines: tuple[str, Path, str]) -> list[Mount]:
    """Mounts as (root, mount point, what follows), as they are within a container."""
    return parse_mounts(
        "".join(f"31 23 0:28 {root} {at} rw shared:1 - {rest}\n" for root, at, rest in lines)
    )


def write_quota(group: Path, quota: str, stat: str = "") -> None:
    """The files of a CPU controller of version 1 and of version 2, in which `quota` is."""
    group.mkdir(exist_ok=True, parents=True)
    amount, _, period = quota.partition(" ")
    (group / "cpu.max").write_text(f"{quota}\n")
    (group / "cpu.cfs_quota_us").write_text("-1\n" if amount == "max" else f"{amount}\n")
    (group / "cpu.cfs_period_us").write_text(f"{period}\n")
    (group / "cpu.stat").write_text(stat)


@pytest.mark.parametrize(
    ("mount", "controller", "throttled"),
    [("cgroup2 cgroup2 rw", "", "throttled_usec 7"), ("cgroup cgroup rw,cpu", "cpu", "throttled_time 7000")],
)  # fmt: skip
def test_the_quota_is_that_of_the_strictest_group_above(
    tmp_path: Path, mount: str, controller: str, throttled: str
) -> None:
    mounts = mounts_at(("/", tmp_path, mount))
    write_quota(tmp_path / "a" / "b", "300000 100000")
    write_quota(tmp_path / "a", "150000 100000", f"nr_periods 50\nnr_throttled 5\n{throttled}\n")
    write_quota(tmp_path, "max 100000")
    assert smallest_quota({controller: "/a/b"}, mounts) == CpuQuota(1.5, 50, 5, 7000)
    assert smallest_quota({controller: "/"}, mounts) is None
    assert smallest_quota({}, mounts) is None


@pytest.mark.parametrize("quota", ["", "max", "-1 100000", "100000 0", "x y", "100000"])
def test_a_quota_that_is_none(tmp_path: Path, quota: str) -> None:
    for mount, controller in (("cgroup2 cgroup2 rw", ""), ("cgroup cgroup rw,cpu", "cpu")):
        write_quota(tmp_path, quota)
        assert smallest_quota({controller: "/"}, mounts_at(("/", tmp_path, mount))) is None


def test_the_memory_limit_is_that_of_the_strictest_group_above(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    mounts = mounts_at(("/", tmp_path, "cgroup2 cgroup2 rw"))
    for group, limit in (("a/b", "max"), ("a", "2048"), (".", "1024")):
        (tmp_path / group / "memory.max").write_text(f"{limit}\n")
    assert smallest_limit({"": "/a/b"}, mounts) == 1024
    (tmp_path / "memory.max").unlink()
    assert smallest_limit({"": "/a/b"}, mounts) == 2048
    (tmp_path / "a" / "b" / "memory.max").write_text("512\n")
    assert smallest_limit({"": "/a/b"}, mounts) == 512
    assert smallest_limit({"": "/a"}, mounts) == 2048
    assert smallest_limit({"": "/"}, mounts) is None
    assert smallest_limit({}, mounts) is None


def test_a_group_is_found_from_within_a_container(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("4096\n")
    mounts = mounts_at((f"/docker/{ID}", tmp_path, "cgroup2 cgroup2 rw"))
    assert smallest_limit({"": f"/docker/{ID}"}, mounts) == 4096
    assert smallest_limit({"": f"/docker/{ID}ab"}, mounts) is None
    assert smallest_limit({"": "/../.."}, mounts_at(("/", tmp_path, "cgroup2 - rw"))) is None


def test_version_1_says_what_its_ancestors_allow(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    statistics = tmp_path / "a" / "memory.stat"
    statistics.write_text("cache 1\nhierarchical_memory_limit 8192\n")
    mounts = mounts_at(
        ("/", tmp_path / "other", "cgroup cgroup rw,cpu"),
        ("/", tmp_path, "cgroup cgroup rw,memory"),
    )
    assert smallest_limit({"memory": "/a", "cpu": "/"}, mounts) == 8192
    statistics.write_text("hierarchical_memory_limit 9223372036854771712\n")
    assert smallest_limit({"memory": "/a"}, mounts) is None


@pytest.mark.parametrize(
    ("root", "point", "container"),
    [
        (f"/var/lib/docker/containers/{ID}/hostname", "/etc/hostname", ID),
        (f"/containers/storage/overlay-containers/{ID}/userdata/hosts", "/etc/hosts", ID),
        (f"/run/containers/vfs-containers/{ID}/userdata/hosts", "/etc/hosts", ID),
        (f"/io.containerd.grpc.v1.cri/sandboxes/{ID}/hostname", "/etc/hostname", None),
        (f"/var/lib/docker/containers/{ID}/mounts/shm", "/dev/shm", None),
        ("/", "/etc/hostname", None),
    ],
)
def test_a_container_is_known_by_the_files_of_its_runtime(
    root: str, point: str, container: str | None
) -> None:
    assert find_mounted_container(mounts_at((root, Path(point), "ext4 /dev/vda rw"))) == container


def test_names_of_mounts_are_decoded() -> None:
    (mount,) = mounts_at(("/", Path(r"/srv/a\040b\134c"), "ext4 /dev/vda rw,memory"))
    assert mount == Mount("ext4", ("rw", "memory"), "/", "/srv/a b\\c")


@pytest.mark.parametrize("name", ["a) R 1 (b", "two\nlines", "((", "))", "", "\x1b[31m", "a b"])
def test_a_name_cannot_forge_the_rest_of_a_stat_line(name: str) -> None:
    raw = b"17 (" + name.encode() + b") S 4 17 0\n"
    assert split_stat(raw) == (name, b"S 4 17 0\n")


@pytest.mark.parametrize("raw", [b"", b"17 S 4", b")(", b"17 (x"])
def test_a_stat_line_without_a_name_is_refused(raw: bytes) -> None:
    with pytest.raises(BadDataError):
        split_stat(raw)


MAPS = rb"""00400000-00452000 r-xp 00001000 fe:00 26723                      /usr/bin/a b  c
00452000-00453000 rw-s 00000000 00:2d 18446744073709551615       /srv/two\012lines (deleted)
7f0000000000-7f0000001000 ---p 00000000 00:00 0
7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0                          [stack]
"""


def test_maps_are_decoded() -> None:
    code, shared, guard, stack = parse_maps(MAPS)
    assert code == Mapping(
        0x400000, 0x452000, "r-xp", 0x1000, 0xFE00, 26723, "/usr/bin/a b  c", False
    )
    assert (shared.path, shared.deleted) == ("/srv/two\nlines", True)
    assert (guard.path, guard.inode, guard.readable) == ("", 0, False)
    assert stack.path == "[stack]"
    assert [m.executable for m in (code, shared)] == [True, False]
    assert [m.writable for m in (code, shared)] == [False, True]


def test_a_path_may_hold_a_carriage_return_and_bytes_that_are_not_utf8() -> None:
    (mapping,) = parse_maps(b"1000-2000 r--p 00000000 fe:00 1   /a\rb\x85\xff\n")
    assert mapping.path.encode(errors="surrogateescape") == b"/a\rb\x85\xff"


@pytest.mark.parametrize("raw", [b"nonsense\n", b"1000-2000 r--p\n", b"x-y r--p 0 0:0 0\n"])
def test_malformed_maps_are_refused(raw: bytes) -> None:
    with pytest.raises(BadDataError, match="is malformed"):
        parse_maps(raw)


def test_too_many_mappings_are_refused() -> None:
    with pytest.raises(BadDataError, match="implausible count"):
        parse_maps(b"\n" * (MAX_MAPPINGS + 1))


def test_no_file_is_read_beyond_its_limit() -> None:
    assert len(read_head("/dev/zero", 1 << 17)) == 1 << 17
    with pytest.raises(BadDataError, match="more than 10 bytes"):
        read("/dev/zero", 10)


def test_a_host_whose_processes_cannot_be_listed_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def listdir(path: object) -> list[str]:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("os.listdir", listdir)
    with pytest.raises(TargetError, match="cannot list processes: Permission denied"):
        host_processes.pids()


def test_a_filter_of_system_calls_is_seen() -> None:
    def look() -> bool:
        forbid_calls(101)
        return read_attempt(os.getpid(), memory=True).filtered

    assert in_child(look)
