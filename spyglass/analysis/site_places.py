"""Where in the user's code the stacks of a profile are, as far as names of functions tell."""

from __future__ import annotations

from typing import NamedTuple

from spyglass.analysis.code_origin import origin
from spyglass.model import Frame
from spyglass.site_profile import SiteProfile

__all__ = ["SitePlace", "site_places"]


class SitePlace(NamedTuple):
    """`where`: the innermost function of the user's code, else the outermost of the standard library, else ""; `call`: the
    function that it called, or that the stack begins with, or None; `file` and `line`: where it did so."""

    where: str
    call: str | None
    file: str | None
    line: int | None


def site_places(profile: SiteProfile, module: str | None) -> list[SitePlace]:
    """The place of each stack of `profile`, of a program whose main module is `module` (None: not known)."""
    origins = [origin(frame.function, module) for frame in profile.frames]
    return [
        _place([profile.frames[each] for each in numbers], [origins[each] for each in numbers])
        for numbers in map(profile.frames_of, range(len(profile.stack_offsets) - 1))
    ]


def _place(frames: list[Frame], origins: list[str]) -> SitePlace:
    users = [at for at, each in enumerate(origins) if each not in ("standard", "runtime")]
    standard = [at for at, each in enumerate(origins) if each == "standard"]
    if not users and not standard:
        return SitePlace("", frames[-1].function if frames else None, None, None)
    at = users[0] if users else standard[-1]
    where, call = frames[at], frames[at - 1].function if at else None
    return SitePlace(where.function, call, where.file, where.line)
