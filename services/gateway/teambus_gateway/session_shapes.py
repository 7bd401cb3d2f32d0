"""Sessions in the words of AgentOS. Nulls are in what is given here; whoever answers drops them
where AgentOS does.
"""

from datetime import UTC, datetime
from typing import Any

import msgspec

from teambus.contracts.sessions_api import SessionDetail, SessionFacts, SessionType
from teambus_gateway.catalogue import Description
from teambus_gateway.shapes import Shape


def iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def without_nulls(shape: Shape) -> Shape:
    """Without the fields that are null; what is inside of fields stays as it is."""
    return {name: value for name, value in shape.items() if value is not None}


def session_shape(session: SessionFacts) -> Shape:
    """A SessionSchema."""
    metrics = _metrics(session)
    return {
        "session_id": session.session_id,
        "session_name": session.session_name,
        "session_state": _state(session),
        "created_at": iso(session.created_at),
        "updated_at": iso(session.updated_at),
        "session_type": session.session_type,
        "user_id": session.user_id,
        "agent_id": _component(session, "agent"),
        "team_id": _component(session, "team"),
        "workflow_id": None,
        "session_summary": session.summary,
        "metrics": metrics,
        "total_tokens": _total_tokens(metrics),
        "metadata": session.metadata,
    }


def detail_shape(
    detail: SessionDetail, shown_as: SessionType, component: Description | None
) -> Shape:
    """An AgentSessionDetailSchema or a TeamSessionDetailSchema."""
    session = detail.session
    is_empty = session.session_state is None and not session.session_name and not session.runs
    metrics = None if is_empty else _metrics(session) or {}
    if shown_as == "agent":
        return {
            "user_id": session.user_id,
            "agent_session_id": session.session_id,
            **_named(session),
            "agent_id": _component(session, "agent"),
            "total_tokens": _total_tokens(metrics),
            "agent_data": _data(session, component, "agent"),
            "metrics": metrics,
            **_told(detail),
        }
    return {
        **_named(session),
        "user_id": session.user_id,
        "team_id": _component(session, "team"),
        "metrics": metrics,
        "team_data": _data(session, component, "team"),
        **_told(detail),
        "total_tokens": _total_tokens(metrics),
    }


def _named(session: SessionFacts) -> Shape:
    return {
        "session_id": session.session_id,
        "session_name": session.session_name,
        "session_summary": session.summary,
        "session_state": _state(session),
    }


def _told(detail: SessionDetail) -> Shape:
    return {
        "metadata": detail.session.metadata,
        "chat_history": detail.chat_history,
        "created_at": iso(detail.session.created_at),
        "updated_at": iso(detail.session.updated_at),
    }


def _state(session: SessionFacts) -> Shape | None:
    return {} if session.session_state is None and session.runs else session.session_state


def _component(session: SessionFacts, kind: SessionType) -> str | None:
    return session.component_id if session.session_type == kind else None


def _metrics(session: SessionFacts) -> Shape | None:
    if session.metrics is None:
        return None
    metrics: Shape = msgspec.to_builtins(session.metrics)
    return metrics


def _total_tokens(metrics: Shape | None) -> Any:
    return metrics.get("total_tokens", 0) if metrics else None


def _data(session: SessionFacts, component: Description | None, kind: SessionType) -> Shape | None:
    """What a session remembers of its team or agent, once that has run."""
    if component is None or not session.runs or session.session_type != kind:
        return None
    model = component.model
    return {
        "name": component.name,
        f"{kind}_id": component.id,
        "model": model and {"id": model.id, "name": model.name, "provider": model.provider},
    }
