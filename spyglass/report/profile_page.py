"""The page of a profile: flame graph, functions and account in one HTML file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

from spyglass.escape import visible
from spyglass.profile import Profile
from spyglass.report.markup import Markup, element, joined
from spyglass.report.profile_data import profile_data
from spyglass.report.template import asset, filled, page, script_json
from spyglass.words.profile_account import (
    account_lines,
    account_warnings,
    profile_title,
    recording_line,
)

__all__ = ["profile_account", "profile_flame", "profile_page", "profile_warnings", "write_page"]

#: The parts of the script; each depends on those before it.
_SCRIPTS = (
    "words.js",
    "data.js",
    "table.js",
    "flame.js",
    "theme.js",
    "profile.js",
    "profile_page.js",
)


def write_page(profile: Profile, stream: BinaryIO, *, by: Sequence[str] = ()) -> None:
    """Write the page of `profile` in UTF-8; the flame graph is split by the first of `by`."""
    for piece in profile_page(profile, by):
        stream.write(piece.encode())


def profile_page(profile: Profile, by: Sequence[str] = ()) -> Iterator[str]:
    """The page of `profile` in pieces of Unicode text without surrogates. It loads and sends nothing."""
    contents: dict[str, Callable[[], str]] = {
        "title": lambda: joined(visible(profile_title(profile))),
        "recording": lambda: joined(visible(recording_line(profile))),
        "warnings": lambda: profile_warnings(profile),
        "flame": lambda: profile_flame(""),
        "account": lambda: profile_account(profile),
        "data": lambda: script_json(profile_data(profile, by)),
        "without_script": lambda: "<code>spyglass record --format svg</code> writes a picture.",
        "what": lambda: "time",
        "contents": lambda: (
            "names of functions and files, pprof labels, and ids of threads and goroutines"
        ),
    }
    yield from page("profile.html", _SCRIPTS, contents)


def profile_flame(prefix: str, choices: str | None = None, width: str = "its time") -> Markup:
    """The elements of a flame graph, whose ids begin with `prefix`, for ``assets/profile.js``. `choices`: what of the
    profile it shows, None: by which groups; `width`: what the width of a frame is."""
    contents = {
        "prefix": lambda: prefix,
        "choices": lambda: asset("profile_choices.html") if choices is None else choices,
        "width": lambda: width,
    }
    return Markup("".join(filled("profile_flame.html", contents)))


def profile_warnings(profile: Profile) -> Markup:
    """Why the picture of `profile` may be wrong."""
    warnings = (visible(each) for each in account_warnings(profile))
    return joined(*(element("p", each, class_="card warning") for each in warnings))


def profile_account(profile: Profile) -> Markup:
    """What `profile` is made of, and what is missing."""
    lines = [visible(line) for line in account_lines(profile)]
    problems = [visible(f"{each.subject}: {each.detail}") for each in profile.problems]
    items = (element("li", line) for line in (*lines, *problems))
    return element("ul", *items, class_="card")
