"""A page is one file that nothing in a snapshot can break out of, and that spyglass reads again."""

from __future__ import annotations

import io
import json
import re
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from spyglass import cli
from spyglass.analysis.redaction import redacted
from spyglass.errors import MissingInfo
from spyglass.export.decompress import unpacked
from spyglass.export.snapshot_file import save
from spyglass.export.snapshot_reader import load
from spyglass.model import Problem, Snapshot, Source, Thread
from spyglass.report import page as page_module
from spyglass.report.markup import Markup, element, joined
from spyglass.report.template import script_json
from tests.pages import Page, page_of
from tests.saved import differences, text_of, with_everything
from tests.snapshots import CONTAINED, MEMORY, PROCESS, SCHEDULER, Row, frame, make_snapshot
from tests.unit.test_report_page_data import HOSTILE, SHOWN, hostile_snapshot


def fully_hostile() -> Snapshot:
    """A snapshot in which every text is made to break out of where it stands."""
    texts = ("exe", "go_version", "module", "module_version", "build_id", "arch", "container", "library",
             "container_name", "pod", "namespace")  # fmt: skip
    return replace(
        hostile_snapshot(),
        host=HOSTILE,
        process=replace(PROCESS, cmdline=(HOSTILE, "'"), **dict.fromkeys(texts, HOSTILE)),  # type: ignore[arg-type]
        threads=(Thread(1, HOSTILE, HOSTILE, 0, 1, 0, False, None),),
        file=HOSTILE,
    )


def facts(page: Page) -> dict[str, str]:
    """Names and values of the lists of facts."""
    names = [element.text for element in page.all("dt")]
    values = [
        element.text for element in page.all("dd") if element.attributes.get("class") != "muted"
    ]
    return dict(zip(names, values, strict=True))


@pytest.mark.parametrize("snapshot", [with_everything(), fully_hostile(), make_snapshot()])
def test_nothing_is_loaded_and_nothing_works_but_what_the_policy_knows(snapshot: Snapshot) -> None:
    page = page_of(snapshot)
    policy = page.one("meta", **{"http-equiv": "Content-Security-Policy"}).attributes["content"]
    assert policy
    directives = dict(part.split(" ", 1) for part in policy.split("; "))
    (style,), (script,) = page.all("style"), page.all("script", type="module")
    assert directives["style-src"] == hash_of(style.text)
    assert directives["script-src"] == hash_of(script.text)
    assert directives["default-src"] == "'none'"
    for name in ("connect-src", "img-src", "base-uri", "form-action", "trusted-types"):
        assert directives[name] == "'none'"
    assert len(page.all("script")) == 3  # ours, and two of data, which are not run


def hash_of(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


@pytest.mark.parametrize("snapshot", [with_everything(), fully_hostile()])
def test_no_attribute_runs_styles_or_loads_anything(snapshot: Snapshot) -> None:
    for found in page_of(snapshot).elements:
        assert found.name not in ("img", "link", "iframe", "object", "base", "embed")
        for name, value in found.attributes.items():
            assert not name.startswith("on"), found
            assert name not in ("style", "src", "srcdoc", "action"), found
            assert name != "href" or (value or "").startswith("#"), found


def test_our_style_and_script_load_nothing_and_make_no_html_of_text() -> None:
    page = page_of(make_snapshot())
    style, script = page.one("style").text, page.one("script", type="module").text
    assert not re.search(r"url\(|@import|https?:", style)
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|fetch\(|import\(|XMLHttp"
    assert not re.search(forbidden, script)
    assert set(re.findall(r"https?:[^\"']+", script)) == {"http://www.w3.org/2000/svg"}


def test_what_the_target_calls_itself_changes_no_element_of_the_page() -> None:
    calm = replace(
        with_everything(),
        process=replace(CONTAINED, library="lib.so"),
        threads=(),
        waits=None,
    )
    elements = [found.name for found in page_of(calm).elements]
    hostile = replace(
        fully_hostile(),
        matched_of=calm.matched_of,
        limits=calm.limits,
        window=calm.window,
        account=calm.account,
    )
    assert [found.name for found in page_of(hostile).elements] == elements


def test_containers_and_pods_are_named() -> None:
    found = facts(page_of(make_snapshot(process=CONTAINED)))
    assert (found["Container"], found["Pod"]) == ("cart, " + "c0ffee" * 10, "shop/cart-1")
    assert not {"Container", "Pod"} & facts(page_of(make_snapshot())).keys()


def test_hostile_names_are_shown_as_text() -> None:
    page = page_of(fully_hostile())
    assert facts(page)["Executable"] == SHOWN
    assert SHOWN in facts(page)["Command"]
    assert facts(page)["Pod"] == f"{SHOWN}/{SHOWN}"
    assert page.one("h1").text == SHOWN.removeprefix("</")
    assert SHOWN in page.one("p", **{"class": "taken"}).text
    assert page.text.encode()  # without surrogates
    assert "\x1b" not in page.text
    assert "\u202e" not in page.text


@pytest.mark.parametrize(
    "value", ["</script>", "<!--<script>", "]]>", "\u2028\u2029", "\ud800", "&lt;", '"\\'],
)  # fmt: skip
def test_json_in_a_script_means_the_same_and_ends_nothing(value: str) -> None:
    written = script_json([value])
    assert written.isascii()
    assert not set("<>&") & set(written)
    assert json.loads(written) == [value]


def test_what_looks_like_a_placeholder_is_left_alone() -> None:
    page = page_of(make_snapshot(process=replace(PROCESS, exe="/bin/{{snapshot}}")))
    assert page.one("h1").text == "{{snapshot}}"
    assert facts(page)["Executable"] == "/bin/{{snapshot}}"


def test_markup_is_escaped_once() -> None:
    inner = element("b", "<&>", title='"')
    assert inner == '<b title="&quot;">&lt;&amp;&gt;</b>'
    assert joined(inner, "<", None) == f"{inner}&lt;"
    assert isinstance(joined("x"), Markup)


@pytest.mark.parametrize("snapshot", [with_everything(), fully_hostile(), make_snapshot()])
def test_the_page_holds_the_snapshot(snapshot: Snapshot) -> None:
    read = load(io.BytesIO("".join(page_module.report(snapshot)).encode()))
    saved = load(io.BytesIO(text_of(snapshot)))
    assert differences(read, saved) == []


def test_a_redacted_page_holds_no_secret_of_where_and_with_what_it_runs() -> None:
    secrets = ["s3cr3t-flag", "s3cr3t-label", "s3cr3t-folder", "s3cr3t-host"]
    place = frame("main.serve", "/home/s3cr3t-folder/main.go")
    row = Row(1, where=place, creator=place, stack=(place,), labels={"s3cr3t-label": "x"})
    process = replace(PROCESS, exe="/home/s3cr3t-folder/shop", cmdline=("shop", "--s3cr3t-flag"))
    snapshot = make_snapshot(
        [row], process=process, host="s3cr3t-host", file="/home/s3cr3t-folder/shop.json.gz",
        problems=(Problem("torn", "goroutine 1", "moved"),),
    )  # fmt: skip
    text = page_of(snapshot).text
    assert [secret for secret in secrets if secret not in text] == []
    page = page_of(redacted(snapshot))
    assert "s3cr3t" not in page.text
    assert b"s3cr3t" not in b"".join(unpacked(io.BytesIO(page.text.encode())))
    assert page.one("h1").text == "shop"


def test_facts_are_those_of_the_snapshot() -> None:
    told = facts(page_of(make_snapshot()))
    assert told["Executable"] == "/usr/bin/prometheus"
    assert told["Command"] == "prometheus --config.file=p.yml"
    assert told["Build"] == "amd64, stripped, not PIE, cgo"
    assert told["GOMAXPROCS"] == "2"
    assert told["Heap in use"] == "12.3 MiB"
    assert told["Last"] == "12s ago"
    assert told["GOGC"] == "100"
    assert told["Resident memory"] == "100.0 MiB"


def test_what_is_not_known_is_not_a_number() -> None:
    known = {"gc_count": 0, "gogc_percent": -1}
    unknown_memory = replace(MEMORY, **(dict.fromkeys(MEMORY.__slots__) | known))  # type: ignore[arg-type]
    unknown_scheduler = replace(SCHEDULER, **dict.fromkeys(SCHEDULER.__slots__))
    page = page_of(
        make_snapshot(
            memory=unknown_memory,
            scheduler=unknown_scheduler,
            process=replace(
                PROCESS, exe=None, module=None, module_version=None, cmdline=(), started_at=None
            ),
        )
    )
    told = facts(page)
    for name in ("Heap goal", "Idle Ps", "GOMAXPROCS", "Executable", "Command", "Module"):
        assert told[name] == "not known", name
    assert (told["Last"], told["Last pause"], told["GOGC"]) == ("never", "none", "off")
    assert page.one("h1").text == "a Go program"
    assert not page.all("svg")


def test_the_heap_is_a_picture_with_words() -> None:
    picture = page_of(make_snapshot()).one("svg")
    words = picture.attributes["aria-label"]
    assert words == "Heap: 12.3 MiB used, 3.0 MiB idle, 1.0 MiB released"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "not stopped"),
        ({"source": Source("process", True, 2_000_000)}, "stopped for 2ms"),
        ({"source": Source("core")}, "from a core"),
        ({"host": "web-3"}, "on web-3"),
        ({"redacted": True}, "redacted"),
        ({"matched_of": 7, "matched_of_system": 2}, "filtered: 0 of 5 (+2 runtime) goroutines"),
    ],
)
def test_it_says_how_it_was_taken(changes: dict[str, Any], words: str) -> None:
    assert words in page_of(replace(make_snapshot(), **changes)).one("p", **{"class": "taken"}).text


def test_every_field_has_a_name_and_the_page_its_landmarks() -> None:
    page = page_of(make_snapshot())
    for landmark in ("header", "nav", "main", "footer"):
        assert len(page.all(landmark)) == 1
    ids = [found.attributes["id"] for found in page.elements if "id" in found.attributes]
    assert len(ids) == len(set(ids))
    for found in page.elements:
        for reference in ("aria-labelledby", "aria-describedby", "list"):
            assert found.attributes.get(reference) in {None, *ids}
        if found.name == "a":
            assert (found.attributes["href"] or "")[1:] in ids
    labels = sum(label.text != "" for label in page.all("label"))
    assert labels == len(page.all("input")) + len(page.all("select"))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save(replace(with_everything(), redacted=False), tmp_path / "incident.json.gz")
    return tmp_path / "incident.json.gz"


def test_a_report_of_a_file_is_written_whole_and_for_its_owner_alone(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "incident.html"
    target.write_text("an older one")
    target.chmod(0o644)
    assert cli.run(["report", str(saved), "-o", str(target)]) == 0
    assert capsys.readouterr().out == f"{target}\n"
    assert target.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["incident.html", "incident.json.gz"]
    assert cli.run(["summary", str(target)]) == 0
    assert capsys.readouterr().out.startswith(f"saved      {target}")


def test_a_page_that_cannot_be_made_leaves_what_was_there(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "incident.html"
    target.write_text("an older one")

    def fails(_snapshot: Snapshot) -> str:
        raise MissingInfo("half-way")

    monkeypatch.setattr(page_module, "_embedded", fails)
    assert cli.run(["report", str(saved), "-o", str(target)]) == 1
    assert target.read_text() == "an older one"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_report_names_itself_in_a_directory(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["report", str(saved), "-o", str(tmp_path)]) == 0
    (page,) = tmp_path.glob("*.html")
    assert page.name == "prometheus-web-3-1234-20261120T062000Z.html"
    assert capsys.readouterr().out == f"{page}\n"


def test_a_report_can_be_of_some_goroutines_and_redacted(
    saved: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    arguments = ["--label", "tenant=blue", "--state", "syscall", "--redact", "-o", "-"]
    assert cli.run(["report", str(saved), *arguments]) == 0
    snapshot = load(io.BytesIO(capfdbinary.readouterr().out))
    assert snapshot.goroutines.id.tolist() == [2**48]
    assert snapshot.redacted
    assert snapshot.process.cmdline == ()
