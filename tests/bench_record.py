"""Measures recordings: what they cost, and how much is known; part of tests/bench.py.

``python -m tests.bench_record`` counts wrong and certain samples, by default 100,000 of them: ten minutes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.burnt import burn

LIVES = ("100us", "1ms", "10ms", "100ms")
#: The share of the samples whose goroutine must be known, by how long goroutines live.
CERTAIN_GOALS = {"1ms": 0.8, "10ms": 0.97, "100ms": 0.97}
_ARGUMENTS: dict[str, tuple[str, ...]] = {"plain": (), "arguments": ("-arguments",)}
_MINORS = ("1.15", "1.19", "1.27")
_MAX_RATE_HZ = 999


def main() -> int:
    """Count samples that were given to a wrong goroutine, and those whose goroutine is known; 1 if any is wrong."""
    parser = argparse.ArgumentParser(description="Count wrong and certain samples.")
    parser.add_argument("samples", nargs="?", type=int, default=100_000)
    wanted = parser.parse_args().samples
    counts: Counter[str] = Counter()
    parts = [(m, life, kind) for m in _MINORS for life in LIVES for kind in _ARGUMENTS]
    while counts["samples"] < wanted:
        for minor, life, kind in parts:
            found = _counted(minor, life, kind, 10)
            counts += found
            counts += Counter({f"{life} {name}": count for name, count in found.items()})
            print(minor, life, kind, dict(found), "sum", counts["samples"], flush=True)
    for life in LIVES:
        share = counts[f"{life} certain"] / counts[f"{life} samples"]
        print(f"{life}: {counts[f'{life} samples']:,} samples, certain {share:.1%}")
    wrong = counts["wrong"] + counts["wrong labels"]
    print(f"{counts['samples']:,} samples, certain {counts['certain']:,}, of these wrong {wrong}")
    return int(wrong > 0)


def _counted(minor: str, life: str, kind: str, seconds: float) -> Counter[str]:
    """The samples of one recording, how many are certain, and how many of these are wrong."""
    with tempfile.TemporaryDirectory() as folder:
        burnt = burn(
            minor, "-life", life, *_ARGUMENTS[kind],
            seconds=seconds, rate_hz=_MAX_RATE_HZ, path=Path(folder) / "lives",
        )  # fmt: skip
    samples = len(burnt.samples)
    return Counter({
        "samples": samples, "certain": round(burnt.certain * samples), "wrong": len(burnt.wrong()),
        "wrong labels": burnt.wrong_labels().total(),
    })  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
