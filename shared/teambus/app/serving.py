"""`serve()`: hand the app's name to the `teambus` command and stay with it until it ends."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from teambus.app.errors import DefinitionError
from teambus.app.options import fits, shortened

PORT_MAX = 65535
FORWARDED = (signal.SIGINT, signal.SIGTERM)
SIGNAL_EXIT_CODE = 128
MAIN_NAMES = ("__main__", "__mp_main__")


class _Loading:
    """Whether a service is importing the user's module right now."""

    active = False


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """While inside, reaching `serve()` is an error: it would start a server in a server."""
    before, _Loading.active = _Loading.active, True
    try:
        yield
    finally:
        _Loading.active = before


def serve(app: object, host: str, port: int, reload: bool) -> None:
    """Serve until told to stop; exits with the supervisor's code when that is not 0."""
    if _Loading.active:
        raise DefinitionError(
            "serve() was reached while a service was loading the app;"
            ' put it under `if __name__ == "__main__":`'
        )
    _refuse_mistakes(app, host, port, reload)
    code = _Supervisor(_command(str(app), host, port, reload)).run()
    if code:
        raise SystemExit(code if code > 0 else SIGNAL_EXIT_CODE - code)


def main_name() -> str:
    """The name of the program's own module, as if it had been imported."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name).removesuffix(".__main__")
    return Path(getattr(main, "__file__", None) or "app").stem


def main_folder() -> Path:
    """Where the app is imported from: the program's folder, or where it was started with -m."""
    main = sys.modules["__main__"]
    file = getattr(main, "__file__", None)
    if file is None or getattr(main, "__spec__", None) is not None:
        return Path.cwd()
    return Path(file).absolute().parent


def _refuse_mistakes(app: object, host: object, port: object, reload: object) -> None:
    mistakes = []
    if not isinstance(app, str) or not app.strip():
        given = "" if app is None else f", not {type(app).__name__}"
        mistakes.append(
            f"serve() needs the app as text{given}, because other processes load it:"
            f' write serve(app="{main_name()}:app") for app = ....get_app() in {main_name()}.py'
        )
    if not isinstance(host, str) or not host:
        mistakes.append(f"serve(): host={shortened(host)} must be a host name or address")
    if not fits(port, int) or not 0 <= int(str(port)) <= PORT_MAX:
        mistakes.append(f"serve(): port={shortened(port)} must be a whole number up to {PORT_MAX}")
    if not isinstance(reload, bool):
        mistakes.append(f"serve(): reload={shortened(reload)} must be True or False")
    if mistakes:
        raise DefinitionError(*mistakes)


def _command(app: str, host: str, port: int, reload: bool) -> list[str]:
    # -P keeps files beside the user's program from being imported in place of what services need.
    command = [sys.executable, "-P", "-m", "teambus", "serve", "--app", app]
    command += ["--app-dir", str(main_folder()), "--host", host, "--port", str(port)]
    return [*command, "--reload"] if reload else command


class _Supervisor:
    """The `teambus serve` process. It watches a pipe, so it ends however this process ends."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._early: list[int] = []

    def run(self) -> int:
        watched, held = os.pipe()
        try:
            with self._signals_forwarded():
                # A process group of its own: Ctrl-C reaches it once, from here, and not twice.
                self._process = subprocess.Popen(
                    [*self._command, "--watch-fd", str(watched)],
                    pass_fds=(watched,),
                    process_group=0,
                )
                for number in self._early:
                    self._process.send_signal(number)
                return self._process.wait()
        finally:
            os.close(watched)
            os.close(held)

    @contextlib.contextmanager
    def _signals_forwarded(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before: dict[int, Any] = {each: signal.signal(each, self._forward) for each in FORWARDED}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _forward(self, number: int, _: FrameType | None) -> None:
        if self._process is None:
            self._early.append(number)
        else:
            self._process.send_signal(number)
