"""The root is an application: its short package names are safe only while nobody else uses them."""

import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("package", "owner"),
    [
        ("features", "faultwatch"),
        ("models", "faultwatch"),
        ("pipelines", "faultwatch"),
        ("faultwatch_edge", "faultwatch-edge"),
    ],
)
def test_no_other_distribution_claims_our_names(package: str, owner: str) -> None:
    assert set(packages_distributions().get(package, [])) <= {owner}


def test_the_application_cannot_be_uploaded_by_mistake() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "Private :: Do Not Upload" in project["classifiers"]
