"""The archive of `spyglass serve`: snapshots of a live Go program in a directory, in S3, and while the store is away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from spyglass.cli import spyglass
from spyglass.cli.common_options import Settings
from spyglass.fleet import delivery
from spyglass.fleet.local_store import LocalStore, Store
from spyglass.fleet.query import Fleet
from spyglass.fleet.store import open_store
from spyglass.processes import go_processes
from spyglass.serve.settings import ArchivePlan
from tests.serving import serving
from tests.support import NEWEST, Flavour, GoProcess, start
from tests.unit.test_fleet_s3 import s3_server

pytestmark = [pytest.mark.live, pytest.mark.go]

LEAKED = 12


@pytest.fixture(scope="module")
def knots() -> Iterator[GoProcess]:
    """A program at rest."""
    with start("knots", NEWEST, Flavour.STRIPPED, "-deadlock", "-leak", str(LEAKED)) as process:
        yield process


@pytest.fixture(autouse=True)
def only_knots(knots: GoProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests on this host may run the same program."""
    monkeypatch.setattr(
        "spyglass.serve.rounds._chosen", lambda names: list(go_processes([knots.pid]).processes) if not names else []
    )  # fmt: skip


@dataclass
class Away:
    """A store that is away until `back` is set; with `hangs` it does not even refuse."""

    hangs: bool = False
    is_local: bool = False
    back: threading.Event = field(default_factory=threading.Event)
    files: dict[str, bytes] = field(default_factory=dict)

    def write(self, name: str, data: bytes) -> None:
        if self.hangs:
            self.back.wait(60)
        if not self.back.is_set():
            raise OSError(None, "no route to host")
        self.files[name] = data


def plan(store: Store, spool: Path, **changes: Any) -> ArchivePlan:
    values = {"every_s": 0.1, "batch": 1, "spool_bytes": 1 << 20, **changes}
    return ArchivePlan("s3://key:secret@bucket/x", store, spool=spool, **values)


def until(read: Callable[[], Any], condition: Callable[[Any], object]) -> Any:
    limit = time.monotonic() + 60
    while True:
        value = read()
        if condition(value):
            return value
        assert time.monotonic() < limit, value
        time.sleep(0.05)


@pytest.mark.slow
def test_snapshots_are_files_that_fleet_reads(knots: GoProcess, tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "archive")
    with serving(archive=plan(store, tmp_path / "spool", batch=2)) as client:
        found = until(lambda: client.get("/v1/archive").json(), lambda each: each["files_delivered"] >= 5)  # fmt: skip
        assert client.get("/healthz").text.startswith("ok\narchive: ok, ")
    assert found["url"] == "s3://bucket/x"
    assert (found["processes"], found["failed"], found["reading_error"]) == (1, 0, None)
    assert not [each for each in (tmp_path / "spool").rglob("*") if each.is_file()]
    with Fleet(str(tmp_path / "archive")) as fleet:
        sql = "SELECT count(*), min(goroutines), max(goroutines), count(DISTINCT instance), count(cpu_cores) FROM processes"
        ((number, least, most, instances, measured),) = fleet.ask(sql).rows
        # What was pending at the end was written, too. The program is at rest; only the first look has none before it.
        assert (number >= found["snapshots"], instances, measured) == (True, 1, number - 1)
        assert least == most >= LEAKED + 3
        sql = f"SELECT count(*) FROM groups WHERE count = {LEAKED} AND function = 'main.askCarrier.func1'"
        assert fleet.ask(sql).rows == ((number,),)
        assert fleet.ask("SELECT count(*) FROM memory WHERE resident_binary_bytes > 0").rows == (
            (number,),
        )
    sets = list((tmp_path / "archive" / "processes").rglob("*.parquet"))
    assert len(sets) <= number // 2 + 1


@pytest.mark.slow
def test_a_store_that_is_away_delays_no_reading(knots: GoProcess, tmp_path: Path) -> None:
    store = Away()
    with serving(archive=plan(store, tmp_path / "spool", redact=True)) as client:
        said = until(lambda: client.get("/healthz").text, lambda text: "away" in text)
        assert "no route" not in said
        until(lambda: client.get("/v1/archive").json(), lambda each: each["rounds"] >= 3)
        found = client.get("/v1/archive").json()
        assert found["store_error"] == "no route to host"
        assert (found["files_waiting"] > 0, found["files_delivered"]) == (True, 0)
        assert client.get(f"/v1/processes/{knots.pid}/threads").status_code == 200
    left = {each.name for each in (tmp_path / "spool").rglob("*.parquet")}
    assert left
    assert not store.files
    # The next server delivers what was left.
    again = LocalStore(tmp_path / "archive")
    with serving(archive=plan(again, tmp_path / "spool", names=("no such",))) as client:
        until(lambda: client.get("/v1/archive").json(), lambda each: not each["files_waiting"])
    assert {each.name for each in (tmp_path / "archive").rglob("*.parquet")} == left


def test_a_store_that_hangs_delays_no_reading_and_no_end(
    knots: GoProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spyglass.serve.archive._END_SECONDS", 0.1)
    store = Away(hangs=True)
    with serving(archive=plan(store, tmp_path / "spool", spool_bytes=60_000)) as client:
        found = until(lambda: client.get("/v1/archive").json(), lambda each: each["files_dropped"])
        assert found["bytes_waiting"] <= 60_000
        assert found["failed"] == 0
        assert client.get(f"/v1/processes/{knots.pid}/threads").status_code == 200
    store.back.set()


def test_without_an_archive_there_is_none() -> None:
    with serving() as client:
        assert client.get("/v1/archive").status_code == 404
        assert client.get("/healthz").text == "ok\n"


@pytest.mark.slow
def test_an_archive_in_s3_that_goes_away_and_comes_back(
    knots: GoProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "_FIRST_PAUSE", 0.1)
    with s3_server() as (url, server):
        url = url.replace("/prod", "/live")
        store = open_store(url)
        with serving(archive=plan(store, tmp_path / "spool")) as client:
            until(lambda: client.get("/v1/archive").json(), lambda each: each["files_delivered"])
            server.stop()
            until(lambda: client.get("/healthz").text, lambda text: "away" in text)
            before = client.get("/v1/archive").json()
            until(lambda: client.get("/v1/archive").json()["rounds"], lambda now: now > before["rounds"] + 2)  # fmt: skip
            server.start()
            until(
                lambda: client.get("/v1/archive").json(),
                lambda each: each["files_delivered"] > before["files_delivered"] + 3,
            )
        with Fleet(url) as fleet:
            ((number, moments),) = fleet.ask("SELECT count(*), count(DISTINCT snapshot_id) FROM processes").rows  # fmt: skip
            assert number == moments >= 3


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--every", "1m"], "require --archive"),
        (["--archive", "x", "--every", "10ms"], "--every must be 1s or longer"),
        (["--archive", "hdfs://nn:9000/x"], "hdfs://nn:9000/x cannot be opened"),
        (["--archive", "fsspec+nosuch://x/y"], "fsspec"),
        (["--archive", "s3://?region=x"], "names no bucket"),
        (["--archive", "nosuch://key:secret@x/y"], "nosuch://x/y cannot be opened"),
    ],
)
def test_what_cannot_be_is_one_line(arguments: list[str], says: str) -> None:
    result = CliRunner().invoke(spyglass, ["serve", *arguments], obj=Settings())
    assert result.exit_code != 0
    words = result.output + str(getattr(result.exception, "message", ""))
    assert says in words
    assert "secret" not in words
    assert "\n" not in getattr(result.exception, "message", "")
