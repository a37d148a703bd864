"""Go processes told by their container or pod: real processes in control groups as runtimes make them, and files of runtimes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from spyglass import attach, cli, container_names
from spyglass.cli.common_options import Settings
from spyglass.doctor.target import examine_target
from spyglass.errors import AmbiguousName, ProcessNotFound
from spyglass.process_choice import Wanted, find
from spyglass.processes import go_processes
from spyglass.procfs.containers import membership
from tests import container_files as files
from tests.children import needs_root, sleeping, wait_until
from tests.support import build, in_namespaces

pytestmark = [pytest.mark.live, pytest.mark.go, needs_root]

HIERARCHY = Path("/sys/fs/cgroup/memory")


class Container:
    """A Go process in a control group of its own, of a pod if `uid` is given, beside a shell."""

    def __init__(self, id_: str, uid: str | None, child: subprocess.Popen[bytes]) -> None:
        self.id, self.uid, self.pid = id_, uid, child.pid


@contextmanager
def contained(uid: str | None = None) -> Iterator[Container]:
    id_ = os.urandom(32).hex()
    above = HIERARCHY / (f"kubepods-pod{uid.replace('-', '_')}.slice" if uid else "")
    group = above / f"cri-containerd-{id_}.scope"
    with ExitStack() as stack:
        try:
            group.mkdir(parents=True)
        except OSError as error:
            pytest.skip(f"no control group can be made here: {error}")
        stack.callback(removed, group, above if uid else None)
        inside = ["sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh"]
        for command in ("sleep", "600"), (str(build("truth")),):
            child = stack.enter_context(
                sleeping(*inside, *command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
            )
            wait_until(partial(has_become, child.pid, shutil.which(command[0]) or ""))
        yield Container(id_, uid, child)


def has_become(pid: int, program: str) -> bool:
    return os.readlink(f"/proc/{pid}/exe") == os.path.realpath(program)


def removed(group: Path, above: Path | None) -> None:
    wait_until(lambda: not (group / "cgroup.procs").read_text())
    group.rmdir()
    if above is not None:
        with suppress(OSError):  # the pod has other containers
            above.rmdir()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where files of runtimes are, instead of those of this host."""
    path = tmp_path_factory.mktemp("root")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(container_names, "_roots", lambda: (str(path),))
        yield path


@pytest.fixture(scope="module")
def pods(root: Path) -> Iterator[list[Container]]:
    """Two containers of the pod shop/cart-1, with names, and one of a pod that only its control group tells."""
    with contained(str(uuid4())) as cart, contained(str(uuid4())) as other, contained() as plain:
        assert cart.uid
        files.kubernetes_task(root, cart.id, "cart", "shop/cart-1", cart.uid)
        files.docker_container(root, plain.id, "web")
        yield [cart, other, plain]


def test_the_list_names_containers_and_pods(pods: list[Container]) -> None:
    listed = go_processes(each.pid for each in pods).processes
    found = {p.pid: (p.container, p.container_name, p.pod, p.namespace, p.pod_uid) for p in listed}
    cart, other, plain = pods
    assert found == {
        cart.pid: (cart.id, "cart", "cart-1", "shop", cart.uid),
        other.pid: (other.id, None, None, None, other.uid),
        plain.pid: (plain.id, "web", None, None, None),
    }


def test_snapshots_metrics_and_doctor_name_them_as_the_list_does(pods: list[Container]) -> None:
    cart, other, plain = pods
    names = ("container", "container_name", "pod", "namespace", "pod_uid")
    with attach(cart.pid) as program:
        process = program.snapshot("top").process
        (listed,) = go_processes([cart.pid]).processes
        assert [getattr(process, each) for each in names] == [
            getattr(listed, each) for each in names
        ]
        assert process.pod == "cart-1"
    targets = [str(each.pid) for each in pods]
    page = CliRunner().invoke(cli.spyglass, ["export", *targets], obj=Settings()).output
    labels = {
        sample.labels["pid"]: {
            k: v for k, v in sample.labels.items() if k not in ("pid", "program")
        }
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == "spyglass_process_read"
    }
    assert labels == {
        str(cart.pid): {"container": "cart", "pod": "cart-1", "namespace": "shop"},
        str(other.pid): {"container_id": other.id},
        str(plain.pid): {"container": "web"},
    }
    facts = {each.name: each.value for each in examine_target(cart.pid).facts}
    assert (facts["container"], facts["pod"]) == (f"cart, {cart.id}", "shop/cart-1")


def test_a_process_is_found_by_its_container_and_by_its_pod(pods: list[Container]) -> None:
    cart, other, plain = pods
    assert find(Wanted(container="cart")) == cart.pid
    assert find(Wanted(container="web")) == plain.pid
    assert find(Wanted(container=plain.id[:12])) == plain.pid
    assert find(Wanted(pod="shop/cart-1")) == cart.pid
    assert find(Wanted(pod="cart-1", container="cart", name=build("truth").name)) == cart.pid
    assert find(Wanted(pod=other.uid)) == other.pid


def test_a_container_without_a_control_group_is_known_by_its_mounts(tmp_path: Path) -> None:
    id_ = os.urandom(32).hex()
    file = tmp_path / "vfs-containers" / id_ / "hosts"
    file.parent.mkdir(parents=True)
    file.touch()
    mount = f"mount --bind {file} /etc/hosts && exec sleep 600"
    with sleeping(*in_namespaces("unshare", "--mount"), "sh", "-c", mount) as child:
        wait_until(partial(has_become, child.pid, shutil.which("sleep") or ""))
        assert membership(child.pid).container == id_
        assert membership(os.getpid()).container != id_


def test_what_is_not_there_is_told(pods: list[Container]) -> None:
    for wanted, words in (
        (Wanted(pod="bank/cart-1"), "there is no Go process in pod bank/cart-1"),
        (Wanted(container="no", pod="cart-1"), "no Go process in container no, in pod cart-1"),
        (Wanted(container="cart", name="sleep"), "no Go process in container cart, called sleep"),
    ):
        with pytest.raises(ProcessNotFound, match=words):
            find(wanted)
    with pytest.raises(ProcessNotFound) as error:
        find(Wanted(pod="shop/cart-2"))
    assert "UID" in (error.value.hint or "")  # the name of one pod is not known


def test_several_are_listed_and_none_is_chosen(
    root: Path, pods: list[Container], capsys: pytest.CaptureFixture[str]
) -> None:
    with contained(pods[0].uid) as second:
        assert second.uid
        files.kubernetes_task(root, second.id, "proxy", "shop/cart-1", second.uid)
        with pytest.raises(AmbiguousName) as error:
            find(Wanted(pod="cart-1"))
        assert error.value.pids == tuple(sorted((pods[0].pid, second.pid)))
        assert find(Wanted(pod="cart-1", container="proxy")) == second.pid
        assert cli.run(["summary", "--pod", "shop/cart-1"]) == 1
        err = capsys.readouterr().err
        assert err.startswith("spyglass: there are 2 Go processes in pod shop/cart-1. choose one")
        assert "  cart  " in err
        assert "  proxy  " in err


def test_commands_take_containers_and_pods(
    pods: list[Container], capsys: pytest.CaptureFixture[str]
) -> None:
    for option, value in (("--container", "cart"), ("--pod", "shop/cart-1")):
        assert cli.run(["summary", option, value, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["process"]["pid"] == pods[0].pid
