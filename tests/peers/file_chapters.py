"""What both servers are given to read and to look at."""

import base64
import json

from tests.peers.chapters import PATH, WRITING
from tests.peers.visitor import Visitor

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


async def files(visitor: Visitor) -> None:
    """Files uploaded with a run, or named in its form."""
    await visitor.rules(WRITING)
    ask = {"message": "Write about tea", "stream": "false", "session_id": "filed"}
    picture = {"files": ("tea.png", PIXEL, "image/png")}
    await visitor.ask("a picture", "POST", PATH, data=ask, files=picture)
    text = {"files": ("tea.txt", b"Tea is a plant.", "text/plain")}
    told = await visitor.ask("a text", "POST", PATH, data=ask, files=text)
    await visitor.get("a text again", f"{PATH}/{told['run_id']}", session_id="filed")
    program = {"files": ("tea.exe", b"MZ", "application/x-msdownload")}
    await visitor.ask("a program", "POST", PATH, data=ask, files=program)
    named = json.dumps([{"content": base64.b64encode(PIXEL).decode(), "mime_type": "image/png"}])
    await visitor.post("a picture in the form", PATH, images=named, **ask)
    await visitor.post("a picture that is none", PATH, images="[1", **ask)
    await visitor.get("its runs", "/sessions/filed/runs", type="team")
