"""A service that does nothing but live: `python -m tests.support.standin_service NAME FOLDER`.

It writes what happens to it into FOLDER/story, and misbehaves as files in FOLDER tell it to:
`NAME.refuses` (exit 2 with that text), `NAME.dies` (exit 1 at once), `NAME.stays` (ignores
SIGTERM), `NAME.mute` (never ready).
"""

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

from teambus.runtime.management import report
from teambus.runtime.stopping import exit_with_parent, stop_on_signals

LISTEN_FD = "GATEWAY_LISTEN_FD"
REPLY = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"


class Standin:
    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder

    def tell(self, what: str) -> None:
        story = os.open(self.folder / "story", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(story, f"{self.name} {what} {os.getpid()}\n".encode())
        os.close(story)

    def told(self, what: str) -> str | None:
        file = self.folder / f"{self.name}.{what}"
        return file.read_text() if file.exists() else None

    async def live(self) -> int:
        exit_with_parent()
        self.tell("started")
        if reason := self.told("refuses"):
            report(error=reason)
            return 2
        if self.told("dies") is not None:
            return 1
        with stop_on_signals() as stop:
            if self.told("stays") is not None:
                asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: None)
            if self.name == "gateway":
                await self.answer()
            if self.told("mute") is None:
                report(management_port=1, ready=True)
            await stop.wait()
        self.tell("stopped")
        return 0

    async def answer(self) -> None:
        async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(REPLY)
            await writer.drain()
            writer.close()

        await asyncio.start_server(reply, sock=socket.socket(fileno=int(os.environ[LISTEN_FD])))


def load(standin: Standin) -> int:
    """Stands in for `teambus provision`; the app is a text file."""
    text = Path(os.environ["TEAMBUS_APP_DIR"], "app.py").read_text()
    standin.tell("started")
    if "broken" in text:
        report(error=f"cannot load 'app': {text}")
        return 2
    report(
        app="app", teams=["content-team"], hooks=[], left=[x for x in text.split("\n") if "#" in x]
    )
    return 0


if __name__ == "__main__":
    me = Standin(sys.argv[1], Path(sys.argv[2]))
    sys.exit(load(me) if me.name == "load" else asyncio.run(me.live()))
