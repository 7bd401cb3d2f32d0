"""The command: `python -P -m teambus.testing.model --port 0 --log calls.jsonl`."""

import argparse
import sys
from pathlib import Path

from teambus.testing.model.app import ModelApp
from teambus.testing.model.calls import CallLog
from teambus.testing.model.rules import RuleBook, RuleError, parse_rules
from teambus.testing.model.server import listen, serve


def main() -> None:
    arguments = _arguments()
    log = CallLog(arguments.log)
    app = ModelApp(log, arguments.rules, latency_s=arguments.latency_ms / 1000)
    try:
        listening = listen(arguments.host, arguments.port)
    except OSError as error:
        sys.exit(
            f"cannot listen on {arguments.host}:{arguments.port}: {error.strerror}; try --port 0"
        )
    serve(app, listening, watch_fd=arguments.watch_fd)
    log.close()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m teambus.testing.model",
        description="A scripted OpenAI-compatible model server for tests, demos and benchmarks.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 (default): any free one")
    parser.add_argument("--log", type=Path, help="append every call to this file, as JSON lines")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="wait before every answer")
    parser.add_argument("--rules", type=_rules, default=RuleBook(), help="a JSON file of rules")
    parser.add_argument("--watch-fd", type=int, help="stop when this inherited pipe is closed")
    return parser.parse_args()


def _rules(path: str) -> RuleBook:
    try:
        return parse_rules(Path(path).read_bytes())
    except (OSError, RuleError) as error:
        raise argparse.ArgumentTypeError(f"{path!r}: {error}") from None


if __name__ == "__main__":
    main()
