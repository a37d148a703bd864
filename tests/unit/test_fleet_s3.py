"""An object store: a server that speaks S3, on this host."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from spyglass.fleet.archive import Archive
from spyglass.fleet.query import Fleet
from spyglass.fleet.store import open_store
from tests.fleets import Look, taken

#: The server takes seconds to import.
pytestmark = pytest.mark.slow


@contextmanager
def s3_server() -> Iterator[tuple[str, Any]]:
    """A URL of a server that speaks S3, and the server, which can be stopped and started again."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", "key")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        environment.setenv("AWS_EC2_METADATA_DISABLED", "true")
        options = f"endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
        open_store(f"s3://bucket?allow_bucket_creation=true&{options}").files.create_dir("bucket")  # type: ignore[attr-defined]
        server._port = port  # if it is started again
        yield f"s3://bucket/prod?{options}", server
    server.stop()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with s3_server() as (found, _):
        yield found


def test_files_are_written_to_s3_and_asked_there(url: str) -> None:
    store, archive = open_store(url), Archive()
    for minute in range(3):
        for each in archive.add(taken(Look(minute, sending=minute))):
            store.write(each.name, each.data)
    with Fleet(url) as fleet:
        answer = fleet.ask("SELECT sum(count), count(DISTINCT instance) FROM groups")
        assert answer.rows == ((3, 1),)
        assert fleet.ask("SELECT service, count(*) FROM stacks GROUP BY ALL").rows == (("orders", 1),)  # fmt: skip


def test_what_s3_refuses_is_an_error(url: str) -> None:
    store = open_store(url.replace("bucket/prod", "nosuch"))
    with pytest.raises(OSError, match="nosuch"):
        store.write("x.parquet", b"x")
