"""The page of two profiles: a flame graph of both, coloured by what changed, and a table of functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np

from spyglass.analysis.profile_diff import ProfileDifference, merged
from spyglass.escape import visible
from spyglass.export.profile_stacks import profile_stacks, stack_functions, summed
from spyglass.report.markup import Markup, element, joined
from spyglass.report.page_places import Strings
from spyglass.report.profile_data import Places, function_tree
from spyglass.report.template import page, script_json
from spyglass.words.profile_account import (
    account_lines,
    account_warnings,
    profile_title,
    recording_line,
)

__all__ = ["profile_diff_page", "write_page"]

#: The parts of the script; each depends on those before it.
_SCRIPTS = (
    "words.js",
    "data.js",
    "table.js",
    "flame.js",
    "theme.js",
    "profile_diff.js",
    "profile_diff_page.js",
)
#: The table's rows, the functions with the largest changes.
_FUNCTIONS_KEPT = 5_000


def write_page(found: ProfileDifference, stream: BinaryIO) -> None:
    """Write the page of `found` in UTF-8."""
    for piece in profile_diff_page(found):
        stream.write(piece.encode())


def profile_diff_page(found: ProfileDifference) -> Iterator[str]:
    """The page of `found` in pieces of Unicode text without surrogates. It loads and sends nothing."""
    contents: dict[str, Callable[[], str]] = {
        "title": lambda: joined(visible(f"{profile_title(found.after)}, compared")),
        "before": lambda: joined(visible(recording_line(found.before))),
        "after": lambda: joined(visible(recording_line(found.after))),
        "warnings": lambda: _warnings(found),
        "account": lambda: joined(_account(found, "before"), _account(found, "after")),
        "data": lambda: script_json(_data(found)),
        "width": lambda: "its time",
        "rows": lambda: "Functions",
        "explained": lambda: (
            "Milliseconds per second of recording. Self: time in the function itself. Total: with the functions that "
            "it calls."
        ),
    }
    yield from page("profile_diff.html", _SCRIPTS, contents)


def _warnings(found: ProfileDifference) -> Markup:
    lines = [
        visible(f"{name}: {warning}")
        for name, profile in (("before", found.before), ("after", found.after))
        for warning in account_warnings(profile)
    ]
    return joined(*(element("p", line, class_="card warning") for line in lines))


def _account(found: ProfileDifference, name: str) -> Markup:
    profile = found.before if name == "before" else found.after
    lines = [visible(line) for line in account_lines(profile)]
    items = (element("li", line) for line in lines)
    return element("div", element("h3", name.capitalize()), element("ul", *items), class_="card")


def _data(found: ProfileDifference) -> dict[str, Any]:
    """The data of the page, times in ns per second of recording. ``assets/profile_diff.js`` reads it."""
    both = merged(found.before, found.after)
    whole = profile_stacks(both)
    functions = stack_functions(whole)
    tree = function_tree(whole, functions)
    strings = Strings()
    places = Places(strings)
    places.add_functions(both.process.module, whole, functions)
    is_after = np.arange(len(both.samples)) >= len(found.before.samples)
    sums = summed(both, whole.of_rows, is_after)
    late = is_after[sums.rows]
    seconds = [max(each.duration_ns, 1) / 1e9 for each in (found.before, found.after)]
    rates = sums.values_ns / np.where(late, seconds[1], seconds[0])
    return {
        "tree": {"parent": tree.parents.tolist(), "place": tree.calls.tolist()},
        "rows": {
            "leaf": tree.leaves[whole.of_rows[sums.rows]].tolist(),
            "before": np.where(late, 0, rates).tolist(),
            "after": np.where(late, rates, 0).tolist(),
        },
        "noise": [
            each.period_ns / time
            for each, time in zip((found.before, found.after), seconds, strict=True)
        ],
        "functions": [
            {
                "name": strings.number(each.function),
                "self_after": each.itself.after * 1e9,
                "self_change": each.itself.change * 1e9,
                "self_change_sure": each.itself.is_sure,
                "total_after": each.total.after * 1e9,
                "total_change": each.total.change * 1e9,
                "total_change_sure": each.total.is_sure,
            }
            for each in found.functions[:_FUNCTIONS_KEPT]
        ],
        "places": places.columns,
        "strings": strings.texts,
    }
