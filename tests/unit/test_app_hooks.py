"""Hooks: what their marks mean, where they run, what they are given, and which are refused."""

import functools
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from teambus import DefinitionError, hook
from teambus.app.hooks import BackgroundHook, background_hooks, foreground_hooks
from teambus.app.injection import bind, is_async
from teambus.app.marks import options_of
from tests.unit.app_parts import agent, app, team


@hook(run_in_background=True, attempts_max=2, on=("ERROR",))
async def later(run_output: object) -> None: ...


@hook
def now(run_output: object) -> None: ...


def plain(run_output: object) -> None: ...


def names(hooks: list[BackgroundHook]) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    return [(each.name, each.teams, each.members) for each in hooks]


def test_only_marked_post_hooks_go_to_the_background() -> None:
    bus = app(team(post_hooks=[later, now, plain]))
    assert names(background_hooks(bus)) == [("app-later", ("desk",), ())]
    assert [each.name for each in foreground_hooks(bus.teams[0]).post] == ["now", "plain"]


def test_the_app_can_put_every_post_hook_to_the_background_members_ones_too() -> None:
    member = agent(pre_hooks=[], post_hooks=[plain])
    bus = app(team(members=[member], post_hooks=[now]), run_hooks_in_background=True)
    assert names(background_hooks(bus)) == [
        ("app-now", ("desk",), ()),
        ("app-plain", ("desk",), ("writer",)),
    ]
    assert foreground_hooks(member).post == foreground_hooks(bus.teams[0]).post == []


def test_pre_hooks_stay_in_the_foreground_whatever_the_app_says() -> None:
    def ahead(run_input: object) -> None: ...

    bus = app(team(pre_hooks=[ahead]), run_hooks_in_background=True)
    assert [each.function for each in foreground_hooks(bus.teams[0]).pre] == [ahead]
    assert background_hooks(bus) == []


def test_one_function_on_several_teams_is_one_hook() -> None:
    bus = app(team(name="B", post_hooks=[later]), team(name="A", post_hooks=[later, later]))
    assert names(background_hooks(bus)) == [("app-later", ("a", "b"), ())]


def test_a_function_on_a_team_and_on_a_member_is_two_hooks() -> None:
    nested = team(name="Inner", model=None, post_hooks=[later])
    bus = app(team(members=[agent("W", post_hooks=[later]), nested], post_hooks=[later]))
    assert names(background_hooks(bus)) == [
        ("app-later", ("desk",), ()),
        ("app-later-members", ("desk",), ("w", "inner")),
    ]


def test_a_method_is_one_hook_on_several_teams() -> None:
    class Books:
        @hook(run_in_background=True)
        def keep(self, run_output: object) -> None: ...

    books = Books()
    bus = app(team(name="A", post_hooks=[books.keep]), team(name="B", post_hooks=[books.keep]))
    assert names(background_hooks(bus)) == [("app-keep", ("a", "b"), ())]


def test_only_a_hook_that_names_the_session_needs_it() -> None:
    @hook(run_in_background=True)
    def asks(session: object) -> None: ...

    @hook(run_in_background=True)
    def takes_all(**everything: Any) -> None: ...

    found = background_hooks(app(team(post_hooks=[asks, takes_all])))
    assert [(each.function, each.needs_session) for each in found] == [
        (asks, True),
        (takes_all, False),
    ]


def other_later() -> Callable[..., None]:
    @hook(run_in_background=True)
    def later() -> None: ...

    return later


def yields() -> AsyncIterator[None]:
    async def yielding(run_output: object) -> AsyncIterator[None]:
        yield

    return yielding  # type: ignore[return-value] # a hook is any callable


def asks_agent(agent: object) -> None: ...


def asks_team(team: object) -> None: ...


def asks_delivery(delivery: object) -> None: ...


def asks_output(run_output: object) -> None: ...


def positional(run_output: object, /) -> None: ...


def on_one_writer_only() -> None:
    app(
        team(name="A", members=[agent("W", post_hooks=[later])]),
        team(name="B", members=[agent("W"), agent("V", post_hooks=[later])]),
    )


LAMBDA = hook(run_in_background=True)(lambda run_output: None)
PARTIAL = hook(run_in_background=True)(functools.partial(plain))
LONG = hook(run_in_background=True, name="x" * 60)(lambda **_: None)
REFUSED: list[tuple[Callable[[], object], str]] = [
    (
        lambda: app(team(post_hooks=[asks_agent])),
        (
            "team 'Desk': the hook 'asks_agent' asks for 'agent', which a post-hook is not given;"
            " it can have run_output, run_input, run_context, session, user_id, debug_mode,"
            " metadata, team"
        ),
    ),
    (lambda: app(team(members=[agent(post_hooks=[asks_team])])), "member 'Writer' of team 'Desk'"),
    (lambda: app(team(post_hooks=[asks_delivery])), "asks for 'delivery', which a post-hook"),
    (lambda: app(team(pre_hooks=[asks_output])), "asks for 'run_output', which a pre-hook"),
    (lambda: app(team(post_hooks=[positional])), "asks for 'run_output'"),
    (lambda: app(team(post_hooks=[yields()])), "yields, so calling it would run nothing"),
    (lambda: app(team(post_hooks=[type])), "does not tell its parameters"),
    (
        lambda: app(team(post_hooks=[later]), team(name="B", post_hooks=[other_later()])),
        "two functions are the background hook 'app-later'",
    ),
    (lambda: app(team(post_hooks=[LAMBDA])), "the background hook '<lambda>' has no name"),
    (lambda: app(team(post_hooks=[PARTIAL])), "the background hook 'partial' has no name"),
    (
        lambda: app(team(post_hooks=[LONG], members=[agent(post_hooks=[LONG])])),
        "-members' must be 1 to 64 of",
    ),
    (on_one_writer_only, "is on a member 'w', but not on the one of team 'B'"),
    (lambda: hook(run_in_backgroud=True)(plain), "did you mean 'run_in_background'?"),  # type: ignore[call-overload] # it is refused
    (lambda: hook(on=("DONE",))(plain), "on=('DONE',) must be a tuple of some of COMPLETED"),
    (lambda: hook(on=())(plain), "must be a tuple of some of"),
    (lambda: hook(attempts_max=0)(plain), "hook 'plain': attempts_max=0 must be a whole number"),
    (lambda: hook(timeout_s=0)(plain), "timeout_s=0 must be a number of seconds above 0"),
    (lambda: hook(backoff_s=-1)(plain), "backoff_s=-1 must be"),
    (lambda: hook(backoff_s=float("nan"))(plain), "backoff_s=nan must be"),
    (lambda: hook(concurrency_max=0)(plain), "concurrency_max=0 must be"),
    (lambda: hook(name="a b")(plain), "name='a b' must be 1 to 64 of"),
    (lambda: hook(replay="some")(plain), "replay='some' must be 'new' or 'all'"),  # type: ignore[call-overload] # it is refused
    (lambda: hook(run_in_background=1)(plain), "run_in_background=1 must be"),  # type: ignore[call-overload] # it is refused
    (lambda: hook("plain"), "'plain' is not a function"),  # type: ignore[call-overload] # it is refused
    (lambda: hook(timeout_s=float("inf"))(plain), "at most 7 are allowed"),
]


@pytest.mark.parametrize(("declare", "says"), REFUSED, ids=[says[:50] for _, says in REFUSED])
def test_a_hook_that_could_never_work_is_refused(declare: Callable[[], object], says: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        declare()
    assert says in str(refused.value)


def test_a_refused_mark_leaves_no_mark() -> None:
    assert options_of(plain) == options_of(lambda: None)


def test_a_lambda_with_a_name_of_its_own_is_a_hook() -> None:
    named = hook(run_in_background=True, name="audit")(lambda run_output: None)
    assert names(background_hooks(app(team(post_hooks=[named])))) == [("audit", ("desk",), ())]


def test_marks_add_up_and_background_stays_said() -> None:
    @hook(attempts_max=9)
    @hook(run_in_background=True, timeout_s=7)
    def both(run_output: object) -> None: ...

    options = options_of(both)
    assert (options.run_in_background, options.attempts_max, options.timeout_s) == (True, 9, 7)


def test_background_cannot_be_taken_back_by_a_later_mark() -> None:
    @hook(run_in_background=False)
    @hook(run_in_background=True)
    def both(run_output: object) -> None: ...

    assert options_of(both).run_in_background


def test_what_cannot_hold_a_mark_is_refused() -> None:
    class Books:
        def keep(self, run_output: object) -> None: ...

    with pytest.raises(DefinitionError, match="hook 'keep': method objects cannot be marked"):
        hook(run_in_background=True)(Books().keep)


def test_the_retry_budget_is_all_waits_and_all_timeouts() -> None:
    @hook(attempts_max=5, backoff_s=400, timeout_s=10)
    def slow() -> None: ...

    assert options_of(slow).retry_budget_s == 400 + 600 * 3 + 5 * 10


def test_a_retry_budget_of_seven_days_is_the_most() -> None:
    week_s = 7 * 24 * 3600
    hook(attempts_max=1, timeout_s=week_s)(lambda: None)
    with pytest.raises(DefinitionError, match="at most 7"):
        hook(attempts_max=1, timeout_s=week_s + 1)(lambda: None)
    with pytest.raises(DefinitionError, match="at most 7"):
        hook(attempts_max=10**12)(lambda: None)


def test_a_function_is_given_what_it_names_and_keeps_its_defaults() -> None:
    def asks(run_output: int, *, user_id: str | None = "me", debug_mode: bool) -> None: ...

    available = {"run_output": 1, "team": 2}
    assert bind(asks, available) == {"run_output": 1, "debug_mode": False}


def test_a_function_that_takes_everything_is_given_everything() -> None:
    def takes_all(run_output: int, **rest: Any) -> None: ...

    available = {"run_output": 1, "team": 2, "debug_mode": True}
    assert bind(takes_all, available) == available


def test_what_must_be_awaited_is_known_through_partials_and_objects() -> None:
    class Caller:
        async def __call__(self) -> None: ...

    assert is_async(functools.partial(later))
    assert is_async(Caller())
    assert not is_async(functools.partial(plain))
