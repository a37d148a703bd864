"""The two lines below the table: the current page or a message, and the keys."""

from __future__ import annotations

from rich.text import Text

from spyglass.tui.layout import Style
from spyglass.tui.pages import Page
from spyglass.tui.view_state import Model
from spyglass.words.units import count, plural

__all__ = ["keys_line", "status_line"]

_ALWAYS = (("?", "help"), ("q", "quit"))
_KEYS = {
    "groups": (
        ("Enter", "open"), ("f", "findings"), ("g", "group"), ("/", "filter"), ("<>", "sort"), ("w", "waits"), ("c", "cpu"), ("t", "threads"),
        ("p", "pause"), ("b", "base"), ("s", "save"), ("e", "report"), ("i", "reverse"), ("+-", "interval"),
        ("m", "memory"), ("C", "cpu column"), ("S", "runtime goroutines"),
    ),
    "goroutines": (
        ("Enter", "stack"), ("Esc", "back"), ("<>", "sort"), ("w", "waits"), ("p", "pause"), ("s", "save"), ("e", "report"),
        ("i", "reverse"),
    ),
    "stack": (("Enter", "open"), ("Esc", "back"), ("w", "waits"), ("r", "runtime frames"), ("p", "pause"), ("s", "save"), ("e", "report")),
    "threads": (("Esc", "back"), ("<>", "sort"), ("i", "reverse"), ("p", "pause")),
    "cpu": (
        ("Enter", "callers, goroutines"), ("Esc", "back"), ("<>", "sort"), ("/", "filter"), ("g", "group"), ("C", "column"),
        ("p", "pause"), ("i", "reverse"),
    ),
    "function": (("Esc", "back"), ("/", "filter"), ("g", "group"), ("p", "pause")),
    "memory": (("Esc", "back"), ("p", "pause")),
    "findings": (("Esc", "back"), ("p", "pause")),
    "problems": (("Esc", "back"), ("p", "pause")),
    "help": (("Esc", "back"),),
}  # fmt: skip


def status_line(model: Model, page: Page | None, room: int, style: Style) -> Text:
    """The current page and row, or a message about the last key or the last tick."""
    for message, style_of_message in ((_error(model), "bold yellow"), (model.message, "bold")):
        if message:
            text = Text(style.text(message), style_of_message, no_wrap=True)
            if style.width is not None:
                text.truncate(style.width)
            return text
    text = Text(_place(model, style), "bold", no_wrap=True)
    rows = len(page) if page is not None else 0
    if rows > room:
        first = model.level.top + 1
        text.append(f"  {first:,}-{min(first + room - 1, rows):,} of {rows:,}")
    elif page is not None and page.selectable and model.level.kind != "stack":
        text.append(f"  {count(rows)}" if rows else "  none")
    elif model.level.kind == "groups" and model.question.query:
        text.append("  none; Esc clears the filter")
    if model.snapshot is not None and model.snapshot.problems and model.level.kind != "problems":
        problem = model.snapshot.problems[0]
        text.append(style.text(f"  {problem.subject}: {problem.detail}"), "yellow")
    if style.width is not None:
        text.truncate(style.width)
    return text


def _error(model: Model) -> str:
    """What went wrong, with the last key or with reading; empty: nothing."""
    if model.message:  # of a later key
        return ""
    problem = f"{model.ended}; showing the last snapshot" if model.ended else model.problem
    error = model.error or problem
    return f"! {error}" if error else ""


def keys_line(model: Model, style: Style) -> Text:
    """As many keys as fit, always with those for help and quit."""
    width = style.width or 80
    line, end = Text(no_wrap=True), Text("  ").join(_key(*each) for each in _ALWAYS)
    for key, words in _KEYS[model.level.kind]:
        if key == "Enter" and model.level.kind == "stack" and model.waits is None:
            continue  # no line leads to another goroutine
        if key == "f":
            if not model.findings:
                continue
            words = plural(len(model.findings), "finding")
        each = _key(key, words).append("  ")
        if line.cell_len + each.cell_len + end.cell_len <= width:
            line.append_text(each)
    return line.append_text(end)


def _key(key: str, words: str) -> Text:
    return Text.assemble((key, "reverse"), " ", words)


def _place(model: Model, style: Style) -> str:
    parts = [f"by {style.text(model.question.by)}"]
    if model.question.query:
        parts.append(f"/{style.text(model.question.query.text)}")
    if model.question.system:
        parts.append("with runtime goroutines")
    parts += [style.text(level.title or level.kind) for level in model.levels[1:]]
    return " > ".join(parts)
