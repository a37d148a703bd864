"""Files on their way to a store: retried, kept on the local disk while it is away, never more than allowed."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from spyglass.errors import SpyglassError
from spyglass.fleet import delivery
from spyglass.fleet.delivery import Delivery, require_own, spool_of, write_with_retries
from spyglass.fleet.local_store import File, LocalStore, shown_url
from spyglass.fleet.store import ObjectStore, open_store


@dataclass
class Away:
    """A store that fails so many times, and then has what is written."""

    failures: int = 0
    is_local: bool = False
    files: dict[str, bytes] = field(default_factory=dict)
    hold: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.hold.set()

    def write(self, name: str, data: bytes) -> None:
        self.hold.wait(30)
        if self.failures:
            self.failures -= 1
            raise OSError(None, "away")
        self.files[name] = data


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(delivery, "_LONGEST_PAUSE", 0.02)


def file(number: int, size: int = 10) -> File:
    return File(f"groups/date=2026-11-20/service=x/{number}.parquet", bytes([number]) * size)


def until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.005)


def waiting(spool: Path) -> Iterator[str]:
    return (path.stem for path in sorted(spool.rglob("*.parquet")))


def test_a_store_that_comes_back_gets_everything(tmp_path: Path) -> None:
    store = Away(failures=3)
    errors: list[OSError] = []
    ours = Delivery(store, tmp_path / "state" / "spool", on_failure=errors.append)
    for number in range(5):
        assert ours.put(file(number))
    until(lambda: len(store.files) == 5)
    assert ours.close(30) == 0
    assert store.files == {file(number).name: file(number).data for number in range(5)}
    assert (ours.delivered, ours.dropped) == (5, 0)
    assert len(errors) == 1


def test_putting_does_not_wait_for_the_store_and_the_next_run_delivers_what_was_left(
    tmp_path: Path,
) -> None:
    store = Away()
    store.hold.clear()
    ours = Delivery(store, tmp_path / "spool")
    for number in range(3):
        ours.put(file(number))  # returns although the store does not
    assert ours.close(0.05) == 3
    assert stat.S_IMODE(os.stat(tmp_path / "spool").st_mode) == 0o700
    other = Away()
    assert Delivery(other, tmp_path / "spool").close(30) == 0
    assert len(other.files) == 3
    store.hold.set()


def test_the_spool_is_bounded_and_drops_the_oldest(tmp_path: Path) -> None:
    store = Away(failures=1 << 30)
    ours = Delivery(store, tmp_path / "spool", max_bytes=35)
    fits = [ours.put(file(number)) for number in range(5)]
    assert fits == [True, True, True, False, False]
    assert list(waiting(tmp_path / "spool")) == ["2", "3", "4"]
    assert not ours.put(file(9, size=36))
    assert list(waiting(tmp_path / "spool")) == []
    assert (ours.close(5), ours.dropped) == (0, 6)


def test_at_the_end_a_store_that_is_away_is_not_waited_for(tmp_path: Path) -> None:
    ours = Delivery(Away(failures=1 << 30), tmp_path / "spool")
    ours.put(file(1))
    began = time.monotonic()
    assert ours.close(60) == 1
    assert time.monotonic() - began < 30


def test_one_file_is_tried_three_times(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Away(failures=2)
    write_with_retries(store, file(1))
    assert store.files
    with pytest.raises(OSError, match="away"):
        write_with_retries(Away(failures=3), file(1))
    local = Away(failures=1, is_local=True)
    with pytest.raises(OSError, match="away"):
        write_with_retries(local, file(1))


def test_a_directory_gets_whole_files_for_their_owner_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store("archive")
    store.write(file(1).name, b"first")
    store.write(file(1).name, b"second")
    (path,) = (tmp_path / "archive").rglob("*.*")
    assert path.read_bytes() == b"second"
    assert {stat.S_IMODE(each.stat().st_mode) for each in (path, *list(path.parents)[:4])} == {0o600, 0o700}  # fmt: skip
    assert isinstance(store, LocalStore)
    assert store.is_local


def test_another_file_system_gets_whole_files_too(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}/archive")
    assert isinstance(store, ObjectStore)
    assert not store.is_local
    store.write(file(1).name, b"all")
    (path,) = [each for each in (tmp_path / "archive").rglob("*") if each.is_file()]
    assert (path.name, path.read_bytes()) == ("1.parquet", b"all")


def test_a_file_system_of_fsspec_gets_whole_files_and_may_fail_as_it_likes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = open_store("fsspec+memory://archive/prod")
    assert isinstance(store, ObjectStore)
    store.write(file(1).name, b"all")
    assert {MemoryFileSystem().cat(path) for path in MemoryFileSystem().find("/archive")} == {
        b"all"
    }

    def fails(*_: object, **__: object) -> None:
        raise LookupError("no credentials\nfor this")

    monkeypatch.setattr(MemoryFileSystem, "open", fails)
    with pytest.raises(OSError, match="no credentials: ") as raised:
        store.write(file(2).name, b"all")
    assert raised.value.filename == file(2).name
    assert len(MemoryFileSystem().find("/archive")) == 1


@pytest.mark.parametrize(
    ("url", "kind", "root"),
    [
        ("gs://anonymous@bucket/prod", "gcs", "bucket/prod"),
        ("gcs://bucket/prod/", "gcs", "bucket/prod"),
        ("abfs://container@account.dfs.core.windows.net/prod", "abfs", "container/prod"),
        ("abfss://container@account.dfs.core.windows.net/prod", "abfs", "container/prod"),
        ("s3://key:secret@bucket/prod?region=eu-west-1", "s3", "bucket/prod"),
    ],
)
def test_urls_of_stores(url: str, kind: str, root: str) -> None:
    store = open_store(url)
    assert isinstance(store, ObjectStore)
    assert (store.files.type_name, store.root) == (kind, root)


@pytest.mark.parametrize(
    ("url", "says", "hint"),
    [
        ("az://bucket/x", "Unrecognized filesystem", "s3://, gs://, abfs://"),
        ("ftp://host/x", "Unrecognized filesystem", "s3://, gs://, abfs://"),
        ("gs://", "names no bucket", ""),
        ("s3:///", "bucket", ""),
        ("hdfs://host:8020/x", "load lib", "JAVA_HOME"),
        ("viewfs://host/x", "load lib", "JAVA_HOME"),
        ("fsspec+nonsense://b/x", "Protocol not known", "pip install fsspec"),
        ("fsspec+ftp://key:secret@127.0.0.1:1/x", "refused", "pip install fsspec"),
        ("s3://key:secret@bucket/x?endpoint_override=%zz", "Cannot parse", ""),
        ("abfs://c@account.dfs.core.windows.net/x?key=secret", "Unexpected query", ""),
    ],
)
def test_what_cannot_be_opened_is_one_line_without_secrets(url: str, says: str, hint: str) -> None:
    with pytest.raises(SpyglassError) as raised:
        open_store(url)
    text = f"{raised.value.message} {raised.value.hint}"
    assert says in raised.value.message
    assert hint in text
    assert "\n" not in text
    assert "secret" not in text


def test_secrets_of_a_url_are_not_shown() -> None:
    assert shown_url("s3://key:secret@bucket/prefix?token=x") == "s3://bucket/prefix"
    assert shown_url("here") == "here"
    assert spool_of("s3://a:b@bucket/x", Path("/s")) == spool_of("s3://bucket/x", Path("/s"))
    assert spool_of("s3://bucket/y", Path("/s")) != spool_of("s3://bucket/x", Path("/s"))


def test_a_spool_that_another_user_can_change_is_not_used(tmp_path: Path) -> None:
    folder = tmp_path / "open" / "spool"
    folder.mkdir(parents=True)
    require_own(folder)
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(SpyglassError, match=f"another user can change {tmp_path}/open"):
        require_own(folder)
    with pytest.raises(SpyglassError):
        Delivery(Away(), folder / "state" / "x")
    (tmp_path / "open").chmod(0o1777)  # as /tmp: only its owner can rename what is in it
    require_own(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file away: needs root")
def test_a_spool_of_another_user_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    os.chown(tmp_path / "spool", 65534, 65534)
    with pytest.raises(SpyglassError, match="another user can change"):
        require_own(tmp_path / "spool")
