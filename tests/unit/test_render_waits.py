"""``spyglass waits`` as text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from rich.cells import cell_len
from rich.text import Text

from spyglass.analysis.wait_verdicts import verdicts
from spyglass.analysis.wait_view import WaitView, wait_view
from spyglass.analysis.wait_words import wait_phrase
from spyglass.export.snapshot_file import save
from spyglass.render.view_options import View
from spyglass.render.waits_view import render_chains, render_objects, render_waits
from spyglass.wait_graph import OPERATIONS, Connection, WaitGraph
from tests.command import piped
from tests.snapshots import Row, frame, make_snapshot
from tests.unit.test_waits_document import POOL, ROWS, taken, viewed
from tests.wait_things import Held, Thing, make_graph

Render = Callable[[WaitView, View], Iterator[Text]]


def lines(
    shown: WaitView,
    render: Render = render_waits,
    *,
    width: int | None = None,
    everything: bool = False,
) -> list[str]:
    return [line.plain for line in render(shown, View(width=width, everything=everything))]


def body(shown: WaitView, render: Render = render_waits) -> str:
    """The groups, without what is above them."""
    return "\n".join(lines(shown, render)).partition("\n\n")[2]


def of(graph: WaitGraph, rows: list[Row] = ROWS) -> WaitView:
    known = verdicts(make_snapshot(rows, waits=graph))
    assert known is not None
    return wait_view(known)


def test_all_of_it() -> None:
    text = lines(viewed(taken()))
    assert text[0].startswith("critical   goroutines 41 and 57 hold what the other wants")
    start = text.index("")
    assert text[start - 2 : start] == [
        "waiting    7 goroutines  stuck 3  not known whether stuck 1  1 moved while they were read",
        "looked at  stacks, globals, 1.0 MiB of heap; 2 marks",
    ]
    assert text[start:] == [
        "",
        "    2  mutex     main.(*pool).mu  0xc000132018  sync.Mutex  locked  oldest ≥3m 12s",
        "       held by goroutine 77: main.(*pool).refresh src/main.go:88 (deferred unlock pending)",
        "           which waits for a read from 10.0.3.7:5432 (fd 12), no deadline, for at least 3m 12s",
        "           2  main.(*pool).get src/main.go:41  ids 7, 101",
        "",
        "    1  read      10.0.3.7:5432  5 B not acknowledged by the peer  oldest ≥3m 12s",
        "           1  main.(*pool).refresh src/main.go:88  id 77",
        "",
        "    1  receive   chan main.reply  0xc000077000",
        "       never: nothing that is alive refers to channel 0xc000077000",
        "           1  main.askCarrier src/main.go:1  id 9",
        "",
        r'    1  mutex     main."ledger"\  0xc000000010  locked',
        "       held by goroutine 41: main.a src/main.go:1 (deferred unlock pending)",
        r"           which waits for rwmutex main.cache\x1b, to read",
        r"""       deadlock: goroutine 41 holds main."ledger"\, and waits in turn for what this one holds""",
        "           1  main.b src/main.go:1  id 57",
        "",
        r"    1  rwmutex   main.cache\x1b  0xc000000020  locked",
        "       held by goroutine 57: main.b src/main.go:1 (locked here on every path)",
        r'           which waits for mutex main."ledger"\, no deadline'.removesuffix(
            ", no deadline"
        ),
        "       referred to by goroutine 7: main.(*pool).get src/main.go:41 (for reading; has a reference)",
        "           which waits for mutex main.(*pool).mu, for at least 3m 12s",
        r"       deadlock: goroutine 57 holds main.cache\x1b, and waits in turn for what this one holds",
        "           1  main.a src/main.go:1  id 41",
    ]


@pytest.mark.parametrize("width", [20, 40, 80, 120])
def test_no_line_is_too_wide(width: int) -> None:
    for render in (render_waits, render_chains):
        assert all(cell_len(line) <= width for line in lines(viewed(taken()), render, width=width))


def test_peers_are_one_line_each() -> None:
    peers = [Connection("socket:tcp", f"10.0.0.1:{4000 + i}", "10.0.3.7:5432") for i in range(6)]
    other = Connection("socket:tcp", "10.0.0.1:5", "10.0.3.9:80")
    things = [Thing("fd", [(i + 1, "read")], connection=each) for i, each in enumerate(peers)]
    things += [
        Thing("fd", [(7, "read")], connection=other),
        Thing("fd", [(8, "write")], connection=peers[0]),
    ]
    rows = [Row(i, where=frame("main.query", line=i % 2)) for i in range(1, 9)]
    assert body(of(make_graph(things), rows)).splitlines() == [
        "    6  read      10.0.3.7:5432  6 connections",
        "           3  main.query src/main.go:1  ids 1, 3, 5",
        "           3  main.query src/main.go:0  ids 2, 4, 6",
        "",
        "    1  read      10.0.3.9:80",
        "           1  main.query src/main.go:1  id 7",
        "",
        "    1  write     10.0.3.7:5432",
        "           1  main.query src/main.go:0  id 8",
    ]


def test_the_cases_of_a_select_are_together() -> None:
    things = [
        thing
        for i in (1, 2, 3)
        for thing in (
            Thing("channel", [(i, "receive")], type="chan int"),
            Thing("channel", [(i, "send")], type="chan error"),
        )
    ]
    things.append(
        Thing("channel", [(1, "receive"), (2, "receive"), (3, "receive")], name="main.done")
    )
    rows = [Row(i, where=frame("main.work")) for i in (1, 2, 3)]
    assert body(of(make_graph(things), rows)).splitlines() == [
        "    3  receive   chan int  3 channels",
        "   or  send      chan error  3 channels",
        "   or  receive   main.done",
        "           3  main.work src/main.go:1  ids 1, 2, 3",
    ]


def test_of_several_that_are_stuck_one_is_the_example() -> None:
    things = [
        Thing("channel", [(i, "send")], type="chan int", state={"address": 16 * i})
        for i in (1, 2, 3)
    ]
    rows = [Row(i, where=frame("main.work")) for i in (1, 2, 3)]
    text = body(of(make_graph(things, stuck=(2, 3), alive=(1,)), rows))
    assert "       2 of them never: (goroutine 2) nothing that is alive refers to " in text


def test_timers_and_the_runtime_are_counted() -> None:
    things = [Thing("timer", [(i, "sleep")], state={"due_in_ns": i * 10**9}) for i in (1, 2, 3)]
    things += [Thing("runtime", [(4, "wait")]), Thing("timer", [(5, "sleep")])]
    text = lines(of(make_graph(things), [Row(i) for i in range(1, 6)]))
    assert "sleeping   4 goroutines  due in 1s to 3s" in text
    assert "runtime    1 goroutine" in text
    assert "" not in text


def test_the_heap_was_not_looked_at() -> None:
    text = lines(of(make_graph([Thing("mutex", [(7, "lock")])])))
    assert "waiting    1 goroutine  not known whether stuck 1" in text
    assert any(line.startswith("looked at  what goroutines wait on; not the heap") for line in text)


def test_many_groups_holders_and_places_are_cut_and_counted() -> None:
    things = [Thing("mutex", [(i, "lock"), (i + 1000, "lock")]) for i in range(1, 41)]
    many = [(i, "lock") for i in range(2000, 2100)]
    things.append(Thing("rwmutex", many, [Held(i, "read") for i in range(3000, 3010)]))
    rows = [Row(i, where=frame("main.get", line=i % 5)) for i in range(2000, 2100)]
    shown = of(make_graph(things), rows)
    text = lines(shown)
    assert text[-1] == "… and 29 more groups; --all shows them"
    assert "       … 7 more holders" in text
    assert sum("held by goroutine" in line for line in text) == 3
    assert "          20  main.get src/main.go:0  ids 2000, 2005, 2010, …" in text
    assert "       … 40 goroutines in 2 more places" in text
    everything = "\n".join(lines(shown, everything=True))
    assert "…" not in everything
    assert "2099" in everything
    assert everything.count("  100  rwmutex") == 1
    assert everything.count("  mutex") == 40


def test_a_chain_leads_to_what_it_hangs_on() -> None:
    assert lines(viewed(taken(), 7), render_chains) == [
        "goroutine 7: main.(*pool).get src/main.go:41",
        "           waits for mutex main.(*pool).mu, for at least 3m 12s",
        "       held by goroutine 77: main.(*pool).refresh src/main.go:88 (deferred unlock pending)",
        "           which waits for a read from 10.0.3.7:5432 (fd 12), no deadline, for at least 3m 12s",
        "       in the end stuck behind: main.(*pool).mu is held up by goroutine 77, which waits for 10.0.3.7:5432",
    ]


def test_a_verdict_takes_as_many_lines_as_it_needs() -> None:
    text = lines(viewed(taken(), 7), render_chains, width=60)
    at = next(index for index, line in enumerate(text) if "in the end" in line)
    words = " ".join(" ".join(text[at:]).split())
    assert words == (
        "in the end stuck behind: main.(*pool).mu is held up by goroutine 77, which waits for 10.0.3.7:5432"
    )


def test_a_chain_that_is_a_circle_ends() -> None:
    text = lines(viewed(taken(), 41), render_chains)
    assert text[0].startswith("goroutine 41: main.a")
    assert text[2].startswith("       held by goroutine 57: main.b")
    assert text[4] == "       and that is goroutine 41 again"
    assert text[5].startswith("       in the end deadlock: ")


def test_a_long_chain_has_its_middle_left_out() -> None:
    things = [Thing("mutex", [(i, "lock")], [Held(i + 1)]) for i in range(1, 1000)]
    known = verdicts(make_snapshot([Row(i) for i in range(1, 1001)], waits=make_graph(things)))
    assert known is not None
    text = lines(wait_view(known, np.array([1], np.uint64)), render_chains)
    assert len(text) < 50
    assert "       … 980 more steps …" in text
    assert text[-3].startswith("       held by goroutine 1000: ")


def test_an_object() -> None:
    def render(shown: WaitView, view: View) -> Iterator[Text]:
        return render_objects(shown, [POOL], view)

    assert lines(viewed(taken()), render) == [
        "    2  mutex     main.(*pool).mu  0xc000132018  sync.Mutex  locked",
        "       held by goroutine 77: main.(*pool).refresh src/main.go:88 (deferred unlock pending)",
        "           which waits for a read from 10.0.3.7:5432 (fd 12), no deadline, for at least 3m 12s",
        "       lock: 2 goroutines",
        "           2  main.(*pool).get src/main.go:41  ids 101, 7",
    ]


def test_what_cannot_happen_and_what_is_not_understood() -> None:
    graph = make_graph([Thing("nothing", [(7, "receive")])], unresolved=[(9, "not understood")])
    text = lines(of(graph))
    assert "waiting    2 goroutines  stuck 1  not known whether stuck 1  1 not understood" in text
    assert "       never: what it waits for cannot happen" in text


def test_states_in_words() -> None:
    things = [
        Thing("channel", [(1, "send"), (2, "send")], type="chan int", state={"length": 10, "capacity": 10, "closed": 1}),
        Thing("waitgroup", [(3, "wait")], [Held(4, "done", 2)], "main.wg", state={"counter": 2}),
        Thing("rwmutex", [(5, "lock")], [Held(6, "read", 4)], "main.rw", state={"readers": 1, "locked": 0}),
        Thing("mutex", [(7, "lock")], state={"locked": 1, "left_locked": 1, "address": 16}),
        Thing("fd", [(8, "accept")], connection=Connection("socket:tcp", "0.0.0.0:80", None, "LISTEN"), state={"fd": 3, "deadline_in_ns": 5 * 10**9}),
    ]  # fmt: skip
    text = body(of(make_graph(things), [Row(i) for i in range(1, 9)]))
    assert "    2  send      chan int  10 of 10 in the buffer  closed" in text
    assert "    1  waitgroup main.wg  counter 2" in text
    assert "held by goroutine 4: ? (as a worker; locked here on every path)" in text
    assert "    1  rwmutex   main.rw  1 reader" in text
    assert (
        "perhaps held by goroutine 6: ? (for reading; refers to it, and unlocks further on)" in text
    )
    assert "    1  mutex     0x10  locked  no holder found" in text
    assert "    1  accept    0.0.0.0:80" in text
    chain = lines(of(make_graph(things[-1:]), [Row(8)]), render_chains)
    assert "waits for a connection to 0.0.0.0:80 (fd 3), deadline in 5s" in chain[1]


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ([], ", deadline in 5s"),
        ([(9, "accept")], ", deadline in 5s"),
        ([(9, "write")], ", deadline in 5s of this wait or another one on it"),
    ],
)
def test_reads_and_writes_have_a_deadline_each(others: list[tuple[int, str]], words: str) -> None:
    connection = Connection("socket:tcp", "10.0.0.1:80", "10.0.3.7:5432", "ESTABLISHED")
    state = {"fd": 3, "deadline_in_ns": 5 * 10**9}
    waits = Thing("fd", [(8, "read"), *others], connection=connection, state=state)
    graph = make_graph([Thing("mutex", [(7, "lock")]), waits])
    assert wait_phrase(graph, 1, OPERATIONS.index("read")).endswith(f"(fd 3){words}")


def test_a_socket_without_a_peer_is_no_peer_of_itself() -> None:
    connection = Connection("socket:udp", "127.0.0.1:53")
    graph = make_graph([Thing("fd", [(8, "read")], connection=connection, state={"fd": 3})])
    said = "a read from a socket bound to 127.0.0.1:53 (fd 3), no deadline"
    assert wait_phrase(graph, 0, OPERATIONS.index("read")) == said


# As users run it, with files.


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "incident.json.gz"
    save(taken(), path)
    return str(path)


def test_a_saved_file_says_what_goroutines_waited_on(file: str) -> None:
    ran = piped("waits", file)
    assert ran.returncode == 0
    assert ran.stdout.splitlines()[0].startswith(f"saved      {file}")
    assert "held by goroutine 77: main.(*pool).refresh" in ran.stdout
    assert "8 goroutines" in ran.stderr


def test_a_file_without_waits_says_so_in_a_line(tmp_path: Path) -> None:
    path = tmp_path / "old.json.gz"
    save(make_snapshot(ROWS), path)
    ran = piped("waits", str(path))
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == (
        f"spyglass: {path} does not say what goroutines wait on. "
        "it was saved with --no-waits, or by an older version of spyglass\n"
    )


@pytest.mark.parametrize(
    ("arguments", "first"),
    [
        (["--goroutine", "7"], "goroutine 7: main.(*pool).get"),
        (["--object", "0xc000132018"], "    2  mutex     main.(*pool).mu"),
        (["--state", "RLock"], "saved  "),
    ],
)
def test_parts(file: str, arguments: list[str], first: str) -> None:
    ran = piped("waits", file, *arguments)
    assert ran.returncode == 0
    assert ran.stdout.startswith(first)
    assert "critical" not in ran.stdout


def test_only_what_is_stuck(file: str) -> None:
    ran = piped("waits", file, "--stuck")
    assert ran.returncode == 0
    assert "main.askCarrier" in ran.stdout
    assert "    1  read" not in ran.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--goroutine", "3", "--stuck"], "no goroutine is known to be stuck"),
        (["--goroutine", "5000"], "there is no goroutine 5000"),
        (["--object", "0x123"], "no goroutine waits on an object at 0x123"),
    ],
)
def test_nothing_matches(file: str, arguments: list[str], complaint: str) -> None:
    ran = piped("waits", file, *arguments)
    assert ran.returncode == 1
    assert complaint in ran.stderr


@pytest.mark.parametrize("address", ["x", "0x", "-1", "0x10000000000000000", "0"])
def test_no_address(file: str, address: str) -> None:
    ran = piped("waits", file, "--object", address)
    assert ran.returncode == 2
    assert "is not an address such as 0xc000132018" in ran.stderr


def test_limits_for_scripts(file: str) -> None:
    assert piped("waits", file, "--fail-on", "deadlock").returncode == 3
    assert piped("waits", file, "--fail-on", "stuck>3").returncode == 0


def test_formats_by_extension(file: str, tmp_path: Path) -> None:
    for name, start in (
        ("x.json", '{"schema":"spyglass.waits/1"'),
        ("x.dot", "digraph"),
        ("x", "saved"),
    ):
        ran = piped("waits", file, "-o", str(tmp_path / name))
        assert (ran.returncode, ran.stdout) == (0, f"{tmp_path / name}\n")
        assert (tmp_path / name).read_text().startswith(start)


def test_a_filtered_document_is_of_those_goroutines(file: str) -> None:
    text = piped("waits", file, "--json", "--state", "chan receive").stdout
    assert '"id":9,' in text
    assert '"id":57,' not in text


def test_names_of_the_target_cannot_control_a_terminal() -> None:
    evil = "main.\x1b[31m\u202e"
    graph = make_graph(
        [Thing("mutex", [(7, "lock")], [Held(77, frame=frame(evil))], evil, evil),
         Thing("fd", [(9, "read")], connection=Connection(evil, evil, evil, evil))]
    )  # fmt: skip
    shown = of(graph)
    for render in (render_waits, render_chains):
        text = "\n".join(lines(shown, render))
        assert "\x1b" not in text
        assert "\u202e" not in text
