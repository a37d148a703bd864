"""``spyglass doctor``: what works, what does not, why, what is lacking, and what to do."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

from rich.text import Text

from spyglass.escape import visible
from spyglass.host_report import Check, Fact, HostReport, Package
from spyglass.render.view_options import View

__all__ = ["render"]

_STYLES = {"works": "green", "limited": "yellow", "refused": "bold red", "not tried": "dim"}
_STATE_WIDTH = max(map(len, _STYLES)) + 2
_NAME_WIDTH = 21
_MIN_WIDTH = 40


def render(report: HostReport, view: View) -> Iterator[Text]:
    """Checks first, those of the process before those of the host; then packages and settings."""
    width = None if view.width is None else max(view.width, _MIN_WIDTH)
    if report.target is not None:
        yield _title(f"process {report.target.pid}")
        yield from _checks(report.target.checks, width)
        yield from _facts(report.target.facts, width)
        yield Text()
    yield _title("this host")
    yield from _checks(report.checks, width)
    yield from _facts(report.facts, width)
    if report.packages:
        yield Text()
        yield _title("packages")
        yield from _packages(report.packages, width)


def _title(words: str) -> Text:
    return Text(words, "bold")


def _checks(checks: tuple[Check, ...], width: int | None) -> Iterator[Text]:
    for each in checks:
        yield Text(f"{each.state:<{_STATE_WIDTH}}", _STYLES[each.state]) + Text(visible(each.name))
        lines = [
            ("", each.why),
            ("affects: ", each.affects),
            *(("do: ", remedy) for remedy in each.remedies),
        ]
        for label, words in lines:
            if words:
                yield from _indented(label + visible(words), " " * _STATE_WIDTH + "  ", width)


def _facts(facts: tuple[Fact, ...], width: int | None) -> Iterator[Text]:
    for each in facts:
        yield from _indented(
            f"{each.name:<{_NAME_WIDTH}}{visible(each.value)}", "", width, _NAME_WIDTH
        )


def _packages(packages: tuple[Package, ...], width: int | None) -> Iterator[Text]:
    extras = dict.fromkeys(each.extra for each in packages)
    for extra in extras:
        words = ", ".join(_package(each) for each in packages if each.extra == extra)
        name = "always needed" if extra is None else f"spyglass[{extra}]"
        yield from _indented(f"{name:<{_NAME_WIDTH}}{visible(words)}", "", width, _NAME_WIDTH)


def _package(package: Package) -> str:
    if package.version is None:
        return f"{package.wanted} is not installed"
    name = re.split("[<>=!~]", package.wanted)[0]
    return f"{name} {package.version}" + (
        f" (too old: {package.wanted})" if package.too_old else ""
    )


def _indented(words: str, indent: str, width: int | None, hanging: int = 0) -> Iterator[Text]:
    if width is None:
        yield Text(indent + words)
        return
    further = indent + " " * hanging
    for line in textwrap.wrap(words, width, initial_indent=indent, subsequent_indent=further):
        yield Text(line)
