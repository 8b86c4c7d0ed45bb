"""What the collector reads is what the published schema says."""

import json
from dataclasses import MISSING, fields
from importlib import resources
from typing import Any, get_args

import pytest

from pipelines.told import AssetHealth, Condition, Contributor, Score, Status, Told


@pytest.fixture(scope="module")
def schema() -> Any:
    text = resources.files("faultwatch_edge").joinpath("messages.schema.json").read_text()
    return json.loads(text)["$defs"]


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (Told, ("told",)),
        (Score, ("score",)),
        (Contributor, ("contributor",)),
        (AssetHealth, ("health", "properties", "assets", "items")),
    ],
)
def test_every_key_of_the_schema_is_read_and_no_other(
    schema: Any, kind: type, path: tuple[str, ...]
) -> None:
    found: Any = schema
    for step in path:
        found = found[step]
    assert {one.name for one in fields(kind)} == set(found["properties"])
    needed = {one.name for one in fields(kind) if one.default is MISSING}
    assert needed == set(found["required"])


def test_the_words_are_those_of_the_schema(schema: Any) -> None:
    assert list(get_args(Condition)) == schema["told"]["properties"]["condition"]["enum"]
    assert list(get_args(Status)) == schema["ne107"]["enum"]
