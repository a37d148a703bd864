"""The table of formats: what it says of each is so."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from click.testing import CliRunner

from spyglass import formats
from spyglass.cli.summary import summary
from spyglass.export.snapshot_file import save
from spyglass.formats import (
    EXPORTERS,
    Exporter,
    dump_exporters,
    exporter,
    exporter_of_path,
    text_exporters,
)
from tests.saved import with_everything


@pytest.mark.parametrize("each", EXPORTERS, ids=lambda each: f"{each.takes}-{each.name}")
def test_every_writer_is_there(each: Exporter) -> None:
    module, _, function = each.writer.partition(":")
    _thing, stream, *_ = inspect.signature(getattr(import_module(module), function)).parameters
    assert stream == "stream"
    assert exporter(each.takes, each.name) is each
    assert each.description.endswith(".")


def test_an_extension_names_a_format() -> None:
    for path, name in (
        ("a.json", "json"), ("a.json.gz", "json.gz"), ("a.gz", "json.gz"), ("a.json.zst", "json.zst"),
        ("a.html", "html"), ("a.htm", "html"),
    ):  # fmt: skip
        assert exporter_of_path("snapshot", Path(path)) == exporter("snapshot", name)
    for path, name in (("a.pb.gz", "pprof"), ("a.pprof", "pprof"), ("a.folded", "folded")):
        assert exporter_of_path("snapshot", path) == exporter("snapshot", name)
    assert exporter_of_path("snapshot", "a.txt") is None
    assert exporter_of_path("processes", "a.html") is None
    with pytest.raises(KeyError):
        exporter("processes", "html")


def test_dump_writes_what_can_be_read_back_and_what_has_stacks_only() -> None:
    assert [each.name for each in dump_exporters()] == ["json", "folded", "pprof"]


def test_the_table_imports_none_of_the_writers() -> None:
    code = "import sys, spyglass.formats; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    imported = set(done.stdout.split())
    assert imported.isdisjoint(each.writer.partition(":")[0] for each in EXPORTERS)
    assert "numpy" not in imported


def test_a_row_is_all_that_a_new_format_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ids.py").write_text(
        "def write_ids(snapshot, stream):\n"
        "    stream.write(b' '.join(b'%d' % each.id for each in snapshot))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    row = Exporter("ids", "snapshot", (".ids",), "ids:write_ids", True, "The ids of goroutines.")
    monkeypatch.setattr(formats, "EXPORTERS", (*EXPORTERS, row))
    snapshot = with_everything()
    expected = " ".join(str(each.id) for each in snapshot if each.status != "dead")
    save(snapshot, tmp_path / "x.ids")
    assert (tmp_path / "x.ids").read_text() == " ".join(str(each.id) for each in snapshot)
    save(snapshot, tmp_path / "x.json")
    assert text_exporters("snapshot") == [exporter("snapshot", "json"), row]
    monkeypatch.delitem(sys.modules, "spyglass.cli.summary")  # options are made by importing
    command = import_module("spyglass.cli.summary").summary
    done = CliRunner().invoke(command, [str(tmp_path / "x.json"), "--ids"])
    assert (done.exit_code, done.stdout) == (0, expected)
    assert CliRunner().invoke(summary, ["--ids"]).exit_code == 2
