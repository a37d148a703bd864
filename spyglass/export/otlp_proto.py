"""Numbers of fields of OTLP profiles: opentelemetry-proto 1.10, ``profiles/v1development/profiles.proto`` and what it imports."""

from __future__ import annotations

FIXED64 = 1

# ExportProfilesServiceRequest
RESOURCE_PROFILES, DICTIONARY = 1, 2
# ResourceProfiles; Resource
RESOURCE, SCOPE_PROFILES = 1, 2
RESOURCE_ATTRIBUTES = 1
# ScopeProfiles; InstrumentationScope
SCOPE, PROFILES = 1, 2
SCOPE_NAME, SCOPE_VERSION = 1, 2
# KeyValue; AnyValue
KEY, VALUE = 1, 2
STRING_VALUE, INT_VALUE = 1, 3
# Profile
SAMPLE_TYPE, SAMPLES, TIME, DURATION, PERIOD_TYPE, PERIOD = range(1, 7)
# ValueType
TYPE_STRING, UNIT_STRING = 1, 2
# Sample
STACK_INDEX, ATTRIBUTE_INDICES, VALUES = 1, 2, 4
# ProfilesDictionary
(
    MAPPING_TABLE,
    LOCATION_TABLE,
    FUNCTION_TABLE,
    LINK_TABLE,
    STRING_TABLE,
    ATTRIBUTE_TABLE,
    STACK_TABLE,
) = range(1, 8)
# Stack; Location; Line; Function
LOCATION_INDICES = 1
ADDRESS, LINES = 2, 3
FUNCTION_INDEX, LINE = 1, 2
NAME_STRING, FILE_STRING = 1, 3
# KeyValueAndUnit
KEY_STRING, KEYED_VALUE = 1, 2
#: Link without a trace: identifiers of 16 and 8 zero bytes, which strict decoders want.
NO_LINK = bytes([1 << 3 | 2, 16]) + bytes(16) + bytes([2 << 3 | 2, 8]) + bytes(8)
