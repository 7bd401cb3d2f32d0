"""Every message's bytes are what they were when its tag was published."""

import importlib
import pkgutil
from pathlib import Path

import msgspec
import pytest

from teambus import contracts
from teambus.contracts.message import MalformedMessage, Message, decode, encode
from tests.contract.examples import EXAMPLES

GOLDEN = Path(__file__).parent / "golden.jsonl"
"""Never edited: a line may be added for a new tag, or for new fields of an old one."""


def tag(kind: type[Message]) -> str:
    return str(kind.__struct_config__.tag)


def lines() -> dict[str, list[bytes]]:
    """The golden lines of each tag, oldest first."""
    found: dict[str, list[bytes]] = {}
    for line in GOLDEN.read_bytes().splitlines():
        found.setdefault(msgspec.json.decode(line)["kind"], []).append(line)
    return found


def kinds() -> dict[str, type[Message]]:
    for module in pkgutil.iter_modules(contracts.__path__):
        importlib.import_module(f"teambus.contracts.{module.name}")
    published = (k for k in Message.__subclasses__() if k.__module__.startswith("teambus."))
    return {tag(kind): kind for kind in published}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: tag(type(example)))
def test_a_message_is_written_as_it_always_was(example: Message) -> None:
    assert encode(example) == lines()[tag(type(example))][-1]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: tag(type(example)))
def test_a_message_written_long_ago_is_read_as_it_was_meant(example: Message) -> None:
    assert decode(type(example), lines()[tag(type(example))][-1]) == example


def test_every_line_ever_published_is_still_read() -> None:
    for name, published in lines().items():
        for line in published:
            decode(kinds()[name], line)


def test_every_message_has_an_example_and_a_golden_line() -> None:
    assert set(kinds()) == {tag(type(example)) for example in EXAMPLES} == set(lines())


def test_examples_leave_no_field_at_its_default() -> None:
    for example in EXAMPLES:
        for field in msgspec.structs.fields(example):
            assert getattr(example, field.name) != field.default, (type(example), field.name)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: tag(type(example)))
def test_fields_of_a_later_version_are_ignored(example: Message) -> None:
    later = msgspec.json.decode(encode(example)) | {"a_later_field": {"deep": [1]}}
    assert decode(type(example), msgspec.json.encode(later)) == example


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: tag(type(example)))
def test_another_version_of_a_message_is_refused(example: Message) -> None:
    other = msgspec.json.decode(encode(example)) | {"kind": "other.v9"}
    with pytest.raises(MalformedMessage, match="not a "):
        decode(type(example), msgspec.json.encode(other))


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff\xfe", b'{"kind":5}', b"null"])
def test_what_is_no_message_is_refused(data: bytes) -> None:
    for kind in kinds().values():
        with pytest.raises(MalformedMessage):
            decode(kind, data)
