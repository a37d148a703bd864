"""What to do about a refusal, besides what the rule that refused says itself."""

from __future__ import annotations

from dataclasses import replace

from spyglass.host_report import Check

__all__ = ["for_root", "with_containers"]

_SUDO = "run spyglass with sudo"

#: The capability that lifts the refusal of each check.
_CAPABILITIES = {
    "memory of your processes": "SYS_PTRACE",
    "memory of others' processes": "SYS_PTRACE",
    "stopping (ptrace)": "SYS_PTRACE",
    "samples of threads": "PERFMON",
    "samples in system calls": "PERFMON",
    "kernel function names": "SYSLOG",
    "real-time priority": "SYS_NICE",
    "memory": "SYS_PTRACE",
    "samples": "PERFMON",
}


def with_containers(check: Check, in_container: bool) -> Check:
    """`check` with the flags of container runtimes, or the line of a systemd unit, that lift its refusal.

    setcap(8) is not named: the file would be Python's, and every script that it runs had the capability.
    """
    capability = _CAPABILITIES.get(check.name)
    if capability is None or check.state not in ("refused", "limited"):
        return check
    if not in_container:
        return replace(
            check,
            remedies=(*check.remedies, f"in a systemd unit: AmbientCapabilities=CAP_{capability}"),
        )
    own = tuple(each for each in check.remedies if "docker" not in each)
    flags = (
        f"docker run --cap-add {capability}, podman run --cap-add {capability}",
        f"Kubernetes: securityContext: {{capabilities: {{add: [{capability}]}}}}",
    )
    return replace(check, remedies=(*own, *flags))


def for_root(check: Check) -> Check:
    """`check` without the advice to use sudo, for a user who is root already."""
    advice = (each.removeprefix(f"{_SUDO}, or ") for each in check.remedies)
    return replace(check, remedies=tuple(each for each in advice if each != _SUDO))
