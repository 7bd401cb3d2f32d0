"""The hooks of an app, as those who call them need them."""

from dataclasses import dataclass

from teambus.app.agents import Agent
from teambus.app.injection import is_async, wants
from teambus.app.marks import HookFunction, HookOptions
from teambus.app.teambus import TeamBus
from teambus.app.teams import Team
from teambus.app.uses import HookUse, by_hook, runs_in_background
from teambus.app.webhooks import WebhookHook


@dataclass(frozen=True, slots=True, kw_only=True)
class ForegroundHook:
    """A hook called inside the run, which waits for it."""

    name: str
    function: HookFunction
    is_async: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ForegroundHooks:
    pre: list[ForegroundHook]
    post: list[ForegroundHook]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackgroundHook:
    """A hook delivered from the completed event of any of `teams`, agents served by themselves too.

    With `members` it is called once for each run of such a member inside the run, else once for
    the team's or agent's own run. `needs_session` only when it names the session. The function of
    a webhook cannot be called: who delivers puts one that sends in its place.
    """

    name: str
    function: HookFunction
    is_async: bool
    options: HookOptions
    teams: tuple[str, ...]
    members: tuple[str, ...]
    needs_session: bool
    webhook: WebhookHook | None = None


def foreground_hooks(owner: Agent | Team) -> ForegroundHooks:
    """The hooks of a team or member that run inside its run, in their order."""
    return ForegroundHooks(
        pre=[_foreground(each) for each in owner.pre_hooks],
        post=[
            _foreground(each) for each in owner.post_hooks if not runs_in_background(each, owner)
        ],
    )


def background_hooks(teambus: TeamBus) -> list[BackgroundHook]:
    """Every background hook of a checked app, in the order of their names."""
    groups = by_hook(teambus.id, teambus.components)
    return [_background(name, groups[name]) for name in sorted(groups)]


def _foreground(function: HookFunction) -> ForegroundHook:
    name = getattr(function, "__name__", type(function).__name__)
    return ForegroundHook(name=name, function=function, is_async=is_async(function))


def _background(name: str, uses: list[HookUse]) -> BackgroundHook:
    function = uses[0].function
    members = {use.owner.id: None for use in uses if use.of_member}
    return BackgroundHook(
        name=name,
        function=function,
        is_async=is_async(function),
        options=uses[0].options,
        teams=tuple(sorted({use.component.id for use in uses})),
        members=tuple(members),
        needs_session="session" in wants(function).names,
        webhook=function if isinstance(function, WebhookHook) else None,
    )
