"""The broken builds of chaos can be made from the sources as they are now."""

from pathlib import Path

import pytest

from tests.chaos.faults import WEIGHTS
from tests.chaos.mutations import MUTATIONS, Change, DoesNotApply, Mutation


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda each: each.guard)
def test_every_mutation_applies_to_the_sources(mutation: Mutation) -> None:
    mutation.check()
    assert mutation.aim.weights.keys() <= WEIGHTS.keys()


def test_a_mutation_whose_text_is_gone_is_told(tmp_path: Path) -> None:
    broken = Mutation("none", (Change("README.md", "no such text", ""),), ())
    with pytest.raises(DoesNotApply, match=r"README\.md has 0 times: 'no such text'"):
        broken.check()


def test_a_mutation_changes_a_copy_and_nothing_else(tmp_path: Path) -> None:
    environment = MUTATIONS[0].applied_in(tmp_path / "copy")
    MUTATIONS[0].check()
    changed = tmp_path / "copy" / MUTATIONS[0].changes[0].file
    assert MUTATIONS[0].changes[0].new in changed.read_text()
    assert environment["PYTHONPATH"].startswith(str(tmp_path / "copy" / "shared"))
