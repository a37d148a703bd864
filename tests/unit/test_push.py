"""Profiles that are pushed: to which server, in which form, how often, and with which secret."""

from __future__ import annotations

import base64
import gzip
import json
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from spyglass.errors import SpyglassError
from spyglass.fleet import delivery
from spyglass.fleet.delivery import Delivery, write_with_retries
from spyglass.fleet.local_store import File
from spyglass.push import pusher
from spyglass.push.destination import destination
from spyglass.push.forms import Request, request
from spyglass.push.headers import push_headers
from spyglass.push.pusher import Pusher, Rejected
from tests.certificates import make_certificates
from tests.made_profiles import SHOP
from tests.otlp import decoded_otlp, samples_of
from tests.profiles import decoded
from tests.receivers import receiving
from tests.snapshots import CONTAINED

TOKEN = "secret-token"
TOTAL_NS = int(SHOP.samples.value_ns.sum())


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(delivery, "_LONGEST_PAUSE", 0.02)


def send(url: str, token: str | None = None, **changes: Any) -> None:
    to = destination(url, token)
    profile = replace(SHOP, host="web/1 {x}", **changes)
    write_with_retries(Pusher(to), File("profile", request(profile, to.form).packed()))


def test_the_form_of_ingest() -> None:
    with receiving() as server:
        send(f"{server.url}/pyroscope/")
    (taken,) = server.taken
    url = urlsplit(taken.path)
    query = {name: value for name, (value,) in parse_qs(url.query).items()}
    assert url.path == "/pyroscope/ingest"
    assert query["name"] == "prometheus{hostname=web/1__x_,version=v3.1.0}"
    began = int(SHOP.started_at.timestamp())
    assert (int(query["from"]), int(query["until"])) == (began, began + 10)
    assert (query["format"], query["spyName"]) == ("pprof", "spyglass")
    found = decoded(taken.body)
    assert sum(values[-1] for values in found.values.values()) == TOTAL_NS
    # A series for each thread would be too many.
    assert {name for sample in found.samples for name, _ in sample.labels} == {"tenant", "state"}
    assert "authorization" not in taken.headers


def test_the_form_of_push_v1() -> None:
    with receiving() as server:
        send(f"{server.url}/push.v1.PusherService/Push", process=replace(SHOP.process, module_version=None))  # fmt: skip
    (taken,) = server.taken
    assert (taken.path, taken.headers["content-type"]) == ("/push.v1.PusherService/Push", "application/json")  # fmt: skip
    ((series,),) = json.loads(taken.body).values()
    assert {each["name"]: each["value"] for each in series["labels"]} == {
        "__name__": "process_cpu", "service_name": "prometheus", "hostname": "web/1__x_",
    }  # fmt: skip
    (sample,) = series["samples"]
    found = decoded(base64.b64decode(sample["rawProfile"]))
    assert sum(values[-1] for values in found.values.values()) == TOTAL_NS


def test_containers_and_pods_are_labels() -> None:
    with receiving() as server:
        send(f"{server.url}/pyroscope/", process=CONTAINED)
        send(f"{server.url}/v1development/profiles", process=CONTAINED)
    ingested, otlp = server.taken
    (name,) = parse_qs(urlsplit(ingested.path).query)["name"]
    assert name.endswith("version=v3.1.0,container=cart,pod=cart-1,namespace=shop}")
    found = decoded_otlp(gzip.decompress(otlp.body)).resource_profiles[0].resource.attributes
    known = {each.key: each.value.string_value for each in found}
    names = ("container.name", "k8s.pod.name", "k8s.pod.uid", "k8s.namespace.name")
    assert [known[each] for each in names] == ["cart", "cart-1", "8d9b0a77", "shop"]


def test_the_form_of_otlp() -> None:
    with receiving() as server:
        send(f"{server.url}/v1development/profiles", TOKEN)
    (taken,) = server.taken
    assert (taken.path, taken.headers["content-type"]) == ("/v1development/profiles", "application/x-protobuf")  # fmt: skip
    assert taken.headers["content-encoding"] == "gzip"
    assert taken.headers["authorization"] == f"Bearer {TOKEN}"
    found = decoded_otlp(gzip.decompress(taken.body))
    assert samples_of(found).total() == TOTAL_NS
    attributes = {each.key for each in found.resource_profiles[0].resource.attributes}
    assert {"service.name", "host.name", "process.pid", "process.runtime.version"} <= attributes


@pytest.mark.parametrize(
    ("url", "token", "says"),
    [
        ("ftp://host/x", None, "needs a URL"),
        ("http://", None, "needs a URL"),
        ("http://host:99999", None, "needs a URL"),
        ("http://[::1", None, "needs a URL"),
        ("http://ho st/", None, "needs a URL"),
        ("http://host/\nx", None, "needs a URL"),
        ("https://user:hidden@host", TOKEN, "has a password"),
        ("https://user@host", None, "has a user"),
        ("https://host/?x=hidden", TOKEN, "parameters"),
        ("http://host:4040", TOKEN, "without TLS"),
    ],
)
def test_urls_that_cannot_be(url: str, token: str | None, says: str) -> None:
    with pytest.raises(SpyglassError, match=says) as refused:
        destination(url, token)
    assert "hidden" not in refused.value.message
    assert TOKEN not in refused.value.message


def test_secrets_are_not_shown() -> None:
    to = destination("https://user@host/x/ingest/", TOKEN)
    assert to.authorization == f"Basic {base64.b64encode(b'user:secret-token').decode()}"
    assert TOKEN not in repr(to)
    assert "Basic" not in repr(to)
    assert to.shown == "https://host:443/x/ingest"
    assert destination("http://[::1]:1", TOKEN).shown == "http://[::1]:1/ingest"


def test_headers_of_arguments_and_of_a_file_are_sent(tmp_path: Path) -> None:
    file = tmp_path / "headers"
    file.write_text("# of the gateway\n\nX-Api-Key:  hidden key \nAuthorization: Basic hidden\n")
    headers, secret = push_headers(["X-Scope-OrgID: team a", f"@{file}"])
    assert secret
    with receiving() as server:
        to = destination(server.url, None, headers, secret=secret)
        write_with_retries(Pusher(to), File("profile", request(SHOP, to.form).packed()))
    (taken,) = server.taken
    found = [taken.headers[name] for name in ("x-scope-orgid", "x-api-key", "authorization")]
    assert found == ["team a", "hidden key", "Basic hidden"]
    assert "hidden" not in repr(to) + to.shown
    with pytest.raises(SpyglassError, match="file of headers would be sent to host without TLS"):
        destination("http://host", None, headers, secret=secret)
    with pytest.raises(SpyglassError, match="both a token and a header"):
        destination("https://host", TOKEN, headers, secret=secret)
    tenant, secret = push_headers(["X-Scope-OrgID: a"])
    assert destination("http://host", None, tenant, secret=secret).headers == tenant


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["X-Scope-OrgID"], "is not NAME: VALUE"),
        (["X-Scope-OrgID:"], "is not NAME: VALUE"),
        (["X Scope: a"], "is not NAME: VALUE"),
        (["X-Scope: a\r\nX-Other: b"], "is not NAME: VALUE"),
        (["X-Scope: \u00fc"], "is not NAME: VALUE"),
        (["Host: other.example"], "set by spyglass itself"),
        (["content-length: 1"], "set by spyglass itself"),
        (["Authorization: Bearer hidden"], "other users see"),
        (["x-api-key: hidden"], "other users see"),
        (["X-Scope: a", "x-scope: b"], "twice"),
        ([f"X-{number}: a" for number in range(33)], "more than 32"),
        (["@wrong"], "line 2 of wrong is not NAME: VALUE"),
        (["@large"], "too large"),
    ],
)
def test_headers_that_cannot_be(
    given: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("wrong").write_text("X-Scope: a\nhidden\n")
    Path("large").write_text("X-Scope: a\n" * 2000)
    with pytest.raises(SpyglassError, match=says) as refused:
        push_headers(given)
    assert "hidden" not in f"{refused.value.message} {refused.value.hint}"


def test_a_server_that_is_away_for_a_moment_is_asked_again() -> None:
    with receiving() as server:
        server.statuses = [503, 429]
        send(server.url)
        assert len(server.taken) == 3
        server.statuses = [500, 401, 404]
        with pytest.raises(OSError, match=r"answers 404 said \\x1b\[31m so"):
            send(server.url)
    with pytest.raises(ConnectionRefusedError):  # nobody listens there any more
        send(server.url)


def test_what_a_server_refuses_is_not_sent_again() -> None:
    with receiving() as server:
        server.statuses = [400]
        with pytest.raises(Rejected, match="answers 400"):
            send(server.url)
        assert len(server.taken) == 1


def test_a_redirect_is_not_followed() -> None:
    with receiving() as elsewhere, receiving() as server:
        server.statuses, server.location = [307], f"{elsewhere.url}/ingest"
        with pytest.raises(Rejected, match="redirects to"):
            send(server.url, TOKEN)
        assert elsewhere.taken == []


def test_certificates_are_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = make_certificates(tmp_path)
    with receiving(files) as server:
        url = f"https://localhost:{server.port}"
        with pytest.raises(OSError, match="certificate"):
            send(url, TOKEN)
        assert server.taken == []
        monkeypatch.setenv("SSL_CERT_FILE", str(files.authority))
        send(url, TOKEN)
        assert server.taken[0].headers["authorization"] == f"Bearer {TOKEN}"


def test_a_server_that_never_ends_its_answer_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pusher, "_TIMEOUT_S", 0.5)
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
                while not over.wait(0.05):
                    try:
                        connection.sendall(b"x")
                    except OSError:
                        return

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        began = time.monotonic()
        to = destination(f"http://127.0.0.1:{listener.getsockname()[1]}", None)
        with pytest.raises(TimeoutError, match="no answer within"):
            Pusher(to).write("profile", request(SHOP, to.form).packed())
        assert time.monotonic() - began < 60
        over.set()
        thread.join(30)


def test_a_queue_drops_what_is_refused_and_keeps_what_waits(tmp_path: Path) -> None:
    with receiving() as server:
        to = destination(server.url, None)
        server.statuses = [400, 503]
        sender = Pusher(to, drops_rejected=True)
        queue = Delivery(sender, tmp_path / "spool")
        for number in range(3):
            queue.put(File(f"{number}", request(SHOP, to.form).packed()))
        queue.put(File("broken", b"no request"))
        until_empty(queue)
        state = queue.state()
        assert queue.close(30) == 0
        assert (state.waiting, state.dropped, sender.rejected) == (0, 0, 2)
        assert len(server.taken) == 4


def until_empty(queue: Delivery) -> None:
    limit = time.monotonic() + 60
    while queue.state().waiting:
        assert time.monotonic() < limit
        time.sleep(0.01)


def test_a_request_is_one_piece_and_back() -> None:
    for form in ("ingest", "push", "otlp"):
        made = request(SHOP, form)
        assert Request.unpacked(made.packed()) == made
    for wrong in (b"", b"\n", b"[]\nx", b"{}\nx", b"{" * 9999 + b"\nx"):
        with pytest.raises(SpyglassError):
            Request.unpacked(wrong)
