"""What users' functions find in the context of a run."""

from typing import Any

from teambus.app.contexts import RunContext
from teambus_team_runner.engine.party import Party, Surroundings
from teambus_team_runner.engine.state import State, with_ids, working_copy


def shown_state(party: Party, surroundings: Surroundings, state: State) -> State:
    """The state with the ids of the party's run in it."""
    start = surroundings.start
    ids: dict[str, Any] = {"run_id": party.run_id, "session_id": start.session_id}
    return with_ids(state, **ids, user_id=start.user_id)


def run_context(party: Party, surroundings: Surroundings, state: State) -> RunContext:
    """A context of its own, so that what one function does to the state is seen in it alone."""
    start = surroundings.start
    return RunContext(
        run_id=party.run_id,
        session_id=start.session_id,
        user_id=start.user_id,
        session_state=shown_state(party, surroundings, working_copy(state)),
        dependencies=start.dependencies,
        metadata=start.metadata,
    )
