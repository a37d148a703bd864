"""``spyglass ps``: the Go processes of a host, one per line."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator

from rich.cells import cell_len
from rich.text import Text

from spyglass.escape import visible
from spyglass.process_list import GoProcess, ProcessList, UnreadableProcess
from spyglass.render.cropping import cropped, tail_in
from spyglass.render.table_columns import Column
from spyglass.render.text_table import table
from spyglass.render.view_options import View
from spyglass.words.containers import container_text, pod_text
from spyglass.words.units import UNKNOWN, age, count, size

__all__ = ["render"]

#: Characters of a container id that are shown, as by ``docker ps``.
_ID_WIDTH = 12
_NAME_WIDTH = 24
_USER_WIDTH = 16
_VERSION_WIDTH = 16

#: Narrower terminals leave out limits, the average use of processors, threads, stripped and container.
_WIDE = 110

#: The version that Go records for a main module built from a working directory.
_NO_VERSION = "(devel)"

#: The package that Go records for a program built from a list of files.
_NO_PACKAGE = "command-line-arguments"


def render(listing: ProcessList, view: View) -> Iterator[Text]:
    """The table of Go processes, then the unreadable ones; no line is wider than `View.width`."""
    if listing.processes:
        yield from table(_columns(listing.processes, view), view.width, styled=view.styled)
    for line in (_totals(listing), *map(_unreadable, listing.unreadable)):
        yield Text(line if view.width is None else cropped(line, view.width), "dim")


def _unreadable(process: UnreadableProcess) -> str:
    return f"not readable: {process.pid} {visible(process.name)}: {visible(process.why)}"


def _totals(listing: ProcessList) -> str:
    processes, unreadable = len(listing.processes), len(listing.unreadable)
    words = f"{count(processes) if processes else 'no'} Go process{'' if processes == 1 else 'es'}"
    return f"{words}, {count(unreadable)} not readable" if unreadable else words


def _columns(processes: tuple[GoProcess, ...], view: View) -> list[Column]:
    def cells(words: Callable[[GoProcess], str | None], width: int | None = None) -> list[str]:
        texts = [visible(words(process) or UNKNOWN) for process in processes]
        return texts if view.width is None or width is None else [cropped(t, width) for t in texts]

    columns = [
        Column("pid", cells(lambda p: str(p.pid)), right=True, style="bold"),
        Column("user", cells(lambda p: p.user, _USER_WIDTH)),
        Column("go", cells(lambda p: p.go_version, _VERSION_WIDTH)),
        Column("age", cells(lambda p: age(p.age_seconds)), right=True),
        Column("rss", cells(lambda p: size(p.rss_bytes)), right=True),
        Column("cpu", cells(lambda p: _cores(p.cpu_cores)), right=True),
    ]
    if view.width is None or view.width >= _WIDE:
        columns.append(Column("avg", cells(lambda p: _cores(p.average_cores)), right=True))
        if any(process.memory_limit_bytes is not None for process in processes):
            columns.append(Column("rss limit", cells(_memory_limit), right=True))
        if any(process.cpu_limit_cores is not None for process in processes):
            columns.append(Column("cpu limit", cells(_cpu_limit), right=True))
        columns.append(Column("threads", cells(lambda p: count(p.threads)), right=True))
        columns.append(Column("stripped", cells(lambda p: "yes" if p.stripped else "no")))
        if any(process.container for process in processes):
            containers = cells(lambda p: _container(p, whole=view.width is None), _NAME_WIDTH)
            columns.append(Column("container", containers))
    if any(process.pod_uid for process in processes):
        columns.append(Column("pod", cells(lambda p: pod_text(p) or "-"), weight=3, fit=tail_in))
    return [
        *columns,
        Column("module", cells(_module), weight=2, fit=_module_in),
        Column("command", cells(_command), weight=3, fit=_command_in),
    ]


def _container(process: GoProcess, *, whole: bool) -> str:
    text = container_text(process) or "-"
    return text if whole or process.container_name else cropped(text, _ID_WIDTH)


def _memory_limit(process: GoProcess) -> str:
    limit = process.memory_limit_bytes
    return "-" if limit is None else size(limit)


def _cpu_limit(process: GoProcess) -> str:
    limit = process.cpu_limit_cores
    return "-" if limit is None else f"{limit:g}"


def _cores(cores: float | None) -> str:
    return UNKNOWN if cores is None else f"{cores:.2f}"


def _module(process: GoProcess) -> str:
    if process.module is None:
        return process.package if process.package and process.package != _NO_PACKAGE else ""
    version = process.module_version if process.module_version != _NO_VERSION else None
    return " ".join(filter(None, (process.module, version)))


def _module_in(module: str, width: int) -> str:
    """A module and its version in at most `width` cells: first the version is dropped, then the path's
    beginning."""
    if cell_len(module) > width:
        module = module.partition(" ")[0]
    while cell_len(module) > width and "/" in module:
        module = module.partition("/")[2]
    return tail_in(module, width)


def _command_in(command: str, width: int) -> str:
    """A command line in at most `width` cells: the program loses its directory, then the end is cut."""
    if cell_len(command) > width:
        program, *arguments = command.split(" ", 1)
        command = " ".join([program.rpartition("/")[2], *arguments])
    return cropped(command, width)


def _command(process: GoProcess) -> str:
    words = process.cmdline or ((process.exe,) if process.exe else ())
    return shlex.join(map(visible, words))
