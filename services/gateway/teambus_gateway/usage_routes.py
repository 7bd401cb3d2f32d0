"""The usage report in the words of AgentOS: `/metrics` and its refresh, which has nothing to do,
for the report is counted from the stored runs whenever it is asked for.
"""

from datetime import UTC, date, datetime
from typing import Annotated

from fastapi import FastAPI, Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from teambus.contracts.sessions_api import DayOfUsage, GetUsage
from teambus_gateway.access.caller import Caller, caller_of
from teambus_gateway.databases import Chosen
from teambus_gateway.openapi import AWAY, endpoint
from teambus_gateway.parts import Parts, json_reply
from teambus_gateway.shapes import Shape

_ERRORS = {
    400: "db_id is missing where there are several databases, or there is none.",
    404: "No such database, or it has no such table.",
    422: "A date cannot be read.",
    503: AWAY,
}
GET_METRICS = endpoint("get_metrics", "Metrics", "What was used on each day.", _ERRORS)
REFRESH_METRICS = endpoint(
    "refresh_metrics",
    "Metrics",
    "What was used on each day.",
    _ERRORS,
)
REFRESH_METRICS["responses"][202] = {"description": "Asked for in the background."}
GET_STATUS = endpoint("get_metrics_refresh_status", "Metrics", "It is up to date.", _ERRORS)


class Place(BaseModel):
    db_id: str | None = Field(None, description="The database; required if there are several.")
    table: str | None = Field(None, description="The session table; goes with db_id.")

    @property
    def chosen(self) -> Chosen:
        return Chosen(self.db_id, self.table)


class Wanted(Place):
    user_id: str | None = Field(None, description="Only what this user asked for.")


class Days(Wanted):
    starting_date: date | None = Field(None, description="The first day, UTC.")
    ending_date: date | None = Field(None, description="The last day, UTC.")


class Refresh(Wanted):
    background: bool = Field(False, description="Answer 202 without the report.")


def add_usage_routes(app: FastAPI, parts: Parts) -> None:
    @app.get("/metrics", **GET_METRICS)
    async def get_metrics(request: Request, query: Annotated[Days, Query()]) -> Response:
        caller = caller_of(request)
        days = await _days(parts, caller, query, query.starting_date, query.ending_date)
        latest = max((day.last_at for day in days), default=None)
        updated_at = None if latest is None else _time(latest)
        return json_reply({"metrics": [_shape(day) for day in days], "updated_at": updated_at})

    @app.post("/metrics/refresh", **REFRESH_METRICS)
    async def refresh_metrics(request: Request, query: Annotated[Refresh, Query()]) -> Response:
        if query.background:
            await parts.databases.one(query.chosen)
            message = "Metrics refresh started in background"
            return json_reply({"status": "started", "message": message}, 202)
        days = await _days(parts, caller_of(request), query)
        return json_reply([_shape(day) for day in days])

    @app.get("/metrics/refresh/status", **GET_STATUS)
    async def get_status(query: Annotated[Place, Query()]) -> Response:
        await parts.databases.one(query.chosen)
        now = _time(datetime.now(UTC).timestamp())
        times = {"started_at": now, "finished_at": now}
        return json_reply({"status": "completed", **times, "error": None})


async def _days(
    parts: Parts,
    caller: Caller,
    wanted: Wanted,
    first_day: date | None = None,
    last_day: date | None = None,
) -> list[DayOfUsage]:
    db_id = await parts.databases.one(wanted.chosen)
    user_id = caller.looks_for(wanted.user_id)
    question = GetUsage(first_day=first_day, last_day=last_day, user_id=user_id)
    usage = await parts.databases.ask(caller.tenant, db_id, question)
    return [] if usage is None else usage.days


def _shape(used: DayOfUsage) -> Shape:
    """A DayAggregatedMetrics."""
    tokens = used.tokens
    return {
        "id": f"{used.day.isoformat()}_daily",
        "agent_runs_count": used.agent_runs,
        "agent_sessions_count": used.agent_sessions,
        "team_runs_count": used.team_runs,
        "team_sessions_count": used.team_sessions,
        "workflow_runs_count": 0,
        "workflow_sessions_count": 0,
        "users_count": used.users,
        "token_metrics": {
            "input_tokens": tokens.input_tokens,
            "output_tokens": tokens.output_tokens,
            "total_tokens": tokens.total_tokens,
            "audio_total_tokens": 0,
            "audio_input_tokens": 0,
            "audio_output_tokens": 0,
            "cache_read_tokens": tokens.cache_read_tokens,
            "cache_write_tokens": 0,
            "reasoning_tokens": tokens.reasoning_tokens,
        },
        "model_metrics": [
            {"model_id": model.id, "model_provider": model.provider, "count": model.runs}
            for model in used.models
        ],
        "date": f"{used.day.isoformat()}T00:00:00Z",
        "created_at": _time(used.first_at),
        "updated_at": _time(used.last_at),
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).isoformat().replace("+00:00", "Z")
