"""The sections of a report on memory: what resident memory is of, and who allocated the heap."""

from __future__ import annotations

from spyglass.analysis.memory_parts import ShownPart, shown_parts
from spyglass.escape import visible
from spyglass.memory_account import MemoryAccount
from spyglass.report.markup import Markup, element, joined
from spyglass.report.site_page import site_account, site_data, site_flame
from spyglass.report.template import script_json
from spyglass.site_profile import SiteProfile
from spyglass.words.amounts import sites_line
from spyglass.words.units import size

__all__ = ["account_card", "heap_data_element", "heap_link", "heap_section"]

#: How the ids of the elements of the heap's flame graph begin.
_PREFIX = "heap-"


def account_card(account: MemoryAccount | None) -> Markup:
    """A card with the parts of resident memory as bars; nothing if they are not known."""
    if account is None or not account.rss_bytes:
        return Markup("")
    parts = sorted(shown_parts(account), key=lambda each: -each.bytes)
    largest = max((each.bytes for each in parts), default=0) or 1
    rows = (_row(each, largest, account.rss_bytes) for each in parts)
    caption = element("caption", f"Resident memory: {size(account.rss_bytes)}")
    table = element("table", caption, element("tbody", *rows), class_="bars account")
    return element("div", table, class_="card")


def _row(part: ShownPart, largest: int, rss: int) -> Markup:
    bar = element("rect", width=f"{100 * part.bytes / largest:.2f}%", height="100%")
    doubtful = f", {size(part.doubtful_bytes)} of it doubtful" if part.doubtful_bytes else ""
    return element(
        "tr",
        element("th", visible(part.words), scope="row"),
        element("td", element("svg", bar, aria_hidden="true"), class_="bar"),
        element("td", f"{size(part.bytes)}{doubtful}", class_="number"),
        element("td", f"{100 * part.bytes / rss:.1f} %", class_="number"),
    )


def heap_link(heap: SiteProfile | None) -> Markup:
    """The link to the section of `heap`."""
    return Markup("") if heap is None else element("li", element("a", "Heap", href="#heap"))


def heap_section(heap: SiteProfile | None) -> Markup:
    """The flame graph and the functions of the heap profile `heap`."""
    if heap is None:
        return Markup("")
    words = (
        "Self: memory that the function itself allocated. Total: with the functions that it calls."
    )
    table = element("div", id=f"{_PREFIX}function-table")
    functions = element("div", element("p", words, class_="muted"), table, class_="card")
    return element(
        "section",
        element("h2", "Heap profile", id=f"{_PREFIX}flame-title"),
        element("p", visible(sites_line(heap)), class_="muted"),
        element("div", site_flame(heap, _PREFIX), functions, class_="scripted", hidden=""),
        site_account(heap),
        id="heap",
        aria_labelledby=f"{_PREFIX}flame-title",
    )


def heap_data_element(heap: SiteProfile | None) -> Markup:
    """The data of `heap` for ``assets/report_profiles.js``."""
    if heap is None:
        return Markup("")
    data = Markup(script_json(site_data(heap)))
    return joined(element("script", data, type="application/json", data_prefix=_PREFIX))
