"""`spyglass serve` of a live Go program: each answer is what the command shows."""

from __future__ import annotations

import gzip
import io
import json
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

import spyglass
from tests.command import SPYGLASS
from tests.serving import LEAKED, serving, valid
from tests.support import NEWEST, Flavour, GoProcess, start

pytestmark = [pytest.mark.live, pytest.mark.go]


def document(client: TestClient, path: str) -> Any:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return valid(answer.json())


def test_processes(client: TestClient, knots: GoProcess) -> None:
    found = document(client, "/v1/processes?sort=rss")["processes"]
    assert knots.pid in [each["pid"] for each in found]
    assert found == sorted(found, key=lambda each: -each["rss_bytes"])


def test_the_summary_has_findings_and_no_goroutines(client: TestClient, base: str) -> None:
    found = document(client, base)
    assert "deadlock" in [each["kind"] for each in found["findings"]]
    assert found["goroutines"] == []
    assert found["chosen_from"] - found["chosen_from_system"] >= LEAKED + 3
    assert found["cpu"]["window_ns"] >= 100_000_000


def test_pages_of_goroutines_have_each_of_them_once(client: TestClient, base: str) -> None:
    ids, path = [], f"{base}/goroutines?state=chan+send&limit=5"
    sizes = []
    while path:
        answer = client.get(path)
        page = valid(answer.json())["goroutines"]
        assert all(
            each["wait_reason"] == "chan send" and each["stack"] is not None for each in page
        )
        sizes.append(len(page))
        ids += [each["id"] for each in page]
        query = answer.links["next"]["url"] if "next" in answer.links else ""
        path = f"{base}/goroutines{query}" if query else ""
    assert sizes == [5, 5, 2]
    assert ids == sorted(set(ids))


def test_filters_are_those_of_dump(client: TestClient, base: str) -> None:
    for query, number in (
        ("function=askCarrier", LEAKED),
        ("function=askCarrier.", LEAKED),  # text, not a regular expression
        ("function=ask.arrier", None),
        ("creator=main.&state=mutex", 2),
        ("min_wait=1000h", None),
        ("goroutine=1", 1),
    ):
        answer = client.get(f"{base}/goroutines?{query}")
        assert answer.status_code == (200 if number else 404), query
        if number:
            assert len(valid(answer.json())["goroutines"]) == number, query
        else:
            assert answer.json()["detail"].startswith("no goroutine")


def test_one_goroutine_with_its_stack_and_its_wait(client: TestClient, base: str) -> None:
    (blocked, *_) = document(client, f"{base}/goroutines?state=mutex")["goroutines"]
    found = document(client, f"{base}/goroutines/{blocked['id']}")
    assert [each["id"] for each in found["goroutines"]] == [blocked["id"]]
    assert len(found["wait_objects"]) >= 1
    text = client.get(f"{base}/goroutines/{blocked['id']}?format=text").text
    assert text.startswith(f"goroutine {blocked['id']} [sync.Mutex.Lock]:\n")
    assert client.get(f"{base}/goroutines/999999").status_code == 404


def test_groups(client: TestClient, base: str) -> None:
    found = document(client, f"{base}/groups?limit=1")
    (largest,) = found["groups"]
    assert (largest["count"], largest["where"]["function"]) == (LEAKED, "main.askCarrier.func1")
    assert found["group_count"] > 1
    assert document(client, f"{base}/groups?by=state&state=mutex")["groups"][0]["count"] == 2
    assert client.get(f"{base}/groups?by=shape").status_code == 400


def test_threads_have_stacks(client: TestClient, base: str) -> None:
    threads = document(client, f"{base}/threads")["threads"]
    assert any(each["stack"] for each in threads)


def test_waits_name_the_deadlock_and_who_is_stuck(client: TestClient, base: str) -> None:
    found = document(client, f"{base}/waits?heap")
    assert len(found["deadlocks"]) == 1
    assert sum(each["stuck"] is True for each in found["goroutines"]) == LEAKED + 2
    only = document(client, f"{base}/waits?stuck")
    assert {each["id"] for each in only["goroutines"]} >= {
        each["id"] for each in found["goroutines"] if each["stuck"] is True
    }


def test_a_snapshot_is_a_file_that_commands_read(
    client: TestClient, base: str, knots: GoProcess, tmp_path: Path
) -> None:
    answer = client.get(f"{base}/snapshot?redact")
    assert ".json.gz" in answer.headers["content-disposition"]
    saved = spyglass.load(io.BytesIO(answer.content))
    assert (saved.process.pid, saved.redacted) == (knots.pid, True)
    assert valid(json.loads(gzip.decompress(answer.content)))["waits"] is not None


def test_a_report_is_a_page_without_our_origin(client: TestClient, base: str) -> None:
    answer = client.get(f"{base}/report")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"].startswith("sandbox ")
    assert "allow-same-origin" not in answer.headers["content-security-policy"]
    assert "main.askCarrier" in answer.text


def test_a_core_is_read_like_the_process(client: TestClient, base: str, tmp_path: Path) -> None:
    before = os.listdir("/tmp")
    answer = client.get(f"{base}/core")
    path = tmp_path / "small.core"
    path.write_bytes(answer.content)
    with spyglass.open_core(str(path)) as program:
        reasons = [each.wait_reason for each in program.snapshot()]
    assert reasons.count("chan send") == LEAKED
    assert not [name for name in set(os.listdir("/tmp")) - set(before) if "core" in name]


def test_errors_are_our_lines(client: TestClient) -> None:
    for pid, status, says in (
        (os.getpid(), 422, "is not a Go program"),
        ((1 << 22) - 1, 404, "no process"),
    ):
        assert client.get(f"/v1/processes/{pid}/live").status_code == status
        answer = client.get(f"/v1/processes/{pid}")
        assert (answer.status_code, answer.headers["content-type"]) == (
            status,
            "application/problem+json",
        )
        assert says in answer.json()["detail"]


def test_a_process_that_has_ended_is_gone_and_its_inspector_is_closed() -> None:
    with start("park", NEWEST, Flavour.STRIPPED, "-n", "3") as process, serving() as client:
        path = f"/v1/processes/{process.pid}/threads"
        assert client.get(path).status_code == 200
        process.kill()
        process.wait()
        assert client.get(path).status_code in (404, 410)
        assert len(client.app.state.service.pool) == 0  # type: ignore[attr-defined]


def test_inspectors_that_are_idle_superfluous_or_of_ended_processes_are_closed() -> None:
    def opened(client: TestClient, process: GoProcess) -> int:
        assert client.get(f"/v1/processes/{process.pid}/threads").status_code == 200
        return len(client.app.state.service.pool)  # type: ignore[attr-defined]

    with (
        start("park", NEWEST, Flavour.STRIPPED, "-n", "3") as one,
        start("park", NEWEST, Flavour.STRIPPED, "-n", "3") as other,
    ):
        with serving(inspectors=1) as client:
            pool = client.app.state.service.pool  # type: ignore[attr-defined]
            assert (opened(client, one), opened(client, other)) == (1, 2)
            pool.close_idle()
            assert len(pool) == 1
            assert opened(client, other) == 1  # the older one was closed
        with serving(idle_s=0) as client:
            pool = client.app.state.service.pool  # type: ignore[attr-defined]
            assert opened(client, one) == 1
            pool.close_idle()
            assert len(pool) == 0
        with serving() as client:
            pool = client.app.state.service.pool  # type: ignore[attr-defined]
            assert opened(client, one) == 1
            pool.close_idle()
            assert len(pool) == 1
            one.kill()
            one.wait()
            pool.close_idle()
            assert len(pool) == 0


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def test_the_command_serves_until_sigterm(knots: GoProcess, free_port: int) -> None:
    from httpx2 import Client

    command = [*SPYGLASS, "serve", "--listen", f"127.0.0.1:{free_port}"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout
        url = server.stdout.readline().strip()
        assert url.startswith(f"http://127.0.0.1:{free_port}/?token=")
        with Client(base_url=f"http://127.0.0.1:{free_port}", timeout=60) as client:
            assert client.get("/v1/processes").status_code == 401
            assert client.get(url).headers["content-type"] == "text/html; charset=utf-8"
            listed = client.get("/v1/processes").json()["processes"]  # with the cookie
            assert knots.pid in [each["pid"] for each in listed]
            with client.stream("GET", f"/v1/processes/{knots.pid}/live?limit=1") as events:
                lines = events.iter_lines()
                line = next(lines)
                assert (
                    valid(json.loads(line.removeprefix("data: ")))["groups"][0]["count"] == LEAKED
                )
                server.send_signal(signal.SIGTERM)
                list(lines)  # the stream ends
        assert server.wait(60) == 0
        assert server.stderr is not None
        assert server.stderr.read() == ""
