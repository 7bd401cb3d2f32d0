"""The tokens of whole runs and sessions: what leaders and members used, added up."""

from collections.abc import Iterable

import msgspec

from teambus.contracts.output import Metrics, RunOutput, TeamRunOutput, TokenDetails
from teambus.domain.continuation import own_members

_decoder = msgspec.json.Decoder(Metrics)


def of_whole_run(output: TeamRunOutput | RunOutput) -> Metrics:
    """Of the run and of every member's run in it, without times: those overlap."""
    total = Metrics()
    _add(total, output.metrics or Metrics())
    for member in own_members(output):
        _add(total, of_whole_run(member))
    return total


def sum_of(stored: Iterable[str | None]) -> Metrics:
    """The sum of what stands in the column `metrics`."""
    total = Metrics()
    for text in stored:
        if text is not None:
            _add(total, _decoder.decode(text))
    return total


def add_stored(total: Metrics, stored: str | None) -> Metrics:
    """Add what stands in the column `metrics` of one run; it is given back as well."""
    more = Metrics() if stored is None else _decoder.decode(stored)
    _add(total, more)
    return more


def _add(total: Metrics, more: Metrics) -> None:
    total.input_tokens += more.input_tokens
    total.output_tokens += more.output_tokens
    total.total_tokens += more.total_tokens
    total.cache_read_tokens += more.cache_read_tokens
    total.reasoning_tokens += more.reasoning_tokens
    for role, models in (more.details or {}).items():
        total.details = total.details or {}
        mine = total.details.setdefault(role, [])
        for model in models:
            _add_model(mine, model)


def _add_model(mine: list[TokenDetails], more: TokenDetails) -> None:
    for model in mine:
        if (model.id, model.provider) == (more.id, more.provider):
            model.input_tokens += more.input_tokens
            model.output_tokens += more.output_tokens
            model.total_tokens += more.total_tokens
            return
    mine.append(msgspec.structs.replace(more))
