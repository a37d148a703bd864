"""Boot a machine with qemu, and read what its checks say on the serial console."""

from __future__ import annotations

import json
import os
import selectors
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.vm.image import MissingTool
from tests.vm.machines import Machine

__all__ = ["MARK", "Outcome", "boot"]

#: What begins a line of the console that is a result, as JSON.
MARK = "@@spyglass "
_MEMORY = "3G"
_END_SECONDS = 10


@dataclass(frozen=True)
class Outcome:
    """What became of one check: `result` is "passed", "failed" or "skipped", `detail` why."""

    check: str
    result: str
    seconds: float
    detail: str = ""


def boot(
    machine: Machine,
    files: tuple[Path, Path],
    seconds: float,
    report: Callable[[Outcome], None],
    log: Path,
) -> bool:
    """Boot `machine` with `files` (kernel, initial file system); `report` every outcome as it comes. Whether all
    checks came to an end within `seconds`. The whole console is written to `log`."""
    command = [*_qemu(machine), "-kernel", str(files[0]), "-initrd", str(files[1])]
    options = [
        f"console={_console(machine)}",
        "quiet",
        "panic=-1",
        "rdinit=/init",
        *machine.options,
    ]
    process = subprocess.Popen(
        [*command, "-append", " ".join(options)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    ended = False
    try:
        with log.open("wb") as kept:
            for line in _lines(process, time.monotonic() + seconds):
                kept.write(line + b"\n")
                kept.flush()
                said = line.decode(errors="replace").partition(MARK)[2].strip()
                if said:
                    found = json.loads(said)
                    ended = ended or "end" in found
                    if "check" in found:
                        report(Outcome(**found))
    finally:
        process.kill()
        process.communicate(timeout=_END_SECONDS)
    return ended


def _qemu(machine: Machine) -> list[str]:
    """The command for a machine without disk and network; with KVM only if it is asked for: in a virtual machine it
    may be there and hang."""
    name = {"amd64": "qemu-system-x86_64", "arm64": "qemu-system-aarch64"}[machine.arch]
    package = {"amd64": "qemu-system-x86", "arm64": "qemu-system-arm"}[machine.arch]
    if shutil.which(name) is None:
        raise MissingTool(f"there is no {name}: install Debian's package {package}")
    board = "q35" if machine.arch == "amd64" else "virt"
    own = os.uname().machine == {"amd64": "x86_64", "arm64": "aarch64"}[machine.arch]
    fast = own and "SPYGLASS_KVM" in os.environ
    # numpy's argsort is wrong with the AVX2 that QEMU 7.2 emulates: one in five arrays of up to 80 numbers. The own
    # algorithm of arm64 for pointer authentication is slow to emulate (QEMU manual, "Arm CPU Features").
    emulated = "max,-avx2" if machine.arch == "amd64" else "max,pauth-impdef=on"
    processor = ["-enable-kvm", "-cpu", "host"] if fast else ["-cpu", emulated]
    return [
        name, "-M", board, *processor, "-smp", "2", "-m", _MEMORY, "-nographic", "-no-reboot", "-nic", "none",
    ]  # fmt: skip


def _console(machine: Machine) -> str:
    return "ttyS0" if machine.arch == "amd64" else "ttyAMA0"


def _lines(process: subprocess.Popen[bytes], deadline: float) -> Iterator[bytes]:
    """The lines that a process prints until it ends or `deadline` (time.monotonic) comes."""
    assert process.stdout
    unread = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if not selector.select(left):
                break
            data = os.read(process.stdout.fileno(), 1 << 16)
            if not data:
                break
            *lines, unread = (unread + data).split(b"\n")
            yield from lines
    if unread:
        yield unread
