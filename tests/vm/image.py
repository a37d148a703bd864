"""The files of a machine: Debian's kernel, and one initial file system with Python, spyglass and Go programs in it.

Nothing of the packages is run on this host: they are unpacked (mmdebstrap(1), ``--variant=extract``). What does not
change is kept in the cache of `fixtures.fetch`; the kernel unpacks several archives one after the other
(Documentation/driver-api/early-userspace/buffer-format.rst), so that only the small last one is made each time.
"""

from __future__ import annotations

import compileall
import hashlib
import json
import lzma
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

from fixtures import build as fixture_build
from fixtures import fetch
from fixtures.build import Flavour
from tests.vm.machines import MODULES, Machine

__all__ = ["MissingTool", "initial_file_system", "kernel"]

USERLAND_SUITE = "bookworm"
_USERLAND = [
    "python3-minimal", "python3", "busybox", "libstdc++6", "libgcc-s1", "apparmor", "gdb-minimal", "strace", "util-linux", "mount", "libcap2-bin",
]  # fmt: skip
#: A mirror that stands still is good enough.
_APT_OPTION = 'Acquire::Check-Valid-Until "false"'
_PYTHON = "3.11"
_PLATFORMS = {"amd64": "x86_64", "arm64": "aarch64"}
_NOT_NEEDED = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "var")
_REPOSITORY = Path(__file__).resolve().parents[2]
_PROGRAMS = ("truth", "knots", "shares")
#: Of the newest Go version of a machine only.
_MORE_PROGRAMS = ("places", "uring")
_INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp /run /root /sys/fs/cgroup
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
/bin/busybox mkdir -p /dev/pts
/bin/busybox mount -t devpts devpts /dev/pts
/bin/busybox mount -t tmpfs tmpfs /tmp
/bin/busybox mount -t tmpfs tmpfs /run
/bin/busybox mount -t securityfs securityfs /sys/kernel/security
/bin/busybox ip link set lo up
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=xterm
export PYTHONPATH=/packages:/repository SPYGLASS_TEST_SECONDS=400 SPYGLASS_CACHE=/cache
cd /repository
/usr/bin/python3 -m tests.vm.guest
/bin/busybox poweroff -f
"""


class MissingTool(Exception):
    """A machine cannot be made here; the message says what is missing."""


def kernel(machine: Machine) -> Path:
    """The file of the machine's kernel."""
    folder = _unpacked(machine.arch, machine.suite, [machine.kernel_package])
    found = [*folder.glob("boot/vmlinuz-*"), *folder.glob("usr/lib/modules/*/vmlinuz")]
    if not found:
        raise MissingTool(f"{machine.kernel_package} of {machine.suite} has no kernel in it")
    return found[0]


def initial_file_system(machine: Machine, into: Path, settings: Mapping[str, object]) -> Path:
    """The initial file system of a machine, written to folder `into`; `settings` are for the checks in it."""
    parts = [_base(machine), _archive_of_packages(machine.arch), _own(machine, into, settings)]
    whole = into / "initrd"
    with whole.open("wb") as out:
        for part in parts:
            out.write(part.read_bytes())
            out.write(bytes(-out.tell() % 4))
    return whole


def _cache() -> Path:
    return fetch.cache_directory() / "vm"


def _made(target: Path, make: Callable[[Path], None]) -> Path:
    """`target`, made by `make` under another name if it is not there."""
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with fetch.locked(target.parent / f".{target.name}.lock"):
            if not target.exists():
                temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=".making-")) / "it"
                try:
                    make(temporary)
                    temporary.rename(target)
                finally:
                    shutil.rmtree(temporary.parent, ignore_errors=True)
    return target


def _unpacked(arch: str, suite: str, packages: list[str]) -> Path:
    """A folder with Debian's `packages`, and what they need, unpacked."""
    name = hashlib.sha256(" ".join(packages).encode()).hexdigest()[:8]

    def unpack(folder: Path) -> None:
        _run(
            "mmdebstrap", "--mode=root", "--variant=extract", f"--arch={arch}", f"--aptopt={_APT_OPTION}",
            f"--include={','.join(packages)}", suite, str(folder), fetch.debian_mirror(),
        )  # fmt: skip

    return _made(_cache() / f"{arch}-{suite}-{name}", unpack)


def _base(machine: Machine) -> Path:
    """The archive with Debian's userland."""
    folder = _unpacked(machine.arch, USERLAND_SUITE, [*_USERLAND, *machine.packages])

    def pack(target: Path) -> None:
        _compile(folder / "usr" / "lib", folder)
        left_out = [part for name in _NOT_NEEDED for part in ("-path", f"./{name}", "-prune", "-o")]
        _pack(folder, target, [*left_out, "-print0"])

    return _made(_cache() / f"{folder.name}.cpio", pack)


def _archive_of_packages(arch: str) -> Path:
    """The archive with the Python packages that spyglass and its checks need."""
    project = tomllib.loads((_REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["zstd"], *extras["metrics"], "pytest>=8.2"]
    name = hashlib.sha256(" ".join(wanted).encode()).hexdigest()[:8]

    def install(target: Path) -> None:
        folder = target.with_name("root") / "packages"
        platforms = [
            f"--platform={tag}_{_PLATFORMS[arch]}" for tag in ("manylinux2014", "manylinux_2_28")
        ]
        _run(
            "python3", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", str(folder),
            "--only-binary=:all:", f"--python-version={_PYTHON}", *platforms, *wanted,
        )  # fmt: skip
        _pack(folder.parent, target, ["-print0"])

    return _made(_cache() / f"packages-{arch}-{name}.cpio", install)


def _own(machine: Machine, into: Path, settings: Mapping[str, object]) -> Path:
    """The archive with spyglass, the checks, the Go programs, the modules of the kernel and how to begin."""
    root = into / "root"
    ignored = shutil.ignore_patterns("__pycache__", "integration", "pictures", "*.zst", "*.gz")
    for name in ("spyglass", "tests", "fixtures"):
        shutil.copytree(_REPOSITORY / name, root / "repository" / name, ignore=ignored)
    programs = root / "programs"
    programs.mkdir()
    minors = _minors(machine)
    wanted = [(program, minor) for minor in minors for program in _PROGRAMS]
    wanted += [(program, minors[-1]) for program in _MORE_PROGRAMS]
    for program, minor in wanted:
        shutil.copy(_program(program, minor, machine.arch), programs / f"{program}-{minor}")
    for name in machine.finished:
        _copy_finished(name, root)
    _copy_modules(machine, root / "modules")
    _compile(root / "repository", root)
    everything = {
        "checks": machine.checks,
        "go": minors,
        "finished": machine.finished,
        **settings,
    }
    (root / "machine.json").write_text(json.dumps(everything))
    (root / "init").write_text(_INIT)
    (root / "init").chmod(0o755)
    target = into / "own.cpio"
    _pack(root, target, ["-print0"])
    return target


def _compile(folder: Path, root: Path) -> None:
    """Compile what there is of Python in `folder`, if this is the Python of the machines: there it takes minutes."""
    if sys.version_info[:2] == tuple(map(int, _PYTHON.split("."))):
        compileall.compile_dir(folder, quiet=2, stripdir=str(root), prependdir="/")


def _minors(machine: Machine) -> list[str]:
    every = [each.minor for each in fetch.toolchains()]
    return every if machine.go == "all" else machine.go.split(",")


def _program(name: str, minor: str, arch: str) -> Path:
    flavour = Flavour.STRIPPED if arch == "amd64" else Flavour.STRIPPED_ARM64
    return fixture_build.build(name, fetch.find_toolchain(minor), flavour)


def _copy_finished(name: str, root: Path) -> None:
    """Copy a finished program to where `fixtures.fetch` finds it in the machine."""
    program = fetch.find_program(name)
    target = root / "cache" / "programs" / name / program.executable
    target.parent.mkdir(parents=True)
    shutil.copy(fetch.fetch_program(program), target)


def _copy_modules(machine: Machine, into: Path) -> None:
    """Copy modules of the machine's kernel to `into`, unpacked, as far as there are any."""
    into.mkdir()
    folder = _unpacked(machine.arch, machine.suite, [machine.kernel_package])
    for path in folder.rglob("*.ko*"):
        name, _, packed = path.name.partition(".ko")
        if name in MODULES:
            data = path.read_bytes()
            (into / f"{name}.ko").write_bytes(lzma.decompress(data) if packed == ".xz" else data)


def _pack(folder: Path, target: Path, selection: list[str]) -> None:
    """Pack what find(1) selects of `folder` as cpio(5), not compressed: an emulated machine takes long to unpack that."""
    _need("cpio")
    script = 'cd "$1"; shift; find . "$@" | cpio --quiet -0 -o -H newc -R 0:0'
    with target.open("wb") as out:
        subprocess.run(
            ["sh", "-ec", script, "sh", str(folder), *selection],
            stdout=out,
            check=True,
            timeout=600,
        )


def _need(command: str) -> None:
    if shutil.which(command) is None:
        raise MissingTool(f"there is no {command}: install Debian's package of that name")


def _run(command: str, *arguments: str) -> None:
    _need(command)
    done = subprocess.run(
        [command, *arguments], capture_output=True, text=True, check=False, timeout=1800
    )
    if done.returncode:
        raise MissingTool(f"{command}: {done.stderr.strip()[-500:]}")
