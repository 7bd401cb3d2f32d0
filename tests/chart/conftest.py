"""The chart's tests need Helm and the schemas of Kubernetes, which have a venv of their own."""

import pytest

from tests.support.helm import PEERS


@pytest.fixture(autouse=True, scope="session")
def helm() -> None:
    if not (PEERS / "bin/python").exists():
        pytest.skip("no Helm here: make peers")
