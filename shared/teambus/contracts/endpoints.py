"""Every question that may be asked on the bus: what is asked where, and what is answered."""

from dataclasses import dataclass
from typing import Any

from teambus.contracts.hooks_api import CallsOfRun, RunCalls
from teambus.contracts.output import TeamRunOutput
from teambus.contracts.pool_api import CheckRunner, FindRunner, RunnerChecked, RunnerFound
from teambus.contracts.run import RunCompleted
from teambus.contracts.runs_api import (
    CancelOrdered,
    CancelThisRun,
    HoldsRun,
    RunHeld,
    RunStarted,
    StartRun,
    WaitForRun,
)
from teambus.contracts.sessions_api import VERBS
from teambus.contracts.stored_api import RunQuery, Session, SessionQuery
from teambus.contracts.subjects import ROOT


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`verb` is the end of its subject. Some answers are empty for what is not there."""

    verb: str
    question: type[Any]
    answer: type[Any]
    may_be_empty: bool = False

    @property
    def address(self) -> str:
        return f"{ROOT}.api.{{tenant}}.{self.verb}"


def _stored(verb: str, question: type[Any], answer: type[Any]) -> Endpoint:
    return Endpoint(f"db.{{db}}.{verb}", question, answer, may_be_empty=True)


ENDPOINTS = (
    Endpoint("run.start", StartRun, RunStarted),
    Endpoint("run.wait", WaitForRun, RunCompleted),
    Endpoint("run.cancel", CancelThisRun, CancelOrdered),
    Endpoint("runner.{runner}.holds", HoldsRun, RunHeld),
    Endpoint("pool.{app}", FindRunner, RunnerFound),
    Endpoint("pool.{app}.check", CheckRunner, RunnerChecked),
    Endpoint("hook.calls", CallsOfRun, RunCalls),
    _stored("run", RunQuery, TeamRunOutput),
    _stored("session", SessionQuery, Session),
    *(_stored(verb.name, question, verb.answer) for question, verb in VERBS.items()),
)
