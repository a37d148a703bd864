"""What a target of the fuzzer is, and what may come of an input."""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = [
    "FOUND",
    "MODULES",
    "Mutate",
    "Target",
    "attempt",
    "found_inputs",
    "read_input",
    "target_named",
]

#: Inputs that did harm once, below the name of their target.
FOUND = Path(__file__).resolve().parent / "found"

#: A changed input out of (input, most bytes, random numbers).
Mutate = Callable[[bytes, int, random.Random], bytes]

#: The module of each target: ``TARGETS[name]`` in ``tests.fuzz.MODULE``.
MODULES = {
    "elf": "executables",
    "pclntab": "executables",
    "funcdata": "executables",
    "dwarf": "executables",
    "types": "executables",
    "native-symbols": "executables",
    "code-amd64": "code",
    "code-arm64": "code",
    "core-file": "cores",
    "core-metadata": "cores",
    "small-core": "cores",
    "snapshot": "documents",
    "packed": "documents",
    "profile": "documents",
    "sites": "documents",
    "pprof": "documents",
    "procfs": "system",
    "containers": "system",
    "values": "heap",
    "labels": "heap",
    "buckets": "heap",
    "descriptors": "heap",
    "parquet": "parquet",
    "requests": "requests",
}
#: Where an input makes much work, and inputs are made by a mutation of their own: atheris keeps a part of what it sees compared,
#: a megabyte of each of these inputs, and they gain nothing from it.
WITHOUT_COMPARISONS = ("small-core",)


@dataclass(frozen=True)
class Target:
    """A reader of foreign bytes. `read` may raise `SpyglassError`, and nothing else; `seeds` gives inputs to begin with;
    `mutate` changes one where changing bytes would not lead far."""

    read: Callable[[bytes], object]
    seeds: Callable[[], Iterable[bytes]]
    mutate: Mutate | None = None
    max_bytes: int = 1 << 13


def target_named(name: str) -> Target:
    """The target called `name`."""
    targets: dict[str, Target] = importlib.import_module(f"tests.fuzz.{MODULES[name]}").TARGETS
    return targets[name]


def found_inputs(name: str) -> list[bytes]:
    """What did harm to target `name` once."""
    return [path.read_bytes() for path in sorted((FOUND / name).glob("*"))]


def attempt(read: Callable[..., object], *arguments: Any) -> None:
    """Call `read`. Errors of ours are what may come of it; their texts must show nothing raw."""
    from spyglass.errors import SpyglassError

    try:
        read(*arguments)
    except SpyglassError as error:
        if not str(error).isprintable():
            raise AssertionError(f"an error with raw text: {str(error)!r}") from None


def read_input(target: Target, data: bytes) -> None:
    """Give `data` to `target`; see `attempt`."""
    attempt(target.read, data)
