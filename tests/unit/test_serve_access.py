"""Who may ask `spyglass serve`: a token, and a Host and an Origin that are this server's."""

from __future__ import annotations

from base64 import b64encode

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.testclient import TestClient

from spyglass.serve.operations import Operation
from spyglass.serve.table import OPERATIONS
from tests.serving import BEARER, TOKEN, path_of, serving

DOCUMENT = "/v1/openapi.json"
EVERY = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)


@EVERY
def test_every_operation_needs_the_token(operation: Operation) -> None:
    with serving(None) as client:
        answer = client.request(operation.method, path_of(operation))
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert TOKEN not in answer.text


@EVERY
def test_every_operation_needs_a_host_of_ours(operation: Operation) -> None:
    with serving() as client:
        headers = {"host": "rebound.example:8974"}
        answer = client.request(operation.method, path_of(operation), headers=headers)
    assert answer.status_code == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer wrong"},
        {"authorization": f"Bearer {TOKEN}x"},
        {"authorization": "Bearer " + TOKEN[:-1]},
        {"authorization": f"Digest {TOKEN}"},
        {"authorization": "Basic !!!"},
        {"authorization": b"Bearer \xff\xfe"},
        {"cookie": f"spyglass={TOKEN}"},
        {"cookie": b"spyglass=\xff"},
        {"cookie": "spyglass="},
        {"cookie": "\x01=;;spyglass"},
    ],
)
def test_what_is_not_the_token(headers: dict[str, str | bytes]) -> None:
    with serving(None) as client:
        assert client.get(DOCUMENT, headers=headers).status_code == 401  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value", [f"Bearer {TOKEN}", f"bearer {TOKEN}", "Basic " + b64encode(f"x:{TOKEN}".encode()).decode()]
)  # fmt: skip
def test_the_token_in_a_header(value: str) -> None:
    with serving({"authorization": value}) as client:
        answer = client.get(DOCUMENT)
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers


def test_the_token_in_the_url_gives_a_cookie_that_is_not_the_token() -> None:
    with serving(None) as client:
        answer = client.get(DOCUMENT, params={"token": TOKEN})
        cookie = answer.headers["set-cookie"]
        assert answer.status_code == 200
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} < set(cookie.split("; "))
        assert TOKEN not in cookie
        assert client.get(DOCUMENT).status_code == 200  # the client keeps the cookie
        assert client.get(DOCUMENT, params={"token": "wrong"}).status_code == 401
        assert client.get(f"{DOCUMENT}?token={TOKEN}&token=x").status_code == 401


def test_a_cookie_of_tls_is_for_tls_alone() -> None:
    with serving(None, secure=True) as client:
        assert "; Secure" in client.get(DOCUMENT, params={"token": TOKEN}).headers["set-cookie"]


@pytest.fixture
def browser() -> TestClient:
    """A client that has the cookie and no token."""
    with serving(None) as client:
        client.get(DOCUMENT, params={"token": TOKEN})
        return client


def test_a_cookie_is_not_for_pages_of_others(browser: TestClient) -> None:
    ours = "http://127.0.0.1:8974"
    for headers, status in (
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"origin": "http://127.0.0.1:3000"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": ours}, 200),
    ):
        with browser:
            assert browser.get(DOCUMENT, headers=headers).status_code == status, headers
    with browser:  # an unsafe method without an Origin; with one it comes to the routes
        assert browser.post(DOCUMENT).status_code == 403
        assert browser.post(DOCUMENT, headers={"origin": ours}).status_code == 405


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200), ("LOCALHOST:1", 200), ("127.0.0.1", 200), ("[::1]:8974", 200), ("[fe80::1]", 200),
        ("192.0.2.7:8974", 200), ("name.example", 421), ("localhost.evil.example", 421), ("127.0.0.1.evil.example", 421),
        ("", 421), ("evil@127.0.0.1", 421), ("127.0.0.1:80:80", 421), ("127.1", 421),
    ],
)  # fmt: skip
def test_hosts(host: str, status: int) -> None:
    with serving() as client:
        assert client.get(DOCUMENT, headers={"host": host}).status_code == status


def test_a_host_name_that_was_given_is_ours() -> None:
    with serving(hosts=frozenset({"node7.example"})) as client:
        assert client.get(DOCUMENT, headers={"host": "Node7.example:8974"}).status_code == 200


def test_every_answer_has_the_headers_that_protect_it() -> None:
    with serving() as client:
        for path in ("/healthz", DOCUMENT, "/nothing", "/v1/processes/x"):
            headers = client.get(path).headers
            assert headers["content-security-policy"].startswith("default-src 'none'")
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["cache-control"] == "no-store"


def test_health_needs_no_token() -> None:
    with serving(None) as client:
        answer = client.get("/healthz")
    assert (answer.status_code, answer.text) == (200, "ok\n")


def test_the_document_describes_every_operation_and_is_valid() -> None:
    with serving() as client:
        document = client.get(DOCUMENT).json()
    OpenAPIV31SpecValidator(document).validate()
    described = {
        (path, method.upper()): each["operationId"]
        for path, methods in document["paths"].items()
        for method, each in methods.items()
    }
    assert described == {(each.path, each.method): each.name for each in OPERATIONS}


def test_too_many_requests_at_once_are_refused() -> None:
    with serving(requests=0) as client:
        answer = client.get(DOCUMENT)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("nothing=1", "no parameter is called 'nothing'"),
        ("limit=0", "limit: must be a whole number from 1 to 10000"),
        ("limit=1&limit=2", "limit is given more than once"),
        ("limit=\uff11", "limit: must be a whole number"),
        ("limit=99999999999999999999", "limit: must be a whole number"),
        ("min_wait=long", "min_wait: 'long' is not a duration"),
        ("system=perhaps", "system: must be true or false"),
        ("format=xml", "format: must be one of json, text, folded"),
        ("function=", "function: must have 1 to 1024 characters"),
        ("function=%ff", "the query is not one"),
        ("&".join(f"state={n}" for n in range(65)), "the query is not one, or has too many"),
    ],
)
def test_a_parameter_that_is_none(query: str, says: str) -> None:
    with serving() as client:
        answer = client.get(f"/v1/processes/1/goroutines?{query}")
    assert answer.status_code == 400
    assert says in answer.json()["detail"]


@pytest.mark.parametrize("pid", ["0", "-1", "x", "1.5", "99999999", "%00", "\uff11", "1%0a"])
def test_a_pid_that_is_none(pid: str) -> None:
    with serving(BEARER) as client:
        assert client.get(f"/v1/processes/{pid}").status_code == 404
