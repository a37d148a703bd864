"""podman with a storage of its own, as root or as another user. Images are made of files of this host: nothing is pulled."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import spyglass
from tests.children import NOBODY
from tests.container_engine import Engine

__all__ = ["BASE", "SPYGLASS", "Podman", "host_files", "links", "podman"]

#: An image without files, for containers that see those of this host.
BASE = "localhost/base"
_PROJECT = Path(spyglass.__file__).parents[1]
#: spyglass in a container of BASE.
SPYGLASS = (sys.executable, "-m", "spyglass")
#: The defaults are more than a host may allow that lacks CAP_SYS_RESOURCE.
_CONFIGURATION = '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]\n'
#: crun refuses control groups of version 1 beside which version 2 has controllers; it need not see those.
_WITHOUT_UNIFIED = 'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"'
#: Links into /usr, if the host is as most are.
_LINKED = ("bin", "lib", "lib64")
#: The host's own programs and libraries, which every user may read.
_SYSTEM = ("/usr", *(f"/{each}" for each in _LINKED if not Path(f"/{each}").is_symlink()))


class Podman(Engine):
    """podman, whose files are below `root` as they are below / where it is installed; as NOBODY if `rootless`."""

    def __init__(self, root: Path, *, rootless: bool) -> None:
        super().__init__(root)
        self._rootless = rootless
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
        made("run", "--rm", "--network=none", *_mounted(*_SYSTEM), BASE, "true")
    except AssertionError as error:
        pytest.skip(f"podman cannot run containers here: {error.args[0][-1].strip()}")


def host_files() -> Iterator[str]:
    """Options for containers of BASE: the files of this host that spyglass needs."""
    yield from _mounted(*_SYSTEM, sys.base_prefix, sys.prefix, str(_PROJECT))
    yield f"--workdir={_PROJECT}"


def _mounted(*paths: str) -> Iterator[str]:
    for path in dict.fromkeys(paths):
        yield f"--volume={path}:{path}:ro"


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
