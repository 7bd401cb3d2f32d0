"""Agents that are served by themselves: beside teams, in the same pot of ids, members or not."""

from typing import Any

import pytest

from teambus import Agent, AsyncSqliteDb, DefinitionError, TeamBus, hook
from teambus.app.describe import describe
from teambus.app.hooks import background_hooks, foreground_hooks
from tests.unit.app_parts import MODEL, agent, app, team


@hook(run_in_background=True)
async def later(run_output: object, agent: Agent) -> None: ...


def plain(run_output: object) -> None: ...


def served(name: str = "Poet", **options: Any) -> Agent:
    return agent(name, **{"model": MODEL, **options})


def hooks_of(bus: TeamBus) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    return [(each.name, each.teams, each.members) for each in background_hooks(bus)]


def test_an_app_may_have_agents_and_no_team() -> None:
    poet = served()
    bus = TeamBus(id="app", agents=[poet])
    assert bus.component("poet") is poet
    assert (bus.team("poet"), bus.component("nobody")) == (None, None)


def test_a_team_and_an_agent_of_one_id_are_refused_by_name() -> None:
    with pytest.raises(DefinitionError) as refused:
        app(team(name="News Desk", id="desk"), agents=[served("Desk")])
    assert refused.value.mistakes == (
        "team 'News Desk' and agent 'Desk' have the id 'desk'; give one another id",
    )


def test_two_agents_of_one_id_are_refused() -> None:
    with pytest.raises(DefinitionError, match="two agents have the id 'poet'"):
        app(agents=[served("Poet"), served("poet")])


def test_an_agent_by_itself_has_no_team_to_take_a_model_from() -> None:
    with pytest.raises(DefinitionError, match="agent 'Poet' has no model; write model="):
        app(agents=[agent("Poet")])


def test_a_mistake_of_an_agent_by_itself_names_the_agent() -> None:
    def asks_team(team: object) -> None: ...

    with pytest.raises(DefinitionError, match="agent 'Poet': the hook 'asks_team' asks for 'team'"):
        app(agents=[served(post_hooks=[asks_team])])


def test_databases_of_teams_and_agents_are_told_apart_by_id() -> None:
    with pytest.raises(DefinitionError, match="two databases have the id 't-db'"):
        app(
            team(db=AsyncSqliteDb(db_file="a/t.db")),
            agents=[served(db=AsyncSqliteDb(db_file="b/t.db"))],
        )


def test_what_is_kept_of_a_session_must_be_json() -> None:
    with pytest.raises(DefinitionError, match="agent 'Poet': session_state must hold what JSON"):
        served(session_state={"a": object()})


def test_history_is_three_runs_unless_said() -> None:
    assert served().history_runs == 3
    assert served(num_history_runs=1).history_runs == 1


def test_an_agents_background_hook_hears_of_the_agents_runs() -> None:
    bus = app(team(), agents=[served(post_hooks=[later, plain])])
    assert hooks_of(bus) == [("app-later", ("poet",), ())]
    assert [each.name for each in foreground_hooks(bus.agents[0]).post] == ["plain"]


def test_a_member_served_by_itself_has_one_hook_for_each_kind_of_run() -> None:
    poet = served(post_hooks=[later])
    bus = app(team(members=[poet]), agents=[poet])
    assert bus.component("poet") is bus.teams[0].member("poet") is poet
    assert hooks_of(bus) == [
        ("app-later", ("poet",), ()),
        ("app-later-members", ("desk",), ("poet",)),
    ]


def test_the_app_can_put_hooks_of_agents_to_the_background() -> None:
    bus = TeamBus(id="app", agents=[served(post_hooks=[plain])], run_hooks_in_background=True)
    assert hooks_of(bus) == [("app-plain", ("poet",), ())]
    assert foreground_hooks(bus.agents[0]).post == []


def test_an_agent_is_described_as_a_team_is() -> None:
    db = AsyncSqliteDb(db_file="tmp/poems.db")
    poet = served(db=db, session_state={"secret": 1}, num_history_runs=2, instructions="Rhyme.")
    [said] = describe(app(agents=[poet])).agents
    assert (said.id, said.name, said.instructions) == ("poet", "Poet", "Rhyme.")
    assert (said.db_id, said.session_table) == ("poems-db", "teambus_sessions")
    assert (said.num_history_runs, said.add_history_to_context) == (2, False)
    assert said.model is not None
    assert said.model.id == MODEL.id
