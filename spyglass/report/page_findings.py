"""The findings of a report, written as HTML: they need no script."""

from __future__ import annotations

import re
from collections.abc import Iterator

from spyglass.analysis.findings import NOTHING, Finding, written_findings
from spyglass.escape import visible
from spyglass.model import Snapshot
from spyglass.report.markup import Content, Markup, element, joined
from spyglass.words.units import plural

__all__ = ["findings_list"]

#: `findings` looks at goroutines only if it has all of them.
_FILTERED = "Goroutines were filtered: findings about goroutines are left out."


def findings_list(snapshot: Snapshot) -> Markup:
    """The findings of `snapshot` in their order; "nothing unusual" if all are "info"."""
    found = written_findings(snapshot)
    calm = all(finding.severity == "info" for finding in found)
    nothing = element("p", NOTHING, class_="card is-calm") if calm else None
    listed = element("ul", *map(_item, found), class_="findings") if found else None
    is_part = snapshot.matched_of is not None
    return joined(nothing, listed, element("p", _FILTERED, class_="muted") if is_part else None)


def _item(finding: Finding) -> Markup:
    command = finding.next and visible(finding.next)
    return element(
        "li",
        element("p", element("strong", finding.severity, class_="severity"), " ", *_text(finding)),
        element("p", visible(finding.detail), class_="muted") if finding.detail else None,
        _functions(finding),
        _examples(finding.examples),
        element("p", "Next: ", element("code", command), class_="next") if command else None,
        class_=f"card finding is-{finding.severity}",
    )


def _text(finding: Finding) -> Iterator[Content]:
    """The text with its functions marked."""
    names = sorted(map(visible, finding.functions), key=len, reverse=True)
    pattern = "|".join(map(re.escape, names)) or "(?!)"  # which matches nothing
    for piece in re.split(f"({pattern})", visible(finding.title)):
        yield element("code", piece) if piece in names else piece


def _functions(finding: Finding) -> Markup | None:
    """The functions that the title does not name: where goroutines wait for a lock that it names."""
    others = [name for name in finding.functions if name not in finding.title]
    codes = [part for name in others for part in (", ", element("code", visible(name)))][1:]
    return element("p", "In ", *codes, class_="examples muted") if codes else None


def _examples(ids: tuple[int, ...]) -> Markup | None:
    """The ids of goroutines as links, which the page's script turns into filters."""
    if not ids:
        return None
    links = [element("a", str(goid), href="#goroutines", data_goroutine=str(goid)) for goid in ids]
    spaced = [part for link in links for part in (", ", link)][1:]
    noun = plural(len(ids), "goroutine").partition(" ")[2]
    return element("p", f"For example {noun} ", *spaced, class_="examples muted")
