"""JSON lists read element by element are those that ``json`` reads whole."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reskill_agents.envs import json_stream
from reskill_agents.envs.json_stream import stream_list
from reskill_agents.errors import ConfigError

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(_VALUES, max_size=6), st.integers(1, 9), st.sampled_from([None, 2]))
def test_any_list_in_chunks_of_any_size(
    tmp_path_factory: pytest.TempPathFactory, values: list[object], chunk: int, indent: int | None
) -> None:
    path = tmp_path_factory.getbasetemp() / "values.json"
    path.write_text(json.dumps(values, indent=indent), "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "_CHUNK", chunk)
        assert list(stream_list(path)) == values


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "must be a list, not dict"),
        ("7", "must be a list, not int"),
        ("null", "must be a list, not null"),
        ("", "cannot be read as JSON"),
        ("[1 2]", "cannot be read as JSON .Expecting ',' delimiter"),
        ("[1,", "cannot be read as JSON"),
        ("[1,]", "cannot be read as JSON"),
        ("[1] x", "cannot be read as JSON .Extra data"),
        ('[{"a": 1}, {"b"', "cannot be read as JSON"),
    ],
)
def test_what_is_no_list_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "values.json"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=r"values\.json: " + message):
        list(stream_list(path))


def test_nothing_is_read_behind_what_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "_CHUNK", 16)
    path = tmp_path / "values.json"
    path.write_text('[{"a": 1}, {"a": 2}, ' + " " * 100 + "torn", "utf-8")
    assert list(islice(stream_list(path), 2)) == [{"a": 1}, {"a": 2}]
