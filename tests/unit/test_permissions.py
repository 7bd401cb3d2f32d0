"""The lists of who may do what follow from what there is on the bus."""

import re
from collections.abc import Iterator

import pytest

from teambus.bus import permissions, topology
from teambus.bus.permissions import Rights
from teambus.bus.user_info import covers
from teambus.contracts.channels import CHANNELS
from teambus.contracts.endpoints import ENDPOINTS
from tests.integration.bus_parts import APP

STREAM = re.compile(r"(TEAMBUS_[A-Z]+|KV_\w+|OBJ_\w+)")
EVERYBODY = permissions.everybody([APP], ["acme"])
SERVICES = [rights for rights in EVERYBODY if rights.tenant is None]


def used() -> Iterator[tuple[Rights, str]]:
    for rights in EVERYBODY:
        for subject in (*rights.publish, *rights.subscribe):
            yield rights, subject


def test_only_streams_that_exist_are_named() -> None:
    there = {each["name"] for each in topology.streams(topology.TopologySettings())}
    named = {name for _, subject in used() for name in STREAM.findall(subject)}
    assert named == there


@pytest.mark.parametrize("channel", CHANNELS, ids=lambda channel: channel.name)
def test_what_may_be_said_may_be_said_by_somebody_and_not_by_everybody(channel: object) -> None:
    subject = permissions.said(channel.name)  # type: ignore[attr-defined]  # a Channel
    allowed = [
        rights.identity
        for rights in SERVICES
        if any(covers(subject, each) for each in rights.publish)
    ]
    assert 0 < len(allowed) < len(SERVICES) - 2


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.verb)
def test_what_may_be_asked_is_answered_by_somebody(endpoint: object) -> None:
    pattern = permissions.asked(endpoint.verb)  # type: ignore[attr-defined]  # an Endpoint
    answering = [
        rights for rights in SERVICES if any(covers(pattern, each) for each in rights.subscribe)
    ]
    is_of_a_database = ".db." in pattern
    assert all(rights.answers for rights in answering)
    assert answering or (is_of_a_database and not any(c.db_id for c in APP.components))


def test_nobody_may_use_the_whole_api_or_whole_streams() -> None:
    wide = [
        subject
        for _, subject in used()
        if subject in (">", "*") or re.match(r"\$JS\.API\.(>|\*|STREAM\.\*|CONSUMER\.\*)", subject)
    ]
    assert wide == []


def test_only_provision_may_change_streams_and_consumers() -> None:
    changing = re.compile(r"\$JS\.API\.(STREAM\.(CREATE|UPDATE|DELETE)|CONSUMER\.(CREATE|DELETE))")
    who = {rights.identity for rights, subject in used() if changing.match(subject)}
    assert who == {"provision"}


def test_what_a_tenant_may_do_names_the_tenant() -> None:
    rights = permissions.client("acme")
    assert [each for each in rights.asks if ".acme." not in each] == []
    assert rights.hears == ("teambus.v1.live.acme.>",)


@pytest.mark.parametrize(
    ("pattern", "wanted", "does"),
    [
        ("a.*", "a.b", True),
        ("a.*", "a.*", True),
        ("a.b", "a.*", False),
        ("a.>", "a.b.c", True),
        ("a.*", "a.>", False),
        ("a.>", "a.>", True),
        ("a.b.>", "a.>", False),
        (">", "a.b.>", True),
    ],
)
def test_a_pattern_covers_what_it_lets_through(pattern: str, wanted: str, does: bool) -> None:
    assert covers(pattern, wanted) is does
