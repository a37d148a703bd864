"""The page of two heap, block or mutex profiles: a flame graph of both, coloured by what changed, and a table of places."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np

from spyglass.analysis.site_diff import SiteDifference, deviations
from spyglass.escape import visible
from spyglass.export.profile_stacks import stack_functions
from spyglass.export.site_stacks import site_stacks
from spyglass.report.markup import element, joined
from spyglass.report.page_places import Strings
from spyglass.report.profile_data import Places, function_tree
from spyglass.report.site_page import site_account
from spyglass.report.template import page, script_json
from spyglass.site_profile import SiteProfile
from spyglass.words.amounts import kind_title, sites_line, sites_title

__all__ = ["site_diff_page", "write_page"]

#: The parts of the script; each depends on those before it.
_SCRIPTS = (
    "words.js", "data.js", "table.js", "flame.js", "theme.js", "profile.js", "sites.js",
    "profile_diff.js", "site_diff.js",
)  # fmt: skip
#: The table's rows, the places with the largest changes.
_PLACES_KEPT = 5_000


def write_page(found: SiteDifference, stream: BinaryIO) -> None:
    """Write the page of `found` in UTF-8."""
    for piece in site_diff_page(found):
        stream.write(piece.encode())


def site_diff_page(found: SiteDifference) -> Iterator[str]:
    """The page of `found` in pieces of Unicode text without surrogates. It loads and sends nothing."""
    what = kind_title(found.kinds[-1])
    sides = (("Before", found.before), ("After", found.after))
    contents: dict[str, Callable[[], str]] = {
        "title": lambda: joined(visible(f"{sites_title(found.after)}, compared")),
        "before": lambda: joined(visible(sites_line(found.before))),
        "after": lambda: joined(visible(sites_line(found.after))),
        "warnings": lambda: "",
        "account": lambda: joined(
            *(element("div", element("h3", name), site_account(each)) for name, each in sides)
        ),
        "data": lambda: script_json(_data(found)),
        "width": lambda: "its memory in use" if found.after.kind == "heap" else "its time of waits",
        "rows": lambda: "Places",
        "explained": lambda: joined(
            visible(
                f"What changed ({what}), by the place in the program's own code, and what that called."
            )
        ),
    }
    yield from page("profile_diff.html", _SCRIPTS, contents)


def _data(found: SiteDifference) -> dict[str, Any]:
    """The data of the page, numbers of the main kind. ``assets/site_diff.js`` reads it."""
    both = _merged(found.before, found.after)
    whole = site_stacks(both)
    functions = stack_functions(whole)
    tree = function_tree(whole, functions)
    strings = Strings()
    places = Places(strings)
    places.add_functions(both.process.module or found.before.process.module, whole, functions)
    is_after = np.arange(len(both)) >= len(found.before)
    variances = [deviations(each) ** 2 for each in (found.before, found.after)]
    return {
        "tree": {"parent": tree.parents.tolist(), "place": tree.calls.tolist()},
        "unit": visible(found.kinds[-1].unit),
        "rows": {
            "leaf": tree.leaves[whole.of_rows].tolist(),
            "before": np.where(is_after, 0, both.amounts[:, 0]).tolist(),
            "after": np.where(is_after, both.amounts[:, 0], 0).tolist(),
            "variance": np.concatenate(variances).tolist(),
        },
        "sites": [
            {
                "name": strings.number(each.function or "the runtime"),
                "call": strings.number(each.call),
                "before": each.amounts.before[-1],
                "after": each.amounts.after[-1],
                "change": each.amounts.change(-1),
                "sure": each.amounts.is_sure,
            }
            for each in found.sites[:_PLACES_KEPT]
        ],
        "places": places.columns,
        "strings": strings.texts,
    }


def _merged(before: SiteProfile, after: SiteProfile) -> SiteProfile:
    """The sites of both, those of `before` first, with the main kind of numbers alone; all else is that of `after`."""
    shift = len(before.stack_offsets) - 1
    return replace(
        after,
        kinds=after.kinds[-1:],
        amounts=np.concatenate([before.amounts[:, -1:], after.amounts[:, -1:]]),
        stack=np.concatenate([before.stack, after.stack + np.int32(shift)]),
        object_bytes=np.concatenate([before.object_bytes, after.object_bytes]),
        frames=(*before.frames, *after.frames),
        stack_offsets=np.concatenate(
            [before.stack_offsets, after.stack_offsets[1:] + before.stack_offsets[-1]]
        ),
        stack_frames=np.concatenate(
            [before.stack_frames, after.stack_frames + np.int32(len(before.frames))]
        ),
    )
