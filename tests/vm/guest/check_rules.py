"""Rules of the kernel that refuse something: there is an answer, or one line with the rule and what to do."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import spyglass as package
from tests.children import forbid_calls
from tests.vm.guest.machine import (
    PARANOID,
    USER,
    YAMA,
    is_spinning,
    newest,
    of_user,
    refusal,
    setting,
    spyglass,
    started,
    told,
)

Note = Callable[[str, object], None]

#: process_vm_readv, perf_event_open and ptrace.
_READ, _PERF, _TRACE = (310, 298, 101) if platform.machine() == "x86_64" else (270, 241, 117)


def test_root_sees_running_goroutines_whatever_perf_event_paranoid_is() -> None:
    with (
        started("truth", newest(), "-spin", "1") as process,
        package.attach(process.pid) as program,
    ):
        for value in (-1, 0, 1, 2, 3, 4):
            with setting(PARANOID, value):
                assert any(is_spinning(program.snapshot()) for _ in range(10)), value


@pytest.mark.parametrize("value", [1, 2, 3, 4])
def test_a_user_records_or_is_told_the_rule(
    value: int, tmp_path: Path, record_property: Note
) -> None:
    os.chmod(tmp_path, 0o777)
    for parent in tmp_path.parents:
        if parent != Path("/"):
            os.chmod(parent, 0o777)
    with setting(PARANOID, value), of_user() as pid:
        options = ("--pid", pid, "--duration", "1s", "-o", tmp_path / f"{value}.json")
        code, _, errors = told("record", *options, user=USER)
        assert "Traceback" not in errors
        assert code == 0 or "perf_event_paranoid" in errors, errors
        assert (value <= 2) == (code == 0), errors
    record_property("note", " ".join(errors.split())[:300])


@pytest.mark.parametrize("value", [0, 1, 2])
def test_a_user_reads_an_own_process_or_is_told_the_rule(value: int, record_property: Note) -> None:
    with setting(YAMA, value), of_user() as pid:
        if value == 0:
            assert "goroutines" in spyglass("summary", "--pid", pid, user=USER)
        else:
            said = refusal("summary", "--pid", pid, user=USER)
            assert "ptrace_scope" in said
            record_property("note", said[:300])
        assert "goroutines" in spyglass("summary", "--pid", pid)


def test_a_user_does_not_read_a_process_of_root(record_property: Note) -> None:
    with setting(YAMA, 0), started("truth", newest()) as process:
        said = refusal("summary", "--pid", process.pid, user=USER)
    assert "sudo" in said or "user" in said
    record_property("note", said[:300])


def test_hidepid(record_property: Note) -> None:
    subprocess.run(["mount", "-o", "remount,hidepid=2", "/proc"], check=True)
    try:
        with started("truth", newest()) as process:
            said = refusal("summary", "--pid", process.pid, user=USER)
            assert "hidepid" in said
            assert "goroutines" in spyglass("summary", "--pid", process.pid)
    finally:
        subprocess.run(["mount", "-o", "remount,hidepid=0", "/proc"], check=True)
    record_property("note", said[:300])


def test_without_capabilities_root_is_told_what_is_missing(record_property: Note) -> None:
    """As root in a container of an ordinary runtime is: without CAP_SYS_PTRACE, CAP_PERFMON and CAP_SYS_ADMIN."""
    with setting(YAMA, 1), of_user() as pid:
        dropped = "-sys_ptrace,-perfmon,-sys_admin"
        command = ["setpriv", f"--bounding-set={dropped}", f"--inh-caps={dropped}", sys.executable]
        done = subprocess.run(
            [*command, "-m", "spyglass", "summary", "--pid", str(pid)],
            capture_output=True, text=True, check=False, timeout=400,
        )  # fmt: skip
    said = " ".join(done.stderr.split())
    assert done.returncode != 0
    assert "CAP_SYS_PTRACE" in said, said
    record_property("note", said[:300])


def test_the_seccomp_filter_of_a_container_runtime(record_property: Note) -> None:
    with started("truth", newest(), "-spin", "1") as process:

        def forbid() -> None:
            forbid_calls(_READ, _PERF, _TRACE)

        ran = 0
        for _ in range(4):  # what reads may have preempted the goroutine: it is runnable then
            code, text, errors = told("dump", "--pid", process.pid, before=forbid)
            assert code == 0, errors
            assert text.count("goroutine ") > 100
            if "[running" in text:
                ran += 1
                assert "seccomp" in text + errors
        assert ran
        said = refusal("dump", "--stop", "--pid", process.pid, before=forbid)
    assert "seccomp" in said
    record_property("note", f"{' '.join(errors.split())[:250]} | {said[:250]}")


_PROFILE = """
profile spyglass-check flags=(attach_disconnected) {
  file, capability, signal, network, unix, mount,
}
"""


def test_a_profile_of_apparmor(tmp_path: Path, record_property: Note) -> None:
    """Confined by a profile without a rule for ptrace, as containers of docker-default are for what is outside."""
    enabled = Path("/sys/module/apparmor/parameters/enabled")
    if not enabled.exists() or enabled.read_text().strip() != "Y":
        pytest.skip("this kernel has no AppArmor")
    profile = tmp_path / "profile"
    profile.write_text(_PROFILE)
    loaded = subprocess.run(
        ["apparmor_parser", "--replace", "--skip-cache", str(profile)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert loaded.returncode == 0, loaded.stderr

    def confine() -> None:
        Path("/proc/self/attr/exec").write_text("exec spyglass-check")

    with started("truth", newest()) as process:
        said = refusal("summary", "--pid", process.pid, before=confine)
        assert "AppArmor" in said, said
        document = told("doctor", "--pid", process.pid, before=confine)
    assert "AppArmor" in document[1]
    record_property("note", said[:300])


def test_zz_yama_three_is_explained(record_property: Note) -> None:
    """Last: it cannot be taken back before the machine ends."""
    if not Path(YAMA).exists():
        pytest.skip("this kernel has no Yama")
    with started("truth", newest()) as process:
        Path(YAMA).write_text("3\n")
        said = refusal("summary", "--pid", process.pid)
    assert "ptrace_scope" in said
    record_property("note", said[:300])
