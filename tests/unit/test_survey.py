"""Which requests nobody serves, from what waits and which consumers there are."""

import msgspec

from teambus.bus.survey import ConsumerState, unserved
from teambus.contracts import subjects

DESK, NIGHT = subjects.request("t", "desk"), subjects.request("u", "night")


def consumer(name: str, *filters: str) -> ConsumerState:
    described = {"name": name, "config": {"filter_subjects": list(filters)}}
    return msgspec.convert(described, ConsumerState)


def absent(*consumers: ConsumerState, idle: tuple[str, ...] = ()) -> dict[str, str]:
    found = unserved({DESK: 2, NIGHT: 1}, list(consumers), idle)
    return {each.subject: each.absent for each in found}


def test_what_no_consumer_gets_is_missed_by_team_and_lane() -> None:
    assert absent() == {DESK: "desk.std", NIGHT: "night.std"}
    pool = consumer("pool", subjects.request("*", "desk"))
    assert absent(pool) == {NIGHT: "night.std"}


def test_what_an_idle_consumer_gets_is_missed_by_its_name() -> None:
    pool = consumer("pool", subjects.request("*", "desk"), subjects.request("*", "night"))
    assert absent(pool, idle=("pool",)) == {DESK: "pool", NIGHT: "pool"}
    assert absent(pool, idle=("other",)) == {}


def test_a_consumer_made_by_somebody_else_may_hear_whatever_it_likes() -> None:
    assert absent(consumer("one", subjects.request("t", "desk"))) == {NIGHT: "night.std"}
    assert absent(consumer("tenants", subjects.request("*", "*"))) == {}
    assert absent(consumer("tenant", "teambus.v1.request.u.>")) == {DESK: "desk.std"}
    assert absent(consumer("all")) == {}
    single = msgspec.convert({"name": "s", "config": {"filter_subject": DESK}}, ConsumerState)
    assert absent(single) == {NIGHT: "night.std"}


def test_how_many_wait_is_told() -> None:
    assert [each.count for each in unserved({DESK: 2}, [], ())] == [2]
