"""What the server refuses is remembered by its subject; a reply that came too late is not."""

from teambus.bus.violations import Violations

REFUSED = 'nats: permissions violation for publish to "teambus.v1.journal.default.r.0"'
SHUT_OUT = 'nats: permissions violation for subscription to "_inbox.gateway.x.*"'


def test_a_subject_that_was_refused_is_known_until_the_next_connection() -> None:
    seen = Violations()
    assert seen.note(REFUSED)
    assert seen.last == REFUSED
    assert seen.has("teambus.v1.journal.default.R.0")
    assert not seen.has("teambus.v1.journal.default.r.1")
    seen.forget()
    assert not seen.has("teambus.v1.journal.default.r.0")


def test_an_inbox_that_may_not_be_listened_to_is_a_right_that_lacks() -> None:
    seen = Violations()
    assert seen.note(SHUT_OUT)
    assert seen.last == SHUT_OUT


def test_a_reply_that_came_too_late_is_none() -> None:
    for place in ("_inbox.gateway.x.1", "_r_.abc"):
        seen = Violations()
        assert seen.note(f'nats: permissions violation for publish to "{place}"')
        assert seen.last is None


def test_another_error_is_none() -> None:
    assert not Violations().note("nats: stale connection")
