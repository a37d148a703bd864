"""Findings as lines of text: what is unusual, and the next command."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.text import Text

from spyglass.analysis.findings import NOTHING, Finding
from spyglass.escape import visible
from spyglass.render.sections import LABEL_WIDTH, labelled
from spyglass.words.units import plural

__all__ = ["SEVERITY_STYLES", "finding_lines"]

#: Findings that are shown on a low terminal.
_SHOWN_LOW = 3
SEVERITY_STYLES = {"critical": "bold red", "warning": "bold yellow", "info": "bold cyan"}


def finding_lines(
    found: Sequence[Finding], width: int | None, *, low: bool = False
) -> Iterator[Text]:
    """`found`, each with its severity, wrapped to `width` cells, and its next command below.

    What is only "info" is no reason to look further: if there is nothing else, that is said first. On a
    `low` terminal the first three that are more than that, and the number of the others.
    """
    serious = [finding for finding in found if finding.severity != "info"]
    shown = serious[:_SHOWN_LOW] if low else found
    left = len(found) - len(shown)
    more = f"{plural(left, 'more finding')}: --all" if left else ""
    if not serious:
        nothing = Text.assemble(labelled("findings"), (NOTHING, "green"))
        yield _cut(nothing.append(f"  {more}" if more else "", "dim"), width)
    for finding in shown:
        yield from _lines(finding, width)
    if serious and more:
        yield _cut(Text(" " * LABEL_WIDTH + more, "dim"), width)


def _lines(finding: Finding, width: int | None) -> Iterator[Text]:
    label = Text(finding.severity.ljust(LABEL_WIDTH), SEVERITY_STYLES[finding.severity])
    for line in _wrapped(visible(finding.title), width):
        yield _cut(Text.assemble(label, line), width)
        label = Text(" " * LABEL_WIDTH)
    if finding.detail is not None:
        for line in _wrapped(visible(finding.detail), width):
            yield _cut(Text.assemble(label, line), width)
    if finding.next is not None:
        yield _cut(Text.assemble(label, (visible(finding.next), "dim")), width)


def _cut(line: Text, width: int | None) -> Text:
    if width is not None:
        line.truncate(max(width, 1), overflow="ellipsis")
    return line


def _wrapped(text: str, width: int | None) -> list[str]:
    if width is None:
        return [text]
    from textwrap import wrap

    return wrap(text, max(width - LABEL_WIDTH, 20), break_on_hyphens=False) or [""]
