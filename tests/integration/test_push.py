"""`record --push` and `serve --push` of a live Go program."""

from __future__ import annotations

import base64
import gzip
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from spyglass.analysis.selection import selected
from spyglass.cli import spyglass
from spyglass.cli.common_options import Settings
from spyglass.errors import PermissionDenied
from spyglass.inspector import attach
from spyglass.processes import go_processes
from spyglass.push.destination import destination
from spyglass.push.forms import Request
from spyglass.serve.push import ProfilePusher
from spyglass.serve.pushed_kinds import HeapProfiles, goroutine_profile
from spyglass.serve.settings import PushKind, PushPlan
from tests.children import stopped, wait_until
from tests.otlp import decoded_otlp, samples_of
from tests.profiles import Profile, decoded
from tests.receivers import Receiver, receiving
from tests.serving import serving
from tests.support import NEWEST, Flavour, GoProcess, start

pytestmark = [pytest.mark.live, pytest.mark.go]


@pytest.fixture(scope="module")
def busy() -> Iterator[GoProcess]:
    with start("shares", NEWEST, Flavour.EXE, "-busy") as process:
        yield process


@pytest.fixture(scope="module")
def server() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture(autouse=True)
def _nothing_taken_yet(server: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    server.taken.clear()
    monkeypatch.delenv("SPYGLASS_PUSH_TOKEN", raising=False)


def record(*arguments: str) -> Any:
    return CliRunner().invoke(spyglass, ["record", *arguments], obj=Settings())


def test_what_is_pushed_is_what_the_file_has(busy: GoProcess, server: Receiver, tmp_path: Path) -> None:  # fmt: skip
    path = tmp_path / "cpu.json"
    url = f"{server.url}/v1development/profiles"
    result = record("--pid", str(busy.pid), "-d", "500ms", "-o", str(path), "--push", url, "--service", "shop")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert f"pushed to {url}" in result.stderr
    (taken,) = server.taken
    request = decoded_otlp(gzip.decompress(taken.body))
    file = tmp_path / "cpu.pb.gz"
    assert record("--from", str(path), "-o", str(file)).exit_code == 0
    expected = sum(values[-1] for values in decoded(file).values.values())
    assert samples_of(request).total() == expected > 0
    attributes = {each.key: each.value for each in request.resource_profiles[0].resource.attributes}
    assert attributes["service.name"].string_value == "shop"
    assert attributes["process.pid"].int_value == busy.pid


def test_a_saved_profile_is_pushed_without_another_file(
    busy: GoProcess, server: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert record("--pid", str(busy.pid), "-d", "300ms", "-o", "cpu.json").exit_code == 0
    result = record("--from", "cpu.json", "--push", server.url, "--redact")
    assert result.exit_code == 0, result.output
    assert [each.name for each in tmp_path.iterdir()] == ["cpu.json"]
    (taken,) = server.taken
    assert "hostname" not in taken.path
    # One that is refused is not lost.
    server.statuses = [400]
    result = record("--from", "cpu.json", "--push", server.url)
    assert result.exit_code != 0
    assert len(list(tmp_path.iterdir())) == 2


def test_a_series_goes_on_though_nothing_is_pushed(
    busy: GoProcess, server: Receiver, tmp_path: Path
) -> None:
    server.statuses = [400]
    result = record("--pid", str(busy.pid), "-d", "200ms", "--every", "250ms", "--count", "2", "-o", str(tmp_path / "series"), "--push", server.url)  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "answers 400" in result.stderr
    assert (len(server.taken), len(list((tmp_path / "series").iterdir()))) == (2, 2)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--push-token-file", __file__], "require --push"),
        (["--service", "x"], "require --push"),
        (["--push-header", "X-Scope-OrgID: a"], "require --push"),
        (["--push", "http://host", "--push-header", "nonsense"], "is not NAME: VALUE"),
        (["--push", "nonsense"], "needs a URL"),
        (["--push", "http://host", "--push-token-file", __file__], "no text"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_recorded(arguments: list[str], says: str) -> None:
    result = record("--pid", "1", *arguments)
    assert result.exit_code != 0
    assert says in result.output + str(getattr(result.exception, "message", ""))


def test_a_server_pushes_a_profile_of_each_process(
    busy: GoProcess, server: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "spyglass.serve.rounds._chosen", lambda _: list(go_processes([busy.pid]).processes)
    )
    kinds: tuple[PushKind, ...] = ("cpu", "heap", "goroutine")
    plan = PushPlan(
        destination(server.url, None), 0.4, 0.2, tmp_path / "spool", 1 << 20, kinds=kinds
    )
    server.statuses = [503]
    with serving(push=plan) as client:
        limit = time.monotonic() + 60
        # One of processor time comes when the program had some; it cannot write a heap profile.
        while len(server.taken) < 3 or kinds_of(server) != {"cpu", "goroutine"}:
            assert time.monotonic() < limit, client.get("/v1/push").json()
            time.sleep(0.05)
        while not (found := client.get("/v1/push").json())["files_delivered"]:
            assert time.monotonic() < limit, found
            time.sleep(0.05)
        assert "push: " in client.get("/healthz").text
    assert (found["form"], found["url"]) == ("ingest", f"{server.url}/ingest")
    assert (found["failed"], found["rejected"], found["files_dropped"]) == (0, 0, 0)
    assert server.taken[0].body == server.taken[1].body  # once more after 503
    assert found["profiles"] >= 2
    assert found["kinds"] == [*kinds]


def test_others_are_pushed_where_processor_time_cannot_be_recorded(
    busy: GoProcess, server: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "spyglass.serve.rounds._chosen", lambda _: list(go_processes([busy.pid]).processes)
    )

    async def refused(*_: object) -> None:
        raise PermissionDenied("not yours")

    monkeypatch.setattr(ProfilePusher, "_record", refused)
    to = destination(server.url, None)
    plan = PushPlan(to, 0.2, 0.1, tmp_path / "spool", 1 << 20, kinds=("cpu", "goroutine"))
    with serving(push=plan) as client:
        wait_until(lambda: server.taken and client.get("/v1/push").json()["failed"])
        assert client.get("/v1/push").json()["reading_error"] == "not yours"
    assert kinds_of(server) == {"goroutine"}


def kinds_of(server: Receiver) -> set[str]:
    return {decoded(each.body).kinds[0] for each in list(server.taken)}


def pushed(request: Request | None) -> tuple[dict[str, str], Profile, list[int]]:
    """The labels of a request to push.v1, its profile, and the sum of each kind of value."""
    assert request is not None
    ((series,),) = json.loads(request.body).values()
    (sample,) = series["samples"]
    found = decoded(base64.b64decode(sample["rawProfile"]))
    labels = {each["name"]: each["value"] for each in series["labels"]}
    return labels, found, [sum(column) for column in zip(*found.values.values(), strict=True)]


def test_of_the_heap_what_is_in_use_is_pushed_and_what_was_allocated_since(tmp_path: Path) -> None:
    to = destination("http://127.0.0.1/push.v1.PusherService/Push", None)
    heaps = HeapProfiles(PushPlan(to, 60, 1, tmp_path, 1 << 20))
    key, other = ((number, datetime(2026, 1, 1, tzinfo=UTC)) for number in (1, 2))
    with (
        start("allocs", NEWEST, Flavour.STRIPPED) as process,
        attach(process.pid) as program,
    ):
        with stopped(process.pid):
            first, again = heaps.request(program, key), heaps.request(program, key)
            before = program.heap_profile().by_site().amounts.sum(axis=0)
        for number in range(20):  # each allocates some 100 KB
            process.ask(f"heap {tmp_path / str(number)}")
        with stopped(process.pid):
            after = program.heap_profile().by_site().amounts.sum(axis=0)
            later, unknown = heaps.request(program, key), heaps.request(program, other)
            heaps.keep({other})
            forgotten = heaps.request(program, key)
    in_use = [("inuse_objects", "count"), ("inuse_space", "bytes")]
    for request in (first, unknown, forgotten):
        labels, found, _ = pushed(request)
        assert (labels["__name__"], labels["__delta__"]) == ("memory", "false")
        assert found.all_kinds == in_use
    assert pushed(first)[2] == before[2:].tolist()
    assert pushed(again)[2] == [0, 0, *before[2:].tolist()]
    assert pushed(later)[1].all_kinds[2:] == in_use
    assert pushed(later)[2] == [*(after - before)[:2].tolist(), *after[2:].tolist()]
    assert after[1] > before[1]


def test_as_many_goroutines_are_pushed_as_the_user_has(busy: GoProcess, tmp_path: Path) -> None:
    to = destination("http://127.0.0.1/push.v1.PusherService/Push", None)
    with attach(busy.pid) as program:
        with stopped(busy.pid):
            goroutines = program.snapshot("full").goroutines
            labels, found, total = pushed(
                goroutine_profile(PushPlan(to, 60, 1, tmp_path, 1 << 20, redact=True), program)
            )
        expected = len(selected(goroutines))
    assert labels["__name__"] == "goroutine"
    assert not labels.keys() & {"hostname", "__delta__"}
    assert (found.all_kinds, total) == ([("goroutine", "count")], [expected])


def test_otlp_has_cpu_profiles_alone() -> None:
    url = "http://127.0.0.1:4318/v1development/profiles"
    result = CliRunner().invoke(spyglass, ["serve", "--push", url, "--push-profile", "heap"], obj=Settings())  # fmt: skip
    assert result.exit_code == 2
    assert "as OTLP only CPU profiles are sent" in result.output


def test_a_server_that_pushes_nothing_says_so() -> None:
    with serving() as client:
        assert client.get("/v1/push").status_code == 404
