"""Files of container runtimes and of kubelet below a directory, as they write them, with what spyglass does not read left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = [
    "containerd_task", "crio_container", "docker_container", "kubernetes_task", "pod_logs", "stored_containers",
]  # fmt: skip


def containerd_task(root: Path, namespace: str, id_: str, annotations: dict[str, str]) -> Path:
    """The specification of a task of containerd."""
    task = root / "run/containerd/io.containerd.runtime.v2.task" / namespace / id_
    return _write(task / "config.json", {"ociVersion": "1.1.0", "annotations": annotations})


def kubernetes_task(root: Path, id_: str, name: str, pod: str, uid: str) -> Path:
    """A container of the pod `pod` ("shop/cart-1") as containerd's CRI plugin makes it."""
    namespace, _, pod_name = pod.partition("/")
    keys = ("container-name", "sandbox-name", "sandbox-namespace", "sandbox-uid")
    values = (name, pod_name, namespace, uid)
    annotations = dict(zip((f"io.kubernetes.cri.{key}" for key in keys), values, strict=True))
    kind = {"io.kubernetes.cri.container-type": "container"}
    return containerd_task(root, "k8s.io", id_, annotations | kind)


def crio_container(root: Path, id_: str, labels: dict[str, str]) -> Path:
    """The specification of a container of CRI-O, which has kubelet's labels in an annotation."""
    data = root / "run/containers/storage/overlay-containers" / id_ / "userdata"
    annotations = {"io.kubernetes.cri-o.Labels": json.dumps(labels)}
    return _write(data / "config.json", {"annotations": annotations})


def docker_container(root: Path, id_: str, name: str, labels: dict[str, str] | None = None) -> Path:
    """What Docker keeps of a container."""
    made = {"ID": id_, "Name": f"/{name}", "Config": {"Hostname": "x", "Labels": labels}}
    return _write(root / "var/lib/docker/containers" / id_ / "config.v2.json", made)


def stored_containers(storage: Path, names: dict[str, list[str]]) -> Path:
    """The list of a storage of containers, as Podman has it."""
    made = [{"id": id_, "names": each, "metadata": "{}"} for id_, each in names.items()]
    return _write(storage / "overlay-containers/containers.json", made)


def pod_logs(root: Path, namespace: str, pod: str, uid: str) -> None:
    """The directory of a pod's logs, which kubelet makes."""
    (root / "var/log/pods" / f"{namespace}_{pod}_{uid}").mkdir(parents=True)


def _write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))
    return path
