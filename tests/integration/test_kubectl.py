"""kubectl spyglass, from kubectl to a Go process: only the cluster is not real."""

from __future__ import annotations

import os
import pty
import re
import shutil
import stat
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from spyglass.kubectl import command
from tests.children import needs_root, wait_until
from tests.kubernetes_api import Api, pod, serving_api
from tests.support import GoProcess, build, go_child, in_namespaces
from tests.terminal import ENTERS, LEAVES, Screen, command_on_screen

pytestmark = [pytest.mark.live, pytest.mark.go, pytest.mark.slow, needs_root]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A server with the pod cart-1, whose container has a pid namespace with one Go process, and its commands too."""
    folder = tmp_path_factory.mktemp("api")
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl of 1.31 or later: not Debian's")
    command = in_namespaces("unshare", "--pid", "--fork", "--mount-proc")
    with (
        GoProcess([*command, build("labels"), "-churn", "2"]) as process,
        serving_api(folder) as api,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("KUBECONFIG", str(api.kubeconfig(folder / "kubeconfig")))
        patch.setenv("HOME", str(folder))
        patch.setenv("SPYGLASS_IMAGE", "registry.example/spyglass:1")
        api.inside = ["nsenter", "--target", str(go_child(process)), "--pid", "--mount"]
        api.add(pod("cart-1", "cart"))
        yield api


def ran(*arguments: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["kubectl-spyglass", *arguments])
        return command.main()


def test_a_summary_and_files_of_a_pod(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert ran("summary", "cart-1") == 0
    assert "  pid 1  " in capfd.readouterr().out
    assert ran("record", "cart-1", "-d", "1s", "-o", "cpu.svg") == 0
    assert "main." in (tmp_path / "cpu.svg").read_text()
    assert ran("snapshot", "cart-1") == 0
    (saved,) = tmp_path.glob("labels*-1-*.json.gz")
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    assert ran("waits", "cart-1", "--goroutine", "999999999") == 1
    assert "goroutine" in capfd.readouterr().err.splitlines()[-1]


@contextmanager
def on_terminal(api: Api, *arguments: str, cwd: Path | None = None) -> Iterator[Screen]:
    """kubectl spyglass on a terminal, which is at the end as a new one is."""
    command = [
        sys.executable,
        "-c",
        "import sys; from spyglass.kubectl.command import main; sys.exit(main())",
    ]
    api.windows.clear()
    with command_on_screen([*command, *arguments], 100, 30, cwd) as screen:
        yield screen
        assert screen.settings() == new_settings()


def new_settings() -> list[object]:
    ours, theirs = pty.openpty()
    try:
        return termios.tcgetattr(theirs)
    finally:
        os.close(ours)
        os.close(theirs)


def drawn(screen: Screen, line: int) -> bool:
    """Whether by now the keys, which are on the last line, were drawn on this one."""
    screen.read_for(0.05)
    return bool(re.search(rb"\x1b\[%d;1H(?:\x1b\[[0-9;]*m)*Enter" % line, screen.received))


def test_top_has_the_terminal_and_leaves_it_as_it_was(api: Api) -> None:
    with on_terminal(api, "top", "cart-1") as screen:
        wait_until(lambda: drawn(screen, 30), 60)
        assert screen.settings() != new_settings()  # what is typed goes to the container
        assert ENTERS in screen.received
        assert not drawn(screen, 24)
        screen.resize(80, 24)
        wait_until(lambda: drawn(screen, 24), 60)
        assert api.windows == [(100, 30), (80, 24)]
        screen.press("\x03")
        assert screen.end(60) == 0, screen.received[-2000:]
        assert LEAVES in screen.received


def test_ctrl_c_ends_a_recording_there_and_its_file_comes(api: Api, tmp_path: Path) -> None:
    with on_terminal(api, "record", "cart-1", "-d", "10m", "-o", "cpu.svg", cwd=tmp_path) as screen:
        screen.until("2 of 600 s", 60)
        screen.press("\x03")
        assert screen.end(60) == 0, screen.received[-2000:]
    assert "main." in (tmp_path / "cpu.svg").read_text()
