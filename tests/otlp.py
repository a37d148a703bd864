"""OTLP profiles, decoded by OpenTelemetry's own package."""

from __future__ import annotations

from collections import Counter
from typing import Any

from opentelemetry.proto.collector.profiles.v1development.profiles_service_pb2 import (
    ExportProfilesServiceRequest,
)

__all__ = ["Samples", "decoded_otlp", "samples_of"]

#: The nanoseconds of each stack, by functions, files and lines, innermost first, and labels.
Samples = Counter[tuple[tuple[tuple[str, str, int], ...], tuple[tuple[str, str], ...]]]


def decoded_otlp(body: bytes) -> Any:
    """The request, of which OpenTelemetry's messages know every field."""
    request = ExportProfilesServiceRequest.FromString(body)
    size = request.ByteSize()
    request.DiscardUnknownFields()
    assert request.ByteSize() == size
    return request


def samples_of(request: Any) -> Samples:
    """The samples of its one profile; every index is checked."""
    ((scoped,),) = [each.scope_profiles for each in request.resource_profiles]
    (profile,) = scoped.profiles
    tables, found = request.dictionary, Samples()
    texts = tables.string_table
    for sample in profile.samples:
        assert sample.stack_index > 0
        calls = []
        for index in tables.stack_table[sample.stack_index].location_indices:
            assert index > 0
            for line in tables.location_table[index].lines:
                function = tables.function_table[line.function_index]
                calls.append((texts[function.name_strindex], texts[function.filename_strindex], line.line))  # fmt: skip
        pairs = [tables.attribute_table[each] for each in sample.attribute_indices]
        labels = sorted((texts[each.key_strindex], each.value.string_value) for each in pairs)
        assert len(dict(labels)) == len(labels)
        (value,) = sample.values
        found[tuple(calls), tuple(labels)] += value
    return found
