"""Asks the gateway whether it is well, and for a run where a team or agent is named."""

import json
import os
import urllib.parse
import urllib.request
from pathlib import Path

URL = os.environ["URL"]


def ask(path: str, form: dict[str, str] | None = None, wait_s: float = 30) -> dict[str, object]:
    data = urllib.parse.urlencode(form).encode() if form else None
    request = urllib.request.Request(f"{URL}{path}", data)
    if key_file := os.environ.get("KEY_FILE"):
        request.add_header("Authorization", f"Bearer {Path(key_file).read_text().strip()}")
    with urllib.request.urlopen(request, timeout=wait_s) as answer:
        told: dict[str, object] = json.load(answer)
    print(path, "answers", answer.status)
    return told


def main() -> None:
    ask("/health")
    if component := os.environ["COMPONENT"]:
        form = {"message": os.environ["MESSAGE"], "stream": "false"}
        run = ask(f"/{component}/runs", form, wait_s=300)
        print("the run ended as", run["status"])
        assert run["status"] == "COMPLETED", run["content"]


main()
