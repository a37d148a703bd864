"""`spyglass doctor` under rules of these kernels: what it says of each is what becomes of a command."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.vm.guest.machine import PARANOID, USER, YAMA, of_user, setting, spyglass, told

Note = Callable[[str, object], None]


@pytest.mark.parametrize(("yama", "paranoid"), [(0, 2), (0, 3), (1, 2), (2, 4)])
def test_doctor_says_what_becomes_of_a_user(
    yama: int, paranoid: int, record_property: Note
) -> None:
    with ExitStack() as stack:
        stack.enter_context(setting(YAMA, yama))
        stack.enter_context(setting(PARANOID, paranoid))
        pid = stack.enter_context(of_user())
        document = json.loads(told("doctor", "--pid", pid, "--json", user=USER)[1])
        facts = {each["name"]: each["value"] for each in document["facts"]}
        assert facts["yama ptrace_scope"].startswith(f"{yama}: ")
        assert facts["perf_event_paranoid"] == str(paranoid)
        checks = {each["name"]: each for each in document["checks"]}
        assert (checks["samples of threads"]["state"] == "works") == (paranoid <= 2)
        code, _, errors = told("summary", "--pid", pid, user=USER)
        of_target = {each["name"]: each for each in document["target"]["checks"]}
        works = of_target["memory"]["state"] == "works"
        assert works == (code == 0) == (yama == 0), errors
    refused = [each for each in (*checks.values(), *of_target.values()) if each["why"]]
    record_property("note", "; ".join(f"{each['name']}: {each['why']}" for each in refused)[:500])


def test_doctor_as_root(record_property: Note) -> None:
    code, output, errors = told("doctor", "--json")
    assert code == 0, errors
    document = json.loads(output)
    lockdown = Path("/sys/kernel/security/lockdown")
    facts = {each["name"]: each["value"] for each in document["facts"]}
    if lockdown.exists():
        assert f"[{facts['lockdown']}]" in lockdown.read_text()
    found = [each for each in document["checks"] if each["state"] != "works"]
    assert not [each for each in found if each["state"] == "refused"], found
    kept = {
        name: facts[name] for name in ("kernel", "security modules", "lockdown", "control groups")
    }
    record_property(
        "note", f"{kept}; " + "; ".join(f"{each['name']}: {each['why']}" for each in found)
    )
    assert "lockdown" in spyglass("doctor")
