"""Profiles, kept snapshots and the paths of other tools in `spyglass serve`, of a live Go program."""

from __future__ import annotations

import re
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest
import uvicorn
from starlette.testclient import TestClient

from spyglass.serve.app import create_app
from tests.go_tool_pprof import go_tool_pprof
from tests.profiles import decoded
from tests.serving import LEAKED, SETTINGS, TOKEN, serving, valid
from tests.support import NEWEST, GoProcess, start
from tests.traceback_text import goroutines_of_text

pytestmark = [pytest.mark.live, pytest.mark.go]


def test_memory(client: TestClient, base: str) -> None:
    found = valid(client.get(f"{base}/memory").json())
    assert sum(each["bytes"] for each in found["resident"]) == found["rss_bytes"]


def test_a_profile_is_started_watched_fetched_and_forgotten(client: TestClient, base: str) -> None:
    answer = client.post(f"{base}/profiles?mode=wall&duration=300ms")
    path = answer.headers["location"]
    assert (answer.status_code, answer.json()["state"]) == (201, "recording")
    deadline = time.monotonic() + 60
    while client.get(path).json()["state"] == "recording" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert client.get(path).json()["state"] == "done"
    assert path.rpartition("/")[2] in [
        each["id"] for each in client.get("/v1/profiles").json()["profiles"]
    ]
    assert valid(client.get(f"{path}/result").json())["mode"] == "wall"
    assert "main.askCarrier" in client.get(f"{path}/result?format=folded").text
    page = client.get(f"{path}/result?format=html")
    assert page.headers["content-security-policy"].startswith("sandbox ")
    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == 404


def test_a_profile_is_cancelled_and_others_wait_for_it(client: TestClient, base: str) -> None:
    paths = [
        client.post(f"{base}/profiles?mode=wall&duration=60s").headers["location"]
        for _ in range(SETTINGS.recordings)
    ]
    refused = client.post(f"{base}/profiles?mode=wall&duration=60s")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "10")
    assert client.get(f"{paths[0]}/result").status_code == 409
    for path in paths:
        assert client.delete(path).status_code == 204
    assert client.get("/v1/profiles").json() == {"profiles": []}


def test_a_process_is_compared_with_a_kept_snapshot_of_it(client: TestClient, base: str) -> None:
    kept = client.post(f"{base}/kept").json()
    assert [kept] == client.get("/v1/kept").json()["kept"]
    found = valid(client.get(f"{base}/diff?from={kept['id']}").json())
    assert found["goroutines"]["difference"] == 0
    assert len(client.get(f"/v1/kept/{kept['id']}").content) == kept["bytes"]
    assert client.get(f"{base}/diff?from=nothing").status_code == 404
    assert client.get(f"{base}/diff").status_code == 400
    assert client.delete(f"/v1/kept/{kept['id']}").status_code == 204
    assert client.get(f"/v1/kept/{kept['id']}").status_code == 404


def test_goroutines_in_the_forms_of_net_http_pprof(
    client: TestClient, base: str, knots: GoProcess
) -> None:
    text = client.get(f"{base}/debug/pprof/goroutine?debug=2").text
    number = len(goroutines_of_text(text))
    counted = client.get(f"{base}/debug/pprof/goroutine?debug=1").text
    assert counted.startswith(f"goroutine profile: total {number}\n{LEAKED} @ 0x")
    assert re.search(
        r"^#\t0x[0-9a-f]+\tmain\.askCarrier\.func1\+0x[0-9a-f]+\t.*/knots\.go:102$", counted, re.M
    )
    leaked = client.get(f"{base}/debug/pprof/goroutineleak?debug=1").text
    assert leaked.startswith(f"goroutineleak profile: total {LEAKED + 2}\n")


def test_goroutines_that_came_and_went_within_some_seconds(
    client: TestClient, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"{base}/debug/pprof/goroutine"
    with monkeypatch.context() as waiting:
        waiting.setattr(time, "sleep", lambda _seconds: None)
        answer = client.get(f"{path}?seconds=1")
        leaked = client.get(f"{base}/debug/pprof/goroutineleak?seconds=1")
    assert "goroutine-delta" in answer.headers["content-disposition"]
    # The program is at rest.
    assert (decoded(answer.content).samples, decoded(leaked.content).samples) == ({}, {})


def test_what_a_program_does_not_have_is_said(client: TestClient, base: str) -> None:
    answer = client.get(f"{base}/debug/pprof/heap")
    assert (answer.status_code, answer.headers["content-type"]) == (501, "application/problem+json")
    assert "the linker left it out" in answer.json()["detail"]
    text = "--- contention:\ncycles/second=1000000000\n"
    assert client.get(f"{base}/debug/pprof/block?debug=1").text == text
    for query in (
        "heap?debug=1&seconds=1",
        "heap?debug=2",
        "heap?seconds=0",
        "goroutine?seconds=1&debug=2",
    ):
        assert client.get(f"{base}/debug/pprof/{query}").status_code == 400


def test_the_paths_of_gospy(client: TestClient, knots: GoProcess) -> None:
    assert client.get(f"/runtime?pid={knots.pid}").json()["go_version"].startswith(f"go{NEWEST}")
    goroutines = client.get(f"/goroutines?pid={knots.pid}").json()
    leaked = [each for each in goroutines if each["wait_reason"] == "chan send"]
    assert len(leaked) == LEAKED
    assert leaked[0]["func_name"] == "runtime.gopark"
    assert leaked[0]["start_func_name"] == "main.askCarrier.func1"
    assert leaked[0].keys() == {
        "address", "go_id", "status", "wait_reason", "stack", "sched", "func_name", "start_pc", "start_func_name",
    }  # fmt: skip
    stats = client.get(f"/memstats?pid={knots.pid}").json()
    assert stats.keys() == {"last_gc", "pause_total_ns", "num_gc"}
    assert client.get("/runtime").status_code == 400


@contextmanager
def listening() -> Iterator[int]:
    """A server that listens in a thread; its port."""
    config = uvicorn.Config(create_app(SETTINGS), port=0, log_level="error", ws="none")
    server = uvicorn.Server(config)
    thread = Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 60
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(60)


def test_go_tool_pprof_reads_every_profile(base: str, knots: GoProcess, tmp_path: Path) -> None:
    with listening() as port:
        url = f"http://x:{TOKEN}@127.0.0.1:{port}{base}/debug/pprof"
        table = go_tool_pprof(NEWEST, tmp_path, "-top", f"{url}/goroutine")
        assert re.search(
            rf"^ +\d+ +[\d.]+% +[\d.]+% +{LEAKED} +[\d.]+%  main\.askCarrier\.func1", table, re.M
        )
        table = go_tool_pprof(NEWEST, tmp_path, "-top", f"{url}/goroutineleak")
        assert f"of {LEAKED + 2} total" in table


def test_go_tool_pprof_reads_heap_profiles_in_all_forms(tmp_path: Path) -> None:
    with start("allocs", NEWEST) as process, listening() as port:
        url = f"http://x:{TOKEN}@127.0.0.1:{port}/v1/processes/{process.pid}/debug/pprof"
        own = tmp_path / "own.pb.gz"
        assert process.ask(f"heap {own}") == "written"

        def grown(source: Path | str, *options: str) -> str:
            table = go_tool_pprof(NEWEST, tmp_path, "-top", *options, source)
            (line,) = re.findall(r"^.* main\.grow$", table, re.M)
            return str(line.split()[0])

        def total(source: Path | str, *options: str) -> int:
            table = go_tool_pprof(NEWEST, tmp_path, "-top", "-unit=B", *options, source)
            return int(re.findall(r"of (\d+)B total", table)[0])

        assert grown(f"{url}/heap") == grown(own)
        # The text has addresses, without names; the numbers are of samples, which pprof scales.
        assert total(f"{url}/heap?debug=1", "-symbolize=none") == pytest.approx(
            total(own), rel=1e-3
        )
        assert grown(f"{url}/allocs") == grown(own, "-sample_index=alloc_space")
        since = go_tool_pprof(NEWEST, tmp_path, "-top", f"{url}/heap?seconds=1&gc=1")
        assert "main.grow" not in since


def test_the_password_in_a_url_is_the_token(base: str) -> None:
    words = "Basic " + b64encode(f"x:{TOKEN}".encode()).decode()
    with serving({"authorization": words}) as client:
        assert client.get(f"{base}/debug/pprof/goroutine?debug=1").status_code == 200
