"""A profile as speedscope reads it (https://www.speedscope.app/file-format-schema.json): JSON, "sampled" profiles.

There is one profile for each group of `by`, the longest time first; without `by` there is one. Frames are
functions: speedscope does not merge lines of one function.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from spyglass.analysis.profile_groups import sample_groups
from spyglass.columns import combined
from spyglass.export.json_text import compact, joined, object_text
from spyglass.export.plain_values import plain
from spyglass.export.profile_stacks import (
    SummedRows,
    profile_stacks,
    stack_functions,
    summed,
)
from spyglass.export.pseudo_frames import WholeStacks
from spyglass.model import Frame
from spyglass.profile import Profile
from spyglass.version import __version__
from spyglass.words.calls import call_text
from spyglass.words.profile_account import account_lines, profile_title, recording_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["write_speedscope"]

_SCHEMA = "https://www.speedscope.app/file-format-schema.json"


def write_speedscope(profile: Profile, stream: BinaryIO, *, by: Sequence[str] = ()) -> None:
    """Write `profile` to `stream`; the account is a part of its name, which speedscope shows."""
    whole = profile_stacks(profile)
    names, group = _groups(profile, by)
    found = summed(profile, group, whole.of_rows)
    functions = stack_functions(whole)
    name = "; ".join((profile_title(profile), recording_line(profile), *account_lines(profile)))
    members = {
        "$schema": _SCHEMA,
        "shared": {"frames": [_frame(each) for each in functions.firsts]},
        "profiles": [],
        "name": plain(name),
        "activeProfileIndex": 0,
        "exporter": f"spyglass {__version__}",
    }
    profiles = joined(map(compact, _profiles(whole, found, names, group, functions.of_calls)))
    for piece in object_text(members, {"profiles": profiles}):
        stream.write(piece.encode("ascii"))
    stream.write(b"\n")


def _groups(profile: Profile, by: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
    """The names of the groups, and the group of each row."""
    groups = [sample_groups(profile, each) for each in by]
    if not groups:
        return [profile_title(profile)], np.zeros(len(profile.samples), np.int64)
    found = summed(profile, *(each.of_rows for each in groups))
    keys = combined(*(each.of_rows for each in groups))
    names = [
        ", ".join(each.names[each.of_rows[row]] for each in groups) for row in found.rows.tolist()
    ]
    order = np.argsort(keys[found.rows])
    return names, order[np.searchsorted(keys[found.rows], keys, sorter=order)].astype(np.int64)


def _profiles(
    whole: WholeStacks,
    found: SummedRows,
    names: list[str],
    group: NDArray[np.int64],
    calls: NDArray[np.int64],
) -> Iterator[dict[str, Any]]:
    """The profile of each group."""
    offsets = whole.offsets.tolist()
    groups, stacks = group[found.rows], whole.of_rows[found.rows]
    for number, name in enumerate(names):
        mine = groups == number
        weights = found.values_ns[mine].tolist()
        yield {
            "type": "sampled",
            "name": plain(name),
            "unit": "nanoseconds",
            "startValue": 0,
            "endValue": sum(weights),
            "samples": [
                calls[offsets[stack] : offsets[stack + 1]][::-1].tolist()
                for stack in stacks[mine].tolist()
            ],
            "weights": weights,
        }


def _frame(frame: Frame) -> dict[str, Any]:
    found: dict[str, Any] = {"name": plain(call_text(frame))}
    if frame.file is not None:
        found["file"] = plain(frame.file)
    return found
