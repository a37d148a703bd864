"""The pages of processor time: functions, and what is known of one function; and the lines above the table."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING

from rich.text import Text

from spyglass.model import Snapshot
from spyglass.render.cropping import function_in
from spyglass.render.sections import fact
from spyglass.tui.cell_values import Cells, percent_text
from spyglass.tui.layout import Style, shown
from spyglass.tui.page_base import Page
from spyglass.tui.page_columns import function_columns
from spyglass.tui.sampled import FunctionTime, Sampled
from spyglass.words.calls import CALL_MARK, call_text
from spyglass.words.sparkline import sparkline
from spyglass.words.units import plural

if TYPE_CHECKING:
    from spyglass.tui.view_state import Model

__all__ = ["FunctionsPage", "cpu_lines", "function_lines", "not_sampled_lines"]

#: The stacks that lead to a function, the frames of each, and the groups that are listed.
_STACKS, _FRAMES, _GROUPS = 20, 40, 20


class FunctionsPage(Page):
    """The functions by their processor time."""

    def __init__(self, model: Model, style: Style) -> None:
        super().__init__(model, style)
        assert model.sampled is not None
        self._sampled = model.sampled
        self.columns = shown(function_columns(), style)
        name, descending = model.sort["cpu"]
        self._functions = sorted(
            model.functions, key=lambda each: self._order(each, name), reverse=descending
        )

    def __len__(self) -> int:
        return len(self._functions)

    def key(self, number: int) -> Hashable:
        return self._functions[number].name

    def cells(self, number: int) -> Cells:
        function, percent, style = self._functions[number], self._sampled.percent, self.style
        return {
            "self": lambda: percent_text(percent(function.self_ns)),
            "total": lambda: percent_text(percent(function.total_ns)),
            "trend": lambda: sparkline(
                function.of_parts, from_zero=True, ascii_only=style.ascii_only
            ),
            "function": lambda: style.text(function.name),
        }

    def _order(self, each: FunctionTime, name: str) -> tuple[float, float, str]:
        values = {
            "self": (each.self_ns, each.total_ns),
            "total": (each.total_ns, each.self_ns),
            "trend": (each.of_parts[-1] if each.of_parts else 0, each.total_ns),
        }
        return *values.get(name, (0, 0)), each.name


def not_sampled_lines(model: Model, style: Style) -> Sequence[Text] | None:
    """Why there are no functions to show; None if there are."""
    sampled = model.sampled
    if sampled is not None and sampled.refused is not None and not sampled.parts:
        return _wrapped(sampled.refused, style)
    if sampled is None or not sampled.parts:
        return [Text("sampling ...", "dim")]
    if not model.functions:
        seconds = f"in the last {sampled.window_ns / 1e9:.0f}s"
        if sampled.sampled_ns:
            return [Text(f"no sample matches the filter {seconds}", "dim")]
        used = f"the process used {sampled.percent(sampled.used_ns):.1f}% of a processor"
        return [Text(f"no samples {seconds}: {used}", "dim")]
    return None


def cpu_lines(model: Model, style: Style) -> Iterator[list[Text]]:
    """Two lines of facts about the samples while there are any: how many there are of what was used, and what of it
    is in none of the groups shown."""
    sampled, times = model.sampled, model.goroutine_times
    if sampled is None:
        return
    if times is None:
        words = sampled.refused or "sampling ..."
        yield [Text(style.text(words), "yellow" if sampled.refused else "dim")]
        yield []
        return
    yield list(_account(sampled))
    yield list(_outside(sampled, model.outside_groups(times)))


def _account(sampled: Sampled) -> Iterator[Text]:
    seconds, used = sampled.window_ns / 1e9, sampled.percent(sampled.used_ns)
    yield fact(f"cpu last {seconds:.0f}s", f"{used:.0f}%")
    yield fact("sampled", f"{sampled.percent(sampled.sampled_ns):.0f}%")
    if sampled.coverage is not None:
        yield fact("coverage", f"{100 * sampled.coverage:.0f}%")
    if sampled.known is not None:
        yield fact("goroutine known", f"{100 * sampled.known:.0f}%")
    yield fact("at", f"{sampled.parts[-1].rate_hz:.0f} Hz")
    if sampled.lost:
        yield fact("lost", f"{sampled.lost:,}", "yellow")
    if sampled.refused is not None:
        yield Text(f"ended: {sampled.refused}", "yellow")


def _outside(sampled: Sampled, rest: Mapping[str, float]) -> Iterator[Text]:
    yield Text("not in groups:", "dim")
    for words, time_ns in rest.items():
        if time_ns:
            yield fact(words, percent_text(sampled.percent(time_ns)))
    if not any(rest.values()):
        yield Text("nothing")


def function_lines(model: Model, snapshot: Snapshot, style: Style) -> Sequence[Text]:
    """The page of the function that the level is of: its groups of goroutines, and the stacks that lead to it."""
    name = str(model.level.of)
    lines = not_sampled_lines(model, style)
    if model.sampled is None or lines is not None:
        return lines or []
    part = model.sampled.matching(model.question.query, snapshot).through(name)
    function = next((each for each in model.functions if each.name == name), None)
    if function is None:
        return [Text("no sample in it any more", "dim")]
    own, total = (part.percent(each) for each in (function.self_ns, function.total_ns))
    title = Text.assemble(
        (style.text(name), "bold"),
        "  ",
        fact("self", f"{own:.1f}%"),
        "  ",
        fact("total", f"{total:.1f}%"),
    )
    by = style.text(model.question.by)
    groups = Text(f"goroutines that ran it, by {by} as it is now", "bold")
    stacks = Text("called by", "bold")
    return [
        title, Text(), groups, *_groups(model, part, snapshot, style),
        Text(), stacks, *_stacks(part, name, style),
    ]  # fmt: skip


def _groups(model: Model, part: Sampled, snapshot: Snapshot, style: Style) -> Iterator[Text]:
    """The groups of goroutines that spend time in a function, of which `part` has the samples."""
    times = part.by_goroutine(snapshot)
    found = [
        (float(times.of_rows_ns[row.rows].sum()), model.name_of(row), number)
        for number, row in enumerate(model.rows)
    ]
    using = sorted((each for each in found if each[0]), reverse=True)
    for time_ns, words, number in using[:_GROUPS]:
        call = model.rows[number].call if model.question.by == "function" else None
        called = f"{CALL_MARK}{call_text(call)}" if call is not None else ""
        yield _share(part, time_ns, words + called, style)
    if len(using) > _GROUPS:
        yield Text(f"{'':9}... and {plural(len(using) - _GROUPS, 'more group')}", "dim")
    for words, time_ns in model.outside_groups(times).items():
        if time_ns:
            yield _share(part, time_ns, f"({words})", style)


def _stacks(part: Sampled, function: str, style: Style) -> Iterator[Text]:
    """The callers of `function`, the largest share first."""
    times = part.callers_of(function).most_common()
    for stack, time_ns in times[:_STACKS]:
        callers = stack[1:] or ("(nothing: it is the outermost)",)
        yield _share(part, time_ns, callers[0], style)
        yield from (_caller(name, style) for name in callers[1:_FRAMES])
        if len(callers) > _FRAMES:
            yield Text(f"{'':9}... {plural(len(callers) - _FRAMES, 'more frame')}", "dim")
    if len(times) > _STACKS:
        yield Text(f"{'':9}... and {plural(len(times) - _STACKS, 'more stack')}", "dim")


def _share(part: Sampled, time_ns: float, words: str, style: Style) -> Text:
    return Text.assemble((f"{part.percent(time_ns):6.1f}%  ", "bold"), _fitted(words, style))


def _caller(name: str, style: Style) -> Text:
    return Text(f"{'':9}{_fitted(name, style)}", "dim")


def _fitted(name: str, style: Style) -> str:
    name = style.text(name)
    return name if style.width is None else function_in(name, max(style.width - 9, 20))


def _wrapped(text: str, style: Style) -> list[Text]:
    text = style.text(text)
    return list(map(Text, wrap(text, max(style.width or len(text), 10), subsequent_indent="    ")))
