"""Docker with a daemon and a storage of its own. Images are made of files of this host: nothing is pulled."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.container_engine import TIMEOUT_SECONDS, Engine

__all__ = ["Docker", "containerd", "docker"]

_DAEMON = (
    "dockerd",
    "--bridge=none",
    "--iptables=false",
    "--ip6tables=false",
    "--storage-driver=vfs",
)


class Docker(Engine):
    """Docker, whose files are below `root` as they are below / where it is installed."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        (root / "run").mkdir()

    def daemon(self) -> list[str]:
        """The command line of its daemon."""
        return [
            *_DAEMON,
            f"--host={self._socket}",
            f"--data-root={self.root}/var/lib/docker",
            f"--exec-root={self.root}/run/docker",
            f"--pidfile={self.root}/run/docker.pid",
        ]

    @property
    def _socket(self) -> str:
        return f"unix://{self.root}/run/docker.sock"

    def command(self, *arguments: str | Path) -> list[str]:
        """The command line of docker with `arguments`."""
        return ["docker", "--host", self._socket, *map(str, arguments)]

    def image(self, name: str, files: Mapping[str, Path], *command: str) -> str:
        """An image of these `files` alone, by their paths in it, which runs `command`."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for path, file in files.items():
                archive.add(file, path)
        change = f"--change=ENTRYPOINT {json.dumps(command)}"
        self("import", change, "-", name, sent=packed.getvalue())
        return name


@contextmanager
def docker() -> Iterator[Docker]:
    """Docker with a daemon that runs; the test is skipped where there is none, or it cannot run."""
    _need("docker", "dockerd", "runc")
    with _folder() as root:
        made = Docker(root)
        with _running(made.daemon(), root / "log", made.command("version")):
            try:
                yield made
            finally:
                with suppress(AssertionError, subprocess.TimeoutExpired):  # its daemon has ended
                    if left := made("ps", "--all", "--quiet").split():
                        made("rm", "--force", *left)


@contextmanager
def containerd() -> Iterator[Path]:
    """containerd with a storage of its own: its socket. The test is skipped where there is none, or it cannot run."""
    _need("containerd", "ctr", "runc")
    with _folder() as root:
        socket = root / "socket"
        command = ["containerd", f"--address={socket}", f"--root={root}/lib", f"--state={root}/run"]
        ask = ["ctr", f"--address={socket}"]
        with _running(command, root / "log", [*ask, "version"]):
            try:
                yield socket
            finally:
                for each in _run(*ask, "containers", "ls", "--quiet").stdout.decode().split():
                    _run(*ask, "tasks", "rm", "--force", each)
                    _run(*ask, "containers", "rm", each)


def _need(*commands: str) -> None:
    for each in commands:
        if shutil.which(each) is None:
            pytest.skip(f"{each} is not installed")


@contextmanager
def _folder() -> Iterator[Path]:
    root = Path(tempfile.mkdtemp(prefix="spyglass-docker-"))
    try:
        yield root
    finally:
        shutil.rmtree(root)


def _run(*command: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command, which may fail, also by not ending in time."""
    try:
        return subprocess.run(command, capture_output=True, timeout=TIMEOUT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, -1, b"", b"")


@contextmanager
def _running(command: list[str], log: Path, ask: list[str]) -> Iterator[None]:
    """A daemon, when it answers `ask`; it is ended when the context is left."""
    with log.open("wb") as out:
        daemon = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while _run(*ask).returncode:
            if daemon.poll() is not None or time.monotonic() > deadline:
                pytest.skip(f"{command[0]} cannot run here: {log.read_text().splitlines()[-1:]}")
            time.sleep(0.1)
        yield
    finally:
        daemon.terminate()
        daemon.wait(TIMEOUT_SECONDS)
