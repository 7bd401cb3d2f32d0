"""Teams and apps in the words of AgentOS."""

import msgspec

from teambus.contracts.catalogue import (
    AgentDescription,
    AppDescription,
    ManifestDescription,
    MemberDescription,
    ModelDescription,
    TeamDescription,
    ToolDescription,
)
from teambus.contracts.output import RunStatus, TeamRunOutput
from teambus_gateway.shapes import (
    Security,
    agent_shape,
    config_shape,
    home_shape,
    info_shape,
    run_body,
    team_shape,
)

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
AGENT = AgentDescription(
    id="a",
    name="A",
    db_id="db",
    session_table="runs",
    description="An agent.",
    role="soloist",
    model=MINI,
    instructions="Be kind.",
    markdown=True,
    expected_output="a poem",
    additional_context="Today.",
    tools=[TOOL],
    tool_call_limit=3,
    add_history_to_context=True,
    num_history_runs=5,
    metadata={"k": "v"},
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
    assert [tool["name"] for tool in shape["tools"]["tools"]] == ["add", "delegate_task_to_member"]
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


def test_a_member_without_a_model_has_its_teams() -> None:
    clerk = MemberDescription(id="clerk", name="Clerk")
    inner = msgspec.structs.replace(NESTED, model=None, members=[clerk])
    shape = team_shape(msgspec.structs.replace(TEAM, members=[clerk, inner]))
    models = [shape["members"][0], shape["members"][1], shape["members"][1]["members"][0]]
    assert [member["model"]["model"] for member in models] == ["gpt-5.2"] * 3


def test_an_agent_says_all_that_is_known_of_it() -> None:
    assert agent_shape(AGENT) == {
        "id": "a",
        "name": "A",
        "db_id": "db",
        "filesystem": False,
        "description": "An agent.",
        "role": "soloist",
        "is_factory": False,
        "model": {"name": "OpenAIChat", "model": "gpt-5-mini", "provider": "OpenAI"},
        "tools": {
            "tools": [{"name": "add", "description": "Adds.", "parameters": {"type": "object"}}],
            "tool_call_limit": 3,
        },
        "sessions": {
            "session_table": "runs",
            "add_history_to_context": True,
            "num_history_runs": 5,
        },
        "reasoning": {"reasoning": False},
        "system_message": {
            "description": "An agent.",
            "instructions": "Be kind.",
            "expected_output": "a poem",
            "additional_context": "Today.",
            "markdown": True,
        },
        "metadata": {"k": "v"},
        "is_component": False,
        "sandboxed": False,
    }


def test_what_is_not_known_is_left_out() -> None:
    for shape in (
        team_shape(TeamDescription(id="t", name="T")),
        agent_shape(AgentDescription(id="a", name="A")),
    ):
        assert {"db_id", "model", "sessions", "system_message", "metadata"}.isdisjoint(shape)
        assert None not in shape.values()


def test_a_teams_run_is_passed_on_as_it_is_and_an_agents_without_a_team() -> None:
    carried = TeamRunOutput(
        run_id="r",
        team_id="a",
        session_id="s",
        status=RunStatus.COMPLETED,
        created_at=1,
        content_type="str",
        member_responses=[],
        content="answer",
        tools=[],
        agent_id="a",
        agent_name="A",
    )
    said = msgspec.json.encode(carried)
    assert run_body(TEAM, said) is said
    assert msgspec.json.decode(run_body(AGENT, said)) == {
        "run_id": "r",
        "status": "COMPLETED",
        "created_at": 1,
        "content_type": "str",
        "agent_id": "a",
        "agent_name": "A",
        "session_id": "s",
        "content": "answer",
        "tools": [],
    }


def test_a_run_of_an_agent_that_never_began_is_the_agents_all_the_same() -> None:
    early = TeamRunOutput(
        run_id="r",
        team_id="a",
        session_id="r",
        status=RunStatus.ERROR,
        created_at=1,
        content_type="str",
        member_responses=[],
    )
    said = msgspec.json.decode(run_body(AGENT, msgspec.json.encode(early)))
    assert (said["agent_id"], said["agent_name"]) == ("a", "A")


def test_a_team_that_shows_its_members_says_so_and_one_that_hides_them_nothing() -> None:
    inner = msgspec.structs.replace(NESTED, stream_member_events=False)
    shape = team_shape(TEAM)
    hiding = team_shape(
        msgspec.structs.replace(TEAM, stream_member_events=False, members=[inner, NESTED])
    )
    assert shape["streaming"] == {"stream_member_events": True}
    assert "streaming" not in hiding
    assert ["streaming" in member for member in hiding["members"]] == [False, True]
    assert "streaming" not in shape["members"][0]["members"][0]


def test_the_config_lists_models_and_databases_of_all_levels_once() -> None:
    solo = msgspec.structs.replace(AGENT, db_id="other", session_table="poems")
    described = AppDescription(
        id="app", name="App", description="D", teams=[TEAM], agents=[AGENT, solo]
    )
    config = config_shape([described])
    assert config["available_models"] == [
        {"id": "gpt-5-mini", "provider": "OpenAI"},
        {"id": "gpt-5.2", "provider": "OpenAI"},
    ]
    assert config["databases"] == ["db", "other"]
    assert config["session"]["dbs"] == [
        {"db_id": "db", "domain_config": {"display_name": "db"}, "tables": ["runs"]},
        {"db_id": "other", "domain_config": {"display_name": "other"}, "tables": ["poems"]},
    ]
    assert config["agents"][0] == {
        "id": "a",
        "name": "A",
        "description": "An agent.",
        "db_id": "db",
        "model": {"id": "gpt-5-mini", "provider": "OpenAI"},
        "sandboxed": False,
    }
    assert (config["os_id"], config["description"]) == ("app", "D")
    assert "name" not in config
    assert config["company"] is None


def test_the_config_names_every_section_a_client_may_look_for() -> None:
    config = config_shape([AppDescription(id="app", teams=[TEAM])])
    kept = [{"db_id": "db", "domain_config": {"display_name": "db"}, "tables": ["runs"]}]
    assert (config["session"], config["metrics"]) == ({"dbs": kept}, {"dbs": kept})
    for absent in ("memory", "learning", "evals", "traces"):
        assert config[absent] == {"dbs": []}
    assert config["knowledge"] == {"dbs": [], "knowledge_instances": []}
    assert config["filesystem"] == {"namespaces": []}
    assert config["queue"] == {"durable": True, "queue_per_session": True}
    assert (config["workflows"], config["interfaces"], config["agents"]) == ([], [], [])


def test_the_config_says_what_chats_offer_in_any_app_and_nothing_where_nobody_says() -> None:
    shown = ManifestDescription(labels=["news"])
    one = AppDescription(id="one", teams=[TEAM], quick_prompts={"t": ["Hello"]})
    other = AppDescription(id="two", agents=[AGENT], quick_prompts={"a": []}, manifest={"a": shown})
    silent = AppDescription(id="three")
    config = msgspec.to_builtins(config_shape([one, other, silent]))
    assert config["chat"] == {"quick_prompts": {"t": ["Hello"], "a": []}}
    assert config["manifest"] == {"a": {"labels": ["news"]}}
    assert not config_shape([silent]).keys() & {"chat", "manifest"}


def test_several_apps_behind_one_gateway_are_one() -> None:
    other = TeamDescription(id="u", name="U")
    apps = [
        AppDescription(id="a", teams=[TEAM]),
        AppDescription(id="b", teams=[other], agents=[AGENT]),
    ]
    assert config_shape(apps)["os_id"] == "teambus"
    assert [team["id"] for team in config_shape(apps)["teams"]] == ["t", "u"]
    assert [agent["id"] for agent in config_shape(apps)["agents"]] == ["a"]
    info = info_shape(apps, Security("none", is_confining=False))
    assert (info["team_count"], info["agent_count"]) == (2, 1)
    assert info_shape([], Security("none", is_confining=False))["name"] is None
    assert home_shape([])["name"] == "AgentOS"
    assert home_shape([AppDescription(id="a", name="Office")])["name"] == "Office"
