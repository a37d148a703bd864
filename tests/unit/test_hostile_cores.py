"""Cores that lie: whatever is in them, what comes of it is a snapshot or one line, and soon."""

from __future__ import annotations

import io
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import spyglass
from spyglass.binary import corenotes
from spyglass.binary.corefile import CoreFile
from spyglass.binary.corenotes import Note
from spyglass.binary.executable import Executable
from spyglass.errors import BadDataError, WrongExecutable
from spyglass.export import write_json
from spyglass.memory.segmented import Layer, SegmentedMemory
from spyglass.model import Snapshot
from spyglass.process_list import Names
from spyglass.render.summary_view import render
from spyglass.render.view_options import View
from spyglass.runtime.waiting.options import WaitOptions
from spyglass.targets.core_metadata import CoreMetadata
from spyglass.wait_graph import Connection
from tests.cores import write_core
from tests.mutants import JUNK, changed, paths
from tests.saved_cores import SavedCore
from tests.support import many_seeds

BASES = ("go1.13-amd64", "go1.18-amd64", "go1.27-arm64")
#: Most take a twentieth of a second; a machine may be busy with something else.
_SECONDS = 20.0
_PAGE = 4096
_WORDS = [0, 1, 8, 0xFFF, 1 << 31, 1 << 32, 1 << 46, 1 << 47, 1 << 63, (1 << 64) - 8, (1 << 64) - 1]


@pytest.fixture(scope="module", params=BASES)
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SavedCore:
    return SavedCore.unpack(request.param, tmp_path_factory.mktemp("hostile"))


def look(core: Path, exe: Path) -> Snapshot | None:
    """A snapshot, whose every view can be made, or None; nothing takes long."""
    began = time.monotonic()
    try:
        with spyglass.open_core(str(core), str(exe)) as process:
            snapshot = process.snapshot(thread_stacks=True, waits=WaitOptions(heap=False))
    except spyglass.SpyglassError:
        return None
    finally:
        assert time.monotonic() - began < _SECONDS
    write_json(snapshot, io.BytesIO())
    for line in render(snapshot, View(debug=True)):
        assert line.plain.isprintable()
    return snapshot


def pages_at(core: Path) -> int:
    """Where in the file memory begins."""
    with CoreFile(str(core)) as file:
        return int(file.segments["offset"].min())


@pytest.fixture
def copy(saved: SavedCore, tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "core"
    shutil.copy(saved.core, path)
    yield path
    path.unlink()


@many_seeds(40)
def test_memory_that_lies(saved: SavedCore, copy: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    image = np.fromfile(copy, np.uint8)
    words = image[pages_at(copy) :].view(np.uint64)
    some = random.integers(0, len(words), 10 ** random.integers(0, 5))
    if seed % 4 == 0:  # pointers to elsewhere, but to something that is there
        words[some] = words[random.permutation(some)]
    elif seed % 4 == 1:
        words[some] = random.choice(np.array(_WORDS, np.uint64), len(some))
    elif seed % 4 == 2:
        words[some] += random.integers(1, 64, len(some)).astype(np.uint64)
    else:
        words[some] = random.integers(0, 1 << 63, len(some)).astype(np.uint64)
    image.tofile(copy)
    look(copy, saved.exe)


def test_the_error_about_a_build_id_with_control_characters_is_safe(
    saved: SavedCore, copy: Path
) -> None:
    with Executable.open(str(saved.exe)) as program:
        build_id = (program.build_id or "").encode()
    raw = copy.read_bytes()
    assert build_id in raw
    copy.write_bytes(raw.replace(build_id, b"\x1b]0;\n\xe2\x80\xae".ljust(len(build_id), b"\x07")))
    with (
        pytest.raises(WrongExecutable, match="build id") as error,
        spyglass.open_core(str(copy), str(saved.exe)),
    ):
        pass
    assert r"\x1b]0;" in error.value.message
    assert str(error.value).isprintable()


@pytest.mark.parametrize("word", _WORDS)
def test_the_same_word_everywhere_but_in_the_file(saved: SavedCore, copy: Path, word: int) -> None:
    image = np.fromfile(copy, np.uint8)
    words = image[pages_at(copy) :].view(np.uint64)
    random = np.random.default_rng(5)
    words[random.random(len(words)) < 0.3] = word
    image.tofile(copy)
    look(copy, saved.exe)


@many_seeds(30)
def test_a_program_that_lies(saved: SavedCore, tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    image = np.fromfile(saved.exe, np.uint8)
    there = np.flatnonzero(image)
    some = random.choice(there[there > 64], 10 ** random.integers(0, 4))
    image[some] = random.integers(0, 256, len(some), np.uint8)
    image.tofile(tmp_path / "exe")
    look(saved.core, tmp_path / "exe")


@many_seeds(20)
def test_pages_in_other_places(saved: SavedCore, tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    with CoreFile(str(saved.core)) as file:
        notes = list(file._notes)
        columns = (file.segments[name] for name in ("address", "file_size", "offset"))
        memory = SegmentedMemory([Layer(file.image, *columns)])
        addresses = np.concatenate(
            [np.arange(row["address"], row["address"] + row["file_size"], _PAGE, dtype=np.uint64)
             for row in file.segments]
        )  # fmt: skip
        content = memory.gather(addresses, _PAGE).words(_PAGE // 8).view(np.uint8)
    moved = random.choice(len(addresses), int(random.integers(2, len(addresses))), replace=False)
    content[moved] = content[random.permutation(moved)]
    with (tmp_path / "core").open("wb") as stream:
        write_core(stream, file.arch, notes, addresses, content)
    look(tmp_path / "core", saved.exe)


@many_seeds(30)
def test_registers_that_lie(saved: SavedCore, copy: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    raw = bytearray(copy.read_bytes())
    end = pages_at(copy)
    for _ in range(int(random.integers(1, 30))):
        at = int(random.integers(0x40, end - 8)) & ~7
        raw[at : at + 8] = int(random.choice(np.array(_WORDS, np.uint64))).to_bytes(8, "little")
    copy.write_bytes(raw)
    look(copy, saved.exe)


# What spyglass itself notes in a core.


@pytest.fixture(scope="module")
def remarks(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    saved = SavedCore.unpack(BASES[-1], tmp_path_factory.mktemp("remarks"))
    with CoreFile(str(saved.core)) as core:
        said = json.loads(core.own)
    said["outer_tids"], said["torn"], said["threads"] = [[1, 2]], [3], said["threads"][:1]
    said["moved"] = [4]
    said["facts"]["names"] = {
        "container": "cart",
        "pod": "cart-1",
        "namespace": "shop",
        "pod_uid": None,
    }
    said["facts"]["limits"] = None  # which older cores do not have
    said["connections"] = [[7, "socket:tcp", "10.0.0.1:80", None, "LISTEN", None, 0]]
    return json.dumps(said).encode()


def test_remarks_are_read_as_they_were_written(remarks: bytes) -> None:
    parsed = CoreMetadata.parse(remarks)
    assert parsed.outer_tids == {1: 2}
    assert parsed.torn == {3}
    assert parsed.facts.names == Names("cart", "cart-1", "shop")
    assert parsed.moved == {4}
    assert parsed.connections == {
        7: Connection("socket:tcp", "10.0.0.1:80", None, "LISTEN", None, 0)
    }
    assert CoreMetadata.parse(parsed.pack()) == parsed
    assert json.loads(parsed.pack()) == json.loads(remarks)


def test_remarks_of_any_other_kind_are_bad_data(remarks: bytes) -> None:
    said = json.loads(remarks)
    refused = 0
    for path in paths(said):
        for value in [..., *JUNK]:
            if not path and value is ...:
                continue
            try:
                parsed = CoreMetadata.parse(json.dumps(changed(said, path, value)).encode())
            except BadDataError:
                refused += 1
            else:
                assert CoreMetadata.parse(parsed.pack()) == parsed
    assert refused > 300


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"version": 1}', b'{"version": 2}']
)
def test_remarks_that_are_none(raw: bytes) -> None:
    with pytest.raises(BadDataError):
        CoreMetadata.parse(raw)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("facts", "exe"), "\x1b[31m\n\ud800"),
        (("facts", "cmdline"), ["a\x1b]0;b\x07", "\u202e"] * 1000),
        (("facts", "host"), "x" * 100_000),
        (("facts", "uptime_seconds"), 1e18),
        (("facts", "started_at"), "0001-01-01T00:00:00+00:00"),
        (("taken_at",), "9999-12-31T23:59:59+00:00"),
        (("now_ns",), 2**63 - 1),
        (("facts", "rss_bytes"), 2**63 - 1),
        (("torn",), list(range(100))),
    ],
)
def test_extreme_remarks_are_shown(
    remarks: bytes, tmp_path: Path, path: tuple[str, ...], value: object
) -> None:
    saved = SavedCore.unpack(BASES[-1], tmp_path)
    with CoreFile(str(saved.core)) as core:
        notes = [note for note in core._notes if note.key != corenotes.OWN]
        raw = saved.core.read_bytes()[pages_at(saved.core) :]
        addresses = np.concatenate(
            [np.arange(row["address"], row["address"] + row["file_size"], _PAGE, dtype=np.uint64)
             for row in core.segments]
        )  # fmt: skip
    said = json.dumps(changed(json.loads(remarks), path, value)).encode()
    with (tmp_path / "odd").open("wb") as stream:
        content = np.frombuffer(raw, np.uint8).reshape(-1, _PAGE)
        write_core(stream, "arm64", [*notes, Note(*corenotes.OWN, said)], addresses, content)
    snapshot = look(tmp_path / "odd", saved.exe)
    assert snapshot is not None
    if path == ("torn",):
        assert sum(goroutine.quality == "torn" for goroutine in snapshot) > 40
