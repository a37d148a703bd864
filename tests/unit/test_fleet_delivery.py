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

from spyglass.fleet import delivery
from spyglass.fleet.archive import ParquetFile
from spyglass.fleet.delivery import Delivery, spool_of, write_with_retries
from spyglass.fleet.store import LocalStore, ObjectStore, open_store, shown_url


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


def file(number: int, size: int = 10) -> ParquetFile:
    return ParquetFile(f"groups/date=2026-11-20/service=x/{number}.parquet", bytes([number]) * size)


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


def test_secrets_of_a_url_are_not_shown() -> None:
    assert shown_url("s3://key:secret@bucket/prefix?token=x") == "s3://bucket/prefix"
    assert shown_url("here") == "here"
    assert spool_of("s3://a:b@bucket/x", Path("/s")) == spool_of("s3://bucket/x", Path("/s"))
    assert spool_of("s3://bucket/y", Path("/s")) != spool_of("s3://bucket/x", Path("/s"))
