"""The options that filter goroutines."""

from __future__ import annotations

import re

import click
import pytest

from spyglass import cli
from spyglass.cli.filter_options import GoroutineFilter, filter_options

#: No process has it: whatever is right with the options, nothing is read.
NO_PID = str(1 << 22)


def failed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What is said of wrong usage."""
    code = cli.run([*arguments, "--pid", NO_PID])
    captured = capsys.readouterr()
    assert (code, captured.out, captured.err.count("\n")) == (2, "", 1)
    return captured.err.removeprefix("spyglass: ").removeprefix("Invalid value for ")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--min-wait", "5x"], "'--min-wait': '5x' is not a duration such as 90s, 5m or 1h30m."),
        (["--min-wait", "5"], "'--min-wait': '5' is not a duration"),
        (["--min-wait", ""], "'--min-wait': '' is not a duration"),
        (["--min-wait", "-5m"], "'--min-wait': '-5m' is not a duration"),
        (["--min-wait", "1h 30m"], "'--min-wait': '1h 30m' is not a duration"),
        (["--function", "("], "'--function': '(' is not a regular expression: missing )"),
        (["--creator", "*"], "'--creator': '*' is not a regular expression: nothing to repeat"),
        (["--label", "tenant"], "'--label': 'tenant' is not KEY=VALUE"),
        (["--goroutine", "0"], "'--goroutine': 0 is not a goroutine id"),
        (["--goroutine", "9" * 30], f"'--goroutine': {'9' * 30} is not a goroutine id"),
        (["--goroutine", "x"], "'--goroutine': 'x' is not a valid integer"),
        (["--limit", "0"], "'--limit': 0 is not in the range x>=1"),
    ],
)
@pytest.mark.parametrize("command", ["dump", "summary"])
def test_what_cannot_be_asked_for_is_wrong_usage(
    capsys: pytest.CaptureFixture[str], command: str, arguments: list[str], complaint: str
) -> None:
    assert failed(capsys, command, *arguments).startswith(complaint)


@pytest.mark.parametrize("kind", ["color", "", "label", "label:", "Stack", "stack:x"])
def test_groups_of_nothing_known_are_wrong_usage(
    capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    complaint = f"'--group': {kind!r} is not stack, function, creator, state or label:KEY"
    assert failed(capsys, "dump", "--group", kind).startswith(complaint)


def test_a_document_has_no_groups(capsys: pytest.CaptureFixture[str]) -> None:
    assert failed(capsys, "dump", "--json", "--group").startswith(
        "--group requires the format text"
    )


@pytest.mark.parametrize(
    "group", [["--group"], ["--group", "creator"], ["--group=label:a:b"], ["--group", "label:x"]]
)
def test_groups_that_there_are(capsys: pytest.CaptureFixture[str], group: list[str]) -> None:
    assert cli.run(["dump", *group, "--pid", NO_PID]) == 1
    assert capsys.readouterr().err.startswith(f"spyglass: there is no process {NO_PID}")


def chosen(*arguments: str) -> GoroutineFilter:
    goroutine_filters: list[GoroutineFilter] = []

    @click.command()
    @filter_options
    def command(goroutine_filter: GoroutineFilter) -> None:
        goroutine_filters.append(goroutine_filter)

    command.main(arguments, standalone_mode=False)
    return goroutine_filters[0]


def test_nothing_asked_for() -> None:
    goroutine_filter = chosen()
    assert not goroutine_filter.criteria
    assert (goroutine_filter.system, goroutine_filter.limit) == (None, None)
    assert not goroutine_filter.includes_system()
    assert goroutine_filter.includes_system(True)


def test_everything_asked_for() -> None:
    goroutine_filter = chosen(
        *("--goroutine", "7", "--goroutine", "9", "--state", "select", "--state", "IO wait"),
        *("--function", "a.*b", "--creator", "c", "--label", "k=v=w", "--label", "=", "--limit", "3"),
    )  # fmt: skip
    assert goroutine_filter.criteria.ids == (7, 9)
    assert goroutine_filter.criteria.states == ("select", "IO wait")
    assert goroutine_filter.criteria.function == re.compile("a.*b")
    assert goroutine_filter.criteria.creator == re.compile("c")
    assert goroutine_filter.criteria.labels == (("k", "v=w"), ("", ""))
    assert goroutine_filter.limit == 3
    assert goroutine_filter.includes_system()


@pytest.mark.parametrize(
    ("option", "otherwise", "included"),
    [("--system", False, True), ("--no-system", True, False), ("--no-system", False, False)],
)
def test_the_runtimes_own(option: str, otherwise: bool, included: bool) -> None:
    assert chosen(option).includes_system(otherwise) is included


@pytest.mark.parametrize(
    ("span", "span_ns"),
    [
        ("90s", 90 * 10**9),
        ("5m", 300 * 10**9),
        ("1h30m", 5400 * 10**9),
        ("1.5h", 5400 * 10**9),
        ("2d", 172_800 * 10**9),
        ("100ms", 10**8),
        ("1s5us3ns", 10**9 + 5003),
        ("2µs", 2000),
        ("0s", 0),
        (".5s", 5 * 10**8),
        ("9" * 400 + "h", (1 << 63) - 1),
    ],
)
def test_durations(span: str, span_ns: int) -> None:
    assert chosen("--min-wait", span).criteria.min_wait_ns == span_ns
