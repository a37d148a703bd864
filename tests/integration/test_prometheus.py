"""Debian's Prometheus scrapes `spyglass serve`, and reads the rules and the dashboard that come along."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from spyglass.processes import go_processes
from spyglass.serve import scrape
from spyglass.serve.app import create_app
from tests.prometheus import Prometheus, prometheus, within
from tests.serving import BEARER, SETTINGS, TOKEN, listening
from tests.support import NEWEST, Flavour, GoProcess, start

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.go]

CONFIG = """
global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
rule_files: [{rules}]
scrape_configs:
  - job_name: spyglass
    authorization: {{credentials_file: {token}}}
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
  - job_name: own
    static_configs: [{{targets: ["127.0.0.1:{own}"]}}]
"""
#: What client_golang has and spyglass has not: numbers of allocations.
MISSING = {
    "go_memstats_alloc_bytes_total", "go_memstats_frees_total", "go_memstats_mallocs_total",
    "go_memstats_heap_objects", "go_memstats_lookups_total",
}  # fmt: skip
#: What only grows: equal at two times, it was equal in between. `other_sys` does not: persistentalloc (runtime/malloc.go)
#: adds a chunk to it, and takes away what is given to the others.
GROWS = r"go_memstats_((mspan|mcache|buck_hash|gc)_)?sys_bytes|go_memstats_last_gc_time_seconds|go_gc_duration_seconds_(count|sum)|go_info"
#: A reading is at most so much older than its scrape, and a scrape takes no longer, in s.
OLD, LONG = 2, 1
PLACE = Path(__file__).parents[2] / "docs" / "prometheus"
#: Metrics of programs, or of a server, that are otherwise than those of these tests.
ABSENT = {"go_gc_gomemlimit_bytes"}


@pytest.fixture(scope="module")
def knots() -> Iterator[GoProcess]:
    """A program at rest: two goroutines in a deadlock, and some that wait for them."""
    with start("knots", NEWEST, Flavour.STRIPPED, "-deadlock", "-convoy", "5") as process:
        yield process


@pytest.fixture(scope="module")
def ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:  # fmt: skip
        return one.getsockname()[1], other.getsockname()[1]


@pytest.fixture(scope="module")
def scraping(
    knots: GoProcess, ports: tuple[int, int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """Prometheus, which scrapes itself, and a server that reads it and `knots`, and nothing else of this host."""
    folder, (port, own) = tmp_path_factory.mktemp("prometheus"), ports
    token = folder / "token"
    token.write_text(TOKEN)
    pids = [knots.pid]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scrape, "_go_processes", lambda: go_processes(pids).processes)
        with listening(port, heap_metrics=True), prometheus(folder, own, CONFIG.format(token=token, port=port, own=own, rules=PLACE / 'rules.yml')) as found:  # fmt: skip
            pids.append(found.pid)
            read = 'spyglass_process_read{job="spyglass"} == 1'
            within(lambda: len(found.query(read)) == 2, lambda: found.get("targets"))
            yield found


def page(port: int) -> set[tuple[str, frozenset[tuple[str, str]]]]:
    """The series of the page."""
    import urllib.request

    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers=BEARER)
    with urllib.request.urlopen(request, timeout=60) as answer:
        text = answer.read().decode()
    return {
        (sample.name, frozenset(sample.labels.items()))
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_every_series_arrives(scraping: Prometheus, ports: tuple[int, int]) -> None:
    shown = page(ports[0])

    def arrived() -> set[tuple[str, frozenset[tuple[str, str]]]]:
        found = set()
        for labels in scraping.get("series", match="", **{"match[]": '{job="spyglass"}'}):
            own = {k: v for k, v in labels.items() if k not in ("__name__", "job", "instance")}
            found.add((labels["__name__"], frozenset(own.items())))
        return found

    # Goroutines of Prometheus come and go; what the page still has after a while was there in between.
    within(lambda: shown & page(ports[0]) <= arrived(), lambda: shown - arrived())
    assert len(shown & arrived()) > 100
    within(lambda: [value for _, value, _ in scraping.query('up{job="spyglass"}')] == [1])


def test_the_program_s_own_metrics_are_equal(scraping: Prometheus) -> None:
    pid = f'pid="{scraping.pid}"'
    names = set(scraping.samples('{job="own",__name__=~"go_.*"}'))
    here = set(scraping.samples(f'{{job="spyglass",{pid}}}'))
    assert {name for name, _ in names - here} <= MISSING

    def equal() -> tuple[int, dict[tuple[str, str], object]]:
        ages = dict(scraping.samples(f"spyglass_reading_age_seconds{{{pid}}}").popitem()[1])
        mine = scraping.samples(f'{{job="spyglass",{pid}}}')
        compared = 0
        wrong: dict[tuple[str, str], object] = {}
        for key, own in scraping.samples(f'{{job="own",__name__=~"{GROWS}"}}').items():
            for at, value in mine.get(key, ()):
                before = {theirs for then, theirs in own if then < at - OLD}
                after = {theirs for then, theirs in own if then > at + LONG}
                if not (before and after and ages.get(at, OLD) < OLD):
                    continue
                seen = before | after
                if not min(seen) * 0.97 <= value <= max(seen) * 1.03:  # grows little by little
                    wrong[key] = value, seen
                if not before & after:
                    continue  # it changed meanwhile
                compared += 1
                # Moments have microseconds here.
                if not any(value == pytest.approx(each, rel=1e-12) for each in before):
                    wrong[key] = value, before & after
        return compared, wrong

    within(lambda: equal()[0] > 20)
    assert equal()[1] == {}


def test_a_short_time_out_gives_old_values(scraping: Prometheus, ports: tuple[int, int]) -> None:
    with TestClient(create_app(SETTINGS), "http://127.0.0.1:8974", headers=BEARER) as client:
        client.get("/metrics", headers={"X-Prometheus-Scrape-Timeout-Seconds": "600"})
        answer = client.get("/metrics", headers={"X-Prometheus-Scrape-Timeout-Seconds": "0.001"})
    ages = [
        sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
        if sample.name == "spyglass_reading_age_seconds"
    ]
    assert len(ages) == 2
    assert "go_goroutines{" in answer.text


def queries() -> dict[str, str]:
    """The queries of the dashboard as Grafana sends them, by panel."""
    dashboard = json.loads((PLACE / "dashboard.json").read_text())
    values = {
        "$job": "spyglass",
        "$instance": ".*",
        "$program": ".*",
        "$pid": ".*",
        "$__rate_interval": "30s",
    }
    found = {}
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            query = re.sub(r"\$\w+", lambda match: values[match[0]], target["expr"])
            found[f"{panel['title']} {target['refId']}"] = query
    return found


def test_every_panel_of_the_dashboard_shows_something(scraping: Prometheus) -> None:
    names = set(scraping.get("label/__name__/values"))
    for panel, query in queries().items():
        used = set(re.findall(r"(\w+)\{", query))
        assert used - ABSENT <= names, panel
        if not used & ABSENT:
            within(lambda query=query: scraping.query(query), lambda panel=panel: panel)  # type: ignore[misc]
    assert scraping.query(queries()["In deadlocks A"])[0][1] == 2
    assert scraping.query(queries()["Nothing can wake A"])[0][1] >= 2


def test_every_alert_asks_for_metrics_that_there_are(scraping: Prometheus) -> None:
    names = set(scraping.get("label/__name__/values"))
    found = scraping.get("rules")["groups"]
    rules: list[Any] = [rule for group in found for rule in group["rules"]]
    assert len(rules) >= 10
    for rule in rules:
        assert set(re.findall(r"(\w+)\{", rule["query"])) - ABSENT <= names, rule["name"]

    def pending() -> set[str]:
        rules = [rule for group in scraping.get("rules")["groups"] for rule in group["rules"]]
        assert {rule["lastError"] for rule in rules if "lastError" in rule} == set()
        return {rule["name"] for rule in rules if rule["state"] == "pending"}

    within(lambda: "GoDeadlock" in pending())
    assert pending() <= {"GoDeadlock", "SpyglassDown"}  # a busy host may be late for once
