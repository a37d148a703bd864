"""The formats that commands write for other programs: one row of `EXPORTERS` each.

A new format is a module with a function that writes it, in ``spyglass/export`` unless it needs a
layer above, and a row here. The rows name modules and import none before something is written, so
every layer may use this table.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, BinaryIO, Literal

__all__ = [
    "EXPORTERS", "Exporter", "Takes", "dump_exporters", "exporter", "exporter_of_path", "text_exporters",
]  # fmt: skip

#: What a format is made from: `spyglass.model.Snapshot`, `spyglass.analysis.snapshot_diff.Difference`,
#: `spyglass.process_list.ProcessList`, `spyglass.tui.view_state.Model`, `spyglass.analysis.wait_view.WaitView`,
#: `spyglass.analysis.memory_view.MemoryView`, `spyglass.profile.Profile`, `spyglass.analysis.profile_diff.ProfileDifference`,
#: `spyglass.site_profile.SiteProfile`, `spyglass.analysis.site_diff.SiteDifference`,
#: `spyglass.fleet_answer.FleetAnswer`, `spyglass.host_report.HostReport`.
Takes = Literal[
    "snapshot", "difference", "processes", "view", "waits", "memory", "profile", "profile difference",
    "sites", "site difference", "fleet answer", "host report",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Exporter:
    """A format of one kind of thing.

    `writer` is the ``module:function`` that is called with the thing, a binary stream, and options of
    its own. `is_text`: it can be written to a terminal; then commands have an option of its `name`,
    with the help text `description`, unless `only_stacks`: it has the stacks of goroutines and nothing
    else, so that it cannot be read back, and ``spyglass dump`` alone writes it. `extensions` are of the
    files that have it.
    """

    name: str
    takes: Takes
    extensions: tuple[str, ...]
    writer: str
    is_text: bool
    description: str
    only_stacks: bool = False

    def write(self, thing: Any, stream: BinaryIO, **options: Any) -> None:
        """Write `thing` to `stream`, which stays open. Raises `OSError`."""
        self.load()(thing, stream, **options)

    def load(self) -> Callable[..., None]:
        """Import the function that writes it."""
        module, _, function = self.writer.partition(":")
        found: Callable[..., None] = getattr(import_module(module), function)
        return found


EXPORTERS = (
    Exporter(
        "json", "snapshot", (".json",), "spyglass.export.snapshot_writer:write_json",
        True, "A JSON document (spyglass.snapshot/1).",
    ),
    Exporter(
        "json.gz", "snapshot", (".json.gz", ".gz"), "spyglass.export.snapshot_writer:write_gzip",
        False, "The JSON document, compressed by gzip.",
    ),
    Exporter(
        "json.zst", "snapshot", (".json.zst", ".zst"), "spyglass.export.snapshot_writer:write_zstd",
        False, "The JSON document, compressed by zstd.",
    ),
    Exporter(
        "html", "snapshot", (".html", ".htm"), "spyglass.report.page:write_page",
        False, "A self-contained HTML page.",
    ),
    Exporter(
        "folded", "snapshot", (".folded",), "spyglass.export.folded:write_folded",
        True, "Folded stacks, for flame graphs.", only_stacks=True,
    ),
    Exporter(
        "pprof", "snapshot", (".pb.gz", ".pprof"), "spyglass.export.pprof:write_pprof",
        False, "A goroutine profile, for go tool pprof.", only_stacks=True,
    ),
    Exporter(
        "json", "difference", (".json",), "spyglass.export.diff_document:write_difference",
        True, "A JSON document (spyglass.diff/1).",
    ),
    Exporter(
        "json", "processes", (".json",), "spyglass.export.ps_document:write_processes",
        True, "A JSON document (spyglass.ps/1).",
    ),
    Exporter(
        "json", "view", (".jsonl",), "spyglass.tui.plain:write_json_line",
        True, "A line of JSON for each frame (spyglass.top/1).",
    ),
    Exporter(
        "json", "waits", (".json",), "spyglass.export.waits_document:write_waits",
        True, "A JSON document (spyglass.waits/1).",
    ),
    Exporter(
        "dot", "waits", (".dot", ".gv"), "spyglass.export.waits_dot:write_dot",
        True, "The graph in Graphviz's language.",
    ),
    Exporter(
        "json", "memory", (".json",), "spyglass.export.memory_document:write_memory",
        True, "A JSON document (spyglass.memory/1).",
    ),
    Exporter(
        "pprof", "profile", (".pb.gz", ".pprof"), "spyglass.export.profile_pprof:write_pprof",
        False, "A profile for go tool pprof, Pyroscope and Parca.", only_stacks=True,
    ),
    Exporter(
        "speedscope", "profile", (".speedscope.json",), "spyglass.export.speedscope:write_speedscope",
        True, "A profile for speedscope.", only_stacks=True,
    ),
    Exporter(
        "folded", "profile", (".folded",), "spyglass.export.profile_folded:write_folded",
        True, "Folded stacks with their times in ns, for flame graphs.", only_stacks=True,
    ),
    Exporter(
        "html", "profile", (".html", ".htm"), "spyglass.report.profile_page:write_page",
        False, "An interactive flame graph, a self-contained HTML page.", only_stacks=True,
    ),
    Exporter(
        "svg", "profile", (".svg",), "spyglass.report.profile_svg:write_svg",
        True, "A flame graph as a picture.", only_stacks=True,
    ),
    Exporter(
        "json", "profile", (".json",), "spyglass.export.profile_document:write_json",
        True, "A JSON document (spyglass.profile/1), which turns into any other format later.",
    ),
    Exporter(
        "json.gz", "profile", (".json.gz",), "spyglass.export.profile_document:write_gzip",
        False, "The JSON document, compressed by gzip.",
    ),
    Exporter(
        "json", "profile difference", (".json",),
        "spyglass.export.profile_diff_document:write_profile_difference",
        True, "A JSON document (spyglass.profile-diff/1).",
    ),
    Exporter(
        "html", "profile difference", (".html", ".htm"), "spyglass.report.profile_diff_page:write_page",
        False, "A flame graph coloured by what changed, a self-contained HTML page.",
    ),
    Exporter(
        "pprof", "sites", (".pb.gz", ".pprof"), "spyglass.export.site_pprof:write_pprof",
        False, "A heap, block or mutex profile for go tool pprof.", only_stacks=True,
    ),
    Exporter(
        "folded", "sites", (".folded",), "spyglass.export.site_folded:write_folded",
        True, "Folded stacks with bytes in use, or ns, for flame graphs.", only_stacks=True,
    ),
    Exporter(
        "html", "sites", (".html", ".htm"), "spyglass.report.site_page:write_page",
        False, "An interactive flame graph, a self-contained HTML page.", only_stacks=True,
    ),
    Exporter(
        "json", "sites", (".json",), "spyglass.export.site_document:write_json",
        True, "A JSON document (spyglass.sites/1).",
    ),
    Exporter(
        "json.gz", "sites", (".json.gz",), "spyglass.export.site_document:write_gzip",
        False, "The JSON document, compressed by gzip.",
    ),
    Exporter(
        "json", "site difference", (".json",), "spyglass.export.site_diff_document:write_difference",
        True, "A JSON document (spyglass.site-diff/1).",
    ),
    Exporter(
        "html", "site difference", (".html", ".htm"), "spyglass.report.site_diff_page:write_page",
        False, "A flame graph coloured by what changed, a self-contained HTML page.",
    ),
    Exporter(
        "json", "fleet answer", (".json",), "spyglass.export.fleet_answer_document:write_fleet_answer",
        True, "A JSON document (spyglass.fleet-answer/1).",
    ),
    Exporter(
        "json", "host report", (".json",), "spyglass.export.host_document:write_report",
        True, "A JSON document (spyglass.doctor/1).",
    ),
)  # fmt: skip


def exporter(takes: Takes, name: str) -> Exporter:
    """The format of `takes` that is called `name`; `KeyError` if there is none."""
    for each in EXPORTERS:
        if (each.takes, each.name) == (takes, name):
            return each
    raise KeyError((takes, name))


def text_exporters(takes: Takes) -> list[Exporter]:
    """The formats of `takes` that can be written to a terminal and have all of it."""
    fitting = (each for each in EXPORTERS if each.takes == takes)
    return [each for each in fitting if each.is_text and not each.only_stacks]


def dump_exporters() -> list[Exporter]:
    """The formats that ``spyglass dump`` writes beside text."""
    stacks = [each for each in EXPORTERS if each.takes == "snapshot" and each.only_stacks]
    return [*text_exporters("snapshot"), *stacks]


def exporter_of_path(takes: Takes, path: str | os.PathLike[str]) -> Exporter | None:
    """The format of `takes` that the longest fitting extension of `path` names, None if it names none."""
    path = os.fspath(path)
    fitting = [
        (len(extension), each)
        for each in EXPORTERS
        for extension in each.extensions
        if each.takes == takes and path.endswith(extension)
    ]
    return max(fitting, key=lambda item: item[0])[1] if fitting else None
