"""The field numbers of profile.proto, by message (github.com/google/pprof/proto)."""

from __future__ import annotations

__all__ = ["is_pprof"]

SAMPLE_TYPE, SAMPLE, MAPPING, LOCATION, FUNCTION, STRING = 1, 2, 3, 4, 5, 6
TIME_NANOS, DURATION_NANOS, PERIOD_TYPE, PERIOD, COMMENT = 9, 10, 11, 12, 13
DEFAULT_SAMPLE_TYPE = 14
TYPE_TYPE, TYPE_UNIT = 1, 2
SAMPLE_LOCATION, SAMPLE_VALUE, SAMPLE_LABEL = 1, 2, 3
LABEL_KEY, LABEL_STR, LABEL_NUM, LABEL_NUM_UNIT = 1, 2, 3, 4
MAPPING_ID, MAPPING_FILE, MAPPING_BUILD_ID = 1, 5, 6
MAPPING_HAS = (7, 8, 9, 10)  # functions, file names, line numbers, inlined frames
LOCATION_ID, LOCATION_MAPPING, LOCATION_ADDRESS, LOCATION_LINE = 1, 2, 3, 4
LINE_FUNCTION, LINE_LINE = 1, 2
FUNCTION_ID, FUNCTION_NAME, FUNCTION_SYSTEM_NAME, FUNCTION_FILE = 1, 2, 3, 4

#: Text has no byte below this one; the first byte of a message with one of the fields 1 to 14, a number or a piece.
_FIRST_OF_TEXT = ord("\t")
_FIRST_BYTES = frozenset(number << 3 | kind for number in range(1, 15) for kind in (0, 2))


def is_pprof(start: bytes) -> bool:
    """Whether what begins with `start`, unpacked, may be a profile: JSON, pages and other text are not."""
    has_small = any(byte < _FIRST_OF_TEXT for byte in start)
    return has_small and start[0] in _FIRST_BYTES
