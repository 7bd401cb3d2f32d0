"""Content that comes in pieces, gathered for each party until it is said in one."""

from dataclasses import dataclass, field
from typing import Any

CONTENT = ("RunContent", "TeamRunContent")
PIECE_CHARS_MAX = 64 * 1024


@dataclass(slots=True)
class _Piece:
    event: str
    data: dict[str, Any]
    texts: list[str] = field(default_factory=list)
    chars: int = 0


class Pieces:
    """What the parties of a run say side by side; each one's text stays in order."""

    def __init__(self) -> None:
        self._pieces: dict[str, _Piece] = {}

    def add(self, event: str, data: dict[str, Any]) -> bool:
        """Take what may be said later; False for all that is not a piece of content."""
        text = data.get("content")
        if event not in CONTENT or not isinstance(text, str):
            return False
        piece = self._pieces.get(data["run_id"])
        if piece is None:
            piece = self._pieces[data["run_id"]] = _Piece(event, data)
        piece.texts.append(text)
        piece.chars += len(text)
        return True

    @property
    def is_much(self) -> bool:
        return any(piece.chars >= PIECE_CHARS_MAX for piece in self._pieces.values())

    def take(self) -> list[tuple[str, dict[str, Any]]]:
        """All of it, each party's in one, in the order in which they began."""
        pieces, self._pieces = self._pieces, {}
        return [
            (piece.event, {**piece.data, "content": "".join(piece.texts)})
            for piece in pieces.values()
        ]
