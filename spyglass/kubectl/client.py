"""kubectl, run as a child: its answers, its refusals in one line, commands in containers."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any, BinaryIO

from spyglass.errors import SpyglassError
from spyglass.escape import visible

__all__ = ["Kubectl", "Place", "refusal"]

_COPIED_BYTES = 1 << 18
_ROLE = "docs/kubernetes.md has a role that allows it"
_POD_SECURITY = (
    "the namespace enforces a Pod Security standard that forbids it: `--via daemonset`, or `--unprivileged`"
    " where the nodes allow that (docs/kubernetes.md)"
)
#: What kubectl prints on stderr behind a command that failed, which has said itself why.
_TERMINATED = re.compile(r"command terminated with exit code \d+|error: exit status \d+")
#: How it begins an error of the server, and the reason in it.
_SERVER_ERROR = re.compile(r"^(?:Error from server(?: \((\w+)\))?: |error: )", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Place:
    """A container that commands are run in."""

    namespace: str
    pod: str
    container: str


class Kubectl:
    """kubectl with the same `options` for each call: context, kubeconfig, namespace."""

    def __init__(self, options: Sequence[str] = ()) -> None:
        program = shutil.which("kubectl")
        if program is None:
            raise SpyglassError("kubectl is not installed", "it must be in a directory of PATH")
        self._command = [program, *options]

    def get(self, *arguments: str) -> Any:
        """What ``kubectl get`` answers, as JSON."""
        return self._json("get", *arguments, "--output", "json")

    def replace(self, path: str, content: Any) -> Any:
        """PUT `content` to a path of the API server; its answer."""
        text = json.dumps(content).encode()
        return self._json("replace", "--raw", path, "--filename", "-", sent=text)

    def output_of(self, place: Place, *command: str) -> bytes:
        """What `command` prints in a container. Raises `SpyglassError` with its message if it fails."""
        return self._run(*_exec(place, command, []))

    def run(self, place: Place, *command: str) -> int:
        """Run `command` in a container, with this terminal if there is one; returns its exit status."""
        terminal = sys.stdin.isatty() and sys.stdout.isatty()
        options = ["--stdin", "--tty"] if terminal else []
        with subprocess.Popen(
            [*self._command, *_exec(place, command, options)],
            stdin=None if terminal else subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace",
        ) as child:  # fmt: skip
            assert child.stderr is not None
            complained = _passed_on(child.stderr)
        if child.returncode and complained:
            raise refusal(complained)
        return child.returncode

    def copy(self, place: Place, path: str, stream: BinaryIO) -> None:
        """Write the file at `path` in a container to `stream`. Raises `SpyglassError` if not all of it came."""
        with subprocess.Popen(
            [*self._command, *_exec(place, ["cat", path], [])], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as child:  # fmt: skip
            assert child.stdout is not None
            assert child.stderr is not None
            complaint = _Complaint(child.stderr)
            shutil.copyfileobj(child.stdout, stream, _COPIED_BYTES)
            text = complaint.text()
        if child.returncode:
            raise refusal(text)

    def _json(self, *arguments: str, sent: bytes | None = None) -> Any:
        raw = self._run(*arguments, sent=sent)
        try:
            return json.loads(raw)
        except (ValueError, RecursionError):
            raise SpyglassError("the answer of kubectl is no JSON") from None

    def _run(self, *arguments: str, sent: bytes | None = None) -> bytes:
        done = subprocess.run(
            [*self._command, *arguments], input=sent if sent is not None else b"", capture_output=True, check=False
        )  # fmt: skip
        if done.returncode:
            raise refusal(done.stderr.decode(errors="replace"))
        return done.stdout


class _Complaint:
    """What a child prints on stderr, read meanwhile."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._parts: list[bytes] = []
        self._thread = threading.Thread(target=lambda: self._parts.append(stream.read()))
        self._thread.start()

    def text(self) -> str:
        self._thread.join()
        return b"".join(self._parts).decode(errors="replace")


def _exec(place: Place, command: Sequence[str], options: Sequence[str]) -> list[str]:
    where = ["--namespace", place.namespace, place.pod, "--container", place.container]
    return ["exec", *options, *where, "--", *command]


def _passed_on(stderr: IO[str]) -> str:
    """Pass on what a command prints on stderr; returns what kubectl itself has to complain about."""
    complaints = []
    for line in stderr:
        if _SERVER_ERROR.match(line):
            complaints.append(line)
        elif not _TERMINATED.fullmatch(line.strip()):
            print(visible(line.rstrip("\n")), file=sys.stderr, flush=True)
    return "".join(line for line in complaints if not _TERMINATED.fullmatch(line.strip()))


def refusal(complaint: str) -> SpyglassError:
    """The error that says in one line what kubectl, or a command in a container, complains about."""
    lines = [line for line in complaint.splitlines() if line and not _TERMINATED.fullmatch(line)]
    said = next((line for line in lines if _SERVER_ERROR.match(line)), lines[-1] if lines else "")
    message = _SERVER_ERROR.sub("", said).removeprefix("spyglass: ") or "kubectl failed"
    if "violates PodSecurity" in message:
        return SpyglassError(message, _POD_SECURITY)
    if " cannot " in message and "is forbidden" in message:
        return SpyglassError(message, _ROLE)
    return SpyglassError(message)
