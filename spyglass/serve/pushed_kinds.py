"""What is pushed of a process beside its processor time: read by an inspector, as a request for Pyroscope."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from spyglass.analysis.redaction import redacted, redacted_sites
from spyglass.analysis.same_process import other_program
from spyglass.analysis.selection import selected
from spyglass.analysis.site_increase import increase
from spyglass.analysis.subset import subset
from spyglass.formats import exporter
from spyglass.push.forms import About, pprof_request

if TYPE_CHECKING:
    from spyglass.inspector import Inspector
    from spyglass.push.destination import Form
    from spyglass.push.forms import Request
    from spyglass.serve.settings import PushPlan
    from spyglass.site_profile import SiteProfile

__all__ = ["HeapProfiles", "goroutine_profile"]

#: A process: its pid, and when it started, for pids are given to others.
_Key = tuple[int, datetime]

#: In a heap profile, what was allocated since the program started, and what is in use (`HeapProfile.by_site`).
_ALLOCATED, _IN_USE = (0, 1), slice(2, None)


class HeapProfiles:
    """Heap profiles, one after the other. Pyroscope adds up what was allocated: it gets the increase since the profile before, and
    of the first one of a process only what is in use."""

    def __init__(self, plan: PushPlan) -> None:
        self._form: Form = plan.to.form
        self._redact = plan.redact
        self._before: dict[_Key, SiteProfile] = {}

    def request(self, program: Inspector, key: _Key) -> Request | None:
        """The profile of `program` now; None: it has none. Called in a thread."""
        profile = program.heap_profile()
        if profile.why_not is not None:
            return None
        sites, before = profile.by_site(), self._before.get(key)
        shown, seconds = _since(before, sites)
        if self._redact:
            shown = redacted_sites(shown)
        stream = io.BytesIO()
        exporter("sites", "pprof").write(shown, stream)
        host = None if self._redact else os.uname().nodename
        began = profile.taken_at - timedelta(seconds=seconds)
        about = About(shown.process, host, "memory", began, seconds)
        made = pprof_request(stream.getvalue(), about, self._form)
        self._before[key] = sites  # only now: what could not be sent is in the next increase
        return made

    def keep(self, keys: set[_Key]) -> None:
        """Forget all processes but these."""
        self._before = {key: sites for key, sites in self._before.items() if key in keys}


def _since(before: SiteProfile | None, sites: SiteProfile) -> tuple[SiteProfile, float]:
    """What is sent of `sites`, and over how many seconds it is."""
    if before is None or other_program(before.process, sites.process):
        in_use = replace(sites, kinds=sites.kinds[_IN_USE], amounts=sites.amounts[:, _IN_USE])
        return in_use, 0.0
    assert before.taken_at is not None
    assert sites.taken_at is not None
    seconds = (sites.taken_at - before.taken_at).total_seconds()
    return increase(before, sites, _ALLOCATED), seconds


def goroutine_profile(plan: PushPlan, program: Inspector) -> Request:
    """How many of the user's goroutines of `program` there are now, by stack. Called in a thread."""
    taken = program.snapshot("full")
    taken = subset(taken, selected(taken.goroutines))
    if plan.redact:
        taken = redacted(taken)
    stream = io.BytesIO()
    exporter("snapshot", "pprof").write(taken, stream)
    about = About(taken.process, taken.host, "goroutine", taken.taken_at)
    return pprof_request(stream.getvalue(), about, plan.to.form)
