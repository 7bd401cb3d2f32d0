"""What both servers are asked of an agent."""

from tests.peers.chapters import AGENT_PATH, HELPING
from tests.peers.visitor import Visitor


async def agents(visitor: Visitor) -> None:
    """Agents that answer alone."""
    await visitor.rules(HELPING)
    await visitor.get("agents", "/agents")
    await visitor.get("one agent", "/agents/assistant")
    await visitor.get("an unknown agent", "/agents/nobody")
    ask = {"message": "What is tea?", "session_id": "help", "user_id": "ann"}
    told = await visitor.post("an agent's run", AGENT_PATH, stream="false", **ask)
    await visitor.get("its run again", f"{AGENT_PATH}/{told['run_id']}", session_id="help")
    await visitor.post("a run of an unknown agent", "/agents/nobody/runs", stream="false", **ask)
    await visitor.post("an agent asked nothing", AGENT_PATH, stream="false")


async def agent_streams(visitor: Visitor) -> None:
    """Agents' runs told of while they run, in the background, cancelled; and their sessions."""
    await visitor.rules(HELPING)
    ask = {"message": "What is tea?", "session_id": "help-2", "user_id": "bea"}
    await visitor.post("an agent's stream", AGENT_PATH, stream="true", **ask)
    await visitor.post("cancelled", f"{AGENT_PATH}/nothing/cancel")
    await visitor.get("its session", "/sessions/help-2", type="agent")
    await visitor.get("its runs", "/sessions/help-2/runs", type="agent")
    await visitor.get("its sessions", "/sessions", component_id="assistant", user_id="bea")
