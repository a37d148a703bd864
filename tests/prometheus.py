"""Debian's Prometheus, told what to scrape, and what it has scraped."""

from __future__ import annotations

import json
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.finished import finished_program
from tests.support import READY_TIMEOUT_SECONDS, GoProcess

__all__ = ["PROMETHEUS", "Prometheus", "prometheus", "promtool", "within"]

PROMETHEUS = "prometheus-bookworm"

#: A sample: its labels, its value, and its time in s since 1970.
Sample = tuple[Mapping[str, str], float, float]


class Prometheus:
    """One that runs: as process `pid`, at `url`."""

    def __init__(self, process: GoProcess, url: str) -> None:
        self.pid, self.url = process.pid, url

    def get(self, path: str, **values: str) -> Any:
        """The data of an answer of its API; raises `urllib.error.HTTPError` for a query that is none."""
        query = urllib.parse.urlencode({name.rstrip("_"): value for name, value in values.items()})
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=30) as answer:
            return json.load(answer)["data"]

    def samples(self, selector: str) -> dict[tuple[str, str], list[tuple[float, float]]]:
        """The times and values of the last minute, by name and version or quantile."""
        return {
            (each["metric"]["__name__"], each["metric"].get("version", each["metric"].get("quantile", ""))): [
                (float(at), float(value)) for at, value in each["values"]
            ]
            for each in self.get("query", query=f"{selector}[1m]")["result"]
        }  # fmt: skip

    def query(self, expression: str) -> list[Sample]:
        """The instant vector of `expression`."""
        return [
            (each["metric"], float(each["value"][1]), float(each["value"][0]))
            for each in self.get("query", query=expression)["result"]
        ]


@contextmanager
def prometheus(folder: Path, port: int, config: str) -> Iterator[Prometheus]:
    """Prometheus with this configuration, in `folder`, ready to be asked at `port`."""
    (folder / "prometheus.yml").write_text(config)
    command: list[str | Path] = [
        finished_program(PROMETHEUS),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with GoProcess(command, cwd=folder, ready=None) as process:
        found = Prometheus(process, f"http://127.0.0.1:{port}")
        within(lambda: process.is_alive() and _is_ready(found.url), lambda: process.stderr[-2000:])
        yield found


def within(is_so: Callable[[], object], why: Callable[[], object] = lambda: "") -> None:
    """Wait until it is so; raise `TimeoutError`, which says why it is not, after a long time."""
    deadline = time.monotonic() + READY_TIMEOUT_SECONDS
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(str(why()))
        time.sleep(0.1)


def promtool() -> Path:
    """The program that checks rules."""
    return finished_program(PROMETHEUS).with_name("promtool")


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/-/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
