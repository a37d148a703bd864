"""Go programs in containers of podman, and spyglass in containers beside them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from spyglass import attach, container_names
from spyglass.process_choice import Wanted, find
from spyglass.processes import go_processes
from tests.children import NOBODY, become, in_child, needs_root
from tests.container_engine import agreed
from tests.podman import BASE, SPYGLASS, Podman, host_files, podman
from tests.support import Flavour, GoProcess, build

pytestmark = [pytest.mark.live, pytest.mark.go, pytest.mark.slow, needs_root]

MANIFESTS = Path(__file__).parents[2] / "docs" / "kubernetes"
MUSL = Path("/lib/ld-musl-x86_64.so.1")
TOKEN = "x" * 32
#: Prints what spyglass serve answers, as soon as it does.
_ASK = """
import sys, time, urllib.error, urllib.request
url, headers = "http://127.0.0.1:8974" + sys.argv[1], {"Authorization": "Bearer " + sys.argv[2]}
while True:
    try:
        print(urllib.request.urlopen(urllib.request.Request(url, headers=headers)).read().decode())
    except urllib.error.HTTPError as error:
        print(error.code)
    except OSError:
        time.sleep(0.1)
        continue
    break
"""
CAPABILITIES = "--cap-add=SYS_PTRACE,PERFMON"


@pytest.fixture(scope="module")
def of_root() -> Iterator[Podman]:
    with podman() as made, pytest.MonkeyPatch.context() as patch:
        patch.setattr(container_names, "_roots", lambda: (str(made.root),))
        made.image("truth", {"/truth": build("truth", flavour=Flavour.STRIPPED)}, "/truth")
        yield made


@contextmanager
def contained(podman: Podman, name: str, image: str, *options: str) -> Iterator[GoProcess]:
    """truth.go in the container `name`, which this test talks to through podman."""
    command = podman.command(
        "run", "--replace", "--interactive", "--network=none", f"--name={name}", *options, image
    )
    with GoProcess(command) as process:
        yield process


@pytest.fixture(scope="module")
def web(of_root: Podman) -> Iterator[GoProcess]:
    """Nothing but the program is in its image, and nothing can be written."""
    with contained(of_root, "web", "localhost/truth", "--read-only") as process:
        yield process


def beside(podman: Podman, options: tuple[str, ...], *arguments: str, status: int = 0) -> str:
    """What spyglass prints in a container that has not but these `options`."""
    fixed = ("--rm", "--read-only", "--cap-drop=all", "--env=PYTHONDONTWRITEBYTECODE=1")
    return podman("run", *fixed, *host_files(), *options, BASE, *SPYGLASS, *arguments, status=status)  # fmt: skip


def test_a_distroless_container_whose_root_cannot_be_written(of_root: Podman, web: GoProcess) -> None:  # fmt: skip
    pid, id_ = of_root.pid("web"), of_root.state("web")["Id"]
    process = agreed(pid, web).process
    assert (process.exe, process.container, process.container_name) == ("/truth", id_, "web")
    (listed,) = go_processes([pid]).processes
    assert (listed.container, listed.container_name) == (id_, "web")
    assert find(Wanted(container="web")) == find(Wanted(container=id_[:12])) == pid


def test_a_container_that_shares_the_pids_of_another(of_root: Podman, web: GoProcess) -> None:
    shared = ("--network=none", "--pid=container:web")
    said = web.truth().num_goroutine
    found = json.loads(beside(of_root, (*shared, CAPABILITIES), "summary", "--pid", "1", "--json"))
    assert found["scheduler"]["goroutines"] == said
    assert found["process"]["container"] == of_root.state("web")["Id"]
    refused = beside(of_root, shared, "summary", "--pid", "1", status=1)
    assert "SYS_PTRACE" in refused


def test_a_pod_with_shared_pids(of_root: Podman) -> None:
    of_root("pod", "create", "--replace", "--name=shop", "--share=net,pid", "--network=none")
    command = of_root.command(
        "run", "--interactive", "--pod=shop", "--name=cart", "localhost/truth"
    )
    with GoProcess(command) as cart:
        pid = of_root.pid("cart")
        assert agreed(pid, cart).process.container_name == "cart"
        seen = json.loads(beside(of_root, ("--pod=shop", CAPABILITIES), "ps", "--json"))
        (process,) = seen["processes"]
        assert process["container"] == of_root.state("cart")["Id"]
        assert process["cmdline"] == ["/truth"]


def test_a_program_with_c_of_another_libc(of_root: Podman) -> None:
    program = build("truth", flavour=Flavour.MUSL)
    image = of_root.image("musl", {"/truth": program, str(MUSL): MUSL}, "/truth")
    with contained(of_root, "musl", image) as process:
        pid = of_root.pid("musl")
        snapshot = agreed(pid, process)
        assert snapshot.process.cgo
        assert MUSL.name in Path(f"/proc/{pid}/maps").read_text()


def test_a_user_s_own_container() -> None:
    """Root sees it, and so does its user, whose user namespace it is in."""
    with podman(rootless=True) as own:
        image = own.image("truth", {"/truth": build("truth")}, "/truth")
        with contained(own, "mine", image) as process:
            pid = own.pid("mine")
            assert agreed(pid, process).process.container == own.state("mine")["Id"]
            said = process.truth().num_goroutine
            assert in_child(partial(counted_as_user, pid)) == said


def counted_as_user(pid: int) -> int | None:
    become(NOBODY)
    with attach(pid) as program:
        return program.snapshot("top").scheduler.goroutines


def played(document: Any, folder: Path) -> Any:
    """The pod of the DaemonSet, beside a Go program, as far as this podman plays it: it has no emptyDir, needs an optional secret,
    and does not take hostPID (podman-kube-play(1))."""
    pod = document["spec"]["template"] | {"apiVersion": "v1", "kind": "Pod"}
    pod["metadata"]["name"] = "node"
    spec = pod["spec"]
    del spec["hostPID"]
    spec["shareProcessNamespace"] = True
    spec["volumes"] = [directory(folder / each["name"]) for each in spec["volumes"]]
    token = folder / "token" / "token"
    token.write_text(TOKEN)
    token.chmod(0o440)
    os.chown(token, 0, spec["securityContext"]["fsGroup"])
    volumes = [each.removeprefix("--volume=") for each in host_files() if "--volume" in each]
    paths = [each.partition(":")[0] for each in volumes]
    spec["volumes"] += [
        {"name": f"host{at}", "hostPath": {"path": path}} for at, path in enumerate(paths)
    ]
    mounts = [
        {"name": f"host{at}", "mountPath": path, "readOnly": True} for at, path in enumerate(paths)
    ]
    (serve,) = spec["containers"]
    serve["volumeMounts"] += mounts
    serve |= {"image": BASE, "command": list(SPYGLASS), "workingDir": paths[-1]}
    spec["containers"].append({"name": "cart", "image": "localhost/cart", "volumeMounts": mounts})
    return pod


def directory(path: Path) -> dict[str, Any]:
    """A volume that is a directory of this host."""
    path.mkdir(parents=True, exist_ok=True)
    return {"name": path.name, "hostPath": {"path": str(path)}}


def test_the_pod_of_the_daemonset_is_played_and_answers(of_root: Podman) -> None:
    document = yaml.safe_load((MANIFESTS / "base" / "daemonset.yaml").read_text())
    pod = played(document, of_root.root / "volumes")
    files = {"/": of_root.root / "base", "/truth": build("truth")}
    of_root.image("cart", files, "sh", "-c", "sleep 600 | /truth")  # its input does not end
    of_root("kube", "play", "--replace", "--network=none", "-", sent=json.dumps(pod).encode())

    def answer(path: str, token: str = TOKEN) -> str:
        return of_root("exec", "node-spyglass", SPYGLASS[0], "-c", _ASK, path, token)

    assert answer("/v1/processes", "no") == "401\n"
    (cart,) = json.loads(answer("/v1/processes"))["processes"]
    assert (cart["cmdline"], cart["user"]) == (["/truth"], "65532")
    assert cart["container"] == of_root.state("node-cart")["Id"]
