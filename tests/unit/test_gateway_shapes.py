"""Teams and apps in the words of AgentOS."""

import msgspec

from teambus.contracts.catalogue import (
    AppDescription,
    MemberDescription,
    ModelDescription,
    TeamDescription,
    ToolDescription,
)
from teambus_gateway.shapes import config_shape, info_shape, team_shape

MODEL = ModelDescription(id="gpt-5.2", provider="OpenAI", name="OpenAIChat")
MINI = ModelDescription(id="gpt-5-mini", provider="OpenAI", name="OpenAIChat")
TOOL = ToolDescription(name="add", description="Adds.", parameters={"type": "object"})
NESTED = MemberDescription(
    id="inner",
    name="Inner",
    model=MODEL,
    members=[MemberDescription(id="solver", name="Solver", model=MINI, tools=[TOOL])],
)
TEAM = TeamDescription(
    id="t",
    name="T",
    db_id="db",
    session_table="runs",
    model=MODEL,
    instructions=["a", "b"],
    markdown=True,
    expected_output="a poem",
    tools=[TOOL],
    tool_call_limit=3,
    add_history_to_context=True,
    num_history_runs=5,
    metadata={"k": "v"},
    members=[NESTED],
)


def test_a_team_says_all_that_is_known_of_it() -> None:
    shape = team_shape(TEAM)
    assert shape["sessions"] == {
        "session_table": "runs",
        "add_history_to_context": True,
        "num_history_runs": 5,
    }
    assert shape["system_message"] == {
        "instructions": ["a", "b"],
        "markdown": True,
        "expected_output": "a poem",
    }
    assert [tool["name"] for tool in shape["tools"]["tools"]] == ["delegate_task_to_member", "add"]
    assert shape["tools"]["tool_call_limit"] == 3
    assert shape["metadata"] == {"k": "v"}


def test_a_nested_team_is_told_from_an_agent() -> None:
    inner = team_shape(TEAM)["members"][0]
    solver = inner["members"][0]
    assert "filesystem" not in inner
    assert inner["tools"]["tools"][0]["name"] == "delegate_task_to_member"
    assert solver["filesystem"] is False
    assert "members" not in solver
    assert [tool["name"] for tool in solver["tools"]["tools"]] == ["add"]


def test_what_is_not_known_is_left_out() -> None:
    shape = team_shape(TeamDescription(id="t", name="T"))
    assert {"db_id", "model", "sessions", "system_message", "metadata"}.isdisjoint(shape)
    assert None not in shape.values()


def test_a_team_that_hides_its_members_says_so() -> None:
    inner = msgspec.structs.replace(NESTED, stream_member_events=False)
    shape = team_shape(
        msgspec.structs.replace(TEAM, stream_member_events=False, members=[inner, NESTED])
    )

    hidden = {"stream_member_events": False}
    assert (shape["streaming"], shape["members"][0]["streaming"]) == (hidden, hidden)
    assert "streaming" not in shape["members"][1]


def test_the_config_lists_models_and_databases_of_all_levels_once() -> None:
    config = config_shape([AppDescription(id="app", name="App", description="D", teams=[TEAM])])
    assert config["available_models"] == [
        {"id": "gpt-5-mini", "provider": "OpenAI"},
        {"id": "gpt-5.2", "provider": "OpenAI"},
    ]
    assert config["databases"] == ["db"]
    assert config["session"]["dbs"] == [
        {"db_id": "db", "domain_config": {"display_name": "db"}, "tables": ["runs"]}
    ]
    assert (config["os_id"], config["name"], config["description"]) == ("app", "App", "D")
    assert config["company"] is None


def test_several_apps_behind_one_gateway_are_one() -> None:
    other = TeamDescription(id="u", name="U")
    apps = [AppDescription(id="a", teams=[TEAM]), AppDescription(id="b", teams=[other])]
    assert config_shape(apps)["os_id"] == "teambus"
    assert [team["id"] for team in config_shape(apps)["teams"]] == ["t", "u"]
    assert info_shape(apps)["team_count"] == 2
    assert info_shape([])["name"] is None
