"""What both servers are asked about sessions."""

from tests.peers.chapters import PATH, WRITING, first_run_id
from tests.peers.visitor import Visitor


async def sessions(visitor: Visitor) -> None:
    """Sessions listed, opened, renamed, changed, made and deleted."""
    await visitor.rules(WRITING)
    await visitor.run("the first run", "Write about tea", session_id="desk", user_id="dan")
    await visitor.run("the second run", "Write about tea", session_id="desk", user_id="dan")
    run_id = first_run_id(visitor, "the first run")
    await visitor.get("all of dan", "/sessions", type="team", user_id="dan")
    await visitor.get("all of nobody", "/sessions", type="team", user_id="nobody")
    await visitor.get("of a component", "/sessions", component_id="content-team", user_id="dan")
    await visitor.get("by name", "/sessions", session_name="about tea", user_id="dan")
    await visitor.get("page two", "/sessions", user_id="dan", limit="1", page="2")
    await visitor.get("of a wrong type", "/sessions", type="zebra")
    await visitor.get("a limit of none", "/sessions", limit="0")
    await visitor.get("the session", "/sessions/desk", type="team")
    await visitor.get("the session, untyped", "/sessions/desk")
    await visitor.get("an unknown session", "/sessions/nothing", type="team")
    await visitor.get("its runs", "/sessions/desk/runs", type="team")
    await visitor.get("its failed runs", "/sessions/desk/runs", type="team", status="error")
    await visitor.get("runs of a wrong status", "/sessions/desk/runs", status="asleep")
    await visitor.get("runs of an unknown session", "/sessions/nothing/runs")
    await visitor.get("its previews", "/sessions/desk/run-previews", type="team")
    await visitor.get("one run", f"/sessions/desk/runs/{run_id}", type="team")
    await visitor.get("no run", "/sessions/desk/runs/nothing", type="team")
    await visitor.get("runs of the team", PATH, session_id="desk")
    await visitor.get("ended runs of the team", PATH, session_id="desk", status="COMPLETED")
    await visitor.get("runs of the team, no session", PATH)
    await visitor.get("runs of the team, unknown session", PATH, session_id="nothing")


async def session_changes(visitor: Visitor) -> None:
    """Sessions renamed, changed, made and deleted."""
    await visitor.rules(WRITING)
    await visitor.run("a run", "Write about tea", session_id="open", user_id="dan")
    rename = "/sessions/open/rename"
    await visitor.send("renamed", "POST", rename, {"session_name": "Tea"}, type="team")
    await visitor.send("renamed to nothing", "POST", rename, {}, type="team")
    unknown = "/sessions/nothing/rename"
    await visitor.send("unknown renamed", "POST", unknown, {"session_name": "Tea"}, type="team")
    change = {"session_state": {"articles": 7}, "metadata": {"desk": "food"}}
    await visitor.send("changed", "PATCH", "/sessions/open", change, type="team")
    await visitor.send("unknown changed", "PATCH", "/sessions/nothing", change, type="team")
    made = {"session_id": "made", "session_name": "Made", "team_id": "content-team"}
    await visitor.send("made", "POST", "/sessions", {**made, "user_id": "eva"}, type="team")
    await visitor.send("made again", "POST", "/sessions", made, type="team")
    await visitor.get("made and read", "/sessions/made", type="team")
    await visitor.ask("deleted", "DELETE", "/sessions/made", params={"type": "team"})
    await visitor.ask("deleted again", "DELETE", "/sessions/made", params={"type": "team"})
    await visitor.get("deleted and read", "/sessions/made", type="team")
    fork = "/teams/content-team/sessions"
    forked = await visitor.post("forked", f"{fork}/open/fork")
    copy = f"/sessions/{forked['session_id']}"
    await visitor.get("the fork's runs", f"{copy}/runs", type="team")
    await visitor.post("an unknown session forked", f"{fork}/nothing/fork")
    await visitor.ask("the fork deleted", "DELETE", copy, params={"type": "team"})
    both = {"session_ids": ["open"], "session_types": ["team"]}
    await visitor.send("several deleted", "DELETE", "/sessions", both)
    uneven = {"session_ids": ["open", "made"], "session_types": ["team"]}
    await visitor.send("unevenly deleted", "DELETE", "/sessions", uneven)
