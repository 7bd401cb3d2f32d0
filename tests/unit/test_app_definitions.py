"""A wrong declaration fails where it is written, naming the object and what to write instead."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from teambus import (
    Agent,
    AgentOSConfig,
    AsyncSqliteDb,
    ChatConfig,
    DefinitionError,
    OpenAIChat,
    RunContext,
    Team,
    hook,
)
from tests.unit.app_parts import MODEL, agent, app, team


class Guardrail:
    def check(self, run_input: object) -> None: ...


@hook(run_in_background=True)
def marked(run_output: object) -> None: ...


def two_of_one_id() -> None:
    app(team(id="a", name="One"), team(id="a", name="Two"))


def inside_itself() -> None:
    outer = team(name="Outer")
    outer.members.append(team(name="Inner", members=[outer]))
    app(outer)


NO_TEXTS = "TeamBus: chat.quick_prompts of 'desk' must be a list of texts that are not empty, not "


def offering(prompts: Any) -> Callable[[], object]:
    def declare() -> None:
        app(team(id="desk"), config=AgentOSConfig(chat=ChatConfig(quick_prompts=prompts)))

    return declare


WRONG: list[tuple[str, Callable[[], object], str]] = [
    (
        "prompts for nobody",
        offering({"dsek": ["Hello"]}),
        "TeamBus: chat.quick_prompts names 'dsek', which is no team or agent; there are: desk",
    ),
    (
        "a prompt that is no list",
        offering({"desk": "Hello"}),
        f"{NO_TEXTS}'Hello'",
    ),
    (
        "an empty prompt",
        offering({"desk": ["Hello", " "]}),
        f"{NO_TEXTS}['Hello', ' ']",
    ),
    (
        "prompts that are no dict",
        offering(["Hello"]),
        "ChatConfig: quick_prompts=['Hello'] is of type list; it must be dict",
    ),
    (
        "a manifest of nobody",
        lambda: app(team(id="desk"), config={"manifest": {"dsek": {"labels": ["x"]}}}),
        "TeamBus: manifest names 'dsek', which is no team or agent; there are: desk",
    ),
    (
        "a manifest that is none",
        lambda: app(team(id="desk"), config={"manifest": {"desk": "x"}}),
        "TeamBus: manifest of 'desk' is 'x'; write Manifest(...)",
    ),
    (
        "a section that is not taken",
        lambda: app(team(id="desk"), config={"chats": {}}),
        "unknown option 'chats' for AgentOSConfig; did you mean 'chat'?",
    ),
    ("two teams", two_of_one_id, "two teams have the id 'a'; give one another id"),
    (
        "two members",
        lambda: app(team(members=[agent("A B"), agent("a-b")])),
        "team 'Desk': two members have the id 'a-b'; give one another id",
    ),
    (
        "one id at two depths",
        lambda: app(team(members=[agent("W"), team(name="In", members=[agent("W")])])),
        "team 'Desk': two of all its members have the id 'w'",
    ),
    ("a cycle", inside_itself, "team 'Outer' contains itself"),
    ("no name", lambda: Agent(id="x"), "agent 'x' has no name; write Agent(name=...)"),
    ("neither name nor id", lambda: Team(members=[agent()]), "team has neither name nor id"),
    ("bad id", lambda: team(id="a b"), "team 'Desk': the id 'a b' must be 1 to 64 of"),
    ("no id from name", lambda: agent("作家"), "no id can be made from the name '作家'"),
    (
        "unknown option",
        lambda: team(instruction="x"),
        "unknown option 'instruction' for team 'Desk'; did you mean 'instructions'?",
    ),
    ("strange option", lambda: agent(zzzzz=1), "for agent 'Writer'; it takes name, id, model"),
    ("unknown app option", lambda: app(hooks=[]), "unknown option 'hooks' for TeamBus 'app'"),
    ("positional", lambda: Agent(*["Writer"]), "options are given by name"),
    ("no members", lambda: team(members=[]), "team 'Desk' has no members; write members="),
    ("app id", lambda: app(id="a b"), "TeamBus: the id 'a b' must be 1 to 64 of"),
    ("no teams", lambda: app(teams=[]), "'app' has no teams and no agents; write teams="),
    ("no model", lambda: app(team(model=None)), "team 'Desk' has no model; write model="),
    ("no model id", lambda: OpenAIChat(id=""), "model without an id"),
    ("model as text", lambda: team(model="gpt"), "it must be OpenAIChat"),
    ("mode", lambda: team(mode="route"), "mode='route' is not supported yet"),
    (
        "a tool that is none",
        lambda: team(tools=[1]),
        "tools=[1] is of type list; it must be a list",
    ),
    (
        "text as flag",
        lambda: team(markdown="yes"),
        "markdown='yes' is of type str; it must be bool",
    ),
    ("flag as number", lambda: team(tool_call_limit=True), "tool_call_limit=True is of type bool"),
    ("a member that is none", lambda: team(members=["me"]), "it must be a list of Agent or Team"),
    ("negative", lambda: team(num_history_runs=-1), "num_history_runs=-1 is too small"),
    ("not a number", lambda: OpenAIChat(id="g", temperature=float("nan")), "is too small"),
    ("not JSON", lambda: team(session_state={"a": object()}), "session_state must hold what JSON"),
    ("dependencies", lambda: team(dependencies={"a": len}), "dependencies must hold what JSON"),
    ("metadata", lambda: team(metadata={"a": {1j}}), "team 'Desk': metadata must hold what JSON"),
    ("agent's", lambda: agent(metadata={"a": len}), "agent 'Writer': metadata must hold what JSON"),
    ("database id", lambda: AsyncSqliteDb(db_file="a.db", id="a b"), "the id 'a b' must be"),
    ("no file", lambda: AsyncSqliteDb(id="x"), 'write db_file="tmp/team.db"'),
    ("memory", lambda: AsyncSqliteDb(db_file=":memory:"), "outlives the process"),
    ("table", lambda: AsyncSqliteDb(db_file="a.db", session_table="a;b"), "session_table='a;b'"),
    (
        "two databases of one id",
        lambda: app(
            team(db=AsyncSqliteDb(db_file="a/t.db")),
            team(name="Other", db=AsyncSqliteDb(db_file="b/t.db")),
        ),
        "two databases have the id 't-db'",
    ),
    (
        "marked pre-hook",
        lambda: team(pre_hooks=[marked]),
        "the pre-hook 'marked' is marked run_in_background, but a pre-hook runs before the model",
    ),
    (
        "guardrail",
        lambda: team(post_hooks=[Guardrail()]),
        "guardrail objects such as 'Guardrail' are not supported yet",
    ),
    ("no function", lambda: agent(post_hooks=["log"]), "the hook 'log' is not a function"),
]


@pytest.mark.parametrize(("declare", "says"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_a_wrong_declaration_is_refused_with_what_to_mend(
    declare: Callable[[], object], says: str
) -> None:
    with pytest.raises(DefinitionError) as refused:
        declare()
    assert says in str(refused.value)


def test_all_mistakes_of_an_app_are_told_at_once() -> None:
    def first(nothing: str) -> None: ...

    with pytest.raises(DefinitionError) as refused:
        app(team(id="a", post_hooks=[first]), team(id="a", name="Other", model=None))
    assert len(refused.value.mistakes) == 3


def test_a_mistake_never_shows_what_may_be_secret() -> None:
    wrong: Any = ["sk-hidden"]
    with pytest.raises(DefinitionError) as refused:
        OpenAIChat(id="g", api_key=wrong)
    assert "sk-hidden" not in str(refused.value)
    assert "api_key" in str(refused.value)


def test_no_text_of_a_model_shows_its_secrets() -> None:
    model = OpenAIChat(
        id="g",
        api_key="sk-1",
        base_url="http://me:sk-2@host",
        organization="sk-3",
        default_headers={"a": "sk-4"},
        extra_headers={"a": "sk-5"},
        request_params={"a": "sk-6"},
    )
    assert "sk-" not in repr(team(model=model))


def test_an_option_given_as_none_keeps_its_default() -> None:
    assert team(tools=None, markdown=None, id=None).tools == []


def test_ids_come_from_names_and_names_from_ids() -> None:
    assert agent("Fact Checker_2").id == "fact-checker-2"
    assert team(name=None, id="content-team").name == "content-team"


def test_one_member_may_serve_in_several_nested_teams() -> None:
    shared = agent("Shared")
    nested = [team(name=name, model=None, members=[shared]) for name in ("A", "B")]
    assert app(team(members=nested)).teams[0].member("shared") is shared


def test_what_is_changed_after_declaring_is_checked_again() -> None:
    bus = app(team(members=[agent("A"), agent("B")]))
    desk = bus.teams[0]
    desk.members[0].id = "a b"
    desk.pre_hooks.append(marked)
    desk.members[1:] = [team(name="Inner")]
    desk.member("inner").members.clear()  # type: ignore[union-attr] # it is there
    with pytest.raises(DefinitionError) as refused:
        bus.check()
    for says in ("'Inner' of team 'Desk' has no members", "the id 'a b'", "the pre-hook 'marked'"):
        assert says in str(refused.value)


def test_a_database_is_where_it_was_declared(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    db = AsyncSqliteDb(db_file="tmp/team.db")
    monkeypatch.chdir("/")
    assert (db.path, db.id) == (tmp_path / "tmp/team.db", "team-db")


def test_two_teams_may_share_a_database() -> None:
    db = AsyncSqliteDb(db_file="t.db")
    assert len(app(team(db=db), team(name="Other", db=db)).teams) == 2


def test_history_is_three_runs_unless_said() -> None:
    assert team().history_runs == 3
    assert team(num_history_runs=0).history_runs == 0


def test_an_app_is_named_after_its_module_unless_it_has_an_id() -> None:
    bus = app(id=None)
    assert bus.id == "tests-unit-app_parts"
    assert app(id="mine").id == "mine"


def test_an_app_finds_its_teams_by_id() -> None:
    bus = app(team(id="a"))
    assert bus.team("a") is bus.teams[0]
    assert bus.team("b") is None


def test_a_tool_may_not_be_named_twice_nor_like_the_leaders_own() -> None:
    def delegate_task_to_member(task: str) -> str:
        return task

    def look(run_context: RunContext) -> str:
        return run_context.run_id

    with pytest.raises(DefinitionError) as refused:
        app(team(tools=[delegate_task_to_member], members=[agent(tools=[look, look])]))
    assert refused.value.mistakes == (
        "team 'Desk': two tools are named 'delegate_task_to_member'; rename one",
        "member 'Writer' of team 'Desk': two tools are named 'look'; rename one",
    )
    assert MODEL.name == "OpenAIChat"
