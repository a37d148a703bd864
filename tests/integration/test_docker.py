"""Go programs in containers of Docker and of containerd, and spyglass in a container beside them."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from spyglass import attach, container_names
from spyglass.process_choice import Wanted, find
from spyglass.processes import go_processes
from tests.agreement import disagreements
from tests.children import needs_root
from tests.container_engine import SPEAKER, agreed
from tests.docker import Docker, containerd, docker
from tests.podman import SPYGLASS, host_files, links
from tests.support import Flavour, GoProcess, build

pytestmark = [pytest.mark.live, pytest.mark.go, pytest.mark.slow, needs_root]

MEMORY_BYTES = 256 << 20
CONTAINER = "5e" * 32


@pytest.fixture(scope="module")
def of_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    with docker() as made, pytest.MonkeyPatch.context() as patch:
        patch.setattr(container_names, "_roots", lambda: (str(made.root),))
        made.image("truth", {"/truth": build("truth", flavour=Flavour.STRIPPED)}, "/truth")
        made.image("base", {"/": links(tmp_path_factory.mktemp("base"))})
        yield made


@contextmanager
def contained(docker: Docker, name: str, *options: str) -> Iterator[GoProcess]:
    """truth.go in the container `name`, which this test talks to through docker."""
    command = docker.command(
        "run", "--rm", "--interactive", "--network=none", f"--name={name}", *options, "truth"
    )
    with GoProcess(command) as process:
        yield process


@pytest.fixture(scope="module")
def web(of_root: Docker) -> Iterator[GoProcess]:
    """Nothing but the program is in its image, nothing can be written, and its memory has a limit."""
    with contained(of_root, "web", "--read-only", f"--memory={MEMORY_BYTES}") as process:
        yield process


def test_a_distroless_container_with_a_limit(of_root: Docker, web: GoProcess) -> None:
    pid, id_ = of_root.pid("web"), of_root.state("web")["Id"]
    process = agreed(pid, web).process
    assert (process.exe, process.container, process.container_name) == ("/truth", id_, "web")
    assert process.memory_limit_bytes == MEMORY_BYTES
    (listed,) = go_processes([pid]).processes
    assert (listed.container, listed.container_name) == (id_, "web")
    assert find(Wanted(container="web")) == find(Wanted(container=id_[:12])) == pid


def test_a_paused_container_with_another_name(of_root: Docker, web: GoProcess) -> None:
    pid = of_root.pid("web")
    truth = web.truth()
    of_root("rename", "web", "shop")
    of_root("pause", "shop")
    try:
        with attach(pid) as program:
            snapshot = program.snapshot("full")
        assert disagreements(snapshot, truth.goroutines, moving=[SPEAKER]) == []
        assert snapshot.process.container_name == "shop"
    finally:
        of_root("unpause", "shop")
        of_root("rename", "shop", "web")
    agreed(pid, web)


def test_a_container_that_shares_the_pids_of_another(of_root: Docker, web: GoProcess) -> None:
    """With the filter of system calls that Docker has for all containers."""
    said = web.truth().num_goroutine
    fixed = [
        *("--rm", "--read-only", "--network=none", "--pid=container:web", "--cap-drop=all"),
        *("--env=PYTHONDONTWRITEBYTECODE=1", *host_files()),
    ]
    asked = ("base", *SPYGLASS, "summary", "--pid", "1")
    found = json.loads(of_root("run", *fixed, "--cap-add=SYS_PTRACE", *asked, "--json"))
    assert found["scheduler"]["goroutines"] == said
    assert "SYS_PTRACE" in of_root("run", *fixed, *asked, status=1)


def test_a_container_of_containerd_itself(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    shutil.copy(build("truth", flavour=Flavour.STRIPPED), tmp_path / "files" / "truth")
    with containerd() as socket:
        options = ["--rm", "--read-only", "--rootfs", str(tmp_path / "files")]
        command = ["ctr", "--address", str(socket), "run", *options, CONTAINER, "/truth"]
        with GoProcess(command) as process:
            tasks = ["ctr", "--address", str(socket), "tasks", "ls"]
            listed = subprocess.run(tasks, capture_output=True, text=True, check=True).stdout
            (pid,) = [
                int(line.split()[1]) for line in listed.splitlines() if line.startswith(CONTAINER)
            ]
            found = agreed(pid, process).process
            assert (found.exe, found.container) == ("/truth", CONTAINER)
            assert find(Wanted(container=CONTAINER[:12])) == pid
