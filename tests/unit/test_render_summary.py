from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
from rich.text import Text

from spyglass.analysis.groups import groups
from spyglass.analysis.subset import subset
from spyglass.model import Frame, MemoryStats, Problem, Processor, Scheduler, Snapshot
from spyglass.render.summary_view import render
from spyglass.render.view_options import View
from spyglass.scheduler_window import LongCall, SchedulerWindow, WindowProcessor
from spyglass.words.calls import call_text, location_text
from tests.snapshots import (
    CONTAINED,
    MEMORY,
    PROCESS,
    PROCESSORS,
    SCHEDULER,
    Row,
    frame,
    make_snapshot,
)

PROMETHEUS = "github.com/prometheus/prometheus"
MAIN = frame("main.main", "/build/prometheus/cmd/prometheus/main.go", 930)
SYNC = frame(f"{PROMETHEUS}/scrape.(*scrapePool).sync", "/build/prometheus/scrape/scrape.go", 412)
RUN = frame(f"{PROMETHEUS}/scrape.(*scrapeLoop).run", "/build/prometheus/scrape/scrape.go", 1371)
SERVE = frame("net/http.(*Server).Serve", "/usr/lib/go/src/net/http/server.go", 3086)
WAIT = frame(
    "internal/poll.(*pollDesc).wait", "/usr/lib/go/src/internal/poll/fd_poll_runtime.go", 84
)
EVAL = frame(
    f"{PROMETHEUS}/promql.(*evaluator).rangeEval", "/build/prometheus/promql/engine.go", 1022
)
SWEEP = frame("runtime.bgsweep", "/usr/lib/go/src/runtime/mgcsweep.go", 280)

MINUTE_NS = 60_000_000_000


def text(lines: Iterable[Text]) -> str:
    return "".join(f"{line.plain}\n" for line in lines)


def server(goroutines: int = 30) -> Snapshot:
    """A server with `goroutines` of its own, 5 or more, and one of the runtime's."""
    rows = [
        Row(1, wait_reason="chan receive", waiting_ns=79 * MINUTE_NS, where=MAIN),
        Row(2, wait_reason="GC sweep wait", start=SWEEP, creator=MAIN, system=True),
        Row(17, "running", start=EVAL, creator=SERVE, creator_id=1, m=2),
        Row(18, wait_reason="IO wait", where=WAIT, creator=SERVE, creator_id=1),
        Row(19, "syscall", where=WAIT, creator=MAIN, m=3, locked=True, quality="torn"),
    ]
    rows += [
        Row(
            40 + i,
            wait_reason="select",
            waiting_ns=i * MINUTE_NS,
            where=RUN,
            start=RUN,
            creator=SYNC,
        )
        for i in range(goroutines - 4)
    ]
    return make_snapshot(rows)


PIPED = """\
findings   nothing unusual
info       1 goroutine is locked to a thread, the first at internal/poll.(*pollDesc).wait
           spyglass summary --pid 1234 --list
program    /usr/bin/prometheus  pid 1234  up 1h 20m  rss 100.0 MiB  go1.24.4
command    prometheus --config.file=p.yml
scheduler  gomaxprocs 2  Ps idle 1  run queue 3  threads 3 (1 running, 1 locked)
memory     heap 12.3 MiB  goal 20.0 MiB  stacks 1.2 MiB  gc 142  last 12s ago
goroutines 30 (+1 runtime)  waiting 28  running 1  syscall 1
waiting    select 26  chan receive 1  IO wait 1

count  state                  oldest  median  function                                                                at                                                   creator                                                     created at
    1  running                                github.com/prometheus/prometheus/promql.(*evaluator).rangeEval (start)  /build/prometheus/promql/engine.go:1022              net/http.(*Server).Serve                                    /usr/lib/go/src/net/http/server.go:3086
   26  select                   ≥25m    ≥12m  github.com/prometheus/prometheus/scrape.(*scrapeLoop).run               /build/prometheus/scrape/scrape.go:1371              github.com/prometheus/prometheus/scrape.(*scrapePool).sync  /build/prometheus/scrape/scrape.go:412
    1  chan receive          ≥1h 19m          main.main                                                               /build/prometheus/cmd/prometheus/main.go:930         -                                                           -
    1  IO wait                     ?          internal/poll.(*pollDesc).wait                                          /usr/lib/go/src/internal/poll/fd_poll_runtime.go:84  net/http.(*Server).Serve                                    /usr/lib/go/src/net/http/server.go:3086
    1  syscall (1 doubtful)                   internal/poll.(*pollDesc).wait                                          /usr/lib/go/src/internal/poll/fd_poll_runtime.go:84  main.main                                                   /build/prometheus/cmd/prometheus/main.go:930
"""

VERBOSE = """\
program    /usr/bin/prometheus  pid 1234  up 1h 20m  rss 100.0 MiB  started 2026-11-20 05:00:00Z
command    prometheus --config.file=p.yml
build      go1.24.4  amd64  stripped  not PIE  cgo  build id 0123456789abcdef0123456789abcdef01234567  module github.com/prometheus/prometheus v3.1.0
scheduler  gomaxprocs 2  global run queue 0  Ps idle 1  Ms idle 2  spinning 0  freed 0  stop-the-world pending no
Ps         P  status   schedtick  syscalltick  queue  M  thread
           0  idle           642           81      0  -       -
           1  running       7001            9      3  2    1236
threads    total 3  sleeping 2  running 1  Ms 2  Ms without P 1  locked Ms 1
memory     heap 12.3 MiB  idle 4.0 MiB  released 1.0 MiB  goal 20.0 MiB  stacks 1.2 MiB
gc         cycles 142  last 12s ago  pause 120us  all pauses 30ms  GOGC 100
"""

SMALL_TERMINAL = """\
findings   nothing unusual  1 more finding: --all
program    /usr/bin/prometheus  pid 1234  up 1h 20m  rss 100.0 MiB  go1.24.4
command    prometheus --config.file=p.yml
scheduler  gomaxprocs 2  Ps idle 1  run queue 3  threads 3 (1 running, 1 locked)
memory     heap 12.3 MiB  goal 20.0 MiB  stacks 1.2 MiB  gc 142  last 12s ago
goroutines 30 (+1 runtime)  waiting 28  running 1  syscall 1
waiting    select 26  chan receive 1  IO wait 1
count  state                  oldest  function                    at
    1  running                        …luator).rangeEval (start)  …gine.go:1022
   26  select                   ≥25m  scrape.(*scrapeLoop).run    …rape.go:1371
    1  chan receive          ≥1h 19m  main.main                   main.go:930
    1  IO wait                     ?  poll.(*pollDesc).wait       …untime.go:84
    1  syscall (1 doubtful)           poll.(*pollDesc).wait       …untime.go:84
"""

SMALL_VERBOSE = """\
program    /usr/bin/prometheus  pid 1234  up 1h 20m  rss 100.0 MiB
           started 2026-11-20 05:00:00Z
command    prometheus --config.file=p.yml
build      go1.24.4  amd64  stripped  not PIE  cgo  build id 0123456789ab…
           module github.com/prometheus/prometheus v3.1.0
scheduler  gomaxprocs 2  global run queue 0  Ps idle 1  Ms idle 2  spinning 0
           freed 0  stop-the-world pending no
Ps         P  status   schedtick  syscalltick  queue  M  thread
           0  idle           642           81      0  -       -
           1  running       7001            9      3  2    1236
threads    total 3  sleeping 2  running 1  Ms 2  Ms without P 1  locked Ms 1
memory     heap 12.3 MiB  idle 4.0 MiB  released 1.0 MiB  goal 20.0 MiB
           stacks 1.2 MiB
gc         cycles 142  last 12s ago  pause 120us  all pauses 30ms  GOGC 100
"""

WIDE_TERMINAL = """\
findings   nothing unusual
info       1 goroutine is locked to a thread, the first at internal/poll.(*pollDesc).wait
           spyglass summary --pid 1234 --list
program    /usr/bin/prometheus  pid 1234  up 1h 20m  rss 100.0 MiB  go1.24.4
command    prometheus --config.file=p.yml
scheduler  gomaxprocs 2  Ps idle 1  run queue 3  threads 3 (1 running, 1 locked)
memory     heap 12.3 MiB  goal 20.0 MiB  stacks 1.2 MiB  gc 142  last 12s ago
goroutines 30 (+1 runtime)  waiting 28  running 1  syscall 1
waiting    select 26  chan receive 1  IO wait 1

count  state                  oldest  median  function                                                                at                          creator                    created at
    1  running                                github.com/prometheus/prometheus/promql.(*evaluator).rangeEval (start)  promql/engine.go:1022       net/http.(*Server).Serve   http/server.go:3086
   26  select                   ≥25m    ≥12m  github.com/prometheus/prometheus/scrape.(*scrapeLoop).run               scrape/scrape.go:1371       scrape.(*scrapePool).sync  scrape/scrape.go:412
    1  chan receive          ≥1h 19m          main.main                                                               prometheus/main.go:930      -                          -
    1  IO wait                     ?          internal/poll.(*pollDesc).wait                                          poll/fd_poll_runtime.go:84  net/http.(*Server).Serve   http/server.go:3086
    1  syscall (1 doubtful)                   internal/poll.(*pollDesc).wait                                          poll/fd_poll_runtime.go:84  main.main                  prometheus/main.go:930
"""

FEW = """\
findings   nothing unusual
info       1 goroutine is locked to a thread, the first at internal/poll.(*pollDesc).wait
           spyglass summary --pid 1234 --list
program    /usr/bin/prometheus  pid 1234  up 1h 20m  rss 100.0 MiB  go1.24.4
command    prometheus --config.file=p.yml
scheduler  gomaxprocs 2  Ps idle 1  run queue 3  threads 3 (1 running, 1 locked)
memory     heap 12.3 MiB  goal 20.0 MiB  stacks 1.2 MiB  gc 142  last 12s ago
goroutines 8 (+1 runtime)  waiting 6  running 1  syscall 1
waiting    select 4  chan receive 1  IO wait 1

id  state                         wait  M  function                              at
17  running                             2  …omql.(*evaluator).rangeEval (start)  engine.go:1022
 1  chan receive               ≥1h 19m  -  main.main                             main.go:930
18  IO wait                          ?  -  internal/poll.(*pollDesc).wait        …oll_runtime.go:84
19  syscall (torn), locked t…           3  internal/poll.(*pollDesc).wait        …oll_runtime.go:84
40  select                         ≥0s  -  scrape.(*scrapeLoop).run              scrape.go:1371
41  select                         ≥1m  -  scrape.(*scrapeLoop).run              scrape.go:1371
42  select                         ≥2m  -  scrape.(*scrapeLoop).run              scrape.go:1371
43  select                         ≥3m  -  scrape.(*scrapeLoop).run              scrape.go:1371
"""

PIPED_LIST = """\
goroutines 6 (+1 runtime)  waiting 5  running 1  syscall 1
waiting    select 2  chan receive 1  GC sweep wait 1  IO wait 1

id  state                                wait  M  function                                                                at                                                   creator                                                     created at
 1  chan receive                      ≥1h 19m  -  main.main                                                               /build/prometheus/cmd/prometheus/main.go:930         -                                                           -
 2  GC sweep wait                           ?  -  runtime.bgsweep (start)                                                 /usr/lib/go/src/runtime/mgcsweep.go:280              main.main                                                   /build/prometheus/cmd/prometheus/main.go:930
17  running                                    2  github.com/prometheus/prometheus/promql.(*evaluator).rangeEval (start)  /build/prometheus/promql/engine.go:1022              net/http.(*Server).Serve                                    /usr/lib/go/src/net/http/server.go:3086
18  IO wait                                 ?  -  internal/poll.(*pollDesc).wait                                          /usr/lib/go/src/internal/poll/fd_poll_runtime.go:84  net/http.(*Server).Serve                                    /usr/lib/go/src/net/http/server.go:3086
19  syscall (torn), locked to thread           3  internal/poll.(*pollDesc).wait                                          /usr/lib/go/src/internal/poll/fd_poll_runtime.go:84  main.main                                                   /build/prometheus/cmd/prometheus/main.go:930
40  select                                ≥0s  -  github.com/prometheus/prometheus/scrape.(*scrapeLoop).run               /build/prometheus/scrape/scrape.go:1371              github.com/prometheus/prometheus/scrape.(*scrapePool).sync  /build/prometheus/scrape/scrape.go:412
41  select                                ≥1m  -  github.com/prometheus/prometheus/scrape.(*scrapeLoop).run               /build/prometheus/scrape/scrape.go:1371              github.com/prometheus/prometheus/scrape.(*scrapePool).sync  /build/prometheus/scrape/scrape.go:412
"""


def test_piped_all_is_there_on_lines_as_long_as_they_need_to_be() -> None:
    assert text(render(server(), View())) == PIPED


def test_a_small_terminal() -> None:
    assert text(render(server(), View(width=80, height=24))) == SMALL_TERMINAL


@pytest.mark.parametrize(
    ("view", "facts"), [(View(), VERBOSE), (View(width=80, height=24), SMALL_VERBOSE)]
)
def test_every_fact_is_shown_where_details_are_wanted(view: View, facts: str) -> None:
    assert f"\n{facts}goroutines 30 " in text(render(server(), replace(view, verbose=True)))


def test_a_wide_terminal() -> None:
    assert text(render(server(), View(width=200, height=50))) == WIDE_TERMINAL


def test_few_goroutines_are_listed() -> None:
    assert text(render(server(8), View(width=100, height=40))) == FEW


def test_a_list_of_all_with_the_system_goroutines() -> None:
    lines = text(render(server(6), View(listed=True, system=True)))
    assert lines[lines.index("goroutines 6") :] == PIPED_LIST


def test_a_list_is_by_id() -> None:
    snapshot = make_snapshot([Row(id) for id in (7, 100, 20, 3)])
    lines = text(render(snapshot, View())).splitlines()
    assert [line.split()[0] for line in lines[-4:]] == ["3", "7", "20", "100"]


def test_of_a_few_goroutines_those_that_run_are_first_unless_a_list_is_wanted() -> None:
    rows = [Row(3), Row(7, "runnable"), Row(9, "running"), Row(5, "syscall"), Row(1, "runnable")]
    lines = text(render(make_snapshot(rows), View())).splitlines()
    assert [line.split()[0] for line in lines[-5:]] == ["9", "1", "7", "3", "5"]
    lines = text(render(make_snapshot(rows), View(listed=True))).splitlines()
    assert [line.split()[0] for line in lines[-5:]] == ["1", "3", "5", "7", "9"]


def test_at_most_so_many_rows() -> None:
    lines = text(render(server(), View(limit=2))).splitlines()
    titles = lines.index("") + 1
    assert [line.split()[0] for line in lines[titles + 1 :]] == ["1", "26", "…"]
    assert lines[-1] == "… and 3 more groups (3 goroutines)"
    assert text(render(server(), View(limit=5))) == PIPED


def test_of_a_part_it_is_said_what_of() -> None:
    part = subset(server(), np.array([3, 4]))
    lines = text(render(part, View())).splitlines()
    assert "goroutines 2 of 30 (+1 runtime) match  syscall 1  waiting 1" in lines


@pytest.mark.parametrize(("goroutines", "title"), [(20, "id"), (21, "count")])
def test_up_to_twenty_goroutines_are_listed_unless_asked(goroutines: int, title: str) -> None:
    lines = text(render(server(goroutines), View())).splitlines()
    assert lines[lines.index("") + 1].split()[0] == title
    lines = text(render(server(goroutines), View(listed=True))).splitlines()
    assert lines[lines.index("") + 1].split()[0] == "id"


def crowd(groups: int) -> Snapshot:
    """As many groups: the first of as many goroutines, the last of one; and eight Ps, two busy."""
    rows = [
        Row(1000 * group + i, wait_reason="select", where=frame(f"main.f{group}", line=group))
        for group in range(groups)
        for i in range(groups - group)
    ]
    states = ["idle", "running", "idle", "idle", "gcstop", "idle", "idle", "idle"]
    processors = tuple(
        Processor(i, state, 1000 + i, i, 0, None, None) for i, state in enumerate(states)
    )
    problems = tuple(Problem("torn", f"goroutine {i}", "it moved") for i in range(5))
    return make_snapshot(rows, processors=processors, problems=problems)


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("height", [24, 30, 40, 50, 60])
@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_a_crowd_fills_the_screen_and_no_more(width: int, height: int, listed: bool) -> None:
    view = View(width=width, height=height, listed=listed, styled=True)
    lines = list(render(crowd(60), view))
    assert max(line.cell_len for line in lines) <= width
    assert len(lines) == height - 1


def test_rows_that_do_not_fit_are_counted() -> None:
    view = View(width=80, height=24)
    lines = text(render(crowd(60), view)).splitlines()
    more = "… and 46 more groups (1,081 goroutines); --all shows them"
    assert lines[-1] == more
    assert lines[-2].split()[0] == "47"
    lines = text(render(crowd(60), replace(view, listed=True))).splitlines()
    assert lines[-1] == "… and 1,816 more goroutines; --all shows them"


@pytest.mark.parametrize("view", [View(), View(width=80, height=24, everything=True)])
def test_all_rows_are_there_when_piped_or_asked_for(view: View) -> None:
    for listed, rows in ((False, 60), (True, 1830)):
        lines = text(render(crowd(60), replace(view, listed=listed)))
        assert "--all" not in lines
        assert sum("main.f" in line for line in lines.splitlines()) == rows


def test_a_low_terminal_shows_the_busy_ps() -> None:
    lines = text(render(crowd(60), View(width=80, height=24, verbose=True))).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("Ps "))
    assert lines[start : start + 3] == [
        "Ps         P  status   schedtick  syscalltick  queue  M  thread",
        "           1  running       1001            1      0  -       -",
        "           … and 7 more (6 idle, 1 gcstop); --all shows them",
    ]


def test_ps_stand_side_by_side_before_any_is_left_out() -> None:
    lines = text(render(crowd(60), View(width=240, height=22, verbose=True))).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("Ps "))
    assert lines[start] == "Ps         " + "   ".join([PS_TITLE] * 4)
    assert " ".join(lines[start + 1].split()) == (
        "0 idle 1000 0 0 - - 2 idle 1002 2 0 - - 4 gcstop 1004 4 0 - - 6 idle 1006 6 0 - -"
    )
    assert lines[start + 2].startswith("           1  running       1001            1      0  -")
    assert lines[start + 3].startswith("threads")


PS_TITLE = "P  status   schedtick  syscalltick  queue  M  thread"


def test_all_problems_are_listed_for_one_who_debugs() -> None:
    lines = text(render(crowd(21), View(debug=True))).splitlines()
    assert lines[-6:] == [f"torn: goroutine {i}: it moved" for i in range(5)] + ["5 problems"]
    lines = text(render(crowd(21), View())).splitlines()
    assert lines[1] == "info       torn: goroutine 0: it moved, and 4 more problems"
    assert sum("it moved" in line for line in lines) == 1
    one = make_snapshot(problems=(Problem("unknown", "scheduler", "no freed Ms"),))
    lines = text(render(one, View())).splitlines()
    assert lines[1] == "info       unknown: scheduler: no freed Ms"


NOTHING_KNOWN = """\
findings   nothing unusual
program    ?  pid 1234  up ?  rss ?  Go ?
scheduler  gomaxprocs ?  Ps idle ?  run queue ?  threads 0
memory     heap ?  goal ?  stacks ?  gc ?  last ?
goroutines 0

"""

NOTHING_KNOWN_VERBOSE = """\
findings   nothing unusual
program    ?  pid 1234  up ?  rss ?  started ?
build      Go ?  amd64  stripped  not PIE  cgo ?  build id ?  module ?
scheduler  gomaxprocs ?  global run queue ?  Ps idle ?  Ms idle ?  spinning ?  freed ?  stop-the-world pending ?
threads    total 0  Ms 0  Ms without P 0  locked Ms 0
memory     heap ?  idle ?  released ?  goal ?  stacks ?
gc         cycles ?  last ?  pause ?  all pauses ?  GOGC ?
goroutines 0

"""


def test_what_is_not_known_is_a_question_mark() -> None:
    snapshot = make_snapshot(
        process=replace(
            PROCESS,
            exe=None,
            cmdline=(),
            started_at=None,
            uptime_seconds=None,
            go_version=None,
            module=None,
            module_version=None,
            build_id=None,
            cgo=None,
            rss_bytes=None,
        ),
        scheduler=Scheduler(**dict.fromkeys(SCHEDULER.__slots__)),
        memory=MemoryStats(**dict.fromkeys(MEMORY.__slots__)),
        processors=(),
        threads=(),
    )
    assert text(render(snapshot, View())) == NOTHING_KNOWN
    assert text(render(snapshot, View(verbose=True))) == NOTHING_KNOWN_VERBOSE


def test_a_goroutine_of_which_nothing_is_known() -> None:
    lines = text(render(make_snapshot([Row(5, quality="unreadable")]), View())).splitlines()
    assert lines[-1] == " 5  waiting (unreadable)  -  ?         ?   -        -"


def test_limits_and_containers_are_shown_where_there_are_any() -> None:
    snapshot = make_snapshot(
        process=replace(
            PROCESS, container="c0ffee" * 10, memory_limit_bytes=2**29, library="/l.so"
        ),
        memory=replace(
            MEMORY,
            gogc_percent=-1,
            memory_limit_bytes=450 * 2**20,
            gc_count=0,
            last_gc_at=None,
            last_gc_pause_ns=None,
        ),
        scheduler=replace(SCHEDULER, gc_waiting=True),
    )
    lines = text(render(snapshot, View(width=200, height=50))).splitlines()
    assert lines[1].endswith("container c0ffeec0ffee…  memory limit 512.0 MiB")
    assert "go library /l.so" in lines
    assert "limit 450.0 MiB  stacks 1.2 MiB  gc 0  last never  GOGC off" in "\n".join(lines)
    assert "stop-the-world pending yes  threads 3 (" in "\n".join(lines)
    lines = text(render(snapshot, View(width=200, height=50, verbose=True))).splitlines()
    assert lines[1].endswith("container c0ffeec0ffee…  memory limit 512.0 MiB")
    assert (
        "gc         cycles 0  last never  pause -  all pauses 30ms  GOGC off  limit 450.0 MiB"
        in lines
    )
    assert lines[5].endswith("stop-the-world pending yes")
    assert "container " + "c0ffee" * 10 in text(render(snapshot, View()))


def test_names_of_a_container_and_its_pod_come_before_ids() -> None:
    for process, words in (
        (CONTAINED, ["container cart", "pod shop/cart-1"]),
        (replace(CONTAINED, container_name=None, pod=None), ["container c0ffeec0ffee…", "pod 8d9b0a77"]),
        (replace(CONTAINED, pod=None, pod_uid=None), ["container cart"]),
        (PROCESS, []),
    ):  # fmt: skip
        for verbose in (False, True):
            view = View(width=200, height=50, verbose=verbose)
            line = text(render(make_snapshot(process=process), view)).splitlines()[1]
            assert re.findall("(?:container|pod) [^ ]+", line) == words
    long = replace(CONTAINED, container_name="c" * 253, namespace="n" * 253, pod="p" * 253)
    lines = text(render(make_snapshot(process=long), View(width=200, height=50))).splitlines()
    assert max(map(len, lines)) <= 200


HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\u200b\r\n\t[red]日本語[/red]" + "x" * 10_000


def hostile() -> Snapshot:
    evil = frame(HOSTILE, HOSTILE, 7)
    problem = Problem(HOSTILE, HOSTILE, HOSTILE)
    return make_snapshot(
        [Row(1, wait_reason=HOSTILE, where=evil, creator=evil), Row(2, "running", start=evil)],
        process=replace(
            PROCESS,
            exe=HOSTILE,
            cmdline=(HOSTILE, HOSTILE),
            go_version=HOSTILE,
            module=HOSTILE,
            module_version=HOSTILE,
            build_id=HOSTILE,
            container=HOSTILE,
            container_name=HOSTILE,
            pod=HOSTILE,
            namespace=HOSTILE,
            arch=HOSTILE,
            library=HOSTILE,
        ),
        processors=tuple(replace(p, status=HOSTILE) for p in PROCESSORS),
        threads=tuple(replace(t, os_state=HOSTILE, name=HOSTILE) for t in make_snapshot().threads),
        problems=(problem,) * 9,
    )


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("width", [20, 80, 200, None])
def test_hostile_strings_are_text_on_one_line(width: int | None, debug: bool) -> None:
    height = None if width is None else 24
    for listed in (False, True):
        view = View(width=width, height=height, listed=listed, debug=debug, styled=True)
        for line in render(hostile(), view):
            assert line.plain.isprintable()
            if width is not None:
                assert line.cell_len <= width
    if width is None:
        assert (
            r"\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\u200b\x0d\x0a\x09[red]日本語[/red]xxx"
            in text(render(hostile(), View()))
        )


@pytest.mark.parametrize("width", [1, 5, 10, 20, 40])
def test_a_terminal_that_is_too_narrow_is_no_error(width: int) -> None:
    for snapshot in (server(), server(8), crowd(30)):
        for line in render(snapshot, View(width=width, height=5, styled=True)):
            assert line.cell_len <= max(width, 12)


def test_styles_change_nothing_but_colours() -> None:
    view = View(width=120, height=40)
    assert text(render(server(), replace(view, styled=True))) == text(render(server(), view))


LOCK = frame("sync.(*Mutex).Lock", "/usr/lib/go/src/sync/mutex.go", 46)
READ = frame("net.(*conn).Read", "/usr/lib/go/src/net/net.go", 196)
REPORT = frame("example.org/checkout/billing.(*Service).report", "/src/billing/report.go", 31)
STOCK = frame("main.reserveStock", "/src/checkout/stock.go", 112)
FEED = frame("example.org/checkout/feed.(*Client).receive", "/src/checkout/feed/client.go", 77)


def calling() -> Snapshot:
    """Two groups that wait for locks, one that reads, and one goroutine that calls nothing."""
    rows = [Row(100 + i, wait_reason="sync.Mutex.Lock", where=REPORT, call=LOCK) for i in range(12)]
    rows += [Row(200 + i, wait_reason="sync.Mutex.Lock", where=STOCK, call=LOCK) for i in range(9)]
    rows += [Row(300 + i, wait_reason="IO wait", where=FEED, call=READ) for i in range(3)]
    return make_snapshot([*rows, Row(400, "running", start=MAIN)])


def table_of(view: View, snapshot: Snapshot) -> list[str]:
    return text(render(snapshot, view)).splitlines()[-5:]


def test_calls_stand_behind_functions_where_the_terminal_is_narrow() -> None:
    assert table_of(View(width=80, height=40), calling()) == [
        "count  state            function                                    at",
        "    1  running          main.main (start)                           main.go:930",
        "   12  sync.Mutex.Lock  billing.(*Service).report in …*Mutex).Lock  report.go:31",
        "    9  sync.Mutex.Lock  main.reserveStock in sync.(*Mutex).Lock     stock.go:112",
        "    3  IO wait          feed.(*Client).receive in net.(*conn).Read  client.go:77",
    ]


@pytest.mark.parametrize("width", [120, 200, None])
def test_calls_have_a_column_where_there_is_room(width: int | None) -> None:
    title, *rows = table_of(View(width=width, height=width and 40), calling())
    assert title.split()[:5] == ["count", "state", "function", "call", "at"]
    for row, (function, call) in zip(
        rows[1:], [(REPORT, LOCK), (STOCK, LOCK), (FEED, READ)], strict=True
    ):
        assert function.function.rpartition("/")[2] in row[: title.index("call")]
        assert row[title.index("call") :].startswith(call.function)
    assert row_of(rows[0], title, "call") == ""


def row_of(row: str, title: str, column: str) -> str:
    return row[title.index(column) :].split("  ")[0].strip()


def test_a_table_without_calls_has_no_column_for_them() -> None:
    assert "call" not in text(render(server(), View(width=120, height=40))).split()


def test_a_listed_goroutine_has_its_call() -> None:
    lines = text(render(calling(), View(listed=True))).splitlines()
    assert sum("sync.(*Mutex).Lock" in line for line in lines[lines.index("") :]) == 21


def busy(at_work: int, waiting: int = 30) -> Snapshot:
    """Groups of one goroutine that are runnable, one that runs, and larger groups that wait."""
    rows = [Row(1000 + i, "runnable", where=frame(f"main.work{i}", line=i)) for i in range(at_work)]
    rows += [
        Row(2000 + 10 * i + n, wait_reason="select", where=frame(f"main.wait{i}", line=i))
        for i in range(waiting)
        for n in range(5)
    ]
    return make_snapshot([*rows, Row(9000, "running", where=frame("main.spin"))])


@pytest.mark.parametrize("width", [80, 120])
def test_what_runs_is_on_the_screen_first(width: int) -> None:
    lines = text(render(busy(2), View(width=width, height=24))).splitlines()
    title = next(number for number, line in enumerate(lines) if line.startswith("count "))
    rows = [line.split() for line in lines[title + 1 :]]
    assert [row[1:3] for row in rows[:4]] == [
        ["running", "main.spin"],
        ["runnable", "main.work0"],
        ["runnable", "main.work1"],
        ["select", "main.wait0"],
    ]


@pytest.mark.parametrize("height", [20, 24, 40])
def test_what_waits_is_on_the_screen_even_if_very_much_runs(height: int) -> None:
    lines = text(render(busy(100), View(width=80, height=height))).splitlines()
    title = next(number for number, line in enumerate(lines) if line.startswith("count "))
    states = [line.split()[1] for line in lines[title + 1 : -1]]
    assert len(lines) == height - 1
    assert states[0] == "running"
    assert states[-3:] == ["select"] * 3
    assert set(states[1:-3]) == {"runnable"}


def test_goroutines_that_do_not_fit_one_by_one_are_grouped() -> None:
    rows = [Row(i + 1, wait_reason="select", where=RUN) for i in range(18)]
    snapshot = make_snapshot([*rows, Row(99, "running", where=MAIN)])
    assert "\nid " in text(render(snapshot, View(width=80, height=40)))
    lines = text(render(snapshot, View(width=80, height=24))).splitlines()
    assert lines[-3].startswith("count ")
    assert [line.split()[:2] for line in lines[-2:]] == [["1", "running"], ["18", "select"]]


def waiting(*waits_ns: int | None, gc_count: int | None = 3) -> Snapshot:
    rows = [
        Row(i + 1, wait_reason="select", waiting_ns=wait_ns, where=RUN)
        for i, wait_ns in enumerate(waits_ns)
    ]
    return make_snapshot(rows, memory=replace(MEMORY, gc_count=gc_count))


@pytest.mark.parametrize(
    ("minutes", "oldest", "median"),
    [
        ([1] * 22, "≥1m", "≥1m"),
        ([5, *[1] * 20], "≥5m", "≥1m"),
        ([5] * 11 + [1] * 11, "≥5m", "≥1m"),  # the lower median
        ([5] * 12 + [1] * 10, "≥5m", "≥5m"),
        ([5] * 12 + [None] * 11, "≥5m", "≥5m"),
        ([5] * 11 + [None] * 11, "≥5m", "?"),
    ],
)
def test_waits_of_a_group_are_a_range_of_lower_bounds(
    minutes: list[int | None], oldest: str, median: str
) -> None:
    snapshot = waiting(*(n and n * MINUTE_NS for n in minutes))
    lines = text(render(snapshot, View(width=120, height=40))).splitlines()
    if median == oldest:
        assert lines[-2].split()[:4] == ["count", "state", "oldest", "function"]
    else:
        assert lines[-2].split()[:4] == ["count", "state", "oldest", "median"]
        assert lines[-1].split()[3] == median
    assert lines[-1].split()[2] == oldest
    narrow = text(render(snapshot, View(width=80, height=24))).splitlines()
    assert narrow[-2].split()[:4] == ["count", "state", "oldest", "function"]
    assert narrow[-1].split()[2] == oldest


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize(
    ("gc_count", "words"),
    [
        (0, "(no times before the second GC)"),
        (1, "(no times before the second GC)"),
        (3, "(times not known)"),
        (None, "(times not known)"),
    ],
)
def test_without_any_known_wait_there_is_no_column_but_a_reason(
    gc_count: int | None, words: str, listed: bool
) -> None:
    snapshot = waiting(*[None] * 30, gc_count=gc_count)
    for view in (View(listed=listed), View(width=80, height=24, listed=listed)):
        lines = text(render(snapshot, view)).splitlines()
        assert f"waiting    select 30  {words}" in lines
        table = "\n".join(lines[next(i for i, x in enumerate(lines) if "function" in x) :])
        assert "?" not in table
        assert not {"wait", "oldest", "median"} & set(table.split())


def test_what_a_row_of_a_group_says_is_true_of_all_its_goroutines() -> None:
    random = np.random.default_rng(7)
    frames = [frame(f"main.f{i % 3}", f"/src/{i % 2}.go", i % 5) for i in range(12)]

    def some() -> Frame | None:
        return None if random.integers(4) == 0 else frames[random.integers(len(frames))]

    states = [("waiting", "select"), ("waiting", "sleep"), ("running", None), ("leaked", "select")]
    rows = [
        Row(i + 1, *states[random.integers(4)], where=some(), call=some(), start=some(), creator=some())
        for i in range(3000)
    ]  # fmt: skip
    snapshot = make_snapshot(rows)
    found = groups(snapshot)
    assert sum(group.count for group in found) == len(rows)
    assert 20 < len(found) < 2000
    for group in found:
        for goroutine in map(snapshot.goroutine, group.rows.tolist()):
            assert (goroutine.status, goroutine.wait_reason) == (group.status, group.wait_reason)
            at, shown = goroutine.where or goroutine.start, group.where or group.start
            assert (goroutine.where is None) == (group.where is None)
            for one, other in ((at, shown), (goroutine.created_by, group.creator)):
                assert (one and call_text(one)) == (other and call_text(other))
                assert (one and location_text(one)) == (other and location_text(other))
            assert (goroutine.call and call_text(goroutine.call)) == (
                group.call and call_text(group.call)
            )


WINDOW = SchedulerWindow(
    2 * 10**9, 40, 3.25, 17, 0.5, 0.0, 0, 1201, 12_000, 14_000_000, 5 * 10**9, 3, 10**9, 4 * 10**8, 900, 10**9,
    (WindowProcessor(0, 12), WindowProcessor(1, 8)),
    (LongCall(18, 1236, False, 0, "sleeping", "read", 0, "pi\x1bpe", None), LongCall(19, 1240, True, *[None] * 6)),
)  # fmt: skip


def test_what_was_watched_is_one_section() -> None:
    lines = text(render(replace(server(), window=WINDOW), View(None, None)))
    (watched,) = (line for line in lines.splitlines() if line.startswith("watched"))
    assert watched == (
        "watched    for 2s  scheduled 10/s  run queue 3.2 (most 17)  Ps idle 0.5  spinning 0.0  waits for a P 50 % ≤12us, "
        "99 % ≤14ms  lock waits that ended about 5s in all  gc 3  gc Ps 0.40  waiting for a processor of the host 0.50 threads"
    )
    assert "\ncalls      read of a pi\\x1bpe 1  C: ? 1\n" in lines


def test_a_window_of_a_file_in_which_little_is_known() -> None:
    for window in (
        SchedulerWindow(0, 0, mutex_wait_ns=5, run_delay_ns=7),
        SchedulerWindow(2**62, 0),
        SchedulerWindow(
            1, 1, 1e9, 2**62, run_waits=2**62, gc_count=2**62, gc_span_ns=1, gc_cpu_ns=2**62
        ),
    ):
        lines = text(render(replace(server(), window=window), View(100, 40)))
        assert ("watched" in lines) == (window.window_ns > 0)
