"""Hearing a model's answer while it comes, and saying it on."""

from teambus_team_runner.engine.voice import Voice
from teambus_team_runner.models.port import BeforeTry, Heard, Model


class Hearing:
    """One answer as it is heard."""

    def __init__(self, voice: Voice, model: Model) -> None:
        self._voice = voice
        self._model = model
        self._pieces: list[str] = []

    @property
    def so_far(self) -> str:
        """What was heard of an answer that has not come to its end."""
        return "".join(self._pieces)

    @property
    def heard(self) -> Heard | None:
        """Where the pieces go; None when nobody hears what this voice says."""
        return self._piece if self._voice.is_heard else None

    def announcing(self, before_try: BeforeTry) -> BeforeTry:
        """Say that the model is asked again when pieces of a broken try were said on already."""

        async def announced() -> None:
            await before_try()
            if self._pieces:
                self._pieces.clear()
                self._voice.says_asked(self._model.id, self._model.provider)

        return announced

    def rest_of(self, content: str | None) -> str:
        """What of an answer is still to be said. An answer from the journal is said in one."""
        return "" if self._pieces else content or ""

    def _piece(self, text: str) -> None:
        self._pieces.append(text)
        self._voice.says_content(text)
