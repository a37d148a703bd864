"""What boots machines and keeps their results, without a machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support import ALL_MINORS
from tests.vm import image
from tests.vm.boot import MARK, Outcome, boot
from tests.vm.image import MissingTool
from tests.vm.machines import MACHINES
from tests.vm.results import Results

_GUEST = Path(__file__).parents[1] / "vm" / "guest"
_MACHINE = MACHINES["amd64-6.1"]
_PASSED = Outcome("rules: test_a", "passed", 1.5, "as it was")
_FAILED = Outcome("rules: test_b", "failed", 2.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results" / "amd64-6.1.json"


def test_machines_are_of_what_there_is() -> None:
    for machine in MACHINES.values():
        assert machine.go == "all" or set(machine.go.split(",")) <= set(ALL_MINORS)
        assert all((_GUEST / f"check_{name}.py").exists() for name in machine.checks)


def test_another_boot_goes_on_with_what_is_left(path: Path) -> None:
    results = Results(path, "state")
    results.add(_PASSED)
    results.add(_FAILED)
    results.end()
    assert not results.ended
    again = Results(path, "state")
    assert again.done() == [_PASSED.check]
    again.add(Outcome(_FAILED.check, "passed", 1.0))
    again.end()
    assert Results(path, "state").ended


@pytest.mark.parametrize(("state", "fresh"), [("another", False), ("state", True)])
def test_results_of_other_code_are_forgotten(path: Path, state: str, fresh: bool) -> None:
    results = Results(path, "state")
    results.add(_PASSED)
    results.end()
    other = Results(path, state, fresh=fresh)
    assert (other.done(), other.ended) == ([], False)


@pytest.mark.parametrize(
    "place", ["boot/vmlinuz-6.1.0-50-amd64", "usr/lib/modules/7.2.13-amd64/vmlinuz"]
)
def test_the_kernel_is_found_where_suites_have_it(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image, "_unpacked", lambda *_: tmp_path)
    with pytest.raises(MissingTool, match="linux-image-amd64 of bookworm has no kernel"):
        image.kernel(_MACHINE)
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).touch()
    assert image.kernel(_MACHINE) == tmp_path / place


@pytest.fixture
def qemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is run as qemu; until it is written there is none."""
    program = tmp_path / "qemu-system-x86_64"
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr("shutil.which", lambda name: program if program.exists() else None)
    return program


def _boot(qemu: Path, script: str, seconds: float = 20) -> tuple[bool, list[Outcome], str]:
    qemu.write_text(f"#!/bin/sh\n{script}\n")
    qemu.chmod(0o755)
    found: list[Outcome] = []
    log = qemu.with_name("log")
    ended = boot(_MACHINE, (Path("kernel"), Path("initrd")), seconds, found.append, log)
    return ended, found, log.read_text()


def test_results_are_read_from_the_console(qemu: Path) -> None:
    passed = json.dumps(
        {"check": "rules: test_a", "result": "passed", "seconds": 1.5, "detail": "as it was"}
    )
    script = f"echo 'a kernel says {MARK}{passed}'; echo; printf '%s' '{MARK}{{\"end\": true}}'"
    ended, found, log = _boot(qemu, script)
    assert (ended, found) == (True, [_PASSED])
    assert "a kernel says" in log


def test_a_machine_that_stops_early_has_not_ended(qemu: Path) -> None:
    assert _boot(qemu, "echo panic") == (False, [], "panic\n")


def test_a_machine_that_hangs_is_ended(qemu: Path) -> None:
    ended, found, log = _boot(qemu, "echo up; exec sleep 600", seconds=0.3)
    assert (ended, found, log) == (False, [], "up\n")


def test_without_qemu_the_package_is_named(qemu: Path) -> None:
    with pytest.raises(MissingTool, match="qemu-system-x86"):
        boot(_MACHINE, (Path("kernel"), Path("initrd")), 1, print, qemu.with_name("log"))
