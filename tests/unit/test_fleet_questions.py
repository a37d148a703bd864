"""The questions of ``spyglass fleet``, asked of files that were made; and what a query may not do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from spyglass.cli import spyglass
from spyglass.cli.common_options import Settings
from spyglass.errors import SpyglassError
from spyglass.fleet.query import Fleet, Window
from spyglass.fleet.questions import QUESTIONS
from spyglass.fleet_answer import FleetAnswer
from spyglass.render.fleet_view import render
from spyglass.render.view_options import View
from tests.fleets import BEGAN, Look, write

SCHEMA = json.loads(files("spyglass.export").joinpath("fleet-answer.schema.json").read_text())
MIB = 1 << 20

#: A service of five processes: the one with pid 3 leaks and is large, the others go up and down; and another service,
#: whose number falls before it rises.
LOOKS = [
    *(
        Look(
            minute,
            sending=minute * 10 if pid == 3 else 40 + (minute % 2) * 20,
            serving=100 + (minute * 7 + pid) % 5,
            pid=pid,
            host=f"web{pid}",
            rss_bytes=(900 if pid == 3 else 100 + pid) * MIB,
            version="v1.1.0" if minute >= 6 else "v1.0.0",
            limit_bytes=1000 * MIB if pid > 1 else None,
            pod=f"orders-{pid}",
        )
        for minute in range(9)
        for pid in range(1, 6)
    ),
    *(
        Look(minute, sending=sending, serving=3, pid=9, host="db1", service="store")
        for minute, sending in ((0, 5), (4, 2), (8, 40))
    ),
    Look(-180, serving=2_000, pid=99, host="gone"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fleet")
    write(path, LOOKS, batch=50)
    return path


@pytest.fixture(scope="module")
def fleet(folder: Path) -> Iterator[Fleet]:
    with Fleet(str(folder)) as opened:
        yield opened


def asked(fleet: Fleet, name: str, **parameters: int | str) -> list[dict[str, Any]]:
    question = QUESTIONS[name]
    answer = fleet.ask(question.sql, question.parameters | parameters)
    return [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]


def test_services(fleet: Fleet) -> None:
    orders, store = asked(fleet, "services")
    assert (orders["service"], orders["processes"], orders["hosts"], orders["versions"]) == (
        "orders", 6, 6, 2,
    )  # fmt: skip
    assert (orders["snapshots"], orders["first_at"]) == (46, BEGAN - timedelta(minutes=180))
    last = [look for look in LOOKS if look.minute == 8 and look.service == "orders"]
    assert orders["goroutines"] == sum(look.sending + look.serving for look in last)
    assert orders["rss_bytes"] == sum(look.rss_bytes for look in last)
    assert (store["goroutines"], store["stuck"]) == (43, None)


def test_leaks_are_where_numbers_grow(fleet: Fleet) -> None:
    crowd, leak = asked(fleet, "leaks", min_blocked=2_000)
    assert (leak["why"], leak["function"], leak["line"]) == ("grows", "main.ask", 15)
    assert (leak["processes"], leak["growing_in"], leak["most_in_one"]) == (5, 1, 80)
    assert leak["goroutines"] == 80 + 4 * 40
    assert leak["per_minute"] == pytest.approx(10, rel=0.2)
    assert leak["root_mean_square"] == pytest.approx(((80**2 + 4 * 40**2) / 5) ** 0.5)
    assert (crowd["why"], crowd["function"], crowd["most_in_one"]) == ("many", "main.serve", 2_000)
    assert asked(fleet, "leaks", min_growth=61, min_blocked=2_001) == []


def test_the_last_snapshots_count_and_processes_that_ended_do_not(
    fleet: Fleet, folder: Path
) -> None:
    first, *_ = asked(fleet, "groups")
    assert (first["function"], first["processes"]) == ("main.serve", 5)
    assert first["most_on_host"] == "web5" or first["most_in_one"] == 104
    with Fleet(str(folder), Window(fresh_s=86400)) as opened:
        assert asked(opened, "groups")[0]["most_in_one"] == 2_000


def test_outliers(fleet: Fleet) -> None:
    found = {each["number"]: each for each in asked(fleet, "outliers")}
    assert (found["rss bytes"]["host"], found["rss bytes"]["pid"]) == ("web3", 3)
    assert found["rss bytes"]["value"] == 900 * MIB
    assert found["rss bytes"]["median"] == 104 * MIB
    assert found["rss bytes"]["median_deviation"] == 2 * MIB
    assert found["rss bytes"]["deviations"] == pytest.approx(796 / 2 / 1.4826)
    assert {each["host"] for each in found.values()} == {"web3"}
    assert asked(fleet, "outliers", deviations=1000) == [
        each for each in found.values() if not each["median_deviation"]
    ]


def test_files_without_names_of_pods_are_read(tmp_path: Path) -> None:
    """As an earlier spyglass wrote them."""
    write(tmp_path, LOOKS[:2], batch=2)
    for path in (tmp_path / "processes").rglob("*.parquet"):
        table = pq.ParquetFile(path).read()
        pq.write_table(table.drop_columns(["container_name", "pod", "namespace", "pod_uid"]), path)
    with Fleet(str(tmp_path)) as opened:
        (row,) = asked(opened, "limits", min_used=10)
        assert row["container"] is None
        assert opened.ask("SELECT count(*), count(pod) FROM processes").rows == ((2, 0),)


def test_processes_are_told_by_their_pods(fleet: Fleet) -> None:
    for question in ("limits", "outliers"):
        assert {each["container"] for each in asked(fleet, question)} == {"shop/orders-3"}


def test_limits_are_of_processes_that_are_near_one(fleet: Fleet) -> None:
    (near,) = asked(fleet, "limits")
    assert (near["host"], near["pid"], near["limit_of"]) == ("web3", 3, "memory.max")
    # Page cache is no reason to be killed.
    assert (near["headroom_bytes"], near["used_percent"]) == (100 * MIB, 90)
    assert (near["mostly"], near["mostly_bytes"]) == ("free Go heap", 450 * MIB)
    assert (near["per_minute_bytes"], near["oom_kills"]) == (0, 2)
    assert {each["pid"] for each in asked(fleet, "limits", min_used=10)} == {2, 3, 4, 5}
    assert asked(fleet, "limits", min_used=91) == []


def test_changes_are_means_of_a_process_before_and_after(fleet: Fleet) -> None:
    at = int((BEGAN + timedelta(minutes=6)).timestamp())
    found = asked(fleet, "changes", since_s=at)
    (sent,) = [each for each in found if (each["service"], each["function"]) == ("orders", "main.ask")]  # fmt: skip
    before = [look.sending for look in LOOKS if look.minute < 6 and look.service == "orders"]
    after = [look.sending for look in LOOKS if look.minute >= 6 and look.service == "orders"]
    assert (sent["before_looks"], sent["after_looks"]) == (len(before), len(after))
    assert sent["before_mean"] == pytest.approx(sum(before) / len(before))
    assert sent["after_mean"] == pytest.approx(sum(after) / len(after))
    assert sent["change"] == pytest.approx(sent["after_mean"] - sent["before_mean"])


def test_versions_are_the_last_two_or_those_that_are_named(fleet: Fleet) -> None:
    found = asked(fleet, "versions")
    assert {(each["old_version"], each["new_version"]) for each in found} == {("v1.0.0", "v1.1.0")}
    back = asked(fleet, "versions", old="v1.1.0", new="v1.0.0")
    assert [each["change"] for each in back] == [-each["change"] for each in found]
    assert asked(fleet, "versions", old="v1.0.0", new="v9") == []


def test_a_window_chooses_snapshots(folder: Path) -> None:
    since, until = BEGAN + timedelta(minutes=2), BEGAN + timedelta(minutes=3)
    with Fleet(str(folder), Window("orders", since, until)) as opened:
        (services,) = asked(opened, "services")
    assert (services["snapshots"], services["last_at"]) == (10, until)
    with Fleet(str(folder), Window("x' OR '1'='1")) as opened:
        assert asked(opened, "services") == []


@pytest.mark.parametrize(
    "sql",
    [
        "COPY (SELECT 1) TO '{file}'",
        "CREATE TABLE x AS SELECT 1",
        "SELECT 1; SELECT 2",
        "SET enable_external_access = true",
        "RESET lock_configuration",
        "ATTACH '{file}'",
        "INSTALL httpfs",
        "DROP VIEW groups",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{file}'",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_parquet('{folder}/../**/*.parquet')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM glob('/etc/*')",
        "SELECT * FROM folder",
        "SELECT nonsense FROM groups",
        "",
    ],
)
def test_a_query_reads_the_tables_and_nothing_else(fleet: Fleet, folder: Path, sql: str) -> None:
    file = folder.parent / "escaped"
    with pytest.raises(SpyglassError) as refused:
        fleet.ask(sql.format(file=file, folder=folder))
    assert "\n" not in refused.value.message
    assert not file.exists()


def test_a_query_sees_every_table(fleet: Fleet) -> None:
    sql = (
        "SELECT frames[2].function FROM stacks JOIN groups USING (stack_id) WHERE function = :which"
    )
    answer = fleet.ask(sql, {"which": "main.ask"}, limit=1)
    assert (answer.rows, answer.more) == ((("main.ask",),), True)
    assert fleet.ask("SELECT count(*) AS n FROM waits") == FleetAnswer(("n",), ((0,),))


def test_what_is_no_archive_says_so(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(SpyglassError, match="no snapshots"):
        Fleet(str(tmp_path))
    with pytest.raises(SpyglassError, match="cannot be opened"):
        Fleet("nosuch://x/y")
    broken = tmp_path / "processes" / "date=2026-11-20" / "service=x" / "x.parquet"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"PAR1 this is none PAR1")
    with Fleet(str(tmp_path)) as opened, pytest.raises(SpyglassError):
        opened.ask("SELECT * FROM processes")


def run(*arguments: str) -> Any:
    return CliRunner().invoke(spyglass, ["fleet", *arguments], obj=Settings())


def test_the_command_prints_a_table_and_a_document(folder: Path) -> None:
    shown = run(str(folder), "leaks", "--min-blocked", "2000").stdout.splitlines()
    assert shown[0].split()[:3] == ["service", "why", "state"]
    assert "main.ask" in shown[2]
    assert "/src/main.go:15" in shown[2]
    found = json.loads(run(str(folder), "services", "--json", "--limit", "1").stdout)
    Draft202012Validator(SCHEMA).validate(found)
    assert (found["question"], found["more"], len(found["rows"])) == ("services", True, 1)
    assert found["rows"][0][found["columns"].index("first_at")] == "2026-11-20T09:00:00Z"
    own = run(str(folder), "--sql", "SELECT 'a\x1b' AS x", "--json")
    assert json.loads(own.stdout)["rows"] == [["a\x1b"]]
    assert "\x1b" not in run(str(folder), "--sql", "SELECT 'a\x1b' AS x").stdout
    assert run(str(folder), "leaks", "--show-sql").stdout == QUESTIONS["leaks"].sql


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["changes"], "requires --at"),
        (["changes", "--at", "noon"], "no time"),
        (["leaks", "--at", "14:00"], "--at does not concern leaks"),
        (["waits", "--min-growth", "3"], "--min-growth does not concern waits"),
        (["--last", "1h", "--since", "14:00"], "mutually exclusive"),
        (["changes", "--at", "2020-01-01T00:00"], "no snapshots before"),
        (["changes", "--at", "2026-11-21T23:00Z"], "no snapshots after"),
    ],
)
def test_wrong_usage(folder: Path, arguments: list[str], message: str) -> None:
    result = run(str(folder), *arguments)
    assert result.exit_code != 0
    assert message in result.output + str(getattr(result.exception, "message", ""))


def test_a_table_fits_the_terminal_and_escapes_names() -> None:
    answer = FleetAnswer(
        ("service", "function", "file", "line", "goroutines", "rss_bytes", "longest_wait_ns"),
        (("a\x1b[31m", "main." + "x" * 200, "/src/" + "y" * 200, 3, 12345, 3 * MIB, None),),
        more=True,
    )
    for width in (40, 80, 120, 200):
        lines = [line.plain for line in render(answer, View(width=width))]
        assert all(len(line) <= width for line in lines)
        assert "\x1b" not in "".join(lines)
    assert "12,345" in lines[1]
    assert "3.0 MiB" in lines[1]
    assert [line.plain for line in render(FleetAnswer(("x",), ()), View())] == ["nothing"]


def test_the_document_lists_the_questions() -> None:
    text = (Path(__file__).parents[2] / "docs" / "fleet.md").read_text(encoding="utf-8")
    for question in QUESTIONS.values():
        assert f"`{question.name}`" in text
        assert f"../spyglass/fleet/questions/{question.name}.sql" in text
