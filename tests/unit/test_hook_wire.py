"""Frames between the hook-runner and its processes: whole, whatever pieces they come in."""

import pytest

from teambus_hook_runner.wire import (
    Call,
    Cancel,
    Frames,
    FromChild,
    Raised,
    Ready,
    Returned,
    ToChild,
    frame,
)

CALLS: list[Call | Cancel] = [
    Call(1, 0, "log", "default:log:r1", 1, b'{"a":1}'),
    Cancel(1),
    Call(2, 1, "log", "default:log:r2", 3, b"x" * 70_000, b"{}"),
]


@pytest.mark.parametrize("size", [1, 3, 4, 5, 1000, 1_000_000])
def test_messages_are_whole_whatever_the_size_of_the_pieces(size: int) -> None:
    stream = b"".join(map(frame, CALLS))
    frames: Frames[ToChild] = Frames(ToChild)
    heard = [
        message
        for begin in range(0, len(stream), size)
        for message in frames.feed(stream[begin : begin + size])
    ]
    assert heard == CALLS


def test_what_a_process_says_is_told_apart() -> None:
    said: list[FromChild] = [Ready(["a"]), Returned(1), Raised(2, "raised", "no", "trace")]
    frames: Frames[FromChild] = Frames(FromChild)
    assert list(frames.feed(b"".join(map(frame, said)))) == said


def test_a_piece_of_a_message_is_no_message() -> None:
    frames: Frames[ToChild] = Frames(ToChild)
    assert list(frames.feed(frame(CALLS[0])[:-1])) == []
