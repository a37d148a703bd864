"""The options of ``spyglass record``: how to record, which samples, and what to write."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from spyglass.cli.common_options import redact_option
from spyglass.cli.filter_options import (
    complete_labels,
    goroutine_ids,
    label_pairs,
    regular_expression,
    span_ns,
)
from spyglass.formats import EXPORTERS, Exporter, exporter, exporter_of_path

if TYPE_CHECKING:
    from spyglass.profile import Mode, Profile

__all__ = [
    "ProfileOutput", "RecordOptions", "SeriesOptions", "profile_output_options", "record_options",
    "sample_filter_options", "series_options",
]  # fmt: skip

Command = Callable[..., None]

#: Samples in a second of processor time, not a divisor of what programs do in rhythm; readings in a second.
_RATES_HZ = {"cpu": 99, "wall": 10, "offcpu": 10}
_DEFAULT_DURATION_NS = 10 * 10**9
_FORMATS = [each.name for each in EXPORTERS if each.takes == "profile"]
_GROUPINGS = ("goroutine", "thread", "state", "label:")


@dataclass(frozen=True)
class RecordOptions:
    """How to record. `duration_ns` None: until the program that was started ends. `max_cpu`: how much of a processor
    reading goroutines may take, as a share; None: as the recorder chooses. `native`: with frames of C and of the
    kernel. `is_default`: the user said nothing."""

    duration_ns: int | None
    mode: Mode
    rate_hz: float
    max_cpu: float | None
    native: bool
    is_default: bool

    def recorder_options(self) -> dict[str, Any]:
        """The arguments of `spyglass.inspector.Inspector.recording`."""
        options: dict[str, Any] = {"mode": self.mode, "rate_hz": self.rate_hz}
        if self.native:
            options["native"] = True
        return options if self.max_cpu is None else options | {"max_cpu": self.max_cpu}

    def seconds(self, *, started: bool = False) -> float | None:
        """The time to record, in a series too; `started`: one program that spyglass started, by default until it ends."""
        if self.duration_ns is None and not started:
            return _DEFAULT_DURATION_NS / 1e9
        return None if self.duration_ns is None else self.duration_ns / 1e9


@dataclass(frozen=True)
class SeriesOptions:
    """A recording `every_ns`, `count` of them; None: until the process or the user ends the series."""

    every_ns: int
    count: int | None

    @property
    def digits(self) -> int:
        """Of the numbers in the names of files."""
        return max(len(str(self.count or 0)), 4)


@dataclass(frozen=True)
class ProfileOutput:
    """What to write and where: `path` None is a file with a name of its own, `-` standard output. Each stack has a
    root frame for each of `by`. `redact`: without what `spyglass.analysis.redaction` removes."""

    path: str | None
    exporter: Exporter
    by: tuple[str, ...]
    redact: bool

    def check(self) -> None:
        """Raise `click.UsageError` or `OSError` now if writing would fail after the recording."""
        if self.path == "-":
            if not self.exporter.is_text and sys.stdout.isatty():
                raise click.UsageError("refusing to write a binary file to a terminal; use -o FILE")
            return
        path = Path(self.path or ".")
        folder = path if path.is_dir() else path.parent
        if not folder.is_dir():
            raise FileNotFoundError(2, os.strerror(2), str(folder))
        if not os.access(folder, os.W_OK):
            raise PermissionError(13, os.strerror(13), str(folder))

    def file(self, profile: Profile) -> Path | None:
        """The path of the file for `profile`; None: standard output."""
        if self.path == "-":
            return None
        path = Path(self.path or ".")
        return path / self.name(profile) if path.is_dir() else path

    def name(self, profile: Profile) -> str:
        """A name for the file of `profile`, of program, host, pid, time and mode."""
        from spyglass.export.snapshot_file import file_name

        process = profile.process
        program = process.exe or process.module
        name = file_name(program, profile.host, process.pid, profile.started_at)
        return f"{name}-{profile.mode}{self.exporter.extensions[0]}"

    def shown(self, profile: Profile) -> Profile:
        """What is written of `profile`."""
        if not self.redact:
            return profile
        from spyglass.analysis.redaction import redacted_profile

        return redacted_profile(profile)

    def write(self, profile: Profile) -> Path | None:
        """Write `profile`, whole or not at all; returns the path, None for standard output."""
        options = {"by": self.by} if self.by else {}
        profile = self.shown(profile)
        path = self.file(profile)
        if path is None:
            self.exporter.write(profile, sys.stdout.buffer, **options)
            sys.stdout.flush()
            return None
        from spyglass.export.snapshot_file import replacing

        with replacing(path) as stream:
            self.exporter.write(profile, stream, **options)
        return path


def record_options(command: Command) -> Command:
    """Add --duration, --mode, --rate, --max-cpu and --native: calls `command` with ``options``, a `RecordOptions`."""

    @click.option(
        "-d", "--duration", "duration_ns", callback=span_ns, metavar="DURATION",
        help="Time to record: 30s, 5m (default: 10s; until a COMMAND ends).",
    )  # fmt: skip
    @click.option(
        "--mode", type=click.Choice(list(_RATES_HZ)), metavar="MODE",
        help="cpu: processor time (default); wall: time of goroutines, running or waiting; offcpu: waiting.",
    )  # fmt: skip
    @click.option(
        "--rate", "rate_hz", type=click.IntRange(1, 999), metavar="HZ",
        help="Samples in a second of processor time (default: 99), or readings in a second (10).",
    )  # fmt: skip
    @click.option(
        "--max-cpu", callback=_share, metavar="PERCENT",
        help="With wall and offcpu: read less often if it takes more of a processor (default: 10%).",
    )  # fmt: skip
    @click.option(
        "--native", is_flag=True, help="Add callers in C of cgo and functions of the kernel."
    )
    @functools.wraps(command)
    def wrapper(
        duration_ns: int | None,
        mode: Mode | None,
        rate_hz: int | None,
        max_cpu: float | None,
        native: bool,
        **others: Any,
    ) -> None:
        if duration_ns == 0:
            raise click.BadParameter("must be longer than 0s", param_hint="--duration")
        is_default = (duration_ns, mode, rate_hz, max_cpu) == (None,) * 4 and not native
        mode = mode or "cpu"
        if max_cpu is not None and mode == "cpu":
            raise click.UsageError("--max-cpu requires --mode wall or offcpu")
        rate = float(rate_hz or _RATES_HZ[mode])
        command(
            options=RecordOptions(duration_ns, mode, rate, max_cpu, native, is_default), **others
        )

    return wrapper


def series_options(command: Command) -> Command:
    """Add --every and --count: calls `command` with ``series``, a `SeriesOptions` or None. Behind `record_options`."""

    @click.option(
        "--every", "every_ns", callback=span_ns, metavar="DURATION",
        help="Record for --duration every DURATION, into files of the directory --output.",
    )  # fmt: skip
    @click.option(
        "--count", type=click.IntRange(1, 999_999), metavar="N",
        help="Number of recordings with --every (default: until the process ends, or Ctrl-C).",
    )  # fmt: skip
    @functools.wraps(command)
    def wrapper(
        options: RecordOptions, every_ns: int | None, count: int | None, **others: Any
    ) -> None:
        if every_ns is None and count is not None:
            raise click.UsageError("--count requires --every")
        if every_ns is not None and every_ns < (options.duration_ns or _DEFAULT_DURATION_NS):
            raise click.UsageError("--every must not be shorter than --duration (default: 10s)")
        series = None if every_ns is None else SeriesOptions(every_ns, count)
        command(options=options, series=series, **others)

    return wrapper


def profile_output_options(command: Command) -> Command:
    """Add the options of the output: calls `command` with ``output``, a `ProfileOutput`. Behind `series_options`."""

    @click.option(
        "-o", "--output", "path", metavar="FILE",
        help="Output file, - for stdout; with --every, a directory (default: named by program, host, pid and time).",
    )  # fmt: skip
    @click.option(
        "--format", "written", type=click.Choice(_FORMATS), metavar="FORMAT",
        help=f"{', '.join(_FORMATS)} (default: by the extension of --output, else pprof).",
    )  # fmt: skip
    @click.option(
        "--by", multiple=True, callback=_groupings, metavar="BY", shell_complete=_complete_groupings,
        help="Add a root frame for each goroutine, thread, state or value of label:KEY (repeatable).",
    )  # fmt: skip
    @click.option("--threads", is_flag=True, help="The same as --by thread.")
    @redact_option
    @functools.wraps(command)
    def wrapper(
        path: str | None,
        written: str | None,
        by: tuple[str, ...],
        threads: bool,
        redact: bool,
        **others: Any,
    ) -> None:
        if redact and any(each.startswith("label:") for each in by):
            raise click.UsageError("--redact removes labels, so --by label:KEY has none")
        if threads:
            by = ("thread", *by)
        if others["series"] is not None and (path == "-" or os.path.isfile(path or "")):
            raise click.UsageError("with --every, --output is a directory")
        chosen = _exporter(None if others["series"] else path, written)
        if by and not chosen.only_stacks:
            raise click.UsageError(
                f"--by requires a format other than {chosen.name}, which has all"
            )
        command(output=ProfileOutput(path, chosen, tuple(dict.fromkeys(by)), redact), **others)

    return wrapper


def sample_filter_options(command: Command) -> Command:
    """Add the options that filter samples: calls `command` with ``sample_filter``, a `SampleFilter`."""

    @click.option(
        "--goroutine", "ids", type=int, callback=goroutine_ids, multiple=True, metavar="ID",
        help="Only samples of the goroutine with this id (repeatable).",
    )  # fmt: skip
    @click.option(
        "--state", "states", multiple=True, metavar="STATE",
        help='Only samples with STATE in their state: running, "IO wait", g0, C (repeatable).',
    )  # fmt: skip
    @click.option(
        "--function", callback=regular_expression, metavar="REGEX",
        help="Only samples with a function matching REGEX on the stack.",
    )  # fmt: skip
    @click.option(
        "--label", "labels", callback=label_pairs, multiple=True, metavar="KEY=VALUE",
        shell_complete=complete_labels,
        help="Only samples with this pprof label (repeatable; all must match).",
    )  # fmt: skip
    @functools.wraps(command)
    def wrapper(ids: Any, states: Any, function: Any, labels: Any, **others: Any) -> None:
        from spyglass.analysis.profile_filter import SampleFilter

        command(sample_filter=SampleFilter(ids, states, function, labels), **others)

    return wrapper


def _exporter(path: str | None, written: str | None) -> Exporter:
    """The format `written`, or else that of the extension of `path`."""
    if written is not None:
        return exporter("profile", written)
    if path is None or path == "-" or Path(path).is_dir():
        return exporter("profile", "pprof")
    found = exporter_of_path("profile", path)
    if found is None:
        endings = ", ".join(each.extensions[0] for each in EXPORTERS if each.takes == "profile")
        raise click.UsageError(
            f"the extension of {path!r} is of no format ({endings}); --format names one"
        )
    return found


def _share(_context: click.Context, _option: click.Parameter, percent: str | None) -> float | None:
    """A share, from a number of percent."""
    if percent is None:
        return None
    try:
        share = float(percent.removesuffix("%")) / 100
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise click.BadParameter(f"{percent!r} is not a percentage such as 5%")
    return share


def _groupings(
    _context: click.Context, _option: click.Parameter, by: tuple[str, ...]
) -> tuple[str, ...]:
    for each in by:
        if each not in _GROUPINGS[:-1] and not (each.startswith("label:") and each != "label:"):
            raise click.BadParameter(f"{each!r} is not goroutine, thread, state or label:KEY")
    return by


def _complete_groupings(
    _context: click.Context, _option: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    return [CompletionItem(each) for each in _GROUPINGS if each.startswith(incomplete)]
