"""The pages of the view: groups, goroutines of a group, the stack of a goroutine, threads, processor time of
functions, memory over time, findings, problems, help."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from spyglass.tui.cpu_pages import FunctionsPage, function_lines, not_sampled_lines
from spyglass.tui.goroutine_page import GoroutinePage
from spyglass.tui.layout import Style
from spyglass.tui.memory_page import memory_lines
from spyglass.tui.page_base import LinesPage, Page
from spyglass.tui.row_pages import GoroutinesPage, GroupsPage, ThreadsPage
from spyglass.tui.text_pages import all_findings, help_lines, no_match_lines, problem_lines

if TYPE_CHECKING:
    from spyglass.tui.view_state import Model

__all__ = ["Page", "page"]


def page(model: Model, style: Style) -> Page:
    """The page of the current level."""
    lines = _lines(model, style)
    if lines is not None:
        return LinesPage(model, style, lines)
    pages: dict[str, Callable[[Model, Style], Page]] = {
        "goroutines": GoroutinesPage, "threads": ThreadsPage, "stack": GoroutinePage,
        "cpu": FunctionsPage,
    }  # fmt: skip
    return pages.get(model.level.kind, GroupsPage)(model, style)


def _lines(model: Model, style: Style) -> Sequence[Text] | None:
    """The lines of a page of text; None: it has rows and columns."""
    kind, snapshot = model.level.kind, model.snapshot
    if kind == "help":
        return help_lines(style)
    if snapshot is None:
        return []
    if kind == "groups" and not model.rows and model.question.query:
        return no_match_lines(snapshot, model.question, style)
    if kind == "cpu":
        return not_sampled_lines(model, style)
    texts: dict[str, Callable[[], Sequence[Text]]] = {
        "function": lambda: function_lines(model, snapshot, style),
        "findings": lambda: all_findings(model.findings, style),
        "memory": lambda: memory_lines(model, style),
        "problems": lambda: problem_lines(snapshot.problems, style),
    }
    return texts[kind]() if kind in texts else None
