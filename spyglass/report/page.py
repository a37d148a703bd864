"""The report: template, style, script, data and snapshot in one HTML file."""

from __future__ import annotations

import hashlib
import io
import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files
from typing import Any, BinaryIO

from spyglass.export.snapshot_file import default_name
from spyglass.export.snapshot_writer import write_gzip
from spyglass.model import Snapshot
from spyglass.report.markup import joined
from spyglass.report.page_data import report_data
from spyglass.report.page_facts import memory, program, program_name, scheduler, taken
from spyglass.report.page_findings import findings_list
from spyglass.report.page_waits import waits_link, waits_section
from spyglass.version import __version__
from spyglass.words.units import moment

__all__ = ["asset", "filled", "policy", "report", "script_json", "write_page"]

#: The parts of the page's script; each depends on those before it.
SCRIPTS = (
    "words.js", "data.js", "selection.js", "table.js", "charts.js", "waits.js", "groups.js", "details.js", "flame.js",
    "lists.js", "theme.js", "page.js",
)  # fmt: skip

#: More than a file has: a page is sent with a ticket, and grows by a third in base64.
_GZIP_LEVEL = 4
_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")
#: Escapes for characters that could end a script element or begin a comment in it; JSON reads them alike.
_IN_SCRIPT = str.maketrans({"<": r"\u003c", ">": r"\u003e", "&": r"\u0026"})


def report(snapshot: Snapshot) -> Iterator[str]:
    """The page of `snapshot` in pieces of Unicode text without surrogates.

    The page loads nothing and sends nothing. Its Content-Security-Policy makes the browser enforce
    that: only this style and this script, identified by their hashes, are allowed.
    """
    style, script = asset("page.css"), "".join(map(asset, SCRIPTS))
    contents: dict[str, Callable[[], str]] = {
        "policy": lambda: policy(style, script),
        "style": lambda: style,
        "script": lambda: script,
        "version": lambda: joined(__version__),
        "title": lambda: joined(_title(snapshot)),
        "name": lambda: joined(program_name(snapshot.process)),
        "taken": lambda: joined(taken(snapshot)),
        "findings": lambda: findings_list(snapshot),
        "waits_link": lambda: joined(waits_link(snapshot)),
        "waits": lambda: joined(waits_section(snapshot)),
        "program": lambda: program(snapshot),
        "scheduler": lambda: scheduler(snapshot),
        "memory": lambda: memory(snapshot),
        "data": lambda: script_json(report_data(snapshot)),
        "download": lambda: joined(default_name(snapshot, ".json")),
        "snapshot": lambda: _embedded(snapshot),
    }
    yield from filled("page.html", contents)


def filled(template: str, contents: Mapping[str, Callable[[], str]]) -> Iterator[str]:
    """The asset `template` in pieces, with `contents` in place of its placeholders."""
    # Split once: text of the program is never searched for placeholders.
    for index, piece in enumerate(_PLACEHOLDER.split(asset(template))):
        yield contents[piece]() if index % 2 else piece


def write_page(snapshot: Snapshot, stream: BinaryIO) -> None:
    """Write the page of `snapshot` in UTF-8."""
    for piece in report(snapshot):
        stream.write(piece.encode())


def policy(style: str, script: str) -> str:
    """The Content-Security-Policy that allows nothing but `style` and `script`."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {_source(script)}",
            f"style-src {_source(style)}",
            "connect-src 'none'",
            "img-src 'none'",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )


def script_json(value: Any) -> str:
    """`value` as ASCII JSON that is safe in a script element."""
    return json.dumps(value, separators=(",", ":")).translate(_IN_SCRIPT)


def _source(text: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def asset(name: str) -> str:
    """The text of a file in ``assets``."""
    return (files("spyglass.report") / "assets" / name).read_text("utf-8")


def _title(snapshot: Snapshot) -> str:
    name, pid = program_name(snapshot.process), snapshot.process.pid
    return f"{name} (pid {pid}), {moment(snapshot.taken_at)}: spyglass report"


def _embedded(snapshot: Snapshot) -> str:
    """The JSON document of `snapshot`, compressed, in base64."""
    packed = io.BytesIO()
    write_gzip(snapshot, packed, level=_GZIP_LEVEL)
    return b64encode(packed.getbuffer()).decode("ascii")
