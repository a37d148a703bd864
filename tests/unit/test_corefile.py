"""Core files: written and read again, cut short, and lying."""

from __future__ import annotations

import gzip
import io
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest

from spyglass.binary import corenotes
from spyglass.binary.corefile import CoreFile
from spyglass.binary.corenotes import MappedFile, Note, ProcessInfo, ThreadStatus
from spyglass.errors import BadDataError, SpyglassError, TargetError, UnsupportedProgram
from spyglass.memory.segmented import Layer, SegmentedMemory
from tests.cores import write_core

PAGE = 4096
THREADS: tuple[ThreadStatus, ...] = (
    ThreadStatus(77, 6, tuple(range(27))),
    ThreadStatus(78, 0, ((1 << 64) - 1,) * 27),
)
FILES = (
    MappedFile(0x400000, 0x402000, 0, "/usr/bin/server"),
    MappedFile(0x402000, 0x403000, 0x2000, "/tmp/odd \udcff name\n"),
)
AUXV = {3: 0x400040, 9: 0x401000, 31: 0x7FFF0000}
NOTES = (
    *map(corenotes.pack_thread, THREADS),
    corenotes.pack_process(ProcessInfo(77, "server", "server --port 80")),
    corenotes.pack_auxv(AUXV),
    corenotes.pack_files(FILES),
    Note(*corenotes.OWN, b'{"odd": 1}'),
)
ADDRESSES = np.array([0x400000, 0x401000, 0x500000, 0xC000000000], np.uint64)


def contents(count: int, page: int = PAGE) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (count, page), np.uint8)


def core(arch: str = "amd64", notes: tuple[Note, ...] = NOTES) -> bytes:
    stream = io.BytesIO()
    write_core(stream, arch, notes, ADDRESSES, contents(len(ADDRESSES)))
    return stream.getvalue()


def opened(folder: Path, raw: bytes) -> CoreFile:
    path = folder / "file"
    path.write_bytes(raw)
    return CoreFile(str(path))


def memory_of(file: CoreFile) -> SegmentedMemory:
    columns = (file.segments[name] for name in ("address", "file_size", "offset"))
    return SegmentedMemory([Layer(file.image, *columns)])


@pytest.mark.parametrize("arch", ["amd64", "arm64"])
def test_what_is_written_is_read_again(tmp_path: Path, arch: str) -> None:
    threads = THREADS
    if arch == "arm64":
        threads = tuple(ThreadStatus(each.tid, each.signal, (9,) * 34) for each in THREADS)
    with opened(tmp_path, core(arch, (*map(corenotes.pack_thread, threads), *NOTES[2:]))) as file:
        assert (file.arch, file.threads, len(file.missing)) == (arch, threads, 0)
        assert file.process == ProcessInfo(77, "server", "server --port 80")
        assert (file.auxv, file.files, file.own) == (AUXV, FILES, b'{"odd": 1}')
        memory, pages = memory_of(file), contents(len(ADDRESSES))
        assert memory.size_bytes == 4 * PAGE
        assert memory.read(0x400000, 2 * PAGE) == pages[:2].tobytes()
        assert memory.read(0xC000000000, PAGE) == pages[3].tobytes()


def test_a_core_may_say_nothing(tmp_path: Path) -> None:
    with opened(tmp_path, core(notes=())) as file:
        assert (file.threads, file.process, file.auxv, file.files, file.own) == (
            (),
            None,
            {},
            (),
            b"",
        )


def test_more_segments_than_the_header_can_count(tmp_path: Path) -> None:
    count, page = 70_000, 64
    addresses = np.arange(count, dtype=np.uint64) * np.uint64(2 * page)
    stream = io.BytesIO()
    write_core(stream, "amd64", NOTES, addresses, contents(count, page))
    raw = stream.getvalue()
    with opened(tmp_path, raw) as file:
        assert len(file.segments) == count
        assert file.threads == THREADS
        assert memory_of(file).read(2 * page * 69_999, page) == raw[-page:]
    # As the kernel writes it, that number is at the end of the file, and lost if that is cut off.
    lost = struct.pack("<Q", len(raw))
    with opened(tmp_path, raw[:40] + lost + raw[48:]) as file:
        assert len(file.segments) == count


@pytest.mark.parametrize("count", [4, 70_000])
def test_headers_go_behind_the_pages_where_there_is_no_room_before(
    tmp_path: Path, count: int
) -> None:
    page = 64
    addresses = np.arange(count, dtype=np.uint64) * np.uint64(2 * page)
    stream = io.BytesIO()
    write_core(stream, "amd64", NOTES, addresses, contents(count, page), headers_behind=True)
    with opened(tmp_path, stream.getvalue()) as file:
        assert (len(file.segments), int(file.segments["offset"].min())) == (count, page)
        assert (file.threads, file.own, len(file.missing)) == (THREADS, b'{"odd": 1}', 0)
        for number in (0, count - 1):
            expected = contents(count, page)[number].tobytes()
            assert memory_of(file).read(2 * page * number, page) == expected


def test_a_core_that_was_cut_short_gives_what_it_has(tmp_path: Path) -> None:
    raw = core()
    with opened(tmp_path, raw[: -PAGE - 100]) as file:
        missing = [(row["address"], row["file_size"]) for row in file.missing]
        assert missing == [(0x501000 - 100, 100), (0xC000000000, PAGE)]
        assert file.threads == THREADS
        memory = memory_of(file)
        assert memory.read(0x500000, PAGE - 100) == contents(4)[2, :-100].tobytes()
        with pytest.raises(SpyglassError):
            memory.read(0x500000, PAGE - 99)


def test_notes_that_were_cut_short_are_those_before(tmp_path: Path) -> None:
    raw = core()
    end = raw.index(b"server --port 80")
    with opened(tmp_path, raw[:end]) as file:
        assert (file.threads, file.process, file.files) == (THREADS, None, ())


@pytest.mark.parametrize(
    ("content", "error", "hint"),
    [
        (b"", "is not a core file", None),
        (
            b"hello, world, this is a text that is long enough to be an ELF header",
            "not a core",
            None,
        ),
        (gzip.compress(core(), mtime=0), "not a core", "gunzip"),
        (b"\x28\xb5\x2f\xfd" + bytes(100), "not a core", "unzstd"),
        (core()[:4] + b"\1" + core()[5:], "32-bit", None),
        (core()[:5] + b"\2" + core()[6:], "big-endian", None),
        (core()[:16] + b"\2" + core()[17:], "is a program or library", None),
        (core()[:18] + b"\3" + core()[19:], r"another processor \(3\)", None),
    ],
)
def test_another_file_is_refused_in_one_line(
    tmp_path: Path, content: bytes, error: str, hint: str | None
) -> None:
    with pytest.raises(TargetError, match=error) as caught:
        opened(tmp_path, content)
    assert hint is None or hint in (caught.value.hint or "")
    assert isinstance(caught.value, UnsupportedProgram) == ("; spyglass reads" in str(caught.value))


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="is not a core file"):
        CoreFile(str(tmp_path))
    with pytest.raises(FileNotFoundError):
        CoreFile(str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [(0x38, 0xFFFE, None), (0x36, 55, "another size"), (0x38, 0, "no segments")],
)
def test_headers_that_make_no_sense(
    tmp_path: Path, at: int, value: int, message: str | None
) -> None:
    raw = bytearray(core())
    struct.pack_into("<H", raw, at, value)
    if message is None:
        with opened(tmp_path, bytes(raw)) as file:
            assert memory_of(file).read(0x400000, PAGE) == contents(4)[0].tobytes()
    else:
        with pytest.raises(BadDataError, match=message):
            opened(tmp_path, bytes(raw))


@pytest.mark.parametrize("seed", range(300))
def test_no_core_leads_to_another_exception_than_ours(tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    raw = bytearray(core())
    interesting = (0, 1, 0x7F, 0x80, 0xFF)
    for at in random.integers(0, 1200, random.integers(1, 12)).tolist():
        raw[at] = int(random.choice(interesting))
    if seed % 3 == 0:
        del raw[random.integers(0, 3000) :]
    try:
        with opened(tmp_path, bytes(raw)) as file:
            memory = memory_of(file)
            memory.gather(ADDRESSES, PAGE)
            for part in ("threads", "process", "auxv", "files", "own"):
                getattr(file, part)
    except SpyglassError:
        pass


@pytest.mark.parametrize(
    ("parse", "content"),
    [
        (corenotes.parse_process, bytes(100)),
        (corenotes.parse_files, bytes(15)),
        (corenotes.parse_files, struct.pack("<QQ", 1 << 62, 4096)),
        (corenotes.parse_files, struct.pack("<QQ", 2, 4096) + bytes(40)),
        (corenotes.parse_files, struct.pack("<QQ", 0, 0)),
        (lambda content: corenotes.parse_thread(content, 27), bytes(300)),
    ],
)
def test_a_note_that_is_too_short_is_bad_data(parse, content: bytes) -> None:
    with pytest.raises(BadDataError):
        parse(content)


def test_readelf_agrees(tmp_path: Path) -> None:
    readelf = shutil.which("readelf")
    if readelf is None:
        pytest.skip("no readelf")
    with opened(tmp_path, core()) as file:
        done = subprocess.run(
            [readelf, "--wide", "--segments", "--notes", file.path],
            capture_output=True, text=True, check=True, errors="replace",
        )  # fmt: skip
    assert done.stderr == ""
    for word in ("NT_PRSTATUS", "NT_PRPSINFO", "NT_AUXV", "NT_FILE", "spyglass"):
        assert word in done.stdout
    assert done.stdout.count("  LOAD ") == 3
