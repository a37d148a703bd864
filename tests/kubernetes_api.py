"""A small API server of Kubernetes: what ``kubectl get``, ``replace --raw`` and ``exec`` ask for, answered as its reference says.

It has pods, of which ephemeral containers can be added; commands in them are run on this host, in the pid namespace of a process. It is
no cluster: nothing is scheduled, and of admission and RBAC there are only the refusals that a test asks for.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import pty
import ssl
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qs, urlsplit

from tests.certificates import make_certificates

__all__ = ["Api", "pod", "serving_api"]

UID = "8d9b0a77-1f2b-4b57-8f4c-6a4b4e0f7c11"
#: RFC 6455, 1.3.
_MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
#: Channels of v4.channel.k8s.io and v5 (``pkg/util/remotecommand`` of apimachinery).
_STDIN, _STDOUT, _STDERR, _ERROR, _RESIZE = range(5)
#: Kinds of frames (RFC 6455, 5.2).
_BINARY, _CLOSE, _PING, _PONG = 2, 8, 9, 10


def pod(name: str, *containers: str, id_: str = "0" * 64, **spec: Any) -> dict[str, Any]:
    """A running pod in the namespace shop, on the node worker-1; the id of its first container is `id_`."""
    statuses = [{"name": containers[0], "containerID": f"containerd://{id_}"}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "uid": UID, "resourceVersion": "41"},
        "spec": {"nodeName": "worker-1", "containers": [{"name": each} for each in containers]} | spec,
        "status": {"phase": "Running", "containerStatuses": statuses},
    }  # fmt: skip


class Api:
    """The state of the server: `pods` by namespace and name, and what was asked of it.

    `refuse`: (method, end of the path) to the message of a 403. `state`: the state of a new ephemeral container. `inside`: what a
    command in a container is run by, such as nsenter(1). `windows`: widths and heights that clients said.
    """

    def __init__(self) -> None:
        self.pods: dict[tuple[str, str], dict[str, Any]] = {}
        self.refuse: dict[tuple[str, str], str] = {}
        self.state: dict[str, Any] = {"running": {"startedAt": "2999-01-01T00:00:00Z"}}
        self.inside: list[str] = []
        self.executed: list[tuple[str, list[str]]] = []
        self.windows: list[tuple[int, int]] = []
        self.url = ""
        self.authority = Path()

    def add(self, *pods: dict[str, Any]) -> None:
        for each in pods:
            self.pods[each["metadata"]["namespace"], each["metadata"]["name"]] = each

    def ephemeral(self, document: dict[str, Any]) -> dict[str, Any]:
        """The pod after a PUT of its ephemeral containers: nothing else of it changes (``podEphemeralContainersStrategy``)."""
        name = document["metadata"]["namespace"], document["metadata"]["name"]
        kept = self.pods[name]
        wanted = document["spec"].get("ephemeralContainers", [])
        defaults = {"terminationMessagePath": "/dev/termination-log", "resources": {}}
        kept["spec"]["ephemeralContainers"] = [defaults | each for each in wanted]
        kept["status"]["ephemeralContainerStatuses"] = [
            {"name": each["name"], "state": self.state} for each in wanted
        ]
        return kept

    def kubeconfig(self, path: Path) -> Path:
        """A kubeconfig for it at `path`."""
        cluster = {"server": self.url, "certificate-authority": str(self.authority)}
        context = {"cluster": "made", "user": "jane", "namespace": "shop"}
        path.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "made",
            "clusters": [{"name": "made", "cluster": cluster}],
            "users": [{"name": "jane", "user": {"token": "secret"}}],
            "contexts": [{"name": "made", "context": context}],
        }))  # fmt: skip
        return path


@contextmanager
def serving_api(folder: Path) -> Iterator[Api]:
    """A server on loopback, with TLS."""
    api = Api()
    files = make_certificates(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"api": api}))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    api.url, api.authority = f"https://127.0.0.1:{server.server_port}", files.authority
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    """One connection; `api` is set by `serving_api`."""

    protocol_version = "HTTP/1.1"
    api: Api

    def do_GET(self) -> None:
        path, query = self._asked()
        if self._is_refused(path):
            return
        parts = path.strip("/").split("/")
        if path.endswith("/exec"):
            self._exec(parts[5], parse_qs(query))
        elif path in _DISCOVERY:
            self._answer(200, _DISCOVERY[path])
        elif parts[:3] == ["api", "v1", "namespaces"] and len(parts) == 5:
            items = [each for (space, _), each in self.api.pods.items() if space == parts[3]]
            self._answer(200, {"kind": "PodList", "apiVersion": "v1", "items": items})
        elif path == "/api/v1/namespaces/shop":
            self._answer(
                200, {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "shop"}}
            )
        elif len(parts) == 6 and (found := self.api.pods.get((parts[3], parts[5]))):
            self._answer(200, found)
        else:
            self._fail(404, "NotFound", f'{parts[-2]} "{parts[-1]}" not found')

    def do_POST(self) -> None:
        """An attempt with SPDY, after that with a web socket was refused."""
        if not self._is_refused(self._asked()[0]):
            self._fail(400, "BadRequest", "unable to upgrade: web sockets only")

    def do_PUT(self) -> None:
        path, _ = self._asked()
        document = json.loads(b"".join(self._chunks()))
        if not self._is_refused(path):
            self._answer(200, self.api.ephemeral(document))

    def _chunks(self) -> Iterator[bytes]:
        """The body: kubectl sends what it reads from standard input in chunks."""
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def log_message(self, *_arguments: object) -> None:
        """Print nothing."""

    def _asked(self) -> tuple[str, str]:
        assert self.headers["authorization"] == "Bearer secret"
        return urlsplit(self.path).path, urlsplit(self.path).query

    def _is_refused(self, path: str) -> bool:
        for (method, end), message in self.api.refuse.items():
            if path.endswith(end) and method in (self.command, _UPGRADE.get(self.command)):
                self._fail(403, "Forbidden", message)
                return True
        return False

    def _fail(self, code: int, reason: str, message: str) -> None:
        self._answer(code, _status("Failure", code=code, reason=reason, message=message))

    def _answer(self, code: int, document: Any) -> None:
        content = json.dumps(document).encode()
        self.send_response(code)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _exec(self, name: str, query: dict[str, list[str]]) -> None:
        self.api.executed.append((name, query["command"]))
        accepted = hashlib.sha1((self.headers["sec-websocket-key"] + _MAGIC).encode()).digest()
        self.send_response(101)
        self.send_header("upgrade", "websocket")
        self.send_header("connection", "Upgrade")
        self.send_header("sec-websocket-accept", base64.b64encode(accepted).decode())
        self.send_header(
            "sec-websocket-protocol", self.headers["sec-websocket-protocol"].split(",")[0]
        )
        self.end_headers()
        channels = _Channels(self.rfile, self.wfile, self.api.windows)
        time.sleep(_STARTS_S)
        if query.get("tty") == ["true"]:
            # Only what is inside leads a session and is interrupted, as in a container.
            channels.run_on_terminal([*self.api.inside, "setsid", "--ctty", *query["command"]])
        else:
            channels.run([*self.api.inside, *query["command"]])
        self.close_connection = True


class _Channels:
    """A web socket that has the streams of a command as channels."""

    def __init__(
        self, received: IO[bytes] | Any, sent: IO[bytes] | Any, windows: list[tuple[int, int]]
    ) -> None:
        self._received, self._sent, self._windows = received, sent, windows
        self._lock = threading.Lock()

    def run(self, command: list[str]) -> None:
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=_environment(),
        ) as child:  # fmt: skip
            threads = [
                threading.Thread(target=self._pump, args=each)
                for each in ((child.stdout, _STDOUT), (child.stderr, _STDERR))
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        self._end(child.returncode)
        # To close before what the client sent is read would reset the connection, and lose what it has not read.
        with suppress(OSError):
            for _ in self._frames():
                pass

    def run_on_terminal(self, command: list[str]) -> None:
        """Run it with a new terminal."""
        ours, theirs = pty.openpty()
        child = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=_environment() | {"TERM": "xterm"},
        )  # fmt: skip
        os.close(theirs)
        with child, open(ours, "rb", buffering=0) as terminal:
            typed = threading.Thread(target=self._type, args=(ours,), daemon=True)
            typed.start()
            with suppress(
                OSError
            ):  # EIO: nothing has the terminal open any more; or the client has gone
                self._pump(terminal, _STDOUT)
            code = child.wait()
            with suppress(OSError):  # the client has gone, and with its terminal the command
                self._end(code)
            typed.join()

    def _type(self, terminal: int) -> None:
        """Pass on what comes from the client until it closes: input, and the sizes of its window."""
        with suppress(OSError):
            for channel, content in self._frames():
                if channel == _RESIZE:
                    size = json.loads(content)
                    self._windows.append((size["Width"], size["Height"]))
                    whole = struct.pack("HHHH", size["Height"], size["Width"], 0, 0)
                    fcntl.ioctl(terminal, termios.TIOCSWINSZ, whole)
                elif channel == _STDIN:
                    os.write(terminal, content)

    def _frames(self) -> Iterator[tuple[int, bytes]]:
        """The channels and contents that the client sends, masked as all clients must (RFC 6455, 5.3)."""
        while len(head := self._received.read(2)) == 2:
            size = head[1] & 0x7F
            if size >= 126:
                more = 2 if size == 126 else 8
                size = int.from_bytes(self._received.read(more))
            mask = self._received.read(4)
            content = bytes(
                byte ^ mask[at % 4] for at, byte in enumerate(self._received.read(size))
            )
            kind = head[0] & 0xF
            if kind == _CLOSE:
                return
            if kind == _PING:
                self._send(_PONG, content)
            elif content:
                yield content[0], content[1:]

    def _end(self, code: int) -> None:
        """Say how the command ended."""
        status = _status("Success")
        if code:
            status = _status(
                "Failure", reason="NonZeroExitCode",
                message=f"command terminated with non-zero exit code: exit status {code}",
                details={"causes": [{"reason": "ExitCode", "message": str(code)}]},
            )  # fmt: skip
        self._send(_BINARY, bytes([_ERROR]) + json.dumps(status).encode())
        self._send(_CLOSE, struct.pack(">H", 1000))

    def _pump(self, stream: IO[bytes], channel: int) -> None:
        while piece := os.read(stream.fileno(), 1 << 15):
            self._send(_BINARY, bytes([channel]) + piece)

    def _send(self, kind: int, content: bytes) -> None:
        size = len(content)
        length = bytes([size]) if size < 126 else b"\x7f" + struct.pack(">Q", size)
        with self._lock:
            self._sent.write(bytes([0x80 | kind]) + length + content)
            self._sent.flush()


def _environment() -> dict[str, str]:
    """That of a command in a container, whose image has spyglass in its PATH: the size of the terminal of those who run
    the tests is not in it."""
    inside = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    return inside | {"PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"}


def _status(status: str, **more: Any) -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": status, **more}


#: A container's command takes a while to start. kubectl makes its streams when it is connected: one that ended before
#: would be "closed all streams".
_STARTS_S = 0.1
#: What else asks for the same upgrade of a connection.
_UPGRADE = {"POST": "GET"}
_POD_VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"]
#: What the server has, as clients ask for it.
_DISCOVERY: dict[str, Any] = {
    "/version": {"major": "1", "minor": "32", "gitVersion": "v1.32.4"},
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
    "/api/v1": {
        "kind": "APIResourceList", "groupVersion": "v1",
        "resources": [
            {"name": "pods", "singularName": "pod", "namespaced": True, "kind": "Pod", "verbs": _POD_VERBS,
             "shortNames": ["po"]},
        ],
    },
}  # fmt: skip
