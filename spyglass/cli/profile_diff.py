"""``spyglass diff`` of two saved profiles."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from spyglass.cli.sources import SavedSource, Source
from spyglass.errors import SpyglassError
from spyglass.escape import visible
from spyglass.formats import Takes, exporter, exporter_of_path

if TYPE_CHECKING:
    from rich.text import Text

    from spyglass.model import Process
    from spyglass.profile import Profile
    from spyglass.site_profile import SiteProfile

__all__ = ["are_profiles", "show_profile_diff"]

_FORCE = "--force compares them anyway"


def are_profiles(sources: Sequence[Source]) -> bool:
    """Whether all of `sources` are saved profiles. Raises `SpyglassError` if only some are."""
    saved = [each for each in sources if isinstance(each, SavedSource) and each.path != "-"]
    if not saved:
        return False
    from spyglass.export.site_reader import is_any_profile

    found = [each for each in saved if is_any_profile(each.path)]
    if missing := [each.path for each in saved if not os.path.exists(each.path)]:
        raise SpyglassError(f"no such file: {missing[0]}")
    if found and len(found) < len(sources):
        raise SpyglassError(
            f"{found[0].path} is a profile, and other targets are not", "compare two profiles"
        )
    return bool(found)


def show_profile_diff(
    sources: Sequence[Source],
    *,
    everything: bool,
    limit: int | None,
    force: bool,
    as_json: bool,
    output: str | None,
) -> None:
    """Print what changed from the first to the second of two saved profiles, or write it to `output`."""
    if len(sources) != 2:
        raise click.UsageError("two profiles are compared, not more")
    if as_json and output is not None:
        raise click.UsageError(f"--json and --output {output} exclude each other")
    from spyglass.profile import Profile

    before, after = (_loaded(each) for each in sources)
    if isinstance(before, Profile) and isinstance(after, Profile):
        shown = _compared(before, after, force=force)
    elif isinstance(before, Profile) or isinstance(after, Profile):
        raise SpyglassError("one is a profile of time, the other is not", "compare two of one kind")
    else:
        shown = _compared_sites(before, after, force=force)
    if output is not None or as_json:
        _write(shown, output)
    else:
        _show(shown, everything, limit)
    if isinstance(before, Profile) and isinstance(after, Profile):
        for profile in (before, after):
            _warn(profile)


class _Compared(NamedTuple):
    """A difference, what formats it is written in, and what renders it for a terminal."""

    difference: object
    takes: Takes
    render: Callable[..., Iterable[Text]]


def _compared(before: Profile, after: Profile, *, force: bool) -> _Compared:
    from spyglass.analysis.profile_diff import profile_difference
    from spyglass.render.profile_diff_view import render

    if not force:
        _check_program(before.process, after.process)
        if before.mode != after.mode:
            words = f"the profiles are of modes {before.mode} and {after.mode}"
            raise SpyglassError(words, _FORCE)
    return _Compared(profile_difference(before, after), "profile difference", render)


def _compared_sites(before: SiteProfile, after: SiteProfile, *, force: bool) -> _Compared:
    from spyglass.analysis.site_diff import site_difference
    from spyglass.render.site_diff_view import render

    if not force:
        _check_program(before.process, after.process)
        if {before.kind, after.kind} == {"block", "mutex"}:
            words = f"the profiles are of kinds {before.kind} and {after.kind}"
            raise SpyglassError(words, _FORCE)
    return _Compared(site_difference(before, after), "site difference", render)


def _check_program(before: Process, after: Process) -> None:
    from spyglass.analysis.same_process import other_program

    if why := other_program(before, after):
        raise SpyglassError(f"the profiles are of different programs: {why}", _FORCE)


def _show(shown: _Compared, everything: bool, limit: int | None) -> None:
    from spyglass.cli.terminal import Terminal

    terminal = Terminal()
    view = terminal.view(everything=everything, limit=limit)
    terminal.show(shown.render(shown.difference, view))


def _write(shown: _Compared, output: str | None) -> None:
    """Write it in the format of the extension of `output`; None: as JSON to standard output."""
    from spyglass.cli.output_file import written_to

    if output is None:
        format_ = exporter(shown.takes, "json")
    elif named := exporter_of_path(shown.takes, output):
        format_ = named
    else:
        raise click.UsageError(
            "the output of two profiles is a page: give a name that ends with .html, or with .json"
        )
    with written_to(None if output is None else Path(output)) as stream:
        format_.write(shown.difference, stream)


def _loaded(source: Source) -> Profile | SiteProfile:
    from spyglass.export.decompress import MAX_BYTES
    from spyglass.export.site_reader import load_any_profile

    assert isinstance(source, SavedSource)
    return load_any_profile(source.path, max_bytes=source.max_bytes or MAX_BYTES)


def _warn(profile: Profile) -> None:
    from spyglass.words.profile_account import account_warnings, recording_line

    for warning in account_warnings(profile):
        click.echo(visible(f"warning: {recording_line(profile)}: {warning}"), err=True)
