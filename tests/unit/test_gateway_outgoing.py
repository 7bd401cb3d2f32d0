"""What a connection of a client sends, and when."""

import asyncio
from typing import Any, cast

from teambus_gateway.connections import HELD_BYTES_MAX, Outgoing


class FakeTransport:
    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.closed = False
        self.buffered = 0

    def write(self, data: bytes) -> None:
        self.sent.append(data)

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return self.buffered

    def get_extra_info(self, name: str) -> str:
        return f"{name} of the transport"


def outgoing() -> tuple[FakeTransport, Outgoing]:
    transport = FakeTransport()
    return transport, Outgoing(cast(Any, transport), asyncio.get_running_loop())


async def test_what_is_written_in_one_turn_goes_out_in_one_go() -> None:
    transport, out = outgoing()
    out.write(b"head")
    out.write(b"body")
    assert transport.sent == []
    await asyncio.sleep(0)
    out.write(b"next")
    await asyncio.sleep(0)
    assert transport.sent == [b"headbody", b"next"]


async def test_much_does_not_wait_for_the_end_of_the_turn() -> None:
    transport, out = outgoing()
    out.write(b"head")
    out.write(b"x" * HELD_BYTES_MAX)
    assert [len(each) for each in transport.sent] == [4 + HELD_BYTES_MAX]
    await asyncio.sleep(0)
    assert len(transport.sent) == 1


async def test_what_is_held_is_sent_before_the_connection_is_closed() -> None:
    transport, out = outgoing()
    out.write(b"last words")
    out.close()
    assert (transport.sent, out.is_closing()) == ([b"last words"], True)


async def test_nothing_is_written_to_a_connection_that_was_cut() -> None:
    transport, out = outgoing()
    out.write(b"too late")
    out.abort()
    await asyncio.sleep(0)
    assert transport.sent == []


async def test_what_is_held_counts_as_not_taken() -> None:
    transport, out = outgoing()
    transport.buffered = 7
    out.write(b"abc")
    assert out.get_write_buffer_size() == 10
    await asyncio.sleep(0)
    assert out.get_write_buffer_size() == 7


async def test_the_rest_is_the_transports_own() -> None:
    _, out = outgoing()
    assert out.get_extra_info("peername") == "peername of the transport"
