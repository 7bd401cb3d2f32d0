"""The AsyncAPI document of the bus: every subject, who says what there, and with which headers.

It speaks for teambus: what teambus receives others send, and what it sends others receive.
"""

import inspect
from collections.abc import Iterator
from typing import Any

from teambus.bus import topology
from teambus.cli import headers, schemas
from teambus.contracts.channels import CHANNELS, PARAMETERS, Channel, constant
from teambus.contracts.endpoints import ENDPOINTS, Endpoint
from teambus.contracts.subjects import fits

VERSION = "3.0.0"
SCHEMAS = "#/components/schemas/"
TAGS = {
    "heard": "Anybody may say this.",
    "told": "For whoever wants to know.",
    "repeated": "Heard by whoever listens at that moment; nothing is kept.",
    "kept": "Teambus's own records; read them to find out what happened.",
    "asked": "Request-reply; one process of those that can answer does.",
}
ABOUT = """Teams of agents on NATS.

Bodies are JSON in UTF-8; receivers ignore the fields they do not know. A body too large for a
message is in the object store `teambus_bodies`, under the name in the header `Teambus-Body`.
"""
Document = dict[str, Any]


def document() -> Document:
    """The whole document."""
    stored = [(channel, _stream_of(channel)) for channel in CHANNELS]
    channels, messages = {}, {}
    for channel, stream in stored:
        messages[schemas.tag(channel.says)] = _message(channel)
        channels[channel.name] = _channel(channel.address, schemas.tag(channel.says), stream)
        if "republish" in stream:
            heard = repeated(channel.address, stream["republish"])
            name = f"{schemas.tag(channel.says)}.repeated"
            messages[name] = _message(channel, again=True)
            channels[constant(heard)] = _channel(heard, name)
    operations = dict(_operations(stored))
    for endpoint in ENDPOINTS:
        name = constant(endpoint.address)
        messages |= _exchange(endpoint)
        channels[name] = _channel(endpoint.address, f"{name}.question")
        channels[f"{name}.answer"] = _answers(name)
        operations[name] = _asked(endpoint)
    messages["error"] = headers.ERROR_MESSAGE
    return {
        "asyncapi": VERSION,
        "info": {"title": "teambus", "version": "1", "description": ABOUT, "tags": _tags(*TAGS)},
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": _schemas()},
    }


def repeated(address: str, republish: dict[str, str]) -> str:
    """Where a stream repeats what is said at `address`."""
    source, tokens = republish["src"].split("."), address.split(".")
    wild = [token for token, pattern in zip(tokens, source, strict=False) if pattern == "*"]
    target = republish["dest"]
    for number, token in enumerate(wild, start=1):
        target = target.replace(f"{{{{wildcard({number})}}}}", token)
    return target.replace(">", ".".join(tokens[len(source) - 1 :]))


def _stream_of(channel: Channel) -> Document:
    [stream] = [
        stream
        for stream in topology.streams(topology.TopologySettings())
        if any(fits(channel.address, subject) for subject in stream["subjects"])
    ]
    return stream


def _channel(address: str, message: str, stream: Document | None = None) -> Document:
    named = [token[1:-1] for token in address.split(".") if token.startswith("{")]
    stored = {} if stream is None else {"description": f"Stored in the stream {stream['name']}."}
    return {
        "address": address,
        "messages": {message: {"$ref": f"#/components/messages/{message}"}},
        "parameters": {name: {"description": PARAMETERS[name]} for name in named},
        **stored,
    }


def _message(channel: Channel, *, again: bool = False) -> Document:
    aside = {"description": "The body is empty when it is set aside."}
    return {
        "name": schemas.tag(channel.says),
        "title": channel.says.__name__,
        "summary": _first_line(channel.says),
        "contentType": "application/json",
        "headers": headers.of(channel, again=again),
        "payload": {"$ref": SCHEMAS + channel.says.__name__},
        **(aside if channel.may_be_aside else {}),
    }


def _operations(stored: list[tuple[Channel, Document]]) -> Iterator[tuple[str, Document]]:
    for channel, stream in stored:
        action = "receive" if channel.direction == "heard" else "send"
        summary = _first_line(channel.says)
        yield channel.name, _operation(action, channel.name, summary, channel.direction)
        if "republish" in stream:
            heard = constant(repeated(channel.address, stream["republish"]))
            yield heard, _operation("send", heard, summary, "repeated")


def _operation(action: str, channel: str, summary: str, tag: str) -> Document:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": summary,
        "tags": _tags(tag),
    }


def _exchange(endpoint: Endpoint) -> dict[str, Document]:
    """The question and the answer of an endpoint."""
    name = constant(endpoint.address)
    empty = {"description": "The body is empty for what is not there, or when it is set aside."}
    aside = {"description": "The body is empty when it is set aside."}
    parts = {"question": (endpoint.question, aside)}
    parts["answer"] = (endpoint.answer, empty if endpoint.may_be_empty else aside)
    return {
        f"{name}.{part}": {
            "name": f"{name}.{part}",
            "title": kind.__name__,
            "contentType": "application/json",
            "headers": headers.OF_EXCHANGES,
            "payload": {"$ref": SCHEMAS + kind.__name__},
            **more,
        }
        for part, (kind, more) in parts.items()
    }


def _answers(name: str) -> Document:
    """Where the answers go: the inbox that the question names."""
    said = (f"{name}.answer", "error")
    return {
        "address": None,
        "description": "The reply subject of the question.",
        "messages": {each: {"$ref": f"#/components/messages/{each}"} for each in said},
    }


def _asked(endpoint: Endpoint) -> Document:
    name = constant(endpoint.address)
    inbox = f"#/channels/{name}.answer"
    answers = [{"$ref": f"{inbox}/messages/{said}"} for said in (f"{name}.answer", "error")]
    return {
        **_operation("receive", name, _first_line(endpoint.question), "asked"),
        "reply": {"channel": {"$ref": inbox}, "messages": answers},
    }


def _schemas() -> Document:
    asked = [kind for each in ENDPOINTS for kind in (each.question, each.answer)]
    _, found = schemas.components([*schemas.messages().values(), *asked], SCHEMAS + "{name}")
    return found


def _tags(*names: str) -> list[Document]:
    return [{"name": name, "description": TAGS[name]} for name in names]


def _first_line(kind: type[Any]) -> str:
    """The first sentence of what it says of itself."""
    text = " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split())
    return text.partition(". ")[0].rstrip(".") + "."
