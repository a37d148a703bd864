"""``spyglass record``: where a program spends its time."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from spyglass.cli.push_options import PushOptions, Send, push_options
from spyglass.cli.record_options import (
    ProfileOutput,
    RecordOptions,
    SeriesOptions,
    profile_output_options,
    record_options,
    sample_filter_options,
    series_options,
)
from spyglass.cli.source_options import optional_source_options
from spyglass.cli.sources import ProcessSource, Source
from spyglass.errors import NoMatch, SpyglassError
from spyglass.escape import visible

if TYPE_CHECKING:
    from spyglass.analysis.profile_filter import SampleFilter
    from spyglass.profile import Account, Profile

__all__ = ["record"]

_COMMAND = "spyglass.record.command"
_NOTHING = "nothing hindered goroutines from running"


class _RecordCommand(click.Command):
    """A command whose arguments after ``--`` are a program to start, with its arguments."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            at = args.index("--")
            ctx.meta[_COMMAND] = args[at + 1 :]
            args = args[:at]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND ...]"]


@click.command(
    "record", cls=_RecordCommand, short_help="Record where a Go process spends its time."
)
@optional_source_options
@record_options
@series_options
@profile_output_options
@sample_filter_options
@push_options
@click.option(
    "--from", "saved", type=click.Path(), metavar="FILE",
    help="Convert a profile that was saved as .json, .json.gz or .pb.gz (also Go's own), in place of recording; - for stdin.",
)  # fmt: skip
@click.pass_context
def record(
    context: click.Context,
    /,
    source: Source | None,
    options: RecordOptions,
    series: SeriesOptions | None,
    output: ProfileOutput,
    saved: str | None,
    **others: Any,
) -> None:
    """Record where a Go process spends its time: a profile with exact stacks, goroutines and pprof labels.

    The process is not stopped, gets no signal and runs no additional code. TARGET is a pid or the name of a
    Go process; a COMMAND after -- is started, recorded until it ends, and ended with SIGTERM if
    --duration is over before. Ctrl-C ends the recording early and keeps what there is.

    \b
      spyglass record 1234                              then: go tool pprof -http : FILE
      spyglass record 1234 -d 30s -o cpu.html           a flame graph for a browser
      spyglass record 1234 --mode wall -o wall.html     waiting too
      spyglass record 1234 --by label:tenant -o cpu.svg
      spyglass record -o cpu.json -- ./server config.yml
      spyglass record 1234 --every 1m -d 10s -o series  10 seconds in every minute, in a directory
      spyglass record 1234 --every 1m -d 10s -o series --push http://pyroscope:4040
      spyglass record --from cpu.json --function Encode -o encode.svg

    Formats: pprof (.pb.gz), speedscope (.speedscope.json), folded stacks (.folded), a page with an
    interactive flame graph (.html), a picture (.svg), and json (.json), which --from turns into the others
    (and pprof too, as far as it goes). With --push and without --output no file is written.

    The file has an account: processor time used and sampled, samples lost, goroutines known and not known.
    A sample has a goroutine and labels only where its stack proves whose it is.
    """
    command: list[str] | None = context.meta.get(_COMMAND)
    _check_arguments(source, command, saved, options)
    if saved is not None and series is not None:
        raise click.UsageError("--every cannot be used with --from")
    output.check()
    push: PushOptions | None = others["push"]
    send = None if push is None else partial(push.send, to=push.destination())
    chosen = partial(_filtered, wanted=others["sample_filter"])
    if saved is not None:
        _finish(chosen(_loaded(saved)), output, send)
        return
    target: int | list[str] = command or []
    if isinstance(source, ProcessSource):
        target = source.pid
    output.exporter.load()  # children that save what there is then need not
    if series is not None:
        from spyglass.cli.recording_series import RecordingSeries

        RecordingSeries(series, options, output, chosen, send).record(target)
        return
    from spyglass.cli.recording import record_target

    is_file = output.path != "-" and not (output.path is None and send)
    save = None if not is_file else lambda profile: output.write(chosen(profile))
    profile, hindrances = record_target(target, options, save)
    _finish(chosen(profile), output, send)
    for line in _hindrance_lines(hindrances, profile.account):
        click.echo(visible(line), err=True)


def _hindrance_lines(hindrances: list[str] | None, account: Account) -> list[str]:
    """`hindrances` (None: not known), or that there were none: not of a process that was stopped."""
    if hindrances == [] and account.stopped_ns is None:
        return [_NOTHING]
    return hindrances or []


def _check_arguments(
    source: Source | None, command: list[str] | None, saved: str | None, options: RecordOptions
) -> None:
    given = [each for each in (source, command, saved) if each is not None]
    if not given or command == []:
        raise click.UsageError("no target given; give a pid, a process name, or -- COMMAND")
    if len(given) > 1:
        raise click.UsageError("a target, -- COMMAND and --from are mutually exclusive")
    if saved is not None and not options.is_default:
        raise click.UsageError(
            "--duration, --mode, --rate and --max-cpu cannot be used with --from"
        )
    if source is not None and not isinstance(source, ProcessSource):
        raise click.UsageError("record requires a process; --from converts a saved profile")


def _loaded(saved: str) -> Profile:
    from spyglass.export.profile_reader import load_profile

    try:
        return load_profile(sys.stdin.buffer if saved == "-" else saved)
    except FileNotFoundError:
        raise SpyglassError(f"no such file: {saved}") from None


def _filtered(profile: Profile, wanted: SampleFilter) -> Profile:
    from spyglass.analysis.profile_filter import chosen

    found = chosen(profile, wanted)
    if wanted and len(profile.samples) and not len(found.samples):
        raise NoMatch("no sample matches the filters")
    return found


def _finish(profile: Profile, output: ProfileOutput, send: Send | None) -> None:
    """Write `profile`, send it, or both, and tell its account. One that cannot be sent is written in any case."""
    is_written = send is None or output.path is not None
    if is_written:
        _write(profile, output)
    _tell(profile)
    if send is not None:
        try:
            send(output.shown(profile))
        except SpyglassError:
            if not is_written:
                _write(profile, output)
            raise


def _write(profile: Profile, output: ProfileOutput) -> None:
    path = output.write(profile)
    if path is not None:
        click.echo(visible(str(path)))


def _tell(profile: Profile) -> None:
    from spyglass.words.profile_account import account_lines, account_warnings

    for line in account_lines(profile):
        click.echo(visible(line), err=True)
    for problem in profile.problems:
        click.echo(visible(f"{problem.kind}: {problem.subject}: {problem.detail}"), err=True)
    for warning in account_warnings(profile):
        click.echo(visible(f"warning: {warning}"), err=True)
