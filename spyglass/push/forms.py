"""A profile as an HTTP request, in the form that its destination takes."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import re
import uuid
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal
from urllib.parse import urlencode

import numpy as np

from spyglass.errors import SpyglassError
from spyglass.export.otlp import otlp_request
from spyglass.export.profile_pprof import write_pprof
from spyglass.model import NONE, Process
from spyglass.profile import Profile
from spyglass.push.destination import Form
from spyglass.version import __version__

__all__ = ["About", "Request", "pprof_request", "request"]

#: A kind of profile, as Pyroscope calls it.
Kind = Literal["process_cpu", "wall", "memory", "goroutine"]

_JSON, _PROTOBUF, _BINARY = "application/json", "application/x-protobuf", "application/octet-stream"
_UNKNOWN = "unknown"
#: What a label of Pyroscope may have in it: /ingest knows no quotes.
_NOT_PLAIN = re.compile(r"[^\w.:/-]", re.ASCII)
_MAX_LABEL = 200
_MAX_HEADER = 4096


@dataclass(frozen=True, slots=True)
class Request:
    """The body of a POST, and what is said of it. `query`: behind the path, or empty."""

    body: bytes
    content_type: str
    encoding: str | None = None
    query: str = ""

    def packed(self) -> bytes:
        """All of it in one piece, as a file has it."""
        header = {"type": self.content_type, "encoding": self.encoding, "query": self.query}
        return json.dumps(header).encode() + b"\n" + self.body

    @classmethod
    def unpacked(cls, data: bytes) -> Request:
        """Of what `packed` made. Raises `SpyglassError` for anything else."""
        header, newline, body = data.partition(b"\n")
        try:
            if not newline or len(header) > _MAX_HEADER:
                raise ValueError
            said = json.loads(header)
            return cls(body, said["type"], said["encoding"], said["query"])
        except (ValueError, KeyError, TypeError):
            raise SpyglassError("a file in the spool is no profile of spyglass") from None


@dataclass(frozen=True, slots=True)
class About:
    """What a profile is of: a process on `host`, the kind of it as Pyroscope calls it, when it began, and for how long."""

    process: Process
    host: str | None
    kind: Kind
    began: datetime
    seconds: float = 0.0


def pprof_request(raw: bytes, about: About, form: Form, service: str | None = None) -> Request:
    """`raw`, a profile as pprof compressed by gzip, in a `form` of Pyroscope. `service`: its name, where that is not the name of
    the executable."""
    service = service or _service(about.process)
    if form == "push":
        return Request(_push(about, service, raw), _JSON)
    return Request(raw, _BINARY, query=_ingest_query(about, service))


def request(profile: Profile, form: Form, service: str | None = None) -> Request:
    """`profile` in `form`. `service`: its name, where that is not the name of the executable.

    Labels of threads are left out: a server keeps a series for each set of labels.
    """
    threads = np.full(len(profile.samples), NONE, np.int64)
    profile = replace(profile, samples=replace(profile.samples, thread=threads))
    if form == "otlp":
        body = otlp_request(profile, _resource(profile, service or _service(profile.process)))
        return Request(gzip.compress(body, 3, mtime=0), _PROTOBUF, "gzip")
    stream = io.BytesIO()
    write_pprof(profile, stream)
    about = About(
        profile.process, profile.host, "process_cpu" if profile.mode == "cpu" else "wall",
        profile.started_at, profile.duration_ns / 1e9,
    )  # fmt: skip
    return pprof_request(stream.getvalue(), about, form, service)


def _service(process: Process) -> str:
    return os.path.basename(process.exe or "") or (process.module or _UNKNOWN).rpartition("/")[2]


def _ingest_query(about: About, service: str) -> str:
    """Pyroscope, ``docs/sources/reference-server-api``: /ingest; labels are behind the name."""
    began = about.began.timestamp()
    labels = ",".join(f"{name}={value}" for name, value in _labels(about).items())
    return urlencode({
        "name": f"{_plain(service)}{{{labels}}}",
        "from": int(began), "until": max(int(began + about.seconds), int(began) + 1),
        "format": "pprof", "spyName": "spyglass",
    })  # fmt: skip


def _push(about: About, service: str, raw: bytes) -> bytes:
    """Pyroscope, ``api/push/v1/push.proto``, as JSON. Of what was allocated only the increase is sent; Pyroscope would subtract what
    came before once more (``LabelNameDelta`` in ``pkg/model/labels.go``)."""
    labels = {
        "__name__": about.kind,
        "service_name": _plain(service),
        **({"__delta__": "false"} if about.kind == "memory" else {}),
        **_labels(about),
    }
    sample = {"ID": str(uuid.uuid4()), "rawProfile": base64.b64encode(raw).decode("ascii")}
    pairs = [{"name": name, "value": value} for name, value in labels.items()]
    return json.dumps({"series": [{"labels": pairs, "samples": [sample]}]}).encode()


def _labels(about: About) -> dict[str, str]:
    """Labels of the process: few, for each set of them is a series."""
    process = about.process
    known = {
        "hostname": about.host, "version": _version(process), "container": process.container_name,
        "pod": process.pod, "namespace": process.namespace,
    }  # fmt: skip
    return {name: _plain(value) for name, value in known.items() if value}


def _version(process: Process) -> str | None:
    version = process.module_version
    return None if version == "(devel)" else version


def _resource(profile: Profile, service: str) -> dict[str, str | int]:
    """The names of OpenTelemetry's semantic conventions."""
    process = profile.process
    known: dict[str, Any] = {
        "service.name": service, "service.version": _version(process), "host.name": profile.host,
        "process.pid": process.pid, "process.executable.name": os.path.basename(process.exe or ""),
        "process.runtime.name": "go", "process.runtime.version": process.go_version,
        "container.id": process.container, "container.name": process.container_name, "k8s.pod.name": process.pod,
        "k8s.pod.uid": process.pod_uid, "k8s.namespace.name": process.namespace, "telemetry.sdk.name": "spyglass", "telemetry.sdk.version": __version__,
    }  # fmt: skip
    return {name: value for name, value in known.items() if value}


def _plain(text: str) -> str:
    return _NOT_PLAIN.sub("_", text)[:_MAX_LABEL] or _UNKNOWN
