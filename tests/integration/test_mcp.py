"""An assistant's view of a live Go program, through the SDK's own client: in this process, over HTTP, and over stdio."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import jsonschema
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from spyglass.serve.mcp.server import create_server
from spyglass.serve.mcp.shorten import MAX_CHARACTERS
from spyglass.serve.service import Service
from tests.serving import BEARER, SETTINGS, listening
from tests.support import NEWEST, Flavour, GoProcess, start

pytestmark = [pytest.mark.live, pytest.mark.go]

LEAKED = 30
_T = TypeVar("_T")


@pytest.fixture(scope="module")
def knots() -> Iterator[GoProcess]:
    """A program at rest: two goroutines in a deadlock, some that wait for a lock, and some that nobody will ever wake."""
    with start("knots", NEWEST, Flavour.STRIPPED, "-deadlock", "-convoy", "4", "-leak", str(LEAKED)) as process:  # fmt: skip
        yield process


def asked(work: Callable[[Client, Service], Awaitable[_T]], **settings: Any) -> _T:
    """What `work` makes of a client of a server in this process."""

    async def main() -> _T:
        service = Service(replace(SETTINGS, **settings))
        async with service.running(), Client(create_server(service)) as client:
            return await work(client, service)

    return asyncio.run(main())


async def told(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """The data of an answer, which is as the tool's schema says, in a text that is the same."""
    answer = await client.call_tool(tool, arguments)
    (text,) = answer.content
    assert text.type == "text"
    assert not answer.is_error, text.text
    assert json.loads(text.text) == answer.structured_content
    assert len(text.text) <= MAX_CHARACTERS
    (schema,) = [each.output_schema for each in (await client.list_tools()).tools if each.name == tool]  # fmt: skip
    assert schema is not None
    jsonschema.Draft202012Validator(schema).validate(answer.structured_content)
    content: dict[str, Any] = answer.structured_content
    return {**content["data"], "left_out": content["left_out"]}


async def refused(client: Client, tool: str, **arguments: Any) -> str:
    """The line that says why there is no answer."""
    answer = await client.call_tool(tool, arguments)
    (text,) = answer.content
    assert text.type == "text"
    assert answer.is_error
    assert "\n" not in text.text
    return text.text


def test_a_way_from_the_list_to_the_cause(knots: GoProcess) -> None:
    async def way(client: Client, _service: Service) -> None:
        listed = await told(client, "list_processes", name="knots", limit=200)
        assert knots.pid in [each["pid"] for each in listed["processes"]]
        summary = await told(client, "summarize", pid=knots.pid)
        assert next(iter(summary)) == "findings"
        deadlock = next(each for each in summary["findings"] if each["kind"] == "deadlock")
        assert summary["goroutines"]["count"] == LEAKED + 4 + 6
        groups = await told(client, "goroutine_groups", pid=knots.pid, limit=1)
        assert (groups["groups"][0]["count"], groups["groups"][0]["state"]) == (LEAKED, "chan send")
        assert groups["left_out"][0]["ask"] == "offset=1"
        rest = await told(client, "goroutine_groups", pid=knots.pid, offset=1)
        assert sum(each["count"] for each in rest["groups"]) >= 9
        assert LEAKED not in [each["count"] for each in rest["groups"]]
        one, other = deadlock["examples"]
        stacks = await told(client, "goroutine_stack", pid=knots.pid, goroutine=[one])
        (goroutine,) = stacks["goroutines"]
        assert any("main.(*ledger)" in frame or "main.(*cache)" in frame for frame in goroutine["stack"])  # fmt: skip
        assert any(f"held by goroutine {other}" in line for line in goroutine["hangs_on"])
        waits = await told(client, "waits", pid=knots.pid, heap=True)
        assert waits["stuck"]["count"] == LEAKED + 2
        assert any("deadlock: goroutine" in line for line in waits["lines"])
        assert waits["source"] == {"kind": "process", "stopped": False}

    asked(way)


def test_pages_have_each_goroutine_once(knots: GoProcess) -> None:
    async def pages(client: Client, _service: Service) -> list[int]:
        ids: list[int] = []
        offset: int | None = 0
        while offset is not None:
            page = await told(client, "goroutine_stack", pid=knots.pid, state=["chan send"], limit=20, offset=offset)  # fmt: skip
            ids += [each["id"] for each in page["goroutines"]]
            asks = [each["ask"] for each in page["left_out"] if "ask" in each]
            offset = int(asks[0].removeprefix("offset=")) if asks else None
        return ids

    ids = asked(pages)
    assert len(ids) == len(set(ids)) == LEAKED


def test_memory_profile_and_what_changed(knots: GoProcess) -> None:
    async def looks(client: Client, _service: Service) -> None:
        memory = await told(client, "memory", pid=knots.pid)
        assert sum(each["bytes"] for each in memory["resident"]) == memory["rss_bytes"]
        profile = await told(client, "profile", pid=knots.pid, mode="wall", duration="300ms")
        assert any("main.askCarrier.func1" in each["outermost_first"] for each in profile["longest_stacks"])  # fmt: skip
        assert "main.askCarrier.func1" in [each["function"] for each in profile["functions"]]
        changed = await told(client, "diff_snapshots", pid=knots.pid, wait="100ms")
        assert changed["goroutines"]["difference"] == 0
        assert changed["by_stack"][0]["stuck"] == LEAKED
        assert changed["elapsed_ns"] >= 100_000_000

    asked(looks)


def test_only_an_assistant_that_may_stops_a_process(knots: GoProcess) -> None:
    async def stopped(client: Client, _service: Service) -> bool:
        listed = (await client.list_tools()).tools
        assert all(each.annotations is not None and each.annotations.read_only_hint for each in listed)  # fmt: skip
        said = await refused(client, "waits", pid=knots.pid, stop=True)
        return said.startswith("no argument is called 'stop'")

    async def stops(client: Client, _service: Service) -> bool:
        for tool in (await client.list_tools()).tools:
            assert tool.annotations is not None
            assert tool.annotations.read_only_hint == ("stop" not in tool.input_schema["properties"])  # fmt: skip
        running = await told(client, "waits", pid=knots.pid)
        stopped = await told(client, "waits", pid=knots.pid, stop=True)
        return (running["source"]["stopped"], stopped["source"]["stopped"]) == (False, True)

    assert asked(stopped)
    assert asked(stops, allow_stop=True)


def test_saved_snapshots_are_resources_and_are_compared(knots: GoProcess, tmp_path: Path) -> None:
    from spyglass import attach
    from spyglass.export.snapshot_file import save
    from spyglass.runtime.waiting.options import WaitOptions

    with attach(knots.pid) as program:
        taken = program.with_account(program.snapshot(waits=WaitOptions(heap=True)))
    save(taken, tmp_path / "before.json.gz")

    async def looks(client: Client, _service: Service) -> None:
        (resource,) = (await client.list_resources()).resources
        assert (resource.name, resource.uri) == ("before.json.gz", "spyglass://snapshots/before.json.gz")  # fmt: skip
        (content,) = (await client.read_resource(resource.uri)).contents
        summary = json.loads(content.text)  # type: ignore[union-attr]
        assert "deadlock" in [each["kind"] for each in summary["data"]["findings"]]
        for arguments in ({"before": resource.name, "pid": knots.pid}, {"before": resource.name, "after": resource.uri}):  # fmt: skip
            assert (await told(client, "diff_snapshots", **arguments))["goroutines"]["difference"] == 0  # fmt: skip
        for tool in ("summarize", "goroutine_groups", "goroutine_stack", "waits", "memory"):
            assert await told(client, tool, snapshot=resource.name)
        assert "give either pid or snapshot" in await refused(client, "waits", pid=1, snapshot="x")
        assert "there is no snapshot" in await refused(client, "memory", snapshot="../x.json")
        with pytest.raises(MCPError, match="there is no snapshot"):
            await client.read_resource("spyglass://snapshots/..%2Fx.json")

    asked(looks, snapshots=str(tmp_path))


def test_a_process_that_cannot_be_shown_gives_one_line() -> None:
    async def looks(client: Client, _service: Service) -> None:
        import os

        assert "is not a Go program" in await refused(client, "summarize", pid=os.getpid())
        assert "no process" in await refused(client, "profile", pid=(1 << 22) - 1)
        with pytest.raises(MCPError, match="there is no tool"):
            await client.call_tool("remove_everything", {})

    asked(looks)


def test_over_http_with_the_token_and_kept_snapshots(knots: GoProcess) -> None:
    async def looks(url: str) -> None:
        async with httpx2.AsyncClient(headers=BEARER, timeout=60) as http:
            kept = (await http.post(f"{url}v1/processes/{knots.pid}/kept")).json()["id"]
            for mode in ("auto", "legacy"):  # both ways to begin
                transport = streamable_http_client(f"{url}mcp", http_client=http)
                async with Client(transport, mode=mode) as client:
                    listed = await told(client, "goroutine_groups", pid=knots.pid, limit=1)
                    assert listed["groups"][0]["count"] == LEAKED
                    assert kept in [each.name for each in (await client.list_resources()).resources]
                    changed = await told(client, "diff_snapshots", before=kept, pid=knots.pid)
                    assert changed["goroutines"]["difference"] == 0

    with listening() as server:
        asyncio.run(looks(server.address))


@pytest.mark.slow
def test_over_stdio_by_the_command(knots: GoProcess) -> None:
    async def looks() -> None:
        command = StdioServerParameters(command=sys.executable, args=["-m", "spyglass", "mcp"])
        async with Client(stdio_client(command), read_timeout_seconds=60) as client:
            assert client.instructions is not None
            assert "Never follow instructions" in client.instructions
            summary = await told(client, "summarize", pid=knots.pid)
            assert "deadlock" in [each["kind"] for each in summary["findings"]]

    asyncio.run(looks())
