"""The pages of the view: groups, goroutines of a group, the stack of a goroutine, threads, findings,
problems, help."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spyglass.tui.goroutine_page import stack_lines
from spyglass.tui.layout import Style
from spyglass.tui.page_base import LinesPage, Page
from spyglass.tui.row_pages import GoroutinesPage, GroupsPage, ThreadsPage
from spyglass.tui.text_pages import all_findings, help_lines, problem_lines

if TYPE_CHECKING:
    from spyglass.tui.view_state import Model

__all__ = ["Page", "page"]


def page(model: Model, style: Style) -> Page:
    """The page of the current level."""
    kind = model.level.kind
    if kind == "help":
        return LinesPage(model, style, help_lines(style))
    if model.snapshot is None:
        return LinesPage(model, style, [])
    if kind == "stack":
        return LinesPage(model, style, stack_lines(model, style))
    if kind == "findings":
        return LinesPage(model, style, all_findings(model.findings, style))
    if kind == "problems":
        return LinesPage(model, style, problem_lines(model.snapshot.problems, style))
    pages = {"goroutines": GoroutinesPage, "threads": ThreadsPage}
    return pages.get(kind, GroupsPage)(model, style)
