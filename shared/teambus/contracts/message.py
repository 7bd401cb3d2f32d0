"""The base of everything said on the bus, and its two directions: encode and decode."""

from typing import TypeVar

import msgspec

M = TypeVar("M", bound="Message")


class Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", omit_defaults=True):
    """One thing said on the bus.

    A message names its kind and version in its tag. A published tag never changes meaning:
    fields may be added with a default, everything else is a new version with a new tag.
    A receiver ignores fields it does not know.
    """


class MalformedMessage(ValueError):
    """bytes from the bus are not the message they should be"""


_encoder = msgspec.json.Encoder()
_decoders: dict[type[Message], msgspec.json.Decoder[Message]] = {}


def encode(message: Message) -> bytes:
    return _encoder.encode(message)


def decode(kind: type[M], data: bytes) -> M:
    """Read one message of a known kind; raises `MalformedMessage` saying which field is wrong."""
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind)
    try:
        message = decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedMessage(f"not a {kind.__struct_config__.tag}: {error}") from error
    assert isinstance(message, kind)
    return message
