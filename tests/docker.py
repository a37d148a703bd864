"""Docker with a daemon and a storage of its own. Images are made of files of this host: nothing is pulled."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

__all__ = ["Docker", "docker"]

_TIMEOUT_SECONDS = float(os.environ.get("SPYGLASS_TEST_SECONDS", "120"))
_DAEMON = (
    "dockerd",
    "--bridge=none",
    "--iptables=false",
    "--ip6tables=false",
    "--storage-driver=vfs",
)


class Docker:
    """Docker, whose files are below `root` as they are below / where it is installed."""

    def __init__(self, root: Path) -> None:
        self.root = root
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

    def __call__(self, *arguments: str | Path, status: int = 0, sent: bytes = b"") -> str:
        """What it prints; it must end with `status`."""
        done = subprocess.run(
            self.command(*arguments), cwd=self.root, input=sent, capture_output=True,
            timeout=_TIMEOUT_SECONDS, check=False,
        )  # fmt: skip
        assert done.returncode == status, (arguments, done.stdout, done.stderr)
        return (done.stdout if status == 0 else done.stderr).decode()

    def image(self, name: str, files: Mapping[str, Path], *command: str) -> str:
        """An image of these `files` alone, by their paths in it, which runs `command`."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for path, file in files.items():
                archive.add(file, path)
        change = f"--change=ENTRYPOINT {json.dumps(command)}"
        self("import", change, "-", name, sent=packed.getvalue())
        return name

    def state(self, container: str) -> dict[str, Any]:
        """What it knows of a container."""
        (found,) = json.loads(self("inspect", container))
        assert isinstance(found, dict)
        return found

    def pid(self, container: str) -> int:
        """The first process of a container."""
        return int(self.state(container)["State"]["Pid"])


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
                if left := made("ps", "--all", "--quiet").split():
                    made("rm", "--force", *left)


@contextmanager
def containerd() -> Iterator[Path]:
    """containerd with a storage of its own: its socket. The test is skipped where there is none, or it cannot run."""
    _need("containerd", "ctr", "runc")
    with _folder() as root:
        socket = root / "socket"
        command = ["containerd", f"--address={socket}", f"--root={root}/lib", f"--state={root}/run"]
        with _running(command, root / "log", ["ctr", f"--address={socket}", "version"]):
            yield socket


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


@contextmanager
def _running(command: list[str], log: Path, ask: list[str]) -> Iterator[None]:
    """A daemon, when it answers `ask`; it is ended with what is in the context."""
    with log.open("wb") as out:
        daemon = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + _TIMEOUT_SECONDS
        while subprocess.run(ask, capture_output=True, check=False).returncode:
            if daemon.poll() is not None or time.monotonic() > deadline:
                pytest.skip(f"{command[0]} cannot run here: {log.read_text().splitlines()[-1:]}")
            time.sleep(0.1)
        yield
    finally:
        daemon.terminate()
        daemon.wait(_TIMEOUT_SECONDS)
