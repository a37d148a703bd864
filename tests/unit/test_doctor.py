"""What is made of settings and trials; on made folders and made results."""

from __future__ import annotations

import io
import json
import os
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest

from spyglass.doctor.host import Tried, checks_of
from spyglass.doctor.packages import parse_requirement
from spyglass.doctor.settings import read_facts
from spyglass.export.host_document import write_report
from spyglass.host_report import Check, Fact, HostReport, Package, TargetReport
from spyglass.procfs.access_rules import Denial
from spyglass.render.doctor_view import render
from spyglass.render.view_options import View

SCHEMA = json.loads(files("spyglass.export").joinpath("doctor.schema.json").read_text())
STATUS = "Uid:\t1000\t1000\t1000\t1000\nCapEff:\t0000004000080000\nNoNewPrivs:\t1\nSeccomp:\t2\n"
MOUNTS = """\
22 1 0:21 / /proc rw - proc proc rw,hidepid=invisible
23 1 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw
24 1 0:23 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
"""


def made(root: Path, **texts: str) -> dict[str, str]:
    for path, content in texts.items():
        file = root / path.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return {each.name: each.value for each in read_facts(str(root))}


def test_settings_of_a_container(tmp_path: Path) -> None:
    namespaces = tmp_path / "proc/self/ns"
    namespaces.mkdir(parents=True)
    (namespaces / "user").symlink_to("user:[4026531837]")
    (namespaces / "pid").symlink_to("pid:[4026532999]")
    facts = made(
        tmp_path,
        proc__self__status=STATUS,
        proc__self__mountinfo=MOUNTS,
        proc__sys__kernel__osrelease="5.10.0-8-amd64\n",
        proc__sys__kernel__yama__ptrace_scope="2\n",
        proc__sys__kernel__perf_event_paranoid="4\n",
        proc__sys__kernel__kptr_restrict="1\n",
        sys__kernel__security__lsm="lockdown,yama,apparmor\n",
        sys__kernel__security__lockdown="none [integrity] confidentiality\n",
    )
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cgroup.controllers").write_text("cpu memory\n")
    facts |= {each.name: each.value for each in read_facts(str(tmp_path))}
    del facts["python"], facts["user"]
    assert facts == {
        "kernel": f"Linux 5.10.0-8-amd64 {os.uname().machine}",
        "capabilities": "SYS_PTRACE PERFMON",
        "seccomp": "filter",
        "no_new_privs": "yes",
        "user namespace": "of the host",
        "pid namespace": "not that of the host",
        "hidepid": "invisible",
        "yama ptrace_scope": "2: only CAP_SYS_PTRACE may read processes",
        "perf_event_paranoid": "4",
        "kptr_restrict": "1",
        "security modules": "lockdown,yama,apparmor",
        "lockdown": "integrity",
        "control groups": "version 2: cpu memory; version 1: memory",
    }


def test_settings_that_cannot_be_read_are_not_known(tmp_path: Path) -> None:
    facts = made(tmp_path)
    assert facts["yama ptrace_scope"] == "no Yama"
    assert facts["perf_event_paranoid"] == "no perf events"
    assert facts["seccomp"] == facts["user"] == facts["capabilities"] == "?"
    assert facts["control groups"] == "none are mounted here"


@pytest.mark.parametrize(
    "content", ["", "x" * (1 << 21), "\x1b[2J\n\n", "Uid:\nCapEff: zz\nSeccomp: 9"]
)
def test_settings_that_are_odd_do_no_harm(tmp_path: Path, content: str) -> None:
    facts = made(
        tmp_path,
        proc__self__status=content,
        proc__self__mountinfo=content,
        proc__sys__kernel__yama__ptrace_scope=content,
        sys__kernel__security__lockdown=content,
    )
    assert facts["capabilities"] == "?"


ALL_WORKS = Tried()


def check_of(tried: Tried, name: str) -> Check:
    return next(each for each in checks_of(tried) if each.name == name)


def test_where_all_works_nothing_else_is_said() -> None:
    for each in checks_of(ALL_WORKS):
        assert each == Check(each.name, "works")
    assert not HostReport((), checks_of(ALL_WORKS), ()).refused


@pytest.mark.parametrize(
    ("tried", "name", "state"),
    [
        (Tried(processor="a riscv64 is not known"), "processor", "refused"),
        (Tried(proc="/proc is not mounted"), "/proc", "refused"),
        (Tried(own=Denial("Yama", "sysctl")), "memory of your processes", "refused"),
        (Tried(others=Denial("it runs as root", "sudo")), "memory of others' processes", "refused"),
        (Tried(others_tried=False), "memory of others' processes", "not tried"),
        (Tried(by_file=True), "process_vm_readv", "limited"),
        (Tried(samples=Denial("no", "so"), kernel_samples=Denial("no", "so")), "samples in system calls", "refused"),
        (Tried(kernel_samples=Denial("no", "so"), paranoid=2), "samples in system calls", "limited"),
        (Tried(stopping=Denial("no", "so")), "stopping (ptrace)", "refused"),
        (Tried(hidden=True), "/proc of others", "limited"),
        (Tried(kernel_names=False), "kernel function names", "limited"),
        (Tried(first=False), "real-time priority", "limited"),
        (Tried(groups=False), "control group of memory", "limited"),
        (Tried(pressure=False), "memory pressure", "limited"),
        (Tried(calls=["cachestat (Linux 6.5)"]), "system calls", "limited"),
    ],
)  # fmt: skip
def test_what_does_not_work_says_why(tried: Tried, name: str, state: str) -> None:
    found = check_of(tried, name)
    assert found.state == state
    assert found.why
    assert HostReport((), checks_of(tried), ()).refused == (state == "refused")
    assert found.affects or name in ("memory of others' processes", "system calls")


def test_a_container_is_told_its_flags_and_a_host_is_not() -> None:
    hint = "start the container with it (docker run --cap-add SYS_PTRACE)"
    tried = Tried(own=Denial("it is refused", hint), in_container=True)
    remedies = check_of(tried, "memory of your processes").remedies
    assert remedies == (
        "docker run --cap-add SYS_PTRACE, podman run --cap-add SYS_PTRACE",
        "Kubernetes: securityContext: {capabilities: {add: [SYS_PTRACE]}}",
    )
    tried = Tried(samples=Denial("it is refused", "run spyglass with sudo"))
    assert check_of(tried, "samples of threads").remedies == (
        "run spyglass with sudo",
        "in a systemd unit: AmbientCapabilities=CAP_PERFMON",
    )


def test_root_is_not_told_to_use_sudo() -> None:
    tried = Tried(kernel_names=False, first=False, is_root=True)
    assert check_of(tried, "kernel function names").remedies == (
        "run `sysctl kernel.kptr_restrict=0 kernel.perf_event_paranoid=1`",
        "in a systemd unit: AmbientCapabilities=CAP_SYSLOG",
    )
    assert check_of(tried, "real-time priority").remedies == (
        "in a systemd unit: AmbientCapabilities=CAP_SYS_NICE",
    )


def test_the_process_that_was_asked_about_decides() -> None:
    works, refused = Check("memory", "works"), Check("memory", "refused", "why")
    assert not HostReport((), (refused,), (), TargetReport(1, (), (works,))).refused
    assert HostReport((), (works,), (), TargetReport(1, (), (refused,))).refused


@pytest.mark.parametrize(
    ("line", "package"),
    [
        ("numpy>=1.26", Package("numpy>=1.26", "1.26.4", None)),
        ("numpy>=2.0", Package("numpy>=2.0", "1.26.4", None, too_old=True)),
        ("numpy<3,>=1.26.4", Package("numpy<3,>=1.26.4", "1.26.4", None)),
        ('zstandard>=0.22; extra == "zstd"', Package("zstandard>=0.22", None, "zstd")),
        ("uvicorn[standard]>=0.5 ; extra == 'serve'", Package("uvicorn>=0.5", None, "serve")),
        ('ruff>=0.8; extra == "dev"', None),
        ("", None),
    ],
)
def test_requirements(line: str, package: Package | None) -> None:
    assert parse_requirement(line, {"numpy": "1.26.4"}.get) == package


REPORT = HostReport(
    (Fact("kernel", "Linux 6.1"), Fact("control groups", "version 1: " + "memory " * 30)),
    checks_of(
        Tried(
            own=Denial(
                "Yama lets only its ancestors read a process",
                "run `sysctl kernel.yama.ptrace_scope=0`",
            )
        )
    ),
    (Package("numpy>=1.26", "2.0", None), Package("zstandard>=0.22", None, "zstd")),
    TargetReport(
        7, (Fact("name", "\x1b]0;x\x07"),), (Check("process", "refused", "\u202eno\n" * 9, "all"),)
    ),
)


def test_the_document_fits_its_schema() -> None:
    stream = io.BytesIO()
    write_report(REPORT, stream)
    document = json.loads(stream.getvalue())
    jsonschema.validate(document, SCHEMA)
    assert document["refused"] is True
    assert document["target"]["facts"] == [{"name": "name", "value": "\x1b]0;x\x07"}]


@pytest.mark.parametrize("width", [None, 40, 80, 200])
def test_no_line_is_wider_than_the_terminal_or_obeyed_by_it(width: int | None) -> None:
    lines = [line.plain for line in render(REPORT, View(width=width))]
    assert all(line.isprintable() for line in lines)
    assert width is None or max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert "do: run `sysctl" in text
    assert "affects: all commands" in text
    assert text.index("process 7") < text.index("this host") < text.index("packages")
