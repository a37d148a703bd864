"""The packages that spyglass uses, as its installation declares them, and which of them are there."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, requires, version

from spyglass.host_report import Package

__all__ = ["parse_requirement", "read_packages"]

#: ``zstandard>=0.22; extra == "zstd"``.
_REQUIREMENT = re.compile(
    r"""([\w.-]+)(?:\[[^]]*\])?\s*([^;]*?)\s*(?:;.*?extra\s*==\s*["']([\w-]+)["'].*)?"""
)
_AT_LEAST = re.compile(r">=\s*([\d.]+)")
_OF_DEVELOPERS = "dev"


def read_packages() -> tuple[Package, ...]:
    """Those that spyglass always needs first, then those of its extras; none if spyglass is not installed."""
    try:
        declared = requires("spyglass") or []
    except PackageNotFoundError:
        return ()
    found = [
        package for each in declared if (package := parse_requirement(each, _version)) is not None
    ]
    return tuple(sorted(found, key=lambda each: (each.extra or "", each.wanted)))


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def parse_requirement(line: str, version_of: Callable[[str], str | None]) -> Package | None:
    """A requirement as packages declare it (PEP 508), with the version that is installed; None: for development only."""
    match = _REQUIREMENT.fullmatch(line.strip())
    if match is None or match[3] == _OF_DEVELOPERS:
        return None
    installed, lowest = version_of(match[1]), _AT_LEAST.search(match[2])
    too_old = bool(installed and lowest) and _numbers(installed or "") < _numbers(
        lowest[1] if lowest else ""
    )
    return Package(match[1] + match[2], installed, match[3], too_old)


def _numbers(text: str) -> tuple[int, ...]:
    """The numbers that a version begins with."""
    return tuple(int(each) for each in re.findall(r"\d+", re.match(r"[\d.]*", text)[0]))  # type: ignore[index]
