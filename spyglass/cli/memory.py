"""``spyglass memory``: where the memory of a process goes, and who allocated it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from spyglass.cli.common_options import format_options
from spyglass.cli.memory_objects import ObjectOptions, object_options, show_objects
from spyglass.cli.memory_profiles import (
    ProfileOptions,
    contention_profile,
    heap_profile,
    profile_options,
    write_sites,
)
from spyglass.cli.memory_watch import WatchOptions, watch_options
from spyglass.cli.source_options import source_options
from spyglass.cli.sources import CoreSource, ProcessSource, SavedSource, Source
from spyglass.errors import SpyglassError
from spyglass.escape import visible

if TYPE_CHECKING:
    from spyglass.formats import Exporter
    from spyglass.heap_profile import HeapProfile
    from spyglass.inspector import Inspector
    from spyglass.memory_account import MemoryAccount
    from spyglass.model import Problem, Snapshot

__all__ = ["memory"]


@click.command("memory", short_help="Show where memory goes, and who allocated it.")
@source_options
@profile_options
@object_options
@watch_options
@click.option(
    "--all", "everything", is_flag=True, help="Show all rows, not only as many as fit the terminal."
)
@format_options("memory")
def memory(
    source: Source,
    profiles: ProfileOptions,
    objects: ObjectOptions,
    watch: WatchOptions,
    everything: bool,
    exporter: Exporter | None,
) -> None:
    """Show where the memory of a Go process goes: findings, what its resident memory is of, what the Go runtime
    accounts for, its garbage collections and, with --heap, which calls allocated what is in use.

    The parts sum up to resident memory. A page of the heap counts if it is resident, for what its span is used; all else is
    told by mapping. What may be of another part is shown as doubtful.

    Limits are those of control groups, resources, Go and the host; page cache that the kernel drops first is not counted as
    used. With --watch it is said when one is met: an interval, from how the heap, its goal and the rest grow. Ctrl-C ends it early.

    The heap profile is what net/http/pprof would give, of programs without an endpoint too. The runtime samples
    one allocation in 512 KiB unless the program chooses another rate; numbers are what the samples stand
    for. In a program that cannot write a heap profile the linker switches sampling off: then it says so.
    TARGET is a pid, the name of a Go process, a core file, or a saved snapshot, which has the account alone. The process is not
    stopped.

    \b
      spyglass memory 1234
      spyglass memory 1234 --watch 30s                  when will it be killed?
      spyglass memory 1234 --fail-on 'headroom<10%'     exit status 3 if less is left of a limit
      spyglass memory 1234 --heap
      spyglass memory 1234 --heap -o heap.pb.gz         then: go tool pprof -http : heap.pb.gz
      spyglass memory 1234 --heap -o heap.html          a flame graph
      spyglass diff before.pb.gz after.pb.gz            what grew between two heap profiles
      spyglass memory 1234 --types                      the objects in the heap by type
      spyglass memory 1234 --retain main.Config         what keeps objects of this type alive
      spyglass memory 1234 --mutex                      who held the locks that others waited for
    """
    profiles.format()
    if objects.wanted and (profiles.heap or profiles.contention is not None):
        raise click.UsageError("--spans, --types and --retain cannot be combined with profiles")
    if exporter is not None and profiles.contention is not None:
        raise click.UsageError(
            "--json is of the account, of --heap, and of objects; -o writes block and mutex profiles"
        )
    if exporter is not None and profiles.output is not None:
        raise click.UsageError("--json writes to standard output; -o writes the heap profile alone")
    if watch.seconds is not None and not isinstance(source, ProcessSource):
        raise click.UsageError("--watch needs a running process")
    if watch.wanted and (objects.wanted or profiles.contention or profiles.output):
        raise click.UsageError("--watch and --fail-on are about the account of memory")
    if isinstance(source, SavedSource):
        snapshot = _saved(source, profiles, objects)
        _show(snapshot, None, None, exporter, everything=everything)
        watch.judge(snapshot.limits)
        return
    assert isinstance(source, ProcessSource | CoreSource)
    with _opened(source) as program:
        if objects.wanted:
            problems = _objects(program, objects, exporter, everything)
        elif profiles.contention is not None:
            problems = _contention(program, source, profiles, everything)
        else:
            problems = _memory(program, source, profiles, watch, exporter, everything)
    for problem in problems:
        click.echo(visible(f"{problem.kind}: {problem.subject}: {problem.detail}"), err=True)


def _saved(source: SavedSource, profiles: ProfileOptions, objects: ObjectOptions) -> Snapshot:
    """The saved snapshot, which has the account alone."""
    if objects.wanted or profiles.heap or profiles.contention is not None:
        raise click.UsageError(
            "a saved snapshot has no heap and no profiles; give a process or a core"
        )
    return source.snapshot("top")


def _memory(
    program: Inspector,
    source: Source,
    profiles: ProfileOptions,
    watch: WatchOptions,
    exporter: Exporter | None,
    everything: bool,
) -> Sequence[Problem]:
    profile = heap_profile(program, source, profiles.as_of) if profiles.heap else None
    if profiles.output is None or profile is None:
        for account in watch.accounts(program):
            _show(program.snapshot("top"), account, profile, exporter, everything=everything)
    elif profile.why_not is not None:
        raise SpyglassError(f"there is no heap profile: {profile.why_not}")
    else:
        write_sites(profile.by_site(), profiles)
    return profile.problems if profile is not None else ()


def _objects(
    program: Inspector, objects: ObjectOptions, exporter: Exporter | None, everything: bool
) -> Sequence[Problem]:
    found = objects.read(program)
    if exporter is None:
        show_objects(found, everything=everything)
        return found.problems
    from spyglass.analysis.memory_view import memory_view

    view = memory_view(program.snapshot("top"), program.memory_account(), objects=found)
    exporter.write(view, sys.stdout.buffer)
    return found.problems


def _contention(
    program: Inspector, source: Source, profiles: ProfileOptions, everything: bool
) -> Sequence[Problem]:
    from spyglass.cli.terminal import Terminal
    from spyglass.render.site_view import render

    assert profiles.contention is not None
    profile = contention_profile(program, source, profiles.contention)
    if profiles.output is None:
        terminal = Terminal()
        terminal.show(render(profile, terminal.view(everything=everything)))
    elif not len(profile):
        raise SpyglassError(f"there is nothing to write: {profile.remark}")
    else:
        write_sites(profile, profiles)
    return profile.problems


def _opened(source: ProcessSource | CoreSource) -> Inspector:
    from spyglass import attach, open_core
    from spyglass.memory.allocator import keep_freed_memory

    keep_freed_memory()
    if isinstance(source, ProcessSource):
        return attach(source.pid)
    try:
        return open_core(source.path, source.exe)
    except FileNotFoundError:
        raise SpyglassError(f"no such file: {source.path}") from None


def _show(
    snapshot: Snapshot,
    account: MemoryAccount | None,
    profile: HeapProfile | None,
    exporter: Exporter | None,
    *,
    everything: bool,
) -> None:
    """Print `account`, or that which was saved with `snapshot`."""
    from spyglass.analysis.memory_view import memory_view

    account = account or snapshot.account
    if account is None:
        raise SpyglassError("the snapshot was saved without an account of memory")
    view = memory_view(snapshot, account, profile)
    if exporter is not None:
        exporter.write(view, sys.stdout.buffer)
        return
    from spyglass.cli.terminal import Terminal
    from spyglass.render.memory_view import render

    terminal = Terminal()
    terminal.show(render(view, terminal.view(everything=everything)))
