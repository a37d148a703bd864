"""The data of the page of a profile. ``assets/profile.js`` reads it; all text is safe to show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from spyglass.analysis.call_tree import CallTree
from spyglass.analysis.code_origin import NOTE, ORIGINS, origin
from spyglass.analysis.profile_groups import sample_groups
from spyglass.columns import distinct
from spyglass.export.profile_stacks import StackFunctions, profile_stacks, stack_functions, summed
from spyglass.export.pseudo_frames import WholeStacks
from spyglass.model import NONE
from spyglass.profile import Profile
from spyglass.report.page_places import Strings
from spyglass.words.calls import call_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Places", "function_origins", "function_tree", "profile_data"]

#: The most keys of labels that the page offers to split by, the most frequent first.
_MAX_LABEL_KEYS = 20
#: More goroutines than this are not offered: they would be a row each.
_MAX_GROUPS = 10_000


def profile_data(profile: Profile, by: Sequence[str] = ()) -> dict[str, Any]:
    """The data of the page of `profile` as JSON values.

    ``rows`` are samples with equal stacks and groups; ``groupings`` say what the page can split them by,
    of which the first of `by` is chosen. Names are numbers of ``strings``, what frames show is a number in
    ``places``.
    """
    whole = profile_stacks(profile)
    functions = stack_functions(whole)
    tree = function_tree(whole, functions)
    names = list(dict.fromkeys([*by, *_groupings(profile)]))
    groups = [sample_groups(profile, each) for each in names]
    found = summed(profile, whole.of_rows, *(group.of_rows for group in groups))
    strings = Strings()
    places = Places(strings)
    places.add_functions(profile.process.module, whole, functions)
    groupings = [
        {
            "title": strings.number(_title(name)),
            "chosen": name in by[:1],
            "names": [places.add(each, None, NOTE) for each in group.names],
            "of": group.of_rows[found.rows].tolist(),
        }
        for name, group in zip(names, groups, strict=True)
    ]
    return {
        "tree": {"parent": tree.parents.tolist(), "place": tree.calls.tolist()},
        "rows": {
            "leaf": tree.leaves[whole.of_rows[found.rows]].tolist(),
            "value_ns": found.values_ns.tolist(),
        },
        "groupings": groupings,
        "places": places.columns,
        "strings": strings.texts,
    }


def function_tree(whole: WholeStacks, functions: StackFunctions) -> CallTree:
    """The tree of the stacks of `whole`, whose calls are `functions`."""
    lengths = np.diff(whole.offsets)
    ends = np.repeat(whole.offsets[1:], lengths)
    begins = np.repeat(whole.offsets[:-1], lengths)
    outermost_first = functions.of_calls[begins + ends - 1 - np.arange(len(ends))]
    return CallTree.of(outermost_first, whole.offsets)


def function_origins(
    module: str | None, whole: WholeStacks, functions: StackFunctions
) -> list[int]:
    """Whose code each of `functions` is, an index into `ORIGINS`, in a program whose main module is `module`;
    pseudo frames are notes."""
    notes = {id(frame) for frame in whole.frames[whole.real :]}
    return [
        NOTE if id(frame) in notes else ORIGINS.index(origin(frame.function, module))
        for frame in functions.firsts
    ]


class Places:
    """What frames of the page show, as columns of its data."""

    def __init__(self, strings: Strings) -> None:
        self._strings = strings
        self.columns: dict[str, list[int]] = {"function": [], "file": [], "origin": []}

    def add_functions(
        self, module: str | None, whole: WholeStacks, functions: StackFunctions
    ) -> None:
        """Add a place for each of `functions`, in their order."""
        origins = function_origins(module, whole, functions)
        for frame, code in zip(functions.firsts, origins, strict=True):
            self.add(call_text(frame), frame.file, code)

    def add(self, name: str, file: str | None, code: int) -> int:
        """The number of a new place."""
        number = len(self.columns["function"])
        self.columns["function"].append(self._strings.number(name))
        self.columns["file"].append(self._strings.number(file))
        self.columns["origin"].append(code)
        return number


def _groupings(profile: Profile) -> list[str]:
    """What the page offers to split samples by: what is known of some of them."""
    samples, counts = profile.samples, Counter[str]()
    used = np.bincount(samples.labels[samples.labels >= 0], minlength=len(profile.label_sets))
    for labels, rows in zip(profile.label_sets, used.tolist(), strict=True):
        counts.update(dict.fromkeys(filter(None, labels), rows))
    found = [f"label:{key}" for key, rows in counts.most_common(_MAX_LABEL_KEYS) if rows]
    columns: dict[str, NDArray[Any]] = {
        "state": samples.state, "thread": samples.thread, "goroutine": samples.goroutine,
    }  # fmt: skip
    for name, column in columns.items():
        if (column != NONE).any() and len(distinct(column)) <= _MAX_GROUPS:
            found.append(name)
    return found


def _title(grouping: str) -> str:
    return grouping.replace("label:", "label ", 1)
