"""Where the runtime's variables are in a process: from symbols, else from what the code mentions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from spyglass.binary.build_version import VERSION
from spyglass.errors import MemoryFault, SpyglassError
from spyglass.runtime.discovery import layouts
from spyglass.runtime.discovery.fingerprints import GLOBALS, Fingerprints, find_globals, scan
from spyglass.runtime.discovery.layouts import GoVersion

if TYPE_CHECKING:
    from spyglass.runtime.discovery.module import Module
    from spyglass.targets import Target

__all__ = ["candidate_addresses", "go_version", "is_wait_reasons"]

_MAX_VERSION_BYTES = 256
#: A wait reason is a few words (``runtime/runtime2.go: waitReasonStrings``).
_MAX_REASON_BYTES = 64


def go_version(target: Target, module: Module) -> str:
    """``runtime.buildVersion``: out of the build info or, where that was removed, out of memory.

    ``runtime.schedinit`` replaces it when it is empty, so its code mentions the variable: the one
    that is a string which begins like a version. Raises `MissingInfo`'s parent when there is none.
    """
    recorded = target.executable.build_info.go_version
    if recorded:
        return recorded
    symbol = target.executable.symbol("runtime.buildVersion")
    places = [symbol + target.bias] if symbol is not None else []
    arch = target.executable.arch
    for mentioned in scan(["runtime.schedinit"], module.functions, target.code, arch).values():
        places += sorted(mentioned)
    for place in places:
        text = _short_string(target, place, _MAX_VERSION_BYTES)
        if text is not None and VERSION.match(text):
            return text
    return ""


def candidate_addresses(target: Target, module: Module, version: str) -> dict[str, list[int]]:
    """The addresses at which each variable may be, most often one; absent: not found.

    With symbols they are facts. Without, they are what the tables' fingerprints lead to, of that Go
    version or else of its neighbours: the caller checks them against the process.
    """
    found = {
        name: [address + target.bias]
        for name in GLOBALS
        if (address := target.executable.symbol(f"runtime.{name}")) is not None
    }
    if "allgs" in found:
        return found
    tables = list(_nearest_fingerprints(version, target.executable.arch))
    names = sorted({function for fingerprints in tables for function in fingerprints})
    mentions = scan(names, module.functions, target.code, target.executable.arch)
    for fingerprints in tables:
        for name, places in find_globals(fingerprints, mentions).items():
            known = found.setdefault(name, [])
            known += [place for place in places if place not in known]
    return found


def _nearest_fingerprints(version: str, arch: str) -> Iterator[Fingerprints]:
    """The fingerprints of `version`, or of the nearest versions below and above it."""
    exact = layouts.known_fingerprints(version, arch)
    if exact:
        yield exact
        return
    parsed = GoVersion.parse(version)
    if parsed is None:
        return
    for steps in (range(-1, -8, -1), range(1, 8)):
        for step in steps:
            fingerprints = layouts.known_fingerprints(
                f"go{parsed.major}.{parsed.minor + step}", arch
            )
            if fingerprints:
                yield fingerprints
                break


def is_wait_reasons(target: Target, address: int) -> bool:
    """Whether ``waitReasonStrings`` can be at `address`: nothing, then words."""
    first = _short_string(target, address, _MAX_REASON_BYTES)
    others = [_short_string(target, address + 16 * i, _MAX_REASON_BYTES) for i in range(1, 9)]
    return first == "" and all(text and text.isprintable() and text.isascii() for text in others)


def _short_string(target: Target, address: int, limit: int) -> str | None:
    try:
        return target.memory.string(address, limit)
    except (MemoryFault, SpyglassError):
        return None
