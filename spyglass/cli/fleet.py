"""``spyglass fleet``: questions about the snapshots of many processes."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from datetime import time as time_of_day
from typing import TYPE_CHECKING, Any

import click

from spyglass.cli.common_options import debug_option, format_options
from spyglass.cli.filter_options import span_ns
from spyglass.errors import SpyglassError
from spyglass.fleet.questions import QUESTIONS, Question

if TYPE_CHECKING:
    from spyglass.fleet.query import Fleet, Window
    from spyglass.fleet_answer import FleetAnswer
    from spyglass.formats import Exporter

__all__ = ["fleet", "moment_of"]

_ROWS = 20
_PACKAGES = "pip install 'spyglass[fleet]' installs what it needs"


def moment_of(
    _context: click.Context, _option: click.Parameter, text: str | None
) -> datetime | None:
    """A moment: 2026-11-22T14:00, or 14:00, which is the last time that it was 14:00; local time unless it says Z or +02:00."""
    if text is None:
        return None
    try:
        if "-" in text[:5]:
            return datetime.fromisoformat(text).astimezone()
        clock = time_of_day.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is no time such as 14:00 or 2026-11-22T14:00") from None
    now = datetime.now(clock.tzinfo or UTC).astimezone(clock.tzinfo)
    then = datetime.combine(now.date(), clock, now.tzinfo)
    return then if then <= now else then - timedelta(days=1)


@click.command("fleet", short_help="Answer questions about the snapshots of many processes.")
@click.argument("url", metavar="DIR|URL")
@click.argument("question", type=click.Choice(list(QUESTIONS)), default="services", required=False)
@click.option(
    "--sql", metavar="QUERY", help="Ask this SELECT instead; - reads it from standard input."
)
@click.option(
    "--show-sql", is_flag=True, help="Print the query of the question instead of the answer."
)
@click.option("--service", metavar="NAME", help="Only this service.")
@click.option(
    "--last", "last_ns", callback=span_ns, metavar="DURATION",
    help="Only snapshots of the last DURATION: 1h, 7d.",
)  # fmt: skip
@click.option(
    "--since",
    callback=moment_of,
    metavar="TIME",
    help="Only snapshots since TIME: 14:00, 2026-11-22T14:00.",
)
@click.option("--until", callback=moment_of, metavar="TIME", help="Only snapshots until TIME.")
@click.option(
    "--fresh", "fresh_ns", callback=span_ns, default="1h", show_default=True, metavar="DURATION",
    help="A process whose last snapshot is older than its service's last one by this has ended.",
)  # fmt: skip
@click.option(
    "--at",
    callback=moment_of,
    metavar="TIME",
    help="changes: when something changed, a deployment.",
)
@click.option("--old", metavar="VERSION", help="versions: the version before.")
@click.option("--new", metavar="VERSION", help="versions: the version after.")
@click.option(
    "--min-growth",
    type=click.IntRange(1),
    metavar="N",
    help="leaks: the least growth (default: 10).",
)
@click.option(
    "--min-blocked", type=click.IntRange(1), metavar="N",
    help="leaks: so many at one place in one process are listed in any case (default: 10000).",
)  # fmt: skip
@click.option(
    "--min-used", type=click.IntRange(0, 100), metavar="PERCENT",
    help="limits: the least share of the limit that is used (default: 80).",
)  # fmt: skip
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=_ROWS,
    show_default=True,
    metavar="N",
    help="Rows of the answer.",
)
@format_options("fleet answer")
@debug_option
def fleet(url: str, question: str, exporter: Exporter | None, **options: Any) -> None:
    """Answer questions about the snapshots that `spyglass snapshot --parquet` wrote to a directory or
    to an object store.

    \b
      services   which services there are
      leaks      where goroutines may leak: their number grows, or very many wait at one place
      waits      what goroutines wait on, over all processes
      groups     the largest groups of goroutines over all hosts
      outliers   processes that differ from the others of their service
      changes    what changed at the time of --at
      versions   what changed from one version to another

    \b
      spyglass fleet s3://snapshots leaks --last 7d
      spyglass fleet snapshots waits --service orders
      spyglass fleet snapshots changes --at 14:00
      spyglass fleet snapshots --sql 'SELECT service, max(goroutines) FROM processes GROUP BY service'

    DuckDB answers; a query cannot write, and reads nothing but the tables processes, groups, stacks,
    waits and memory, and the view latest. docs/fleet.md describes them.
    """
    asked = QUESTIONS[question]
    if options["show_sql"]:
        click.echo(asked.sql, nl=False)
        return
    answer = _asked(url, asked, options)
    if exporter:
        exporter.write(answer, sys.stdout.buffer)
        return
    from spyglass.cli.terminal import Terminal
    from spyglass.render.fleet_view import render

    terminal = Terminal()
    terminal.show(render(answer, terminal.view()))


def _asked(url: str, question: Question, options: dict[str, Any]) -> FleetAnswer:
    parameters = _parameters(question, options)
    try:
        from spyglass.fleet.query import Fleet
    except ImportError as error:
        raise SpyglassError(f"{error.name} is not installed", _PACKAGES) from None
    with Fleet(url, _window(options)) as snapshots:
        if (sql := options["sql"]) is not None:
            return snapshots.ask(sys.stdin.read() if sql == "-" else sql, limit=options["limit"])
        if question.name == "changes":
            _require_both_sides(snapshots, parameters)
        answer = snapshots.ask(question.sql, parameters, options["limit"])
    return replace(answer, question=question.name, parameters=parameters)


def _require_both_sides(snapshots: Fleet, parameters: dict[str, int | str]) -> None:
    """Raise `SpyglassError` if there is nothing to compare: no answer would look as if nothing had changed."""
    moment = parameters["since_s"]
    for side, operator in (("before", "<"), ("after", ">=")):
        sql = f"SELECT count(*) FROM processes WHERE taken_s {operator} :moment"
        if snapshots.ask(sql, {"moment": moment}).rows == ((0,),):
            raise SpyglassError(f"there are no snapshots {side} the time of --at")


def _window(options: dict[str, Any]) -> Window:
    from spyglass.fleet.query import Window

    since, last_ns = options["since"], options["last_ns"]
    if last_ns is not None:
        if since is not None:
            raise click.UsageError("--last and --since are mutually exclusive")
        since = datetime.now(UTC) - timedelta(microseconds=last_ns // 1000)
    return Window(options["service"], since, options["until"], options["fresh_ns"] // 10**9)


def _parameters(question: Question, options: dict[str, Any]) -> dict[str, int | str]:
    """The values of the question's parameters, those that the user gave first."""
    if question.name == "changes" and options["at"] is None and options["sql"] is None:
        raise click.UsageError("changes requires --at TIME")
    given = {
        name: options[name] for name in ("old", "new", "min_growth", "min_blocked", "min_used")
    }
    given["since_s"] = int(options["at"].timestamp()) if options["at"] else None
    if of_others := [
        name
        for name, value in given.items()
        if value is not None and name not in question.parameters
    ]:
        option = {"since_s": "at"}.get(of_others[0], of_others[0]).replace("_", "-")
        raise click.UsageError(f"--{option} does not concern {question.name}")
    return question.parameters | {name: value for name, value in given.items() if value is not None}
