"""The manifests of docs/kubernetes: kubectl builds them, the schemas of the API accept them, and they ask for no more than is needed."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from spyglass.kubectl.access import _DAEMON_CONTAINER, _LABEL

MANIFESTS = Path(__file__).parents[2] / "docs" / "kubernetes"
#: Not of Kubernetes itself: of the operator of Prometheus.
FOREIGN = {"ServiceMonitor"}


@pytest.fixture(scope="module", params=["base", "prometheus"])
def built(request: pytest.FixtureRequest) -> dict[str, list[dict[str, Any]]]:
    """What kubectl makes of a directory, by kind."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("no kubectl of 1.31 or later: not Debian's")
    made = subprocess.run(
        [kubectl, "kustomize", MANIFESTS / request.param], capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    found: dict[str, list[dict[str, Any]]] = {}
    for each in yaml.safe_load_all(made.stdout):
        found.setdefault(each["kind"], []).append(each)
    return found


def test_they_are_what_the_api_takes(built: dict[str, list[dict[str, Any]]]) -> None:
    for kind, documents in built.items():
        for document in documents:
            assert document["metadata"].get("namespace", "spyglass") == "spyglass"
            if kind not in FOREIGN:
                kubernetes_validate.validate(document, "1.37", strict=True)


def test_the_daemonset_has_no_more_than_it_needs(built: dict[str, list[dict[str, Any]]]) -> None:
    (daemonset,) = built["DaemonSet"]
    spec = daemonset["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert spec["hostPID"]
    assert not spec.keys() & {"hostNetwork", "hostIPC"}
    assert not spec["automountServiceAccountToken"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    context = container["securityContext"]
    needed = ["SYS_PTRACE", "PERFMON", "DAC_READ_SEARCH"]
    assert context["capabilities"] == {"drop": ["ALL"], "add": needed}
    assert context["readOnlyRootFilesystem"]
    writable = {each["mountPath"] for each in container["volumeMounts"] if not each.get("readOnly")}
    assert writable == {"/tmp"}


def test_kubectl_spyglass_finds_the_daemonset(built: dict[str, list[dict[str, Any]]]) -> None:
    template = built["DaemonSet"][0]["spec"]["template"]
    key, _, value = _LABEL.partition("=")
    assert template["metadata"]["labels"][key] == value
    assert [each["name"] for each in template["spec"]["containers"]] == [_DAEMON_CONTAINER]


def test_it_listens_to_others_only_with_tls(built: dict[str, list[dict[str, Any]]]) -> None:
    spec = built["DaemonSet"][0]["spec"]["template"]["spec"]
    arguments = json.dumps(spec["containers"][0]["args"])
    assert "127.0.0.1" in arguments or "--tls-cert" in arguments
    assert "--insecure" not in arguments
    assert {"Ingress", "Egress"} == {
        kind for each in built["NetworkPolicy"] for kind in each["spec"]["policyTypes"]
    }
