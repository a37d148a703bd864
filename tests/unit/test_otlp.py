"""OTLP profiles: what OpenTelemetry's own package reads of them is what the file for pprof has."""

from __future__ import annotations

import io

import pytest

from spyglass.export.otlp import otlp_request
from spyglass.export.profile_pprof import write_pprof
from spyglass.profile import Profile
from tests.made_profiles import SHOP, SampleRow, make_profile
from tests.otlp import Samples, decoded_otlp, samples_of
from tests.profiles import decoded
from tests.snapshots import TAKEN_AT, frame

#: More than 32 bits; not ASCII and no UTF-8; a label that is called like ours; one that is empty.
ODD = make_profile(
    [
        SampleRow((frame("main.ü\udcff", "/src/\udcfe.go", 1 << 30),), 1 << 40, labels={"state": "own", "": "", "key": ""}),
        SampleRow((frame("main.zero", None, None),), 0, thread=5),
    ],
    mode="wall",
)  # fmt: skip


def of_pprof(profile: Profile) -> Samples:
    stream = io.BytesIO()
    write_pprof(profile, stream)
    found = Samples()
    for sample, values in decoded(stream.getvalue()).values.items():
        calls = tuple(tuple(line) for location in sample.locations for line in location)
        labels = sorted((name, str(value)) for name, value in sample.labels)
        found[calls, tuple(labels)] += values[-1]  # type: ignore[index]
    return found


@pytest.mark.parametrize("profile", [SHOP, ODD, make_profile([])], ids=["shop", "odd", "empty"])
def test_samples_are_those_of_the_file_for_pprof(profile: Profile) -> None:
    found = samples_of(decoded_otlp(otlp_request(profile, {})))
    assert found == of_pprof(profile)
    assert found.total() == profile.samples.value_ns.sum()


def test_the_profile_says_what_and_when() -> None:
    request = decoded_otlp(otlp_request(SHOP, {"service.name": "orders", "process.pid": 7}))
    (resource,) = request.resource_profiles
    attributes = {each.key: each.value for each in resource.resource.attributes}
    assert attributes["service.name"].string_value == "orders"
    assert attributes["process.pid"].int_value == 7
    (scoped,) = resource.scope_profiles
    assert scoped.scope.name == "spyglass"
    (profile,) = scoped.profiles
    texts = request.dictionary.string_table
    for kind in (profile.sample_type, profile.period_type):
        assert (texts[kind.type_strindex], texts[kind.unit_strindex]) == ("cpu", "nanoseconds")
    assert profile.time_unix_nano == int(TAKEN_AT.timestamp() * 1e6) * 1000
    assert (profile.duration_nano, profile.period) == (10 * 10**9, 10101010)


def test_the_tables_are_as_the_specification_wants_them() -> None:
    tables = decoded_otlp(otlp_request(SHOP, {})).dictionary
    for name in ("mapping", "location", "function", "attribute", "stack"):
        table = getattr(tables, f"{name}_table")
        assert table[0] == type(table[0])(), name
        encoded = [each.SerializeToString() for each in table]
        assert len(set(encoded)) == len(encoded), name
    assert tables.string_table[0] == ""
    assert len(set(tables.string_table)) == len(tables.string_table)
    (link,) = tables.link_table
    assert (link.trace_id, link.span_id) == (bytes(16), bytes(8))
    stream = io.BytesIO()
    write_pprof(SHOP, stream)
    addresses = sorted(each.address for each in tables.location_table[1:])
    assert addresses == sorted(decoded(stream.getvalue()).addresses)
    # A call that was inlined is a line of the location that it is in.
    assert sorted({len(each.lines) for each in tables.location_table}) == [0, 1, 2]
