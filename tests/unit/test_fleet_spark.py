"""The questions of ``spyglass fleet`` asked of Spark, which gives the same answers as DuckDB."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from spyglass.fleet.query import Fleet
from spyglass.fleet.questions import LATEST, QUESTIONS, sql_of
from spyglass.fleet.schema import TABLES
from tests.fleets import BEGAN, write
from tests.unit.test_fleet_questions import LOOKS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fleet")
    write(path, LOOKS, batch=50)
    return path


@pytest.fixture(scope="module")
def spark(folder: Path) -> Iterator[Any]:
    sql = pytest.importorskip("pyspark.sql", reason="pyspark is not installed: pip install pyspark")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java")
    session = (
        sql.SparkSession.builder.master("local[1]")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.shuffle.partitions", "1")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .getOrCreate()
    )
    for table in TABLES:
        if (folder / table).exists():
            session.read.parquet(f"{folder}/{table}").createOrReplaceTempView(table)
    session.sql(sql_of(LATEST), args={"fresh_s": 3600}).createOrReplaceTempView(LATEST)
    yield session
    session.stop()


def plain(value: Any) -> Any:
    """A number as a float, whatever type it has: Spark has decimal numbers where DuckDB has others."""
    is_number = isinstance(value, Decimal | float | int) and not isinstance(value, bool)
    return float(value) if is_number else value


def alike(value: Any) -> Any:
    value = plain(value)
    return pytest.approx(value, rel=1e-6) if isinstance(value, float) else value


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [name for name in QUESTIONS if name != "waits"])
def test_spark_answers_as_duckdb_does(folder: Path, spark: Any, name: str) -> None:
    question = QUESTIONS[name]
    parameters = dict(question.parameters)
    if name == "changes":
        parameters["since_s"] = int(BEGAN.timestamp()) + 360
    with Fleet(str(folder)) as fleet:
        expected = fleet.ask(question.sql, parameters)
    found = spark.sql(question.sql, args=parameters)
    assert tuple(found.columns) == expected.columns
    times = [at for at, column in enumerate(found.columns) if column.endswith("_at")]
    shown = [at for at in range(len(found.columns)) if at not in times]
    rows = [tuple(plain(row[at]) for at in shown) for row in found.collect()]
    assert rows == [tuple(alike(row[at]) for at in shown) for row in expected.rows]
    assert rows
