"""The documents for other languages are made from the contracts, and fit what is said."""

import inspect
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from teambus.bus import topology
from teambus.cli import contracts, schemas
from teambus.cli.asyncapi import repeated
from teambus.contracts import subjects
from teambus.contracts.channels import CHANNELS
from tests.contract.examples import EXAMPLES
from tests.contract.test_messages import lines, tag
from tests.support.supervised import ROOT

COMMITTED = ROOT / "shared" / "contracts"
STREAMS = topology.streams(topology.TopologySettings())
LINES = [(kind, number, line) for kind, said in lines().items() for number, line in enumerate(said)]
SAMPLE = {"kind": "completed", "leg": 0, "verb": "run.start"}
NOT_SUBJECTS = {"session_token", "fits"}
DOCUMENT: dict[str, Any] = json.loads((COMMITTED / contracts.ASYNCAPI).read_text())


def stored_schema(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((COMMITTED / contracts.SCHEMAS / f"{name}.json").read_text())
    return found


def validator(schema: dict[str, Any]) -> jsonschema.Draft202012Validator:
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    return jsonschema.Draft202012Validator(schema, format_checker=checker)


def required_everywhere(value: Any, schema: dict[str, Any]) -> list[str]:
    """The fields of `value` itself that its schema insists on."""
    return [name for name in schema["required"] if name in value]


def test_the_committed_documents_are_what_the_contracts_say(tmp_path: Path) -> None:
    made = {path.relative_to(tmp_path): path.read_bytes() for path in contracts.write(tmp_path)}
    kept = {p.relative_to(COMMITTED): p.read_bytes() for p in COMMITTED.rglob("*.json")}
    assert kept.keys() == made.keys(), "run `make contracts`"
    assert [name for name in made if made[name] != kept[name]] == [], "run `make contracts`"


def test_a_schema_of_what_is_no_longer_said_is_taken_away(tmp_path: Path) -> None:
    old, theirs = tmp_path / contracts.SCHEMAS / "run.old.v1.json", tmp_path / "theirs.json"
    old.parent.mkdir()
    for path in (old, theirs):
        path.write_text("{}")
    contracts.write(tmp_path)
    assert not old.exists()
    assert theirs.exists()


@pytest.mark.parametrize("path", sorted(COMMITTED.rglob("schemas/*.json")), ids=lambda p: p.stem)
def test_every_schema_is_a_schema(path: Path) -> None:
    schema = stored_schema(path.stem)
    assert schema["$schema"] == schemas.DIALECT
    assert schema["$id"] == f"urn:teambus:{path.stem}"
    jsonschema.Draft202012Validator.check_schema(schema)


def test_every_message_has_a_schema() -> None:
    named = {p.stem for p in COMMITTED.rglob("schemas/*.json") if not p.stem.startswith("api.")}
    assert named == {tag(type(example)) for example in EXAMPLES}


@pytest.mark.parametrize(("kind", "number", "line"), LINES, ids=lambda x: str(x)[:30])
def test_every_line_ever_published_fits_its_schema(kind: str, number: int, line: bytes) -> None:
    validator(stored_schema(kind)).validate(json.loads(line))


@pytest.mark.parametrize(("kind", "number", "line"), LINES, ids=lambda x: str(x)[:30])
def test_a_line_without_a_required_field_does_not_fit(kind: str, number: int, line: bytes) -> None:
    check = validator(stored_schema(kind))
    message = json.loads(line)
    needed = required_everywhere(message, stored_schema(kind))
    assert "kind" in needed
    for name in needed:
        assert not check.is_valid({k: v for k, v in message.items() if k != name}), name
    assert not check.is_valid(message | {"kind": "other.v9"})
    assert check.is_valid(message | {"a_later_field": {"deep": [1]}})


@pytest.mark.parametrize(("kind", "number", "line"), LINES, ids=lambda x: str(x)[:30])
def test_every_line_fits_the_payload_of_the_asyncapi_document(
    kind: str, number: int, line: bytes
) -> None:
    payload = DOCUMENT["components"]["messages"][kind]["payload"]
    schema = {"allOf": [payload], "components": DOCUMENT["components"]}
    jsonschema.Draft7Validator(schema).validate(json.loads(line))


def test_every_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    references = set(re.findall(r'"\$ref":\s*"([^"]+)"', json.dumps(DOCUMENT)))
    assert len(references) > 50
    for reference in references:
        found: Any = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]


@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: str(stream["name"]))
def test_all_that_a_stream_keeps_and_repeats_is_described(stream: dict[str, Any]) -> None:
    if stream["name"] in (topology.BODIES, topology.FILES):
        return  # An object store in NATS's own layout; the document names it where it is needed.
    for subject in stream["subjects"]:
        kept = [c.address for c in CHANNELS if subjects.fits(c.address, subject)]
        assert kept, subject
        for address in kept if "republish" in stream else ():
            heard = repeated(address, stream["republish"])
            assert heard in addresses(), heard


def addresses() -> list[str]:
    return [c["address"] for c in DOCUMENT["channels"].values() if c["address"] is not None]


def pattern(address: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{\w+\\\}", "[^.]+", re.escape(address)))


def every_subject() -> dict[str, str]:
    """What each function that makes a subject makes of samples, by its name."""
    made = {}
    for name, function in inspect.getmembers(subjects, inspect.isfunction):
        if function.__module__ == subjects.__name__ and name not in NOT_SUBJECTS:
            wanted = inspect.signature(function).parameters
            made[name] = function(**{each: SAMPLE.get(each, "x") for each in wanted})
    return made


@pytest.mark.parametrize(("name", "subject"), every_subject().items())
def test_every_subject_that_is_made_is_described_once(name: str, subject: str) -> None:
    said_there = [
        a for a in addresses() if subjects.fits(a, subject) or pattern(a).fullmatch(subject)
    ]
    assert len(said_there) == 1, (subject, said_there)


@pytest.mark.parametrize(
    ("address", "republish", "heard"),
    [
        ("a.{x}.{y}.z", {"src": "a.*.*.*", "dest": "b.{{wildcard(2)}}.{{wildcard(3)}}"}, "b.{y}.z"),
        ("a.{x}.{y}", {"src": "a.>", "dest": "b.>"}, "b.{x}.{y}"),
        ("a.{x}", {"src": "a.*", "dest": "b.{{wildcard(1)}}.c"}, "b.{x}.c"),
    ],
)
def test_where_a_stream_repeats_is_worked_out_as_the_server_does(
    address: str, republish: dict[str, str], heard: str
) -> None:
    assert repeated(address, republish) == heard


def test_the_document_names_its_version_and_every_endpoint_has_a_reply() -> None:
    assert DOCUMENT["asyncapi"] == "3.0.0"
    for name, operation in DOCUMENT["operations"].items():
        assert ("reply" in operation) == name.startswith("api."), name
