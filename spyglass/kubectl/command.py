"""The command line of ``kubectl spyglass``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click

from spyglass.cli.common_options import Settings
from spyglass.cli.exit_status import INTERRUPTED, explained
from spyglass.kubectl.access import (
    Access,
    process_in,
    through_daemonset,
    through_ephemeral_container,
)
from spyglass.kubectl.client import Kubectl
from spyglass.kubectl.pods import Pod, Wanted
from spyglass.version import __version__

__all__ = ["command", "main"]

#: The commands of spyglass that make sense here, and those of them that always write a file.
COMMANDS = (
    "summary", "top", "waits", "dump", "record", "memory", "var", "snapshot", "core", "report", "ps",
)  # fmt: skip
_WRITING = ("record", "snapshot", "core", "report")
_IMAGE_VARIABLE = "SPYGLASS_IMAGE"


@dataclass(frozen=True, slots=True)
class _Options:
    """The options that are not spyglass's own."""

    via: str
    container: str | None
    image: str | None
    unprivileged: bool
    user: int | None
    keep_s: int
    daemonset_namespace: str
    pid: int | None
    output: str | None

    def wanted(self, pod: Pod, container: str) -> Wanted:
        """The ephemeral container for a container of `pod`."""
        if self.image is None:
            raise click.UsageError(
                f"no image given: --image, or the variable {_IMAGE_VARIABLE} (docs/kubernetes.md says how to build it)"
            )
        if not self.unprivileged:
            return Wanted(self.image, self.keep_s)
        user = self.user if self.user is not None else pod.user(container)
        if user is None:
            raise click.UsageError(
                f"pod {pod} does not say which user container {container} runs as; give --user"
            )
        return Wanted(self.image, self.keep_s, user)


def _kubectl_options(decorated: Callable[..., None]) -> Callable[..., None]:
    for name, short, what in (
        ("--kubeconfig", (), "The kubeconfig file."),
        ("--context", (), "The context of the kubeconfig."),
        ("--namespace", ("-n",), "The namespace of the pod."),
    ):
        option = click.option(*short, name, metavar=name.lstrip("-").upper(), help=what)
        decorated = option(decorated)
    return decorated


@click.command(
    "spyglass",
    context_settings={
        "ignore_unknown_options": True,
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
    },
)
@click.argument("what", metavar="COMMAND", type=click.Choice(COMMANDS))
@click.argument("pod_name", metavar="POD")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[OPTIONS OF COMMAND]")
@_kubectl_options
@click.option("-c", "--container", metavar="NAME", help="The container of the pod.")
@click.option(
    "--via", type=click.Choice(["ephemeral", "daemonset"]), default="ephemeral", show_default=True,
    help="Start an ephemeral container in the pod, or use the DaemonSet on its node.",
)  # fmt: skip
@click.option(
    "--image", envvar=_IMAGE_VARIABLE, metavar="IMAGE", show_envvar=True,
    help="The image of the ephemeral container: spyglass's own.",
)  # fmt: skip
@click.option(
    "--unprivileged", is_flag=True,
    help="No capabilities, and the user of the program: where Pod Security allows no more, and Yama allows that.",
)  # fmt: skip
@click.option(
    "--user", type=click.IntRange(1), metavar="UID", help="That user, if the pod does not say it."
)
@click.option(
    "--keep", "keep_s", type=click.IntRange(60, 86_400), default=3600, show_default=True, metavar="SECONDS",
    help="How long an ephemeral container lives; commands use one that is there. None can be removed.",
)  # fmt: skip
@click.option(
    "--daemonset-namespace", default="spyglass", show_default=True, metavar="NAMESPACE",
    help="Where the DaemonSet is.",
)  # fmt: skip
@click.option(
    "-p", "--pid", type=click.IntRange(1), metavar="PID",
    help="The process, as `kubectl spyglass ps POD` lists it.",
)  # fmt: skip
@click.option("-o", "--output", metavar="FILE", help="The file on this disk that COMMAND writes.")
@click.version_option(__version__, message="%(prog)s %(version)s")
def command(what: str, pod_name: str, arguments: tuple[str, ...], **others: Any) -> None:
    """Run spyglass for a pod of Kubernetes. Nothing changes in its images; the program is not stopped.

    COMMAND is one of spyglass: summary, top, waits, dump, record, memory, var, snapshot, core, report, ps. It
    runs in an ephemeral container that shares the pids of the program's container, with the capabilities
    SYS_PTRACE and PERFMON. A file that it writes lands on this disk; only you may read it.

    \b
      kubectl spyglass summary cart-6d9f8
      kubectl spyglass top cart-6d9f8 -n shop -c cart
      kubectl spyglass report cart-6d9f8 --profile 10s -o incident.html
      kubectl spyglass record cart-6d9f8 -d 30s -o cpu.svg
      kubectl spyglass waits cart-6d9f8 --via daemonset
    """
    names = ("kubeconfig", "context", "namespace")
    given = [f"--{name}={others[name]}" for name in names if others[name] is not None]
    options = _Options(**{name: others[name] for name in _Options.__dataclass_fields__})
    kubectl = Kubectl(given)
    pod = Pod(kubectl.get("pod", _plain(pod_name)))
    if not pod.is_running:
        raise click.UsageError(f"pod {pod} does not run")
    access = _access(kubectl, pod, options, what)
    sys.exit(_run(kubectl, access, [what, *access.target, *arguments], options.output))


def _plain(name: str) -> str:
    """The name of a pod, which kubectl also prints as pod/NAME."""
    kind, _, rest = name.rpartition("/")
    if kind not in ("", "po", "pod", "pods") or rest.startswith("-") or not rest:
        raise click.UsageError(f"{name!r} is not the name of a pod")
    return rest


def _access(kubectl: Kubectl, pod: Pod, options: _Options, what: str) -> Access:
    """Where spyglass runs, and the process there; ``ps`` needs none."""
    if options.via == "daemonset":
        access = through_daemonset(kubectl, pod, options.container, options.daemonset_namespace)
    else:
        container = pod.container(options.container)
        place = through_ephemeral_container(kubectl, pod, container, options.wanted(pod, container))
        access = Access(place, ())
        if what != "ps" and options.pid is None:
            pid = process_in(kubectl, place, pod.container_id(container))
            access = Access(place, ("--pid", str(pid)))
    if options.pid is not None:
        return Access(access.place, ("--pid", str(options.pid)))
    return Access(access.place, ()) if what == "ps" else access


def _run(kubectl: Kubectl, access: Access, words: Sequence[str], output: str | None) -> int:
    whole = ["spyglass", *words]
    if output == "-" or (output is None and words[0] not in _WRITING):
        return kubectl.run(access.place, *whole, *(["--output", "-"] if output else []))
    from spyglass.kubectl.files import run_with_files

    return run_with_files(kubectl, access.place, whole, output)


def main() -> int:
    """Run the command line with the process's arguments; returns the exit code."""
    debug = bool(os.environ.get("SPYGLASS_DEBUG"))
    try:
        command.main(sys.argv[1:], "kubectl spyglass", standalone_mode=False, obj=Settings())
        return 0
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except Exception as error:
        return explained(error, debug=debug)
