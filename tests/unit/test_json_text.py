"""JSON text that is made faster than by the encoder is what the encoder makes."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from spyglass.export.json_text import compact, texts_object


@pytest.mark.parametrize(
    "members",
    [None, {}, {"a": "b"}, {"tenant": "42", "kind": "x y"}, {'"\n\x1b\u1234\\': "\x7f\U0001f600\0/"}],
    ids=["null", "empty", "one", "two", "escaped"],
)  # fmt: skip
def test_texts_are_encoded_as_by_the_encoder(members: Mapping[str, str] | None) -> None:
    assert texts_object(members) == compact(members)
    assert json.loads(texts_object(members)) == members
