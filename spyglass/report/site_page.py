"""The page of a heap, block or mutex profile: flame graph and functions in one HTML file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from spyglass.escape import visible
from spyglass.export.profile_stacks import stack_functions
from spyglass.export.site_stacks import site_stacks
from spyglass.report.markup import Markup, element, joined
from spyglass.report.page_places import Strings
from spyglass.report.profile_data import Places, function_tree
from spyglass.report.profile_page import profile_flame
from spyglass.report.template import page, script_json
from spyglass.site_profile import SiteProfile
from spyglass.words.amounts import kind_title, sites_line, sites_title

__all__ = ["site_account", "site_data", "site_flame", "site_page", "write_page"]

#: The parts of the script; each depends on those before it.
_SCRIPTS = (
    "words.js", "data.js", "table.js", "flame.js", "theme.js", "profile.js", "sites.js",
    "sites_page.js",
)  # fmt: skip
_WHAT = {"heap": "memory"}


def write_page(profile: SiteProfile, stream: BinaryIO) -> None:
    """Write the page of `profile` in UTF-8."""
    for piece in site_page(profile):
        stream.write(piece.encode())


def site_page(profile: SiteProfile) -> Iterator[str]:
    """The page of `profile` in pieces of Unicode text without surrogates. It loads and sends nothing."""
    contents: dict[str, Callable[[], str]] = {
        "title": lambda: joined(visible(sites_title(profile))),
        "recording": lambda: joined(visible(sites_line(profile))),
        "warnings": lambda: "",
        "flame": lambda: site_flame(profile, ""),
        "account": lambda: site_account(profile),
        "data": lambda: script_json(site_data(profile)),
        "without_script": lambda: "<code>go tool pprof</code> reads a .pb.gz.",
        "what": lambda: _WHAT.get(profile.kind, "waits"),
        "contents": lambda: "names of functions and files",
    }
    yield from page("profile.html", _SCRIPTS, contents)


def site_flame(profile: SiteProfile, prefix: str) -> Markup:
    """The elements of a flame graph, whose ids begin with `prefix`, for ``assets/sites.js``."""
    titles = [kind_title(kind) for kind in reversed(profile.kinds)]
    options = (element("option", visible(each), value=str(at)) for at, each in enumerate(titles))
    shown = element("label", "Show ", element("select", *options, name="kind"))
    return profile_flame(prefix, shown, "what was chosen to be shown")


def site_account(profile: SiteProfile) -> Markup:
    """How the numbers of `profile` came about, and what is missing."""
    lines = [profile.remark] if profile.remark else []
    lines += [f"{each.subject}: {each.detail}" for each in profile.problems]
    return element("ul", *(element("li", visible(line)) for line in lines), class_="card")


def site_data(profile: SiteProfile) -> dict[str, Any]:
    """The data of the page of `profile` as JSON values; the kinds of numbers are in reverse order, the main one first.

    ``assets/sites.js`` reads it; all text is safe to show.
    """
    whole = site_stacks(profile)
    functions = stack_functions(whole)
    tree = function_tree(whole, functions)
    strings = Strings()
    places = Places(strings)
    places.add_functions(profile.process.module, whole, functions)
    return {
        "tree": {"parent": tree.parents.tolist(), "place": tree.calls.tolist()},
        "kinds": [visible(kind.unit) for kind in reversed(profile.kinds)],
        "rows": {
            "leaf": tree.leaves[whole.of_rows].tolist(),
            "amounts": profile.amounts[:, ::-1].T.tolist(),
        },
        "places": places.columns,
        "strings": strings.texts,
    }
