"""The profiles of a report: which options they need, which samples, and how they are recorded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from spyglass.cli.filter_options import GoroutineFilter, span_ns
from spyglass.cli.sources import ProcessSource, Source
from spyglass.errors import SpyglassError

if TYPE_CHECKING:
    from spyglass.profile import Profile

__all__ = ["profile_option", "recorded_profiles", "require_profiles"]

profile_option = click.option(
    "--profile", "profile_ns", callback=span_ns, metavar="DURATION",
    help="Also record for DURATION where processor time and goroutines' time go, with flame graphs.",
)  # fmt: skip


def require_profiles(source: Source, chosen: GoroutineFilter, profile_ns: int | None) -> None:
    """Raise `click.UsageError` if `source` cannot be recorded, or samples cannot be filtered as goroutines are."""
    if profile_ns is None:
        return
    if not isinstance(source, ProcessSource):
        raise click.UsageError("--profile requires a process")
    if profile_ns == 0:
        raise click.BadParameter("must be longer than 0s", param_hint="--profile")
    if chosen.criteria.creator is not None or chosen.criteria.min_wait_ns is not None:
        raise click.UsageError("--creator and --min-wait do not apply to samples (--profile)")


def recorded_profiles(
    source: Source, chosen: GoroutineFilter, profile_ns: int, *, redact: bool
) -> Sequence[Profile]:
    """The profiles of a process, with the samples that match a filter; none, and a line on stderr, if it has ended by
    now."""
    from spyglass.analysis.profile_filter import SampleFilter
    from spyglass.analysis.profile_filter import chosen as only
    from spyglass.analysis.redaction import redacted_profile

    assert isinstance(source, ProcessSource)
    try:
        profiles = _recorded_at_once(source.pid, profile_ns / 1e9)
    except SpyglassError as error:
        click.echo(f"no profile: {error.message}", err=True)
        return ()
    criteria = chosen.criteria
    wanted = SampleFilter(criteria.ids, criteria.states, criteria.function, criteria.labels)
    profiles = [only(each, wanted) for each in profiles]
    return [redacted_profile(each) for each in profiles] if redact else profiles


def _recorded_at_once(pid: int, seconds: float) -> list[Profile]:
    """The profiles of the processor time, if that may be sampled, and of the wall-clock time of process `pid` in the
    same `seconds`."""
    from spyglass.cli.recording import attached, ending_signals, finished
    from spyglass.runtime.recording.wall import WallRecording

    with attached(pid) as process, process.recording(mode="wall") as recording:
        assert isinstance(recording, WallRecording)
        with ending_signals() as signals:
            wall = finished(recording, seconds, None, signals)
        running = recording.finish_running()
    return [wall] if running is None else [running, wall]
