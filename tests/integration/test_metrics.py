"""``spyglass export`` of a finished program that has client_golang's metrics itself."""

from __future__ import annotations

import stat
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.command import started
from tests.finished import running

pytestmark = pytest.mark.live

#: What client_golang has and spyglass has not: numbers of allocations.
MISSING = {
    "go_memstats_alloc_bytes_total", "go_memstats_frees_total", "go_memstats_mallocs_total",
    "go_memstats_heap_objects", "go_memstats_lookups_total",
}  # fmt: skip


def samples(text: str) -> dict[tuple[str, str], float]:
    """The values of metrics of Go's, by name and quantile or version."""
    return {
        (sample.name, sample.labels.get("quantile", sample.labels.get("version", ""))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("go_")
    }


#: How often what differs may be another value.
_TRIALS = 5


@pytest.mark.slow
def test_metrics_are_those_of_the_program_s_own_page(tmp_path: Path) -> None:
    with running("prometheus-trixie") as process:

        def own() -> dict[tuple[str, str], float]:
            url = f"http://127.0.0.1:{process.port}/metrics"
            with urllib.request.urlopen(url, timeout=30) as answer:
                return samples(answer.read().decode())

        own()  # its first answer allocates more than others
        # What did not change between two readings of its own is the same here, or it changed and changed back:
        # not the same one each time.
        compared: set[tuple[str, str]] = set()
        wrong: dict[tuple[str, str], tuple[float, float]] | None = None
        for _ in range(_TRIALS):
            before = own()
            file = tmp_path / "x.prom"
            done = started("export", str(process.pid), "-o", str(file))
            after = own()
            assert done.returncode == 0, done.stderr
            found = samples(file.read_text())
            wanted = {key for key in before if key[0].startswith(("go_memstats", "go_gc_duration", "go_info", "go_gc_gogc"))}  # fmt: skip
            assert {name for name, _ in wanted - found.keys()} <= MISSING
            still = {key for key in wanted & found.keys() if before[key] == after[key]}
            compared |= still
            now = {key: (before[key], found[key]) for key in still if found[key] != pytest.approx(before[key], rel=1e-9)}  # fmt: skip
            wrong = now if wrong is None else {key: now[key] for key in wrong.keys() & now.keys()}
            if not wrong and len(compared) >= 10:
                break
    assert wrong == {}
    assert len(compared) >= 10
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    # Its own page is served by goroutines that are gone a moment later, and counts the M kept for C.
    assert 0 < found["go_goroutines", ""] <= max(before["go_goroutines", ""], after["go_goroutines", ""])  # fmt: skip
    assert abs(found["go_threads", ""] - before["go_threads", ""]) <= 3
