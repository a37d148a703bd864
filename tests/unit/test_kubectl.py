"""kubectl spyglass: a real kubectl asks a small API server; commands run in a container as this process's host has it."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spyglass.kubectl import command
from tests.kubernetes_api import UID, Api, pod, serving_api

ID = "0123456789abcdef" * 4
#: A container of ours, in place of spyglass: prints its arguments; writes a file if it is told to.
FAKE = """#!/bin/sh
case "$1" in ps) cat "$SPYGLASS_TEST_LISTING"; exit;; esac
echo "spyglass $*"
for word; do case "$last" in --output) printf '\\0\\377' > "$word";; esac; last=$word; done
case "$*" in *--fail*) echo 'spyglass: no such goroutine' >&2; exit 1;; esac
"""

#: kubectl may be slower than the server here, which answers at once.
pytestmark = pytest.mark.live


def listing(*processes: tuple[int, str | None]) -> str:
    made = [{"pid": pid, "container": id_, "cmdline": ["/cart"]} for pid, id_ in processes]
    return json.dumps({"processes": made, "unreadable": []})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A server, and a kubectl that asks it: its own answers to help with Go's web sockets are those of 1.31 and later."""
    folder = tmp_path_factory.mktemp("api")
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("no kubectl of 1.31 or later: not Debian's")
    with serving_api(folder) as api, pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", str(api.kubeconfig(folder / "kubeconfig")))
        patch.setenv("HOME", str(folder))
        yield api


@pytest.fixture
def api(server: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Api:
    """The server with the pod cart-1, in whose containers a program stands in for spyglass."""
    program = tmp_path / "bin" / "spyglass"
    program.parent.mkdir()
    program.write_text(FAKE)
    program.chmod(0o755)
    (tmp_path / "here").mkdir()
    (tmp_path / "listing").write_text(listing((7, ID)))
    monkeypatch.setenv("SPYGLASS_TEST_LISTING", str(tmp_path / "listing"))
    monkeypatch.setenv("SPYGLASS_IMAGE", "registry.example/spyglass:1")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr("spyglass.kubectl.access._POLL_SECONDS", 0.01)
    server.__dict__.update(Api().__dict__ | {"url": server.url, "authority": server.authority})
    server.inside = ["env", f"PATH={program.parent}:/usr/bin:/bin"]
    server.add(pod("cart-1", "cart", id_=ID))
    return server


def ran(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """The exit status of ``kubectl spyglass`` with `arguments`, and what it prints."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["kubectl-spyglass", *arguments])
        status = command.main()
    captured = capfd.readouterr()
    return status, captured.out, captured.err


def added(api: Api) -> dict[str, Any]:
    (container,) = api.pods["shop", "cart-1"]["spec"]["ephemeralContainers"]
    return dict(container)


def test_an_ephemeral_container_is_started_and_used_again(
    api: Api, capfd: pytest.CaptureFixture[str]
) -> None:
    status, out, err = ran(capfd, "summary", "cart-1", "--state", "select")
    assert (status, out) == (0, "spyglass summary --pid 7 --state select\n")
    container = added(api)
    name = container["name"]
    assert re.fullmatch("spyglass-[0-9a-f]{8}", name)
    assert err == f"started container {name} in pod shop/cart-1; it ends in 3600 s\n"
    assert container["image"] == "registry.example/spyglass:1"
    assert container["targetContainerName"] == "cart"
    assert container["command"] == ["sleep", "3600"]
    assert container["securityContext"]["capabilities"] == {"add": ["SYS_PTRACE", "PERFMON"]}
    assert ran(capfd, "waits", "pod/cart-1", "-p", "9") == (0, "spyglass waits --pid 9\n", "")
    assert added(api)["name"] == name


@pytest.mark.slow
def test_a_container_that_ends_soon_is_not_used_again(
    api: Api, capfd: pytest.CaptureFixture[str]
) -> None:
    api.state = {"running": {"startedAt": "2020-01-01T00:00:00Z"}}
    assert ran(capfd, "ps", "cart-1")[0] == 0
    assert "started container" in ran(capfd, "ps", "cart-1")[2]
    assert len(api.pods["shop", "cart-1"]["spec"]["ephemeralContainers"]) == 2


def test_a_file_lands_here_for_its_owner_alone(
    api: Api, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    here = tmp_path / "here"
    status, out, _ = ran(capfd, "record", "cart-1", "-d", "10s", "-o", str(here / "cpu.svg"))
    assert (status, out) == (0, "spyglass record --pid 7 -d 10s --output cpu.svg\n")
    assert (here / "cpu.svg").read_bytes() == b"\0\xff"
    assert stat.S_IMODE((here / "cpu.svg").stat().st_mode) == 0o600
    assert [each.name for each in here.iterdir()] == ["cpu.svg"]
    directory = next(words[3] for _, words in api.executed if words[0] == "sh")
    assert not os.path.exists(directory)


@pytest.mark.slow
def test_a_command_that_fails_says_why_and_leaves_what_was_there(
    api: Api, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    status, _, err = ran(capfd, "waits", "cart-1", "--fail")
    assert (status, err.splitlines()[-1]) == (1, "spyglass: no such goroutine")
    kept = tmp_path / "here" / "x.html"
    kept.write_text("before")
    api.refuse["GET", "/exec"] = "connection lost"
    assert ran(capfd, "report", "cart-1", "--pid", "7", "-o", "x.html")[0] == 1
    assert kept.read_text() == "before"


@pytest.mark.slow
def test_what_a_file_is_called_decides_nothing_here(
    api: Api, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    listed = tmp_path / "bin" / "ls"
    listed.write_text("#!/bin/sh\necho .bashrc\n")
    listed.chmod(0o755)
    status, _, err = ran(capfd, "snapshot", "cart-1")
    assert status == 1
    assert "odd name: .bashrc" in err
    assert not list((tmp_path / "here").iterdir())


@pytest.mark.slow
def test_several_containers_and_several_programs_are_named(
    api: Api, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    api.add(pod("cart-2", "proxy", "cart"))
    status, _, err = ran(capfd, "top", "cart-2")
    assert (status, err) == (
        1,
        "spyglass: pod shop/cart-2 has several containers: proxy, cart. choose one with -c\n",
    )
    assert "it has proxy, cart" in ran(capfd, "top", "cart-2", "-c", "no")[2]
    (tmp_path / "listing").write_text(listing((7, ID), (8, None), (9, "f" * 64)))
    status, _, err = ran(capfd, "top", "cart-1")
    assert status == 1
    assert "there are 2 Go processes: 7 (/cart), 8 (/cart). choose one with --pid" in err
    (tmp_path / "listing").write_text(listing())
    assert "no Go process runs in this container" in ran(capfd, "top", "cart-1")[2]
    (tmp_path / "listing").write_text('{"processes": 7}')
    assert "cannot be read" in ran(capfd, "top", "cart-1")[2]


FORBIDDEN = 'pods "cart-1" is forbidden: User "jane" cannot update resource "pods/ephemeralcontainers" in API group ""'
VIOLATES = 'pods "cart-1" is forbidden: violates PodSecurity "baseline:latest": non-default capabilities (container "x")'


@pytest.mark.parametrize(
    ("refused", "message", "hint"),
    [
        (("PUT", "/ephemeralcontainers"), FORBIDDEN, "docs/kubernetes.md has a role"),
        (("PUT", "/ephemeralcontainers"), VIOLATES, "--via daemonset"),
        (("GET", "/pods/cart-1"), 'pods "cart-1" is forbidden: User "jane" cannot get', "a role"),
        (("GET", "/exec"), 'pods "cart-1" is forbidden: User "jane" cannot create', "a role"),
    ],
)
def test_a_refusal_is_one_line_with_what_to_do(
    api: Api,
    capfd: pytest.CaptureFixture[str],
    refused: tuple[str, str],
    message: str,
    hint: str,
) -> None:
    api.refuse[refused] = message
    status, out, err = ran(capfd, "summary", "cart-1")
    (line,) = [each for each in err.splitlines() if not each.startswith("started container")]
    assert (status, out) == (1, "")
    assert line.startswith(f"spyglass: {message}")
    assert hint in line


@pytest.mark.slow
def test_a_pod_that_is_not_there(api: Api, capfd: pytest.CaptureFixture[str]) -> None:
    assert ran(capfd, "summary", "no") == (1, "", 'spyglass: pods "no" not found\n')


@pytest.mark.slow
@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}, "ImagePullBackOff: no such image"),
        ({"terminated": {"reason": "Error", "exitCode": 127}}, "did not start: Error"),
    ],
)  # fmt: skip
def test_a_container_that_does_not_start_says_why(
    api: Api, capfd: pytest.CaptureFixture[str], state: dict[str, Any], words: str
) -> None:
    api.state = state
    status, _, err = ran(capfd, "summary", "cart-1")
    assert status == 1
    assert words in err


@pytest.mark.slow
def test_a_container_that_never_starts_is_given_up(
    api: Api, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spyglass.kubectl.access._START_SECONDS", 0.0)
    api.state = {"waiting": {"reason": "ContainerCreating"}}
    assert "kubectl describe pod cart-1 -n shop" in ran(capfd, "summary", "cart-1")[2]


@pytest.mark.slow
def test_without_privileges_it_is_the_user_of_the_program(
    api: Api, capfd: pytest.CaptureFixture[str]
) -> None:
    status, _, err = ran(capfd, "summary", "cart-1", "--unprivileged")
    assert status == 2
    assert "give --user" in err
    api.add(pod("cart-1", "cart", id_=ID, securityContext={"runAsUser": 1000}))
    assert ran(capfd, "summary", "cart-1", "--unprivileged")[0] == 0
    assert added(api)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsUser": 1000,
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


@pytest.mark.slow
def test_the_daemonset_on_the_node_is_told_the_pod(
    api: Api, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ("waits", "cart-1", "--via", "daemonset")
    status, _, err = ran(capfd, *arguments)
    assert status == 1
    assert "no pod of the DaemonSet spyglass runs on node worker-1 in namespace spyglass" in err
    daemon = pod("spyglass-x", "spyglass")
    daemon["metadata"]["namespace"] = "spyglass"
    api.add(daemon)
    assert ran(capfd, *arguments) == (0, f"spyglass waits --pod {UID}\n", "")
    assert ran(capfd, *arguments, "-c", "cart")[1].endswith(f"--pod {UID} --container {ID}\n")
    assert ran(capfd, *arguments, "--pid", "5")[1] == "spyglass waits --pid 5\n"
    assert "ephemeralContainers" not in api.pods["shop", "cart-1"]["spec"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["summary", "deployment/cart"], "'deployment/cart' is not the name of a pod"),
        (["summary", "--", "--all-namespaces"], "is not the name of a pod"),
        (["serve", "cart-1"], "'serve' is not one of"),
    ],
)
def test_wrong_usage(
    api: Api, capfd: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    status, out, err = ran(capfd, *arguments)
    assert (status, out) == (2, "")
    assert message in err


@pytest.mark.slow
def test_without_an_image_or_kubectl(
    api: Api, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SPYGLASS_IMAGE")
    assert "no image given: --image" in ran(capfd, "summary", "cart-1")[2]
    monkeypatch.setenv("PATH", "/no")
    assert ran(capfd, "summary", "cart-1")[2].startswith("spyglass: kubectl is not installed")


@pytest.mark.slow
def test_kubectl_finds_it(api: Api, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    plugin = tmp_path / "bin" / "kubectl-spyglass"
    plugin.write_text(
        f"#!{sys.executable}\nimport sys\nfrom spyglass.kubectl.command import main\nsys.exit(main())\n"
    )
    plugin.chmod(0o755)
    path = f"{plugin.parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["kubectl", "spyglass", "dump", "cart-1"], env=os.environ | {"PATH": path}, capture_output=True, text=True
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "spyglass dump --pid 7\n")
