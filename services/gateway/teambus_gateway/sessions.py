"""What is done to sessions when clients ask for it, in the database that has them."""

import time

from teambus.contracts.ids import TeamId, new_id
from teambus.contracts.sessions_api import (
    ChangeSession,
    CreateSession,
    DeleteSessions,
    ForkSession,
    GetSession,
    ListSessions,
    SessionDetail,
    SessionPage,
    SessionType,
    SortField,
)
from teambus_gateway.access.caller import Caller
from teambus_gateway.catalogue import Kind as ComponentKind
from teambus_gateway.databases import Chosen
from teambus_gateway.parts import Parts
from teambus_gateway.problems import Problem
from teambus_gateway.session_inputs import (
    ChangeBody,
    CreationBody,
    CreationQuery,
    DeletionPlace,
    Kind,
    ListQuery,
    Order,
    Place,
)
from teambus_gateway.session_shapes import detail_shape, session_shape, without_nulls
from teambus_gateway.shapes import Shape

NO_WORKFLOWS = "there are no workflows here; create the session of a team or an agent"
NO_MEDIA = "Media storage is not configured on AgentOS"

SORTED_BY: dict[str, SortField] = {
    "created_at": "created_at",
    "updated_at": "updated_at",
    "session_id": "session_id",
    "session_name": "session_name",
    "session_type": "session_type",
    "user_id": "user_id",
    "agent_id": "component_id",
    "team_id": "component_id",
}


async def list_sessions(parts: Parts, caller: Caller, query: ListQuery) -> Shape:
    """One page, and what there is beside it."""
    began = time.perf_counter()
    page = await _page(parts, caller, query)
    meta = {
        "page": query.page,
        "limit": query.limit,
        "total_pages": -(-page.total // query.limit),
        "total_count": page.total,
        "search_time_ms": round((time.perf_counter() - began) * 1000, 3),
    }
    data = [without_nulls(session_shape(session)) for session in page.sessions]
    return {"data": data, "meta": meta}


async def _page(parts: Parts, caller: Caller, query: ListQuery) -> SessionPage:
    db_id = await parts.databases.one(query.chosen)
    if query.type is Kind.WORKFLOW:
        return SessionPage(sessions=[], total=0)
    question = ListSessions(
        session_type=query.type.stored if query.type else None,
        component_id=query.component_id,
        user_id=caller.looks_for(query.user_id),
        name_part=query.session_name,
        limit=query.limit,
        page=max(query.page, 1),
        sort_by=SORTED_BY.get(query.sort_by, "created_at"),
        descending=query.sort_order is Order.DESCENDING,
    )
    page = await parts.databases.ask(caller.tenant, db_id, question)
    assert page is not None, question
    return page


async def create_session(
    parts: Parts, caller: Caller, query: CreationQuery, body: CreationBody
) -> Shape:
    if query.type is Kind.WORKFLOW:
        raise Problem(501, NO_WORKFLOWS, "not_supported")
    component_id = body.team_id if query.type is Kind.TEAM else body.agent_id
    db_id = await parts.databases.one(
        Chosen(query.db_id or parts.databases.of_component(component_id))
    )
    question = CreateSession(
        session_id=body.session_id or new_id(),
        session_type=query.type.stored,
        component_id=component_id or None,
        user_id=caller.asks_as(body.user_id or None),
        session_name=body.session_name,
        session_state=body.session_state,
        metadata=body.metadata,
    )
    answer = await parts.databases.ask(caller.tenant, db_id, question)
    assert answer is not None, question
    if body.session_id and not answer.created:
        raise Problem(
            409,
            f"Session with id '{body.session_id}' already exists. "
            f"Use PATCH /sessions/{body.session_id} to update it.",
        )
    return without_nulls(_shown(parts, answer.detail, None))


async def get_session(parts: Parts, caller: Caller, session_id: str, place: Place) -> Shape:
    question = GetSession(session_id=session_id, user_id=caller.looks_for(place.user_id))
    detail = None
    if place.type is not Kind.WORKFLOW:
        db_ids = await parts.databases.any_of(place.chosen)
        detail = await parts.databases.first(caller.tenant, db_ids, question)
    if detail is None:
        named = f"{place.type.title()} Session" if place.type else "Session"
        raise Problem(404, f"{named} with id '{session_id}' not found")
    kind = place.type.stored if place.type else None
    return without_nulls(_shown(parts, detail, kind))


async def change_session(
    parts: Parts, caller: Caller, session_id: str, place: Place, change: ChangeBody
) -> Shape:
    """Each thing given replaces the stored one; a null is nothing given."""
    summary = change.summary.model_dump(exclude_none=True) if change.summary else None
    question = ChangeSession(
        session_id=session_id,
        user_id=caller.looks_for(place.user_id),
        session_name=change.session_name,
        session_state=change.session_state,
        metadata=change.metadata,
        summary=summary,
    )
    db_ids = await parts.databases.any_of(place.chosen)
    detail = await parts.databases.first(caller.tenant, db_ids, question)
    if detail is None:
        raise Problem(404, f"Session with id '{session_id}' not found")
    return _shown(parts, detail, None)


async def delete_sessions(
    parts: Parts, caller: Caller, place: DeletionPlace, session_ids: list[str]
) -> None:
    """Those that are not there are no error."""
    if place.delete_media:
        raise Problem(503, NO_MEDIA)
    question = DeleteSessions(session_ids=session_ids, user_id=caller.looks_for(place.user_id))
    for db_id in await parts.databases.any_of(place.chosen):
        await parts.databases.ask(caller.tenant, db_id, question)


async def fork_session(
    parts: Parts,
    caller: Caller,
    kind: ComponentKind,
    id_: TeamId,
    session_id: str,
    user_id: str | None,
) -> Shape:
    component = await parts.catalogue.component(kind, id_)
    forked = None
    if component.db_id is not None:
        question = ForkSession(
            session_id=session_id,
            new_session_id=new_id(),
            component_id=id_,
            user_id=caller.looks_for(user_id),
        )
        forked = await parts.databases.ask(caller.tenant, component.db_id, question)
    if forked is None or not forked.runs:
        raise Problem(400, "Source session has no runs to fork.")
    return {"session_id": forked.session_id, "forked_from_session_id": session_id}


def _shown(parts: Parts, detail: SessionDetail, kind: SessionType | None) -> Shape:
    """As the type that was asked for, else as what it is."""
    session = detail.session
    id_ = session.component_id
    component = None if id_ is None else parts.catalogue.known_component(id_)
    return detail_shape(detail, kind or session.session_type, component)
