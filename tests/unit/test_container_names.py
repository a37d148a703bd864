"""What containers are called, from the files of runtimes and of kubelet."""

from __future__ import annotations

import json
import os
import pwd
from pathlib import Path
from types import SimpleNamespace

import pytest

from spyglass import container_names
from spyglass.container_names import ContainerNames
from spyglass.errors import ProcessNotFound
from spyglass.process_list import Names
from spyglass.procfs.containers import KubeletMount, Membership
from tests import container_files as files

ID = "0123456789abcdef" * 4
UID = "8d9b0a77-1f2b-4b57-8f4c-6a4b4e0f7c11"
OTHER_UID = "00000000-1f2b-4b57-8f4c-6a4b4e0f7c11"
PID = 4242
LABELS = {
    "io.kubernetes.container.name": "cart",
    "io.kubernetes.pod.name": "cart-1",
    "io.kubernetes.pod.namespace": "shop",
    "io.kubernetes.pod.uid": UID,
}
WHOLE = Names("cart", "cart-1", "shop", UID)


@pytest.fixture(autouse=True)
def mounted(monkeypatch: pytest.MonkeyPatch) -> list[KubeletMount]:
    """What kubelet has mounted for each process: the first of the list, if there is one."""
    found: list[KubeletMount] = []
    monkeypatch.setattr(container_names, "kubelet_mount", lambda _pid: found[0] if found else None)
    return found


def named(
    root: Path, uid: str | None = None, container: str | None = ID, path: str = "/x"
) -> Names:
    return ContainerNames((str(root),)).of(PID, Membership(container, uid, (path,)))


def test_containerd_names_the_containers_of_pods(tmp_path: Path) -> None:
    files.kubernetes_task(tmp_path, ID, "cart", "shop/cart-1", UID)
    assert named(tmp_path, UID) == WHOLE


def test_containerd_names_the_containers_of_nerdctl(tmp_path: Path) -> None:
    files.containerd_task(tmp_path, "default", ID, {"nerdctl/name": "web"})
    assert named(tmp_path) == Names("web")


def test_cri_o_has_the_labels_of_kubelet(tmp_path: Path) -> None:
    files.crio_container(tmp_path, ID, LABELS)
    assert named(tmp_path, UID) == WHOLE


def test_docker_names_its_containers(tmp_path: Path) -> None:
    files.docker_container(tmp_path, ID, "web")
    assert named(tmp_path) == Names("web")


def test_docker_below_kubernetes_has_the_labels_of_kubelet(tmp_path: Path) -> None:
    files.docker_container(tmp_path, ID, "k8s_cart_cart-1_shop", LABELS)
    assert named(tmp_path, UID) == WHOLE


def test_podman_names_its_containers(tmp_path: Path) -> None:
    files.stored_containers(
        tmp_path / "var/lib/containers/storage", {ID: ["web", "other"], "1": []}
    )
    assert named(tmp_path) == Names("web")


def test_a_user_s_own_podman_names_its_containers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = {1000: SimpleNamespace(pw_dir=str(tmp_path))}
    monkeypatch.setattr(pwd, "getpwuid", users.__getitem__)
    files.stored_containers(tmp_path / ".local/share/containers/storage", {ID: ["web"]})
    below = "/user.slice/user-{}.slice/user@1000.service/user.slice/libpod.scope"
    assert named(tmp_path / "no", path=below.format(1000)) == Names("web")
    assert named(tmp_path / "no", path=below.format(1001)) == Names()


def test_a_user_s_own_podman_is_found_by_who_made_the_user_namespace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = {1000: SimpleNamespace(pw_dir=str(tmp_path))}
    monkeypatch.setattr(pwd, "getpwuid", users.__getitem__)
    files.stored_containers(tmp_path / ".local/share/containers/storage", {ID: ["web"]})
    for owner, expected in ((1000, Names("web")), (1001, Names()), (None, Names())):
        monkeypatch.setattr(container_names, "user_namespace_owner", {PID: owner}.__getitem__)
        assert named(tmp_path / "no") == expected


def test_a_list_of_containers_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = files.stored_containers(tmp_path / "var/lib/containers/storage", {ID: ["web"]})
    names = ContainerNames((str(tmp_path),))
    assert names.of(PID, Membership(ID, None, ())) == Names("web")
    path.unlink()
    assert names.of(PID, Membership(ID, None, ())) == Names("web")


def test_kubelet_s_mounts_and_logs_stand_in_for_a_runtime_that_cannot_be_read(
    tmp_path: Path, mounted: list[KubeletMount]
) -> None:
    files.pod_logs(tmp_path, "shop", "cart-1", UID)
    assert named(tmp_path, UID) == Names(None, "cart-1", "shop", UID)
    mounted.append(KubeletMount(UID, "cart"))
    assert named(tmp_path, UID) == WHOLE
    assert named(tmp_path, None) == WHOLE  # in a namespace of control groups that hides the pod


def test_a_mount_of_another_pod_s_files_names_nothing(
    tmp_path: Path, mounted: list[KubeletMount]
) -> None:
    mounted.append(KubeletMount(OTHER_UID, "bank"))
    files.pod_logs(tmp_path, "shop", "bank-1", OTHER_UID)
    assert named(tmp_path, UID) == Names(pod_uid=UID)


def test_the_kernel_s_pod_counts_where_a_file_says_another(tmp_path: Path) -> None:
    files.kubernetes_task(tmp_path, ID, "bank", "shop/bank-1", OTHER_UID)
    assert named(tmp_path, UID) == Names(pod_uid=UID)


def test_a_process_that_has_ended_has_no_mounts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(pid: int) -> None:
        raise ProcessNotFound(f"there is no process {pid}")

    monkeypatch.setattr(container_names, "kubelet_mount", ended)
    assert named(tmp_path, UID) == Names(pod_uid=UID)


def test_the_container_of_lxc_is_known_by_its_name(tmp_path: Path) -> None:
    assert named(tmp_path, container="web-1") == Names("web-1")
    assert named(tmp_path, container="../../etc") == Names("../../etc")


DEEP = "[" * 100_000


@pytest.mark.parametrize(
    "content",
    [
        "", "null", "[]", "{", DEEP, '{"annotations": 7}', '{"annotations": {"a": 7}}', '{"annotations": null}',
        json.dumps({"annotations": {"nerdctl/name": "x" * 254}}),
        json.dumps({"annotations": {"io.kubernetes.cri-o.Labels": DEEP}}),
        json.dumps({"annotations": {"io.kubernetes.cri-o.Labels": "[7]"}}),
        '{"annotations": {"nerdctl/name": "\\ud800"}}',
    ],
)  # fmt: skip
def test_what_is_no_specification_names_nothing(tmp_path: Path, content: str) -> None:
    files.containerd_task(tmp_path, "default", ID, {}).write_text(content)
    stored = files.stored_containers(tmp_path / "var/lib/containers/storage", {ID: ["web"]})
    assert named(tmp_path) == Names("web")
    stored.write_text(content)
    assert named(tmp_path) == Names()


def test_what_is_no_file_or_too_large_names_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = files.containerd_task(tmp_path, "default", ID, {"nerdctl/name": "web"})
    monkeypatch.setattr(container_names, "_MAX_FILE_BYTES", path.stat().st_size)
    assert named(tmp_path) == Names("web")
    monkeypatch.setattr(container_names, "_MAX_FILE_BYTES", path.stat().st_size - 1)
    assert named(tmp_path) == Names()
    monkeypatch.undo()
    monkeypatch.setattr(container_names, "kubelet_mount", lambda _pid: None)
    path.unlink()
    os.mkfifo(path)  # reading it would wait for ever
    assert named(tmp_path) == Names()
    path.unlink()
    path.symlink_to(_other(tmp_path))
    assert named(tmp_path) == Names()


def _other(tmp_path: Path) -> Path:
    return files.containerd_task(tmp_path / "elsewhere", "default", ID, {"nerdctl/name": "web"})


def test_no_more_entries_of_a_directory_are_read_than_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container_names, "_MAX_ENTRIES", 3)
    for number in range(9):
        files.pod_logs(tmp_path, "shop", f"cart-{number}", f"{number}")
    assert len(ContainerNames((str(tmp_path),))._logged()) == 3
