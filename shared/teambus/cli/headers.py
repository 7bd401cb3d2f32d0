"""JSON Schemas of the headers that go with a message."""

from typing import Any

from teambus.contracts import headers as names
from teambus.contracts.channels import Channel

Document = dict[str, Any]

_MSG_ID = "Says which message it is: stored once within ten minutes, however often it is sent."
_ASIDE = "The object in the store `teambus_bodies` that holds the body; the message has none."
_AFTER = "Stored only if this is the sequence of the last message of the subject; 0: of none."
_RUN_ID = "Names the run even when the body cannot be read; in the form of the subject's token."
_NEW = (
    "Which ids the asker has just made, `run` or `run session`: spares looking for what there is"
    " of them. Only for ids drawn at random for this request."
)
_REPEATED = {
    "Nats-Stream": "The stream that repeats it.",
    "Nats-Subject": "The subject it is stored under.",
    "Nats-Sequence": "Its sequence in the stream.",
    "Nats-Last-Sequence": "The sequence before it under the same subject; 0: none.",
    "Nats-Time-Stamp": "When it was stored.",
}


def of(channel: Channel, *, again: bool) -> Document:
    """The headers of a channel's message; `again` where a stream repeats it.

    Who asks for a run may leave out what is only advised.
    """
    known = {names.MSG_ID: _text(_MSG_ID), names.EXPECTED_LAST_SUBJECT_SEQUENCE: _text(_AFTER)}
    required = [names.MSG_ID]
    if channel.may_be_aside:
        known[names.BODY] = _text(_ASIDE)
    if channel.event_type is not None:
        known |= _cloud_event(channel.event_type)
        required += [name for name in known if name.startswith("ce-")]
    if channel.names_run:
        known[names.RUN_ID] = _text(_RUN_ID)
    if channel.direction == "heard":
        known[names.RUN_ID] = _text(_RUN_ID)
        known[names.NEW] = _text(_NEW)
        required = []
    if again:
        known |= {name: _text(what) for name, what in _REPEATED.items()}
        required += _REPEATED
    return {"type": "object", "properties": known, "required": required}


def _cloud_event(event_type: str) -> Document:
    """CloudEvents 1.0 in binary mode."""
    return {
        "ce-specversion": {"const": "1.0"},
        "ce-id": _text("The same whenever the event is sent again."),
        "ce-type": {"const": f"dev.teambus.{event_type}"},
        "ce-source": _text("The kind of process that says it.", format="uri-reference"),
        "ce-time": _text("When it was sent.", format="date-time"),
        "ce-datacontenttype": {"const": "application/json"},
    }


def _text(description: str, **more: str) -> Document:
    return {"type": "string", "description": description, **more}


OF_EXCHANGES: Document = {"type": "object", "properties": {names.BODY: _text(_ASIDE)}}

ERROR_MESSAGE: Document = {
    "name": "error",
    "title": "Error",
    "summary": "Why there is no answer. The body says more, or is empty.",
    "contentType": "application/json",
    "headers": {
        "type": "object",
        "required": [names.ERROR_CODE, names.ERROR_DETAIL],
        "properties": {
            names.ERROR_CODE: _text("An HTTP status."),
            names.ERROR_DETAIL: _text("One line of ASCII for people."),
            names.RETRY_AFTER: _text(
                "In how many seconds it is worth asking again; with 429, 503."
            ),
        },
    },
    "payload": {
        "type": "object",
        "required": ["detail"],
        "properties": {
            "detail": {"description": "What is wrong, as text or as a list of field errors."},
            "code": _text("Stable, for programs."),
            "run_id": _text("The run concerned."),
        },
    },
}
