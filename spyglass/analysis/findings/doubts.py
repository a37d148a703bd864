"""What is doubtful in a snapshot, in one finding each: the only place where a view says so first."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from spyglass.analysis.findings.finding import Findable, Finding
from spyglass.analysis.findings.thresholds import DOUBT_COUNT, DOUBT_SHARE
from spyglass.model import Problem
from spyglass.words.states import DOUBTFUL
from spyglass.words.units import count, plural

__all__ = ["doubt_findings"]


def doubt_findings(findable: Findable) -> Iterator[Finding]:
    """Many goroutines that could not be read as of one moment; parts that could not be read."""
    snapshot, rows = findable.snapshot, findable.rows
    g = snapshot.goroutines
    doubtful = rows[np.isin(g.quality[rows], DOUBTFUL)]
    if len(doubtful) >= max(DOUBT_COUNT, DOUBT_SHARE * len(rows)):
        yield Finding(
            kind="doubt",
            severity="warning",
            title=f"{count(len(doubtful))} of {plural(len(rows), 'goroutine')} could not be read as of one "
            "moment: their states and stacks may be wrong",
            goroutines=len(doubtful),
            examples=findable.examples(doubtful),
            next=None if snapshot.file is not None else findable.command("summary"),
        )
    if snapshot.problems:
        yield _problems(findable, snapshot.problems)


def _problems(findable: Findable, problems: tuple[Problem, ...]) -> Finding:
    first = problems[0]
    more = "" if len(problems) == 1 else f", and {plural(len(problems) - 1, 'more problem')}"
    return Finding(
        kind="problems",
        severity="info",
        title=f"{first.kind}: {first.subject}: {first.detail}{more}",
        next=findable.command("summary", "--debug"),
    )
