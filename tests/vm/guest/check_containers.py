"""Go programs in containers of Podman and of Docker, with control groups of version 2."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from spyglass import attach, container_names
from spyglass.process_choice import Wanted, find
from spyglass.processes import go_processes
from tests import podman as podman_
from tests.agreement import disagreements
from tests.container_engine import Engine
from tests.docker import Docker, docker
from tests.podman import host_files, podman
from tests.support import GoProcess
from tests.vm.guest.machine import newest

_LIMIT = 256 << 20
#: pivot_root(2) does not work where / is the initial file system of the kernel.
_NO_PIVOT = "[engine]\nno_pivot_root = true\n"


@pytest.fixture(scope="module", autouse=True)
def _host() -> Iterator[None]:
    """What containers need of a host."""
    subprocess.run(["mount", "-t", "cgroup2", "cgroup2", "/sys/fs/cgroup"], check=True)
    Path("/sys/fs/cgroup/cgroup.subtree_control").write_text("+memory +cpu +pids")
    for path in ("/dev/shm", "/var/tmp"):
        Path(path).mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", path], check=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(podman_, "_CONFIGURATION", podman_._CONFIGURATION + _NO_PIVOT)
        patch.setenv("DOCKER_RAMDISK", "yes")
        yield


@pytest.fixture(scope="module", params=["podman", "docker"])
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    with (
        podman() if request.param == "podman" else docker() as made,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(container_names, "_roots", lambda: (str(made.root),))
        made.image("truth", {"/truth": Path(f"/programs/truth-{newest()}")}, "/truth")
        if isinstance(made, Docker):
            made.image("base", {"/": podman_.links(tmp_path_factory.mktemp("base"))})
        yield made


@contextmanager
def _contained(engine: Engine) -> Iterator[GoProcess]:
    options = ["--network=none", "--read-only", f"--memory={_LIMIT}", "--name=web", "--rm"]
    image = "truth" if isinstance(engine, Docker) else "localhost/truth"
    with GoProcess(engine.command("run", "--interactive", *options, image)) as process:
        yield process


def test_a_container_with_a_limit(engine: Engine) -> None:
    with _contained(engine) as process:
        pid, id_ = engine.pid("web"), engine.state("web")["Id"]
        truth = process.truth()
        with attach(pid) as program:
            snapshot, held = program.snapshot("full"), program.snapshot("full", stop=True)
        moving = [each.id for each in truth.goroutines if each.state == "running"]
        assert disagreements(snapshot, truth.goroutines, moving) == []
        assert disagreements(held, truth.goroutines, moving) == []
        found = snapshot.process
        assert (found.exe, found.container, found.container_name) == ("/truth", id_, "web")
        assert found.memory_limit_bytes == _LIMIT
        (listed,) = go_processes([pid]).processes
        assert (listed.container, listed.container_name) == (id_, "web")
        assert find(Wanted(container="web")) == pid


def test_a_paused_container(engine: Engine) -> None:
    with _contained(engine) as process:
        truth = process.truth()
        engine("pause", "web")
        try:
            with attach(engine.pid("web")) as program:
                snapshot = program.snapshot("full")
        finally:
            engine("unpause", "web")
    moving = [each.id for each in truth.goroutines if each.state == "running"]
    assert disagreements(snapshot, truth.goroutines, moving) == []


def test_spyglass_in_a_container_beside_it(engine: Engine) -> None:
    with _contained(engine) as process:
        said = process.truth().num_goroutine
        fixed = [
            *(
                "run",
                "--rm",
                "--network=none",
                "--pid=container:web",
                "--cap-drop=all",
                *host_files(),
            ),
            *("--volume=/packages:/packages:ro", f"--env=PYTHONPATH={os.environ['PYTHONPATH']}"),
        ]
        image = "base" if isinstance(engine, Docker) else podman_.BASE
        asked = (image, sys.executable, "-m", "spyglass", "summary", "--pid", "1")
        found = json.loads(engine(*fixed, "--cap-add=SYS_PTRACE", *asked, "--json"))
        assert found["scheduler"]["goroutines"] == said
        assert "SYS_PTRACE" in engine(*fixed, *asked, status=1)


def test_a_user_s_own_container() -> None:
    with podman(rootless=True) as own:
        image = own.image("truth", {"/truth": Path(f"/programs/truth-{newest()}")}, "/truth")
        command = own.command("run", "--interactive", "--network=none", "--name=mine", image)
        with GoProcess(command) as process:
            truth, pid = process.truth(), own.pid("mine")
            with attach(pid) as program:
                snapshot = program.snapshot("full")
            moving = [each.id for each in truth.goroutines if each.state == "running"]
            assert disagreements(snapshot, truth.goroutines, moving) == []
            assert snapshot.process.container == own.state("mine")["Id"]
