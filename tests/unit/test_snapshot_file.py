"""Files with snapshots: there whole or not at all, and nobody else's to read."""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import resource
import stat
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zstandard

from spyglass.errors import SpyglassError
from spyglass.export import document
from spyglass.export.snapshot_file import default_name, new_directory, replacing, save
from spyglass.export.snapshot_reader import load
from spyglass.formats import exporter
from tests.children import NOBODY, forked, in_child, needs_root
from tests.saved import differences, with_everything
from tests.snapshots import PROCESS, make_snapshot

SUFFIXES = [".json", ".json.gz", ".json.zst", ".snapshot"]


@pytest.fixture(params=["files without names", "only files with names"])
def file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What file systems have; some that travel over a network have no files without names."""
    real_open = os.open

    def open_named(path: Path, flags: int, *arguments: int, **named: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return real_open(path, flags, *arguments, **named)

    if "only" in request.param:
        monkeypatch.setattr("spyglass.export.snapshot_file.os.open", open_named)
    return str(request.param)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_was_saved_is_loaded(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"incident{suffix}"
    save(with_everything(), path)
    assert differences(load(path), with_everything()) == []
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == [path.name]


def test_the_suffix_says_how_it_is_packed(tmp_path: Path) -> None:
    raw = {}
    for suffix in SUFFIXES:
        save(with_everything(), tmp_path / f"x{suffix}")
        raw[suffix] = (tmp_path / f"x{suffix}").read_bytes()
    expected = document(with_everything())
    assert json.loads(raw[".json"]) == expected
    assert json.loads(gzip.decompress(raw[".json.gz"])) == expected
    assert (
        json.loads(zstandard.ZstdDecompressor().stream_reader(raw[".json.zst"]).read()) == expected
    )
    assert raw[".snapshot"] == raw[".json.gz"]


@pytest.mark.usefixtures("file_system")
def test_what_was_there_is_replaced_whatever_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "incident.json"
    path.write_text("old")
    path.chmod(0o666)
    save(with_everything(), path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert differences(load(path), with_everything()) == []


@pytest.mark.usefixtures("file_system")
def test_a_link_is_replaced_not_followed(tmp_path: Path) -> None:
    """The directory may be somebody's who would like root to write elsewhere."""
    other, path = tmp_path / "other", tmp_path / "incident.json"
    other.write_text("precious")
    path.symlink_to(other)
    save(with_everything(), path)
    assert other.read_text() == "precious"
    assert not path.is_symlink()


@pytest.mark.parametrize("what", ["directory", "device", "link to a device", "fifo"])
def test_what_is_no_file_is_not_replaced(tmp_path: Path, what: str) -> None:
    path = tmp_path / "x"
    if what == "directory":
        path.mkdir()
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "device":
        path = Path("/dev/null")
    else:
        path.symlink_to("/dev/null")
    with pytest.raises(SpyglassError, match="is not a file"):
        save(with_everything(), path)
    assert not path.is_file()


@pytest.mark.usefixtures("file_system")
def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "incident.json"
    path.write_text("old")

    def fill() -> str:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            save(with_everything(), path)
        except OSError as error:
            return f"{error.strerror}: {error.filename}"
        return "saved"

    assert in_child(fill) == f"File too large: {path}"
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.usefixtures("file_system")
def test_whatever_goes_wrong_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("spyglass.export.snapshot_writer.write_json", broken)
    with pytest.raises(KeyboardInterrupt):
        save(with_everything(), tmp_path / "incident.json")
    assert os.listdir(tmp_path) == []


def test_being_killed_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "incident.json"
    path.write_text("old")
    begun = ExitStack()  # in the child, which never leaves it

    def begin() -> None:
        stream = begun.enter_context(replacing(path))
        stream.write(b"new")
        stream.flush()

    with forked(begin):
        assert os.listdir(tmp_path) == [path.name]
    assert os.listdir(tmp_path) == [path.name]
    assert path.read_text() == "old"


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        save(with_everything(), tmp_path / "no" / "incident.json")
    assert caught.value.filename == str(tmp_path / "no" / "incident.json")


@needs_root
def test_under_sudo_it_belongs_to_who_called_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_UID", str(NOBODY))
    monkeypatch.setenv("SUDO_GID", str(NOBODY))
    save(with_everything(), tmp_path / "incident.json")
    new_directory(tmp_path / "series")
    for path in tmp_path.iterdir():
        assert (path.stat().st_uid, path.stat().st_gid) == (NOBODY, NOBODY)
    assert stat.S_IMODE((tmp_path / "series").stat().st_mode) == 0o700
    monkeypatch.setenv("SUDO_UID", "-1")
    save(with_everything(), tmp_path / "other.json")
    assert (tmp_path / "other.json").stat().st_uid == 0


def test_a_directory_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "series").mkdir(mode=0o755)
    mode = (tmp_path / "series").stat().st_mode
    new_directory(tmp_path / "series")
    assert (tmp_path / "series").stat().st_mode == mode


def test_a_stream_stays_open() -> None:
    for name in ("json.gz", "json.zst", "json", "html"):
        stream = io.BytesIO()
        exporter("snapshot", name).write(with_everything(), stream)
        assert not stream.closed
        stream.seek(0)
        assert differences(load(stream), with_everything()) == []


def test_without_zstandard_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(SpyglassError) as caught:
        save(with_everything(), tmp_path / "incident.json.zst")
    assert "spyglass[zstd]" in (caught.value.hint or "")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("exe", "module", "host", "name"),
    [
        ("/usr/bin/etcd", "go.etcd.io/etcd", "web-3", "etcd-web-3-1234-20261120T062000Z.json.gz"),
        (None, "go.etcd.io/etcd", None, "etcd-1234-20261120T062000Z.json.gz"),
        (None, None, None, "go-1234-20261120T062000Z.json.gz"),
        ("/a/\x1b[31mred\n", None, "../x y", "_31mred_-_x_y-1234-20261120T062000Z.json.gz"),
        ("/a/" + "x" * 500, None, None, "x" * 60 + "-1234-20261120T062000Z.json.gz"),
    ],
)
def test_default_names(exe: str | None, module: str | None, host: str | None, name: str) -> None:
    process = replace(PROCESS, exe=exe, module=module)
    assert default_name(make_snapshot(process=process, host=host)) == name
