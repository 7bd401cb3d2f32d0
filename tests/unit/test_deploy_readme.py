"""What deploy/README.md shows is what is in the files."""

import re
from pathlib import Path

import pytest

DEPLOY = Path(__file__).parents[2] / "deploy"
README = (DEPLOY / "README.md").read_text(encoding="utf-8")


def shown(language: str) -> str:
    """The first block of a language."""
    found = re.search(rf"^```{language}\n(.*?)^```", README, re.M | re.S)
    assert found is not None
    return found[1]


@pytest.mark.parametrize(
    ("language", "file"), [("dockerfile", "app/Dockerfile"), ("yaml", "app/values.yaml")]
)
def test_the_sample_is_shown_as_it_is(language: str, file: str) -> None:
    comment, text = (DEPLOY / file).read_text(encoding="utf-8").split("\n", 1)
    assert comment.startswith("#")
    assert shown(language) == text


def test_an_app_takes_five_lines_of_dockerfile() -> None:
    assert len((DEPLOY / "app/Dockerfile").read_text(encoding="utf-8").splitlines()) <= 5


def test_the_base_image_that_is_shown_is_the_one_that_is_built_on() -> None:
    text = (DEPLOY / "images/Dockerfile").read_text(encoding="utf-8")
    base = re.search(r"^ARG BASE=(\S+)$", text, re.M)
    assert base is not None
    assert README.count(base[1]) == 2
