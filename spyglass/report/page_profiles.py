"""The sections of a report on profiles: where processor time and the time of goroutines went."""

from __future__ import annotations

from collections.abc import Sequence

from spyglass.escape import visible
from spyglass.profile import Profile
from spyglass.report.markup import Markup, element, joined
from spyglass.report.profile_data import profile_data
from spyglass.report.profile_page import profile_account, profile_flame, profile_warnings
from spyglass.report.template import script_json
from spyglass.words.profile_account import MODE_WORDS, recording_line

__all__ = ["profile_data_elements", "profile_links", "profile_sections"]

#: The words of links, which have little room.
_SHORT = {"cpu": "CPU", "wall": "Wall clock", "offcpu": "Off-CPU"}


def profile_links(profiles: Sequence[Profile]) -> Markup:
    """The links to the sections of `profiles`."""
    links = (element("a", _SHORT[each.mode], href=f"#{each.mode}") for each in profiles)
    return joined(*(element("li", link) for link in links))


def profile_sections(profiles: Sequence[Profile]) -> Markup:
    """A section for each of `profiles`: flame graph, functions, account."""
    return joined(*map(_section, profiles))


def profile_data_elements(profiles: Sequence[Profile]) -> Markup:
    """The data of `profiles` for ``assets/report_profiles.js``."""
    return joined(
        *(
            element(
                "script",
                Markup(script_json(profile_data(each))),
                type="application/json",
                data_prefix=f"{each.mode}-",
            )
            for each in profiles
        )
    )


def _section(profile: Profile) -> Markup:
    prefix = f"{profile.mode}-"
    title = f"{prefix}flame-title"
    return element(
        "section",
        element("h2", MODE_WORDS[profile.mode], id=title),
        element("p", visible(recording_line(profile)), class_="muted"),
        profile_warnings(profile),
        element("div", profile_flame(prefix), _functions(prefix), class_="scripted", hidden=""),
        profile_account(profile),
        id=profile.mode,
        aria_labelledby=title,
    )


def _functions(prefix: str) -> Markup:
    words = "Self: time in the function itself. Total: with the functions that it calls."
    table = element("div", id=f"{prefix}function-table")
    return element("div", element("p", words, class_="muted"), table, class_="card")
