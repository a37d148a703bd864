"""podman with a storage of its own, as root or as another user. Images are made of files of this host: nothing is pulled."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import spyglass
from tests.children import NOBODY

__all__ = ["BASE", "SPYGLASS", "Podman", "host_files", "links", "podman"]

#: An image without files, for containers that see those of this host.
BASE = "localhost/base"
_PROJECT = Path(spyglass.__file__).parents[1]
#: spyglass in a container of BASE.
SPYGLASS = (sys.executable, "-m", "spyglass")
_TIMEOUT_SECONDS = float(os.environ.get("SPYGLASS_TEST_SECONDS", "120"))
#: The defaults are more than a host may allow that lacks CAP_SYS_RESOURCE.
_CONFIGURATION = '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]\n'
#: crun refuses control groups of version 1 beside which version 2 has controllers; it need not see those.
_WITHOUT_UNIFIED = 'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"'
#: Links into /usr, if the host is as most are.
_LINKED = ("bin", "lib", "lib64")


class Podman:
    """podman, whose files are below `root` as they are below / where it is installed; as NOBODY if `rootless`."""

    def __init__(self, root: Path, *, rootless: bool) -> None:
        self.root, self._rootless = root, rootless
        for each in ("images", "home", "run"):
            (root / each).mkdir()
        (root / "containers.conf").write_text(_CONFIGURATION)
        for path in (root, *root.iterdir()) if rootless else ():
            os.chown(path, NOBODY, NOBODY)

    def command(self, *arguments: str | Path) -> list[str]:
        """The command line of podman with `arguments`."""
        options = ["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"]
        environment = [f"CONTAINERS_CONF={self.root}/containers.conf", f"HOME={self.root}/home"]
        become: list[str] = []
        if self._rootless:
            become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
            environment.append(f"XDG_RUNTIME_DIR={self.root}/run")
        else:
            options += ["--root", f"{self.root}/var/lib/containers/storage", "--runroot", f"{self.root}/run"]  # fmt: skip
        inside = ["unshare", "--mount", "sh", "-c", _WITHOUT_UNIFIED, "sh", *become, "env"]
        return [*inside, *environment, "podman", *options, *map(str, arguments)]

    def __call__(self, *arguments: str | Path, status: int = 0, sent: str = "") -> str:
        """What it prints; it must end with `status`."""
        done = subprocess.run(
            self.command(*arguments), cwd=self.root, input=sent, capture_output=True, text=True,
            timeout=_TIMEOUT_SECONDS, check=False,
        )  # fmt: skip
        assert done.returncode == status, (arguments, done.stdout, done.stderr)
        return done.stdout if status == 0 else done.stderr

    def image(self, name: str, files: Mapping[str, Path], *command: str) -> str:
        """An image of these `files` alone, by their paths in it, which runs `command`."""
        context = self.root / "images" / name
        shutil.rmtree(context, ignore_errors=True)
        context.mkdir()
        lines = ["FROM scratch"]
        for number, (path, file) in enumerate(files.items()):
            if file.is_dir():
                shutil.copytree(file, context / str(number), symlinks=True)
            else:
                shutil.copy(file.resolve(), context / str(number))
            lines.append(f"COPY {number} {path}")
        lines.append(f"ENTRYPOINT {json.dumps(command)}")
        (context / "Containerfile").write_text("\n".join(lines))
        self("build", "--quiet", "--tag", f"localhost/{name}", context)
        return f"localhost/{name}"

    def state(self, container: str) -> dict[str, Any]:
        """What it knows of a container."""
        (found,) = json.loads(self("inspect", container))
        assert isinstance(found, dict)
        return found

    def pid(self, container: str) -> int:
        """The first process of a container."""
        return int(self.state(container)["State"]["Pid"])

    def end(self) -> None:
        """End all pods and containers, and the process that keeps the namespaces of a user's containers."""
        wanted = [
            ("pod", "rm", "--all", "--force", "--time=0"),
            ("rm", "--all", "--force", "--time=0"),
        ]
        if self._rootless:
            wanted.append(("system", "migrate"))
        for each in wanted:
            with suppress(AssertionError):  # it cannot run here at all
                self(*each)


@contextmanager
def podman(*, rootless: bool = False) -> Iterator[Podman]:
    """podman with the image BASE; the test is skipped where it cannot run containers."""
    if shutil.which("podman") is None:
        pytest.skip("podman is not installed")
    root = Path(tempfile.mkdtemp(prefix="spyglass-podman-"))
    try:
        root.chmod(0o755)
        made = Podman(root, rootless=rootless)
        try:
            _try(made)
            yield made
        finally:
            made.end()
    finally:
        shutil.rmtree(root)


def _try(made: Podman) -> None:
    """Run a container, or skip the test."""
    try:
        made.image("base", {"/": links(made.root)})
        made("run", "--rm", "--network=none", *host_files(), BASE, "true")
    except AssertionError as error:
        pytest.skip(f"podman cannot run containers here: {error.args[0][-1].strip()}")


def host_files() -> Iterator[str]:
    """Options for containers of BASE: the files of this host that spyglass needs."""
    apart = [f"/{each}" for each in _LINKED if not Path(f"/{each}").is_symlink()]
    for path in dict.fromkeys(("/usr", *apart, sys.base_prefix, sys.prefix, str(_PROJECT))):
        yield f"--volume={path}:{path}:ro"
    yield f"--workdir={_PROJECT}"


def links(root: Path) -> Path:
    """A directory in `root` that is as / is, where /bin and so on may be links into /usr."""
    path = root / "base"
    for each in ("usr", "tmp", "etc", "proc", "sys", "dev", "run"):
        (path / each).mkdir(parents=True)
    for each in _LINKED:
        if Path(f"/{each}").is_symlink():
            (path / each).symlink_to(f"usr/{each}")
        else:
            (path / each).mkdir()
    return path
