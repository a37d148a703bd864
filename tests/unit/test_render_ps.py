from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from rich.cells import cell_len

from spyglass.process_list import GoProcess, ProcessList, UnreadableProcess
from spyglass.render.ps_view import render
from spyglass.render.view_options import View

WHEN = datetime(2026, 11, 20, 7, 0, tzinfo=UTC)
ID = "0123456789abcdef" * 4

ETCD = GoProcess(
    pid=812,
    user="etcd",
    go_version="go1.24.3",
    package="go.etcd.io/etcd/server/v3/cmd/etcd",
    module="go.etcd.io/etcd/server/v3",
    module_version="v3.5.16",
    started_at=WHEN,
    age_seconds=4800.0,
    rss_bytes=104857600,
    threads=11,
    cmdline=("/usr/bin/etcd", "--name", "my node", "--listen-client-urls=http://127.0.0.1:2379"),
    exe="/usr/bin/etcd",
    exe_deleted=False,
    stripped=True,
    container=None,
    cpu_seconds=96.0,
    cpu_cores=1.25,
)
BARE = replace(
    ETCD,
    pid=4190000,
    go_version=None,
    package=None,
    module=None,
    module_version=None,
    cmdline=(),
    exe="/opt/x",
    stripped=False,
    container=ID,
    cpu_seconds=None,
    cpu_cores=None,
    cpu_limit_cores=1.5,
    memory_limit_bytes=512 << 20,
)
LOCKED = UnreadableProcess(1, "init", "it runs as root, and spyglass as alice")


def lines(
    *processes: GoProcess, unreadable: tuple[UnreadableProcess, ...] = (), width: int | None = None
) -> list[str]:
    listing = ProcessList(WHEN, processes, unreadable)
    return [line.plain for line in render(listing, View(width=width, styled=width is not None))]


def test_the_table_has_everything_when_nobody_looks_at_its_edges() -> None:
    title, etcd, bare, total = lines(ETCD, BARE)
    assert title.split() == [
        "pid", "user", "go", "age", "rss", "cpu", "avg", "rss", "limit", "cpu", "limit", "threads", "stripped",
        "container", "module", "command",
    ]  # fmt: skip
    assert etcd.split()[:9] == [
        "812", "etcd", "go1.24.3", "1h", "20m", "100.0", "MiB", "1.25", "0.02",
    ]  # fmt: skip
    assert etcd.split()[9:14] == ["-", "-", "11", "yes", "-"]
    assert etcd.endswith(
        "go.etcd.io/etcd/server/v3 v3.5.16"
        "  /usr/bin/etcd --name 'my node' --listen-client-urls=http://127.0.0.1:2379"
    )
    assert bare.split() == [
        "4190000", "etcd", "?", "1h", "20m", "100.0", "MiB", "?", "?", "512.0", "MiB", "1.5", "11", "no", ID, "?",
        "/opt/x",
    ]  # fmt: skip
    assert total == "2 Go processes"


def test_a_long_command_line_is_whole_in_a_pipe_and_cut_at_the_edge_of_a_terminal() -> None:
    long = replace(ETCD, cmdline=("/usr/bin/etcd", "x" * 5000))
    assert "x" * 5000 in lines(long)[1]
    narrow = lines(long, width=80)[1]
    assert "etcd xxx" in narrow
    assert narrow.endswith("…")


@pytest.mark.parametrize("width", [20, 60, 80, 109, 110, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    wide = replace(ETCD, cmdline=("/bin/日本語", "日本語" * 50), user="u" * 200, module="語/" * 90)
    found = lines(wide, ETCD, BARE, unreadable=(replace(LOCKED, why="y" * 300),), width=width)
    assert max(map(cell_len, found)) <= width


def test_a_narrow_terminal_shows_what_tells_processes_apart() -> None:
    title, etcd, *_ = lines(ETCD, width=80)
    assert title.split() == ["pid", "user", "go", "age", "rss", "cpu", "module", "command"]
    assert "server/v3" in etcd
    assert "etcd --name" in etcd
    assert "512.0 MiB" not in lines(BARE, width=80)[1]
    assert "512.0 MiB" in lines(BARE, width=120)[1]
    assert "limit" not in lines(ETCD, width=120)[0]
    assert "container" in lines(BARE, width=120)[0]
    assert "container" not in lines(ETCD, width=120)[0]
    assert f" {ID[:11]}… " in lines(BARE, width=120)[1]


def test_containers_and_pods_are_named_where_that_is_known() -> None:
    uid = "8d9b0a77-1f2b-4b57-8f4c-6a4b4e0f7c11"
    named = replace(BARE, container_name="cart", pod="cart-1", namespace="shop", pod_uid=uid)
    title, first, second, third, _ = lines(named, replace(BARE, pod_uid=uid), ETCD, width=240)
    assert title.split()[-4:] == ["container", "pod", "module", "command"]
    assert first.split()[-4:] == ["cart", "shop/cart-1", "?", "/opt/x"]
    assert second.split()[-4:] == [f"{ID[:11]}…", uid, "?", "/opt/x"]
    assert " -  " in third
    assert "op/cart-1 " in lines(named, width=80)[1]
    assert " cart " in lines(named)[1]


def test_what_is_no_version_is_not_shown_as_one() -> None:
    (_, row, _) = lines(replace(ETCD, module_version="(devel)"))
    assert "etcd/server/v3  /usr" in row


def test_the_package_stands_in_for_a_module_that_is_not_recorded() -> None:
    assert "etcd/server/v3/cmd/etcd  /usr" in lines(replace(ETCD, module=None))[1]
    (_, row, _) = lines(replace(ETCD, module=None, package="command-line-arguments"))
    assert "command-line-arguments" not in row


def test_those_that_cannot_be_read_are_counted_and_listed_at_the_end() -> None:
    assert lines(ETCD, unreadable=(LOCKED,))[-2:] == [
        "1 Go process, 1 not readable",
        "not readable: 1 init: it runs as root, and spyglass as alice",
    ]
    assert lines(unreadable=(LOCKED,))[0] == "no Go processes, 1 not readable"
    assert lines() == ["no Go processes"]


def test_nothing_of_a_process_reaches_the_terminal_as_it_is() -> None:
    evil = "\x1b[31m\n\u202e"
    process = replace(
        ETCD, user=evil, go_version=evil, package=evil, module=evil, module_version=evil, cmdline=(evil,),
        container=evil, container_name=evil, pod=evil, namespace=evil, pod_uid=evil,
    )  # fmt: skip
    locked = UnreadableProcess(1, evil, evil)
    for width in (None, 120):
        text = "".join(lines(process, unreadable=(locked,), width=width))
        assert text.isprintable()
        assert r"\x1b[31m" in text


def test_the_list_is_sorted_by_what_is_given() -> None:
    idle = replace(ETCD, pid=5, cpu_cores=0.0, cpu_seconds=0.01, rss_bytes=7, age_seconds=3.0)
    old = replace(ETCD, pid=7, cpu_cores=None, cpu_seconds=90_000.0, rss_bytes=9, age_seconds=1e5)
    listing = ProcessList(WHEN, (idle, old, ETCD), (LOCKED,))
    for order, pids in (
        ("cpu", [812, 7, 5]), ("rss", [812, 7, 5]), ("age", [7, 812, 5]), ("pid", [5, 7, 812]),
    ):  # fmt: skip
        ordered = listing.sorted_by(order)  # type: ignore[arg-type]
        assert [each.pid for each in ordered.processes] == pids
        assert ordered.unreadable == (LOCKED,)
