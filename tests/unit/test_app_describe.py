"""The description of an app: all that clients and the bus need, no code and no secret."""

import msgspec

from teambus import AgentOSConfig, AsyncSqliteDb, ChatConfig, Manifest, OpenAIChat, hook
from teambus.app.describe import describe
from teambus.contracts.catalogue import AppDescription
from teambus.contracts.message import decode, encode
from tests.unit.app_parts import agent, app, team

SECRETIVE = OpenAIChat(
    id="gpt-test",
    api_key="sk-1",
    base_url="http://me:sk-2@host",
    default_headers={"authorization": "sk-3"},
    extra_headers={"authorization": "sk-4"},
    request_params={"key": "sk-5"},
)


@hook(run_in_background=True, timeout_s=7, on=("COMPLETED", "ERROR"), replay="all")
def audit(run_output: object, session: object) -> None: ...


def look(place: str) -> str:
    """Look at a place."""
    return place


def described() -> AppDescription:
    inner = team(name="Inner", model=None, members=[agent("Writer 2")], post_hooks=[audit])
    inner.stream_member_events = False
    desk = team(
        model=SECRETIVE,
        members=[agent(model=SECRETIVE, tools=[look], instructions=["a", "b"]), inner],
        db=AsyncSqliteDb(db_file="tmp/team.db"),
        metadata={"owner": "me"},
        session_state={"secret": "sk-6"},
        dependencies={"secret": "sk-7"},
    )
    return describe(app(desk, name="App", description="An app."))


def test_a_description_has_no_secret_no_address_and_no_folder() -> None:
    text = encode(described()).decode()
    assert "sk-" not in text
    assert "host" not in text
    assert "/" not in text


def test_a_description_survives_the_bus() -> None:
    assert decode(AppDescription, encode(described())) == described()


def test_a_team_is_described_with_its_members_at_every_depth() -> None:
    desk = described().teams[0]
    assert (desk.id, desk.name, desk.db_id, desk.session_table) == (
        "desk",
        "Desk",
        "team-db",
        "teambus_sessions",
    )
    assert msgspec.to_builtins(desk.model) == {
        "id": "gpt-test",
        "provider": "OpenAI",
        "name": "OpenAIChat",
    }
    writer, inner = desk.members
    assert (writer.id, writer.instructions, writer.members) == ("writer", ["a", "b"], None)
    assert [each.id for each in inner.members or []] == ["writer-2"]
    told = [each.stream_member_events for each in (desk, writer, inner)]
    assert told == [True, True, False]


def test_a_tool_is_described_as_the_model_sees_it() -> None:
    tool = described().teams[0].members[0].tools[0]
    assert (tool.name, tool.description) == ("look", "Look at a place.")
    assert tool.parameters is not None
    assert tool.parameters["required"] == ["place"]


def test_a_members_hook_is_described_with_its_members_and_its_limits() -> None:
    found = described().hooks[0]
    assert (found.name, found.app, found.function) == ("app-audit", "app", "audit")
    assert (found.teams, found.members) == (["desk"], ("inner",))
    assert (found.on, found.timeout_s, found.replay) == (("COMPLETED", "ERROR"), 7, "all")
    assert found.needs_session


def test_what_chats_offer_is_described_declared_or_read_from_a_file() -> None:
    prompts = {"desk": ["What is new?"]}
    shown = Manifest(description="The news.", labels=["news"], quick_prompts=["Anything else?"])
    declared = AgentOSConfig(chat=ChatConfig(quick_prompts=prompts), manifest={"desk": shown})
    read = {
        "chat": {"quick_prompts": prompts},
        "manifest": {
            "desk": {
                "description": "The news.",
                "labels": ["news"],
                "quick_prompts": ["Anything else?"],
            }
        },
    }
    one = describe(app(team(), config=declared))
    assert one == describe(app(team(), config=read))
    assert one.quick_prompts == prompts
    assert one.manifest["desk"].labels == ["news"]


def test_an_app_that_offers_nothing_says_nothing_of_it() -> None:
    assert (describe(app(team())).quick_prompts, describe(app(team())).manifest) == (None, {})
