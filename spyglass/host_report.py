"""What a host allows spyglass to do, as data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

__all__ = ["Check", "Fact", "HostReport", "Package", "State", "TargetReport"]

#: "works": it was tried. "limited": spyglass does without it, and shows less. "refused": it was tried, and some
#: commands cannot work. "not tried": that would do harm, or there is nothing to try it on.
State = Literal["works", "limited", "refused", "not tried"]


@dataclass(frozen=True, slots=True)
class Fact:
    """A setting of the kernel, or a property of a process, as it was read."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Check:
    """Something that spyglass needs: whether it works, `why` it does not, which commands, or what of them, that
    `affects`, and what to do about it, one line each (`remedies`)."""

    name: str
    state: State
    why: str | None = None
    affects: str | None = None
    remedies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Package:
    """A package that spyglass uses: `wanted` as in "numpy>=1.26", the `version` that is installed, or None;
    `extra` names the extra of spyglass that it is of, None for what spyglass always needs.
    """

    wanted: str
    version: str | None
    extra: str | None
    too_old: bool = False


@dataclass(frozen=True, slots=True)
class TargetReport:
    """Process `pid`: facts about it, and whether it can be read and sampled."""

    pid: int
    facts: tuple[Fact, ...]
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class HostReport:
    """What this host allows, and, if one was asked about, whether one process can be inspected."""

    facts: tuple[Fact, ...]
    checks: tuple[Check, ...]
    packages: tuple[Package, ...]
    target: TargetReport | None = None

    @property
    def refused(self) -> bool:
        """Whether something is refused: to the process that was asked about, else on this host."""
        checks: Iterable[Check] = self.target.checks if self.target else self.checks
        return any(each.state == "refused" for each in checks)
