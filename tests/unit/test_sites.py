"""Heap, block and mutex profiles in files: what is written is read back; hostile files; two compared."""

from __future__ import annotations

import gzip
import importlib.resources
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from spyglass import cli
from spyglass.analysis.site_diff import site_difference
from spyglass.analysis.site_places import site_places
from spyglass.errors import BadDataError
from spyglass.export.protobuf import number, piece
from spyglass.export.site_reader import is_any_profile, load_any_profile
from spyglass.formats import exporter
from spyglass.model import NONE
from spyglass.profile import Profile
from spyglass.site_profile import SiteProfile, ValueKind
from tests.made_profiles import SHOP
from tests.made_sites import CACHE, HEAP, MAIN, REPEAT, SERVE, make_sites
from tests.snapshots import frame

SCHEMAS = importlib.resources.files("spyglass.export")
BLOCK = make_sites(
    [((REPEAT, MAIN), NONE, (0, 0, 3, 5_000_000))],
    kind="block", period=1, period_kind=ValueKind("contentions", "count"),
    kinds=(ValueKind("contentions", "count"), ValueKind("delay", "nanoseconds")),
    amounts=np.array([[3, 5_000_000]], np.int64), remark="events",
)  # fmt: skip


def schema(name: str) -> Draft202012Validator:
    found = json.loads(SCHEMAS.joinpath(name).read_text())
    Draft202012Validator.check_schema(found)
    return Draft202012Validator(found)


def saved(folder: Path, profile: SiteProfile, extension: str) -> Path:
    path = folder / f"{len(list(folder.iterdir()))}{extension}"
    names = {
        "": "json",
        ".json": "json",
        ".json.gz": "json.gz",
        ".pb.gz": "pprof",
        ".folded": "folded",
    }
    with path.open("wb") as stream:
        exporter("sites", names[extension]).write(profile, stream)
    return path


def rows_of(profile: SiteProfile) -> list[tuple[list[str], int, list[int]]]:
    names = [each.function for each in profile.frames]
    return [
        ([names[each] for each in profile.frames_of(stack)], size, amounts)
        for stack, size, amounts in zip(
            profile.stack.tolist(),
            profile.object_bytes.tolist(),
            profile.amounts.tolist(),
            strict=True,
        )
    ]


@pytest.mark.parametrize("extension", [".json", ".json.gz", ".pb.gz"])
@pytest.mark.parametrize("profile", [HEAP, BLOCK], ids=["heap", "block"])
def test_what_is_written_is_read_back(profile: SiteProfile, extension: str, tmp_path: Path) -> None:
    path = saved(tmp_path, profile, extension)
    assert is_any_profile(path)
    found = load_any_profile(path)
    assert isinstance(found, SiteProfile)
    assert rows_of(found) == rows_of(profile)
    assert (found.kinds, found.period_kind) == (profile.kinds, profile.period_kind)
    assert (found.period, found.taken_at) == (profile.period, profile.taken_at)
    assert found.remark == profile.remark
    # Go's files do not say which of two a profile of waits is.
    named = extension != ".pb.gz" or profile is HEAP
    assert found.kind == (profile.kind if named else "contention")
    if extension == ".json":
        assert found.frames == profile.frames
        schema("sites.schema.json").validate(json.loads(path.read_bytes()))


def test_profiles_of_time_are_read_as_such(tmp_path: Path) -> None:
    for name in ("pprof", "json"):
        path = tmp_path / name
        with path.open("wb") as stream:
            exporter("profile", name).write(SHOP, stream)
        assert is_any_profile(path)
        assert isinstance(load_any_profile(path), Profile)


def test_folded_stacks_have_the_bytes_in_use(tmp_path: Path) -> None:
    lines = saved(tmp_path, HEAP, ".folded").read_text().splitlines()
    serve = "main.main;example.com/shop.(*Server).serve"
    assert lines == [
        f"{serve};example.com/shop.(*cache).add;strings.Repeat {3 << 20}",
        f"{serve} {512 << 10}",
    ]


def test_the_place_is_the_innermost_of_the_users_code() -> None:
    places = site_places(HEAP, "example.com/shop")
    assert [place.where for place in places] == [CACHE.function, SERVE.function]
    assert [place.call for place in places] == [REPEAT.function, None]
    bare = make_sites([((REPEAT, frame("runtime.main")), 8, (1, 8, 1, 8)), ((), 8, (1, 8, 1, 8))])
    assert [place.where for place in site_places(bare, None)] == [REPEAT.function, ""]
    runtimes = make_sites([((frame("runtime.malg"), frame("runtime.main")), 8, (1, 8, 1, 8))])
    assert [place[:2] for place in site_places(runtimes, None)] == [("", "runtime.main")]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"samples": [{"stack": 9, "object_bytes": 1, "values": [1, 1, 1, 1]}]}, "no stack 9"),
        ({"samples": [{"stack": 0, "object_bytes": 1, "values": [1, 1]}]}, "there are 2 values"),
        ({"samples": [{"stack": 0, "object_bytes": 1, "values": [-1, 1, 1, 1]}]}, ">= 0"),
        ({"samples": [{"stack": 0, "object_bytes": 1, "values": [2**62, 1, 1, 1]}] * 2}, "sum of all"),
        ({"stacks": [[77]]}, "no frame 77"),
        ({"kinds": []}, "0 kinds"),
        ({"kinds": [{"name": "x", "unit": "y"}] * 17}, "17 kinds"),
        ({"taken_at": "yesterday"}, "not a date"),
        ({"kind": "cpu"}, "kind"),
    ],
)  # fmt: skip
def test_documents_that_do_not_fit_are_refused(
    change: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    path = saved(tmp_path, HEAP, ".json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change, separators=(",", ":")))
    with pytest.raises(BadDataError, match=complaint):
        load_any_profile(path)


def pprof_with(sample: bytes) -> bytes:
    """A file of one kind of values, "inuse_space", and one `sample`."""
    texts = b"".join(piece(6, text) for text in (b"", b"inuse_space", b"bytes"))
    kind = piece(1, number(1, 1) + number(2, 2))
    location = piece(4, number(1, 1) + piece(4, number(1, 1) + number(2, 3)))
    function = piece(5, number(1, 1) + number(2, 1))
    return gzip.compress(texts + kind + piece(2, sample) + location + function)


def test_files_of_pprof_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pb.gz"
    path.write_bytes(pprof_with(number(1, 1) + number(2, 5)))
    found = load_any_profile(path)
    assert isinstance(found, SiteProfile)
    assert rows_of(found) == [(["inuse_space"], NONE, [5])]
    assert found.taken_at is None
    for sample, complaint in (
        (number(1, 7) + number(2, 5), "no location 7"),
        (number(1, 1), "has 0 values"),
        (number(1, 1) + number(2, (1 << 64) - 5), "negative"),
    ):
        path.write_bytes(pprof_with(sample))
        with pytest.raises(BadDataError, match=complaint):
            load_any_profile(path)


def grown() -> SiteProfile:
    return make_sites(
        [
            ((REPEAT, CACHE, SERVE, MAIN), 1024, (9000, 9 << 20, 8192, 8 << 20)),
            ((SERVE, MAIN), 512 << 10, (3, 3 << 19, 2, 1 << 20)),
            ((MAIN,), 1 << 30, (1, 1 << 30, 1, 1 << 30)),
        ]
    )


def test_what_grew_is_listed_by_place() -> None:
    found = site_difference(HEAP, grown())
    changes = {each.function: each for each in found.sites}
    assert [each.function for each in found.sites] == ["main.main", CACHE.function, SERVE.function]
    cache = changes[CACHE.function]
    assert cache.call == REPEAT.function
    assert (cache.amounts.before[-1], cache.amounts.after[-1]) == (3 << 20, 8 << 20)
    assert cache.amounts.change(0) == 5000
    # A sample of 1 KiB stands for 512 KiB: some 6 samples before, 16 after.
    assert cache.amounts.deviation == pytest.approx((11 * (1 << 20) * (512 << 10)) ** 0.5, rel=0.01)
    assert cache.amounts.is_sure
    assert not changes[SERVE.function].amounts.is_sure
    assert changes["main.main"].amounts.deviation < 1  # of 1 GiB every one is sampled
    assert found.whole.change(-1) == sum(each.amounts.change(-1) for each in found.sites)


def test_different_kinds_of_values_are_not_compared() -> None:
    with pytest.raises(BadDataError, match=r"inuse_space/bytes and delay/nanoseconds"):
        site_difference(HEAP, BLOCK)


def test_diff_of_two_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, after = saved(tmp_path, HEAP, ".pb.gz"), saved(tmp_path, grown(), ".json")
    assert cli.run(["diff", str(before), str(after)]) == 0
    shown = capsys.readouterr().out
    assert "in use +1.0 GiB" in shown
    assert shown.splitlines()[-2].split()[:3] == ["+5.0", "MiB", "8.0"]
    assert "1 place without a sure change, --all shows them" in shown
    assert cli.run(["diff", str(before), str(after), "--all"]) == 0
    assert "~+512.0 KiB" in capsys.readouterr().out
    assert cli.run(["diff", str(before), str(after), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    schema("site-diff.schema.json").validate(document)
    assert document["sites"][0]["function"] == "main.main"
    page = tmp_path / "diff.html"
    assert cli.run(["diff", str(before), str(after), "-o", str(page)]) == 0
    assert "example.com/shop.(*cache).add" in page.read_text()


def test_what_cannot_be_compared_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    heap, block = saved(tmp_path, HEAP, ".json"), saved(tmp_path, BLOCK, ".json")
    mutex = saved(tmp_path, replace(BLOCK, kind="mutex"), ".json")
    cpu = tmp_path / "cpu.json"
    with cpu.open("wb") as stream:
        exporter("profile", "json").write(SHOP, stream)
    for pair, complaint in (
        ((heap, cpu), "one is a profile of time"),
        ((heap, block), "inuse_space/bytes and delay/nanoseconds"),
        ((block, mutex), "of kinds block and mutex"),
    ):
        assert cli.run(["diff", *map(str, pair)]) == 1
        assert complaint in capsys.readouterr().err
