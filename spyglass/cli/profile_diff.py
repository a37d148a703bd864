"""``spyglass diff`` of two saved profiles."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from spyglass.cli.sources import SavedSource, Source
from spyglass.errors import SpyglassError
from spyglass.formats import exporter, exporter_of_path
from spyglass.words.escape import visible

if TYPE_CHECKING:
    from spyglass.analysis.profile_diff import ProfileDifference
    from spyglass.profile import Profile

__all__ = ["are_profiles", "show_profile_diff"]


def are_profiles(sources: Sequence[Source]) -> bool:
    """Whether all of `sources` are saved profiles. Raises `SpyglassError` if only some are."""
    saved = [each for each in sources if isinstance(each, SavedSource) and each.path != "-"]
    if not saved:
        return False
    from spyglass.export.profile_reader import is_profile

    found = [each for each in saved if is_profile(each.path)]
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
    from spyglass.analysis.profile_diff import profile_difference

    before, after = (_loaded(each) for each in sources)
    if not force:
        _check(before, after)
    found = profile_difference(before, after)
    if output is not None or as_json:
        _write(found, output)
    else:
        _show(found, everything, limit)
    for profile in (before, after):
        _warn(profile)


def _show(found: ProfileDifference, everything: bool, limit: int | None) -> None:
    from spyglass.cli.terminal import Terminal
    from spyglass.render.profile_diff_view import render

    terminal = Terminal()
    terminal.show(render(found, terminal.view(everything=everything, limit=limit)))


def _write(found: ProfileDifference, output: str | None) -> None:
    """Write it in the format of the extension of `output`; None: as JSON to standard output."""
    from spyglass.cli.output_file import written_to

    if output is None:
        format_ = exporter("profile difference", "json")
    elif named := exporter_of_path("profile difference", output):
        format_ = named
    else:
        raise click.UsageError(
            "the output of two profiles is a page: give a name that ends with .html, or with .json"
        )
    with written_to(None if output is None else Path(output)) as stream:
        format_.write(found, stream)


def _loaded(source: Source) -> Profile:
    from spyglass.export.decompress import MAX_BYTES
    from spyglass.export.profile_reader import load_profile

    assert isinstance(source, SavedSource)
    return load_profile(source.path, max_bytes=source.max_bytes or MAX_BYTES)


def _check(before: Profile, after: Profile) -> None:
    from spyglass.analysis.same_process import other_program

    hint = "--force compares them anyway"
    if why := other_program(before.process, after.process):
        raise SpyglassError(f"the profiles are of different programs: {why}", hint)
    if before.mode != after.mode:
        raise SpyglassError(f"the profiles are of modes {before.mode} and {after.mode}", hint)


def _warn(profile: Profile) -> None:
    from spyglass.words.profile_account import account_warnings, recording_line

    for warning in account_warnings(profile):
        click.echo(visible(f"warning: {recording_line(profile)}: {warning}"), err=True)
