"""The parts of a message that is more than text, and what is wrong with them.

The real API refuses a part that is not what its type says; so does this one.
"""

import base64
import binascii
import hashlib

import msgspec

_AUDIO_FORMATS = ("wav", "mp3")


class ImageUrl(msgspec.Struct, frozen=True):
    url: str
    detail: str | None = None


class InputAudio(msgspec.Struct, frozen=True):
    data: str
    format: str


class InputFile(msgspec.Struct, frozen=True):
    filename: str | None = None
    file_data: str | None = None
    file_id: str | None = None


class Part(msgspec.Struct, frozen=True):
    type: str
    text: str | None = None
    image_url: ImageUrl | None = None
    input_audio: InputAudio | None = None
    file: InputFile | None = None

    def mistake(self) -> str | None:
        """What is wrong with it, if something is."""
        given = {
            "text": self.text,
            "image_url": self.image_url,
            "input_audio": self.input_audio,
            "file": self.file,
        }
        if self.type not in given:
            return f"there is no part of type {self.type!r}; there are: {', '.join(given)}"
        if given[self.type] is None:
            return f"a part of type {self.type!r} needs the field {self.type!r}"
        if self.input_audio is not None and self.input_audio.format not in _AUDIO_FORMATS:
            return f"audio has the format {self.input_audio.format!r}, not wav or mp3"
        try:
            self.seen()
        except ValueError as error:
            return f"a part of type {self.type!r}: {error}"
        return None

    def seen(self) -> "SeenFile | None":
        """What the model is shown besides text. Raises `ValueError` for what nobody can see."""
        if self.image_url is not None:
            return _from_url(self.type, self.image_url.url)
        if self.input_audio is not None:
            data = _decoded(self.input_audio.data)
            return _seen(self.type, data, mime_type=f"audio/{self.input_audio.format}")
        if self.file is not None and self.file.file_data is not None:
            shown = _from_url(self.type, self.file.file_data)
            return msgspec.structs.replace(shown, filename=self.file.filename)
        return None


class SeenFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file in a call: one that was sent by the hash and size of its bytes."""

    type: str
    mime_type: str | None = None
    filename: str | None = None
    url: str | None = None
    sha256: str | None = None
    size: int = 0


def _from_url(kind: str, url: str) -> SeenFile:
    if url.startswith(("http://", "https://")):
        return SeenFile(kind, url=url)
    head, _, data = url.partition(",")
    if not head.startswith("data:") or not head.endswith(";base64"):
        raise ValueError("it is neither a http(s) URL nor a base64 data: URL")
    return _seen(kind, _decoded(data), mime_type=head[len("data:") : -len(";base64")])


def _seen(kind: str, data: bytes, *, mime_type: str) -> SeenFile:
    return SeenFile(kind, mime_type, sha256=hashlib.sha256(data).hexdigest(), size=len(data))


def _decoded(data: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("it is not base64") from error
