"""Where the user's code waits and what it called, in programs built in all ways that Go has."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

import spyglass
from fixtures.build import go_environment
from spyglass.analysis.groups import groups
from spyglass.model import Snapshot
from tests.support import GoProcess, in_milestones, start, toolchain

pytestmark = pytest.mark.live

LOCKING = (
    "reserveStock", "chargeCard", "printLabel", "updateCart", "sendMail", "rotateLogs", "readPrices",
    "countVisit", "mergeOrders", "closeTill",
)  # fmt: skip
WAITING = 3

#: Building takes a while: with the newest version most ways are tried in the matrix only.
slow = pytest.mark.slow
#: How to build: the folder of the module below GOPATH/src, its go.mod, and the flags.
MODULES = {
    "a module": ("example.org/shop", []),
    "trimmed": ("example.org/shop", ["-trimpath"]),
    "stripped": ("example.org/shop", ["-trimpath", "-ldflags=-s -w"]),
    "named like net/http": ("net.example/x", ["-trimpath"]),
    "named tools": ("tools", ["-trimpath"]),
    "named like the standard library": ("crypto/mine", ["-trimpath"]),
}

LIBRARY = """package http
import "sync"
var lock sync.Mutex
// Wait never ends.
func Wait() { lock.Lock(); lock.Lock() }
"""
MAIN = """package main
import ("fmt"; "io/ioutil"; "os"; "time"; http "%s/http"; "example.org/dep")
func main() {
	go http.Wait()
	go dep.Nap()
	time.Sleep(200 * time.Millisecond)
	fmt.Println("ready")
	ioutil.ReadAll(os.Stdin)
}
"""
DEPENDENCY = 'package dep\nimport "time"\nfunc Nap() { time.Sleep(time.Hour) }\n'


@pytest.fixture(scope="module")
def contended(minor: str) -> Snapshot:
    with start("contended", minor) as process:
        return settled(process)


def settled(process: GoProcess) -> Snapshot:
    """The program when all of its goroutines wait."""
    with spyglass.attach(process.pid) as program:
        for _ in range(100):
            snapshot = program.snapshot("top")
            calls = [g.call.function for g in snapshot if g.call]
            if calls.count("net/http.Get") == WAITING and "net.(*conn).Read" in calls:
                break
    return snapshot


def waiting(snapshot: Snapshot) -> set[tuple[str, str | None]]:
    """The functions that wait, each with the one that it called."""
    return {
        (g.where.function, g.call.function if g.call else None)
        for g in snapshot
        if g.where and not g.system
    }


def test_ten_mutexes_of_ten_functions_are_ten_groups(contended: Snapshot) -> None:
    found = [group for group in groups(contended) if group.count == WAITING and group.call]
    locked = [group for group in found if group.call.function == "sync.(*Mutex).Lock"]  # type: ignore[union-attr]
    assert {group.where.function for group in locked if group.where} == {
        f"main.{name}" for name in LOCKING
    }
    assert len(locked) == len(LOCKING)


def test_a_server_and_its_clients_wait_in_their_own_functions(contended: Snapshot) -> None:
    found = waiting(contended)
    assert ("main.fetchPage", "net/http.Get") in found
    assert ("main.idle", "net.(*conn).Read") in found
    assert ("main.nap", "time.Sleep") in found
    assert ("main.serve.func1", None) in found
    functions = {where for where, _ in found}
    assert "net/http.(*conn).serve" in functions
    assert "net/http.Serve" in functions
    assert not [name for name in functions if name.startswith(("internal/", "sync.", "runtime."))]


def go(minor: str, folder: Path, gopath: Path, module: bool, *arguments: str) -> None:
    environment = go_environment() | {
        "GO111MODULE": "on" if module else "off",
        "GOPATH": str(gopath),
        "GOPROXY": "off",
        "GOFLAGS": "",
    }
    subprocess.run(
        [toolchain(minor), *arguments], cwd=folder, env=environment, check=True, capture_output=True
    )


def sources(gopath: Path, name: str) -> Path:
    """A program called `name` with a package ``http``, in GOPATH; its dependency is beside it."""
    folder = gopath / "src" / name
    (folder / "http").mkdir(parents=True)
    (folder / "main.go").write_text(MAIN % name)
    (folder / "http" / "wait.go").write_text(LIBRARY)
    dependency = gopath / "src" / "example.org" / "dep"
    dependency.mkdir(parents=True)
    (dependency / "nap.go").write_text(DEPENDENCY)
    return folder


def built(
    minor: str, gopath: Path, name: str, flags: Sequence[str], vendored: bool = False
) -> Path:
    """The program, built as a module."""
    folder = sources(gopath, name)
    replaced = (
        f"require example.org/dep v1.2.3\nreplace example.org/dep => {gopath}/src/example.org/dep\n"
    )
    (folder / "go.mod").write_text(f"module {name}\n\ngo 1.15\n\n{replaced}")
    (gopath / "src" / "example.org" / "dep" / "go.mod").write_text(
        "module example.org/dep\n\ngo 1.15\n"
    )
    if vendored:
        go(minor, folder, gopath, True, "mod", "vendor")
    program = gopath / "program"
    go(minor, folder, gopath, True, "build", "-o", str(program), *flags, ".")
    return program


def assert_it_waits_in_its_own_code(program: Path, name: str, dependency: str) -> None:
    with GoProcess([program]) as process, spyglass.attach(process.pid) as inspector:
        for depth in ("top", "full"):
            found = waiting(inspector.snapshot(depth))
            assert (f"{name}/http.Wait", "sync.(*Mutex).Lock") in found
            assert (f"{dependency}.Nap", "time.Sleep") in found
            assert "main.main" in {where for where, _ in found}


@in_milestones
@pytest.mark.matrix
@pytest.mark.parametrize(
    "how", [each if each == "stripped" else pytest.param(each, marks=slow) for each in MODULES]
)
def test_modules(minor: str, tmp_path: Path, how: str) -> None:
    name, flags = MODULES[how]
    assert_it_waits_in_its_own_code(built(minor, tmp_path, name, flags), name, "example.org/dep")


@in_milestones
@pytest.mark.matrix
@pytest.mark.parametrize("flags", [[], pytest.param(["-trimpath"], marks=slow)])
def test_vendored_dependencies(minor: str, tmp_path: Path, flags: list[str]) -> None:
    program = built(minor, tmp_path, "tools", ["-mod=vendor", *flags], vendored=True)
    assert_it_waits_in_its_own_code(program, "tools", "example.org/dep")


@in_milestones
@pytest.mark.matrix
@pytest.mark.parametrize("flags", [[], pytest.param(["-trimpath"], marks=slow)])
@pytest.mark.parametrize(
    "name",
    ["tools", pytest.param("net.example/x", marks=slow), pytest.param("crypto/mine", marks=slow)],
)
def test_gopath(minor: str, tmp_path: Path, name: str, flags: list[str]) -> None:
    folder = sources(tmp_path, name)
    vendor = folder / "vendor" / "example.org"
    vendor.mkdir(parents=True)
    shutil.move(tmp_path / "src" / "example.org" / "dep", vendor / "dep")
    program = tmp_path / "program"
    go(minor, folder, tmp_path, False, "build", "-o", str(program), *flags, ".")
    if flags and name == "crypto/mine" and minor == "1.15":
        pytest.skip("nothing in this program tells this package from the standard library")
    assert_it_waits_in_its_own_code(program, name, f"{name}/vendor/example.org/dep")
