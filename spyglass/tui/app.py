"""The terminal application: keys, mouse and widgets."""

from __future__ import annotations

import asyncio
import os
import signal
import termios
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.message import Message
from textual.widgets import Input, Static

from spyglass.errors import SpyglassError
from spyglass.model import Snapshot
from spyglass.tui.feed import Event, Feed, TickSource
from spyglass.tui.findings_lines import findings_lines
from spyglass.tui.header import header_lines
from spyglass.tui.layout import Style
from spyglass.tui.pages import page
from spyglass.tui.query import BadQuery, Query
from spyglass.tui.save_view import save_report, save_snapshot
from spyglass.tui.status import keys_line, status_line
from spyglass.tui.table_widget import Table
from spyglass.tui.view_state import Model

__all__ = ["TopApp"]

#: The intervals that + and - choose from, in ns.
_INTERVALS_NS = [int(each * 1e9) for each in (0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300)]
#: Lines of findings, and the height of a terminal from which on it has room for them.
_FINDINGS = ((3, 20), (1, 12))
#: The lines of the header while no processor time is sampled.
_HEADER_LINES = 5


class _Delivered(Message):
    """The feed delivered `event`."""

    def __init__(self, event: Event) -> None:
        super().__init__()
        self.event = event


class TopApp(App[None]):
    """The view of `model`, which takes a tick of `ticks` every `interval_ns`."""

    TITLE = "spyglass top"
    ENABLE_COMMAND_PALETTE = False
    AUTO_FOCUS = None  # keys are commands unless a filter is being entered
    CSS = """
    Screen { layout: vertical; background: ansi_default; color: ansi_default; }
    #findings { height: 1; }
    #header { height: 5; }
    Table { height: 1fr; }
    #filter { height: 1; border: none; padding: 0; display: none; background: ansi_default; }
    #filter:focus { border: none; }
    #status { height: 1; }
    #keys { height: 1; }
    """
    BINDINGS = [  # noqa: RUF012 - as textual declares it
        Binding("q", "quit"),
        Binding("ctrl+c,ctrl+q", "quit", priority=True),
        Binding("question_mark,h,f1", "help"),
        Binding("up,k", "move(-1)"),
        Binding("down,j", "move(1)"),
        Binding("pageup", "page(-1)"),
        Binding("pagedown", "page(1)"),
        Binding("home", "move(-1000000000)"),
        Binding("end", "move(1000000000)"),
        Binding("enter", "open"),
        Binding("escape,backspace", "back"),
        Binding("g", "group(1)"),
        Binding("G", "group(-1)"),
        Binding("slash", "filter"),
        Binding("less_than_sign", "sort(-1)"),
        Binding("greater_than_sign", "sort(1)"),
        Binding("i", "invert"),
        Binding("t", "threads"),
        Binding("r", "runtime"),
        Binding("w", "waits"),
        Binding("c", "cpu"),
        Binding("C", "cpu_column"),
        Binding("exclamation_mark", "problems"),
        Binding("f", "findings"),
        Binding("m", "memory"),
        Binding("S", "system"),
        Binding("b", "baseline"),
        Binding("p", "pause"),
        Binding("space", "tick"),
        Binding("plus", "interval(1)"),
        Binding("minus", "interval(-1)"),
        Binding("left", "walk(-1)"),
        Binding("right", "walk(1)"),
        Binding("s", "save"),
        Binding("e", "report"),
    ]

    def __init__(
        self, model: Model, ticks: TickSource, interval_ns: int, *, ascii_only: bool = False
    ) -> None:
        super().__init__(ansi_color=True)
        self.model = model
        self.feed = Feed(ticks, interval_ns, lambda event: self.post_message(_Delivered(event)))
        self._ascii_only = ascii_only

    def compose(self) -> ComposeResult:
        """Findings, header, table, input line of the filter, status line and keys."""
        yield Static(id="findings")
        yield Static("reading ...", id="header")
        yield Table()
        yield Input(id="filter", compact=True)
        yield Static(id="status")
        yield Static(id="keys")

    def on_mount(self) -> None:
        """Start reading."""
        loop = asyncio.get_running_loop()
        with suppress(ValueError, RuntimeError):  # not the main thread, as in tests
            loop.add_signal_handler(signal.SIGTERM, self.exit)
            loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        self.feed.start()

    def _hang_up(self) -> None:
        """End. If the terminal is gone there is nothing to restore, and writing to it could raise and leave
        textual's input thread running."""
        try:
            termios.tcgetattr(0)
        except termios.error:
            os._exit(128 + signal.SIGHUP)
        self.exit()

    def on_unmount(self) -> None:
        """Close the feed."""
        self.feed.close()

    def on_table_resized(self) -> None:
        """Lay everything out again."""
        self.show()

    def on__delivered(self, message: _Delivered) -> None:
        """Show the event that the feed delivered."""
        self.model.note(message.event)
        self.show()

    @property
    def style(self) -> Style:
        """The width and the abilities of the terminal."""
        return Style(self.size.width, self._ascii_only)

    def show(self) -> None:
        """Draw the state of the model; nothing if the widgets are gone already, because it ends."""
        if not self.query("#findings"):
            return
        self.feed.full = self.model.needs_stacks
        self.feed.waits = self.model.shows_waits
        self.feed.cpu = self.model.samples_cpu
        model, style, feed = self.model, self.style, self.feed
        self._show_findings()
        lines = header_lines(model, style, paused=feed.paused, wanted_ns=feed.interval_ns)
        header = self.query_one("#header", Static)
        header.styles.height = max(len(lines), _HEADER_LINES)
        header.update(Text("\n").join(lines))
        table = self.query_one(Table)
        table.show(page(model, style), model.level)
        self.query_one("#status", Static).update(status_line(model, table.page, table.room, style))
        self.query_one("#keys", Static).update(keys_line(model, style))

    def _show_findings(self) -> None:
        """The first findings, in as many lines as they took so far: the table does not move up and down."""
        model, style = self.model, self.style
        height = self.size.height
        limit = next((lines for lines, at_least in _FINDINGS if height >= at_least), 0)
        lines = findings_lines(model.findings, style, limit) if model.tick is not None else []
        model.findings_shown = min(max(model.findings_shown, len(lines)), limit)
        widget = self.query_one("#findings", Static)
        widget.display = limit > 0
        widget.styles.height = max(model.findings_shown, 1)
        widget.update(Text("\n").join(lines))

    def say(self, message: str = "", *, error: str = "") -> None:
        """Show `message`, or `error`, until the next key."""
        self.model.message, self.model.error = message, error
        self.show()

    # Actions of keys.

    async def action_quit(self) -> None:
        """End."""
        self.exit()

    def action_move(self, by: int) -> None:
        """Move the selection."""
        self._changed(lambda: self.query_one(Table).move(by))

    def action_page(self, by: int) -> None:
        """Move by a screen."""
        self.action_move(by * max(self.query_one(Table).room - 1, 1))

    def action_open(self) -> None:
        """Open the selected row."""
        self.model.open_selected()
        self.say()

    async def action_back(self) -> None:
        """Close the filter's input line, or the page, or else clear the filter."""
        message, question = "", self.model.question
        if self.query_one("#filter", Input).display:
            self._close_filter()
        elif len(self.model.levels) > 1:
            self.model.levels.pop()
        elif question.query:
            self.model.ask(replace(question, query=Query()))
            message = "filter cleared"
        self.say(message)

    def action_help(self) -> None:
        """Show the keys."""
        self.model.toggle("help")
        self.say()

    def action_threads(self) -> None:
        """Show threads."""
        self.model.toggle("threads")
        self.say()

    def action_findings(self) -> None:
        """List all findings."""
        self.model.toggle("findings")
        self.say()

    def action_memory(self) -> None:
        """Show memory over time."""
        self.model.toggle("memory")
        self.say()

    def action_problems(self) -> None:
        """List what is missing or doubtful."""
        self.model.toggle("problems")
        self.say()

    def action_group(self, by: int) -> None:
        """Choose the next grouping."""
        names = self.model.groupings()
        at = names.index(self.model.question.by) if self.model.question.by in names else 0
        self.model.group_by(names[(at + by) % len(names)])
        self.say()

    def action_sort(self, by: int) -> None:
        """Sort by the next column."""
        table = self.query_one(Table)
        names = [column.name for column in table.page.columns] if table.page else []
        if names:
            name = self.model.sort[self.model.level.kind][0]
            at = names.index(name) if name in names else 0
            self.model.sort_by(names[(at + by) % len(names)])
        self.say()

    def action_invert(self) -> None:
        """Reverse the order."""
        self.model.invert()
        self.say()

    def action_runtime(self) -> None:
        """Show or hide runtime frames of a stack."""
        if self.model.level.kind != "stack":
            return
        self.model.runtime_frames = not self.model.runtime_frames
        self.say(f"runtime frames {'shown' if self.model.runtime_frames else 'hidden'}")

    def action_waits(self) -> None:
        """Show or hide what goroutines wait on."""
        model = self.model
        model.shows_waits = not model.shows_waits
        if not model.shows_waits:
            return self.say("what goroutines wait on: hidden")
        is_known = model.snapshot is not None and model.snapshot.waits is not None
        if self.feed.is_live or is_known:
            return self.say("what goroutines wait on: shown")
        return self.say(error="what goroutines wait on was not saved")

    def action_cpu(self) -> None:
        """Show the processor time of functions, or leave that page."""
        if self._can_sample():
            self.model.toggle("cpu")
            self.say()

    def action_cpu_column(self) -> None:
        """Show or hide the processor time of groups and goroutines."""
        if self._can_sample():
            self.model.show_cpu(not self.model.shows_cpu)
            self.say(f"column cpu: {'shown' if self.model.shows_cpu else 'hidden'}")

    def _can_sample(self) -> bool:
        """Whether there is a process to sample, and reading is not paused; else say so."""
        if not self.feed.is_live:
            self.say(error="the processor time of a running process only can be sampled")
        elif self.feed.paused and not self.model.samples_cpu:
            self.say(error="paused: nothing is sampled; p resumes")
            return False
        return self.feed.is_live

    def action_system(self) -> None:
        """Show or hide the runtime's own goroutines."""
        question = self.model.question
        self.model.ask(replace(question, system=not question.system))
        self.say(f"runtime goroutines {'hidden' if question.system else 'shown'}")

    def action_baseline(self) -> None:
        """Make the shown snapshot the baseline."""
        self.model.set_baseline()
        self.say("base set: Δbase counts from now on" if not self._ascii_only else "base set")

    def action_pause(self) -> None:
        """Pause or resume."""
        if self.feed.is_live:
            self.feed.paused = not self.feed.paused
        self.say()

    def action_tick(self) -> None:
        """Read now."""
        self.feed.step(0)

    def action_interval(self, by: int) -> None:
        """Choose a longer or a shorter interval."""
        now = self.feed.interval_ns
        longer = [each for each in _INTERVALS_NS if each > now]
        shorter = [each for each in _INTERVALS_NS if each < now]
        self.feed.interval_ns = (
            (longer[0] if longer else now) if by > 0 else (shorter[-1] if shorter else now)
        )
        self.say(f"every {self.feed.interval_ns / 1e9:g}s")

    def action_walk(self, by: int) -> None:
        """Go to the previous or next snapshot of a series."""
        self.feed.step(by)

    def action_filter(self) -> None:
        """Open the filter's input line."""
        field = self.query_one("#filter", Input)
        field.display = True
        field.value = self.model.question.query.text
        field.placeholder = "regular expression for any function of a stack, state:WORDS label:KEY=VALUE creator:REGEX"
        self.screen.set_focus(field)  # at once: the next keys belong to the filter
        self.say("filter: Enter applies, Esc cancels")

    def action_save(self) -> None:
        """Save a snapshot."""
        self.run_worker(lambda: self._save(save_snapshot), thread=True)

    def action_report(self) -> None:
        """Write the HTML report."""
        self.run_worker(lambda: self._save(save_report), thread=True)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Apply the filter, or show why it is not valid."""
        try:
            query = Query.parse(event.value)
        except BadQuery as error:
            self.say(error=str(error))
            return
        self._close_filter()
        self.model.ask(replace(self.model.question, query=query))
        self.say()

    def on_table_sort_by(self, event: Table.SortBy) -> None:
        """Sort by the clicked column."""
        self.model.sort_by(event.name)
        self.say()

    def on_table_opened(self) -> None:
        """Open the clicked row."""
        self.action_open()

    def _close_filter(self) -> None:
        self.query_one("#filter", Input).display = False
        self.set_focus(None)

    def _changed(self, change: Callable[[], None]) -> None:
        change()
        self.say()

    def _save(self, save: Callable[[Snapshot, Path], Path]) -> None:
        """Save the shown snapshot; if it has no stacks, take one that has."""
        try:
            self.call_from_thread(self.say, f"saved {save(self._whole_snapshot(), Path('.'))}")
        except (SpyglassError, OSError) as error:
            self.call_from_thread(self.say, error=f"not saved: {error}")

    def _whole_snapshot(self) -> Snapshot:
        shown = self.model.snapshot
        if shown is None:
            raise SpyglassError("there is nothing to save yet")
        fixed = not self.feed.is_live or self.feed.paused or self.model.ended is not None
        if fixed or len(shown.stack_frames):
            return shown
        return self.feed.take_full()
