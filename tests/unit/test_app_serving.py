"""`serve()`: what it starts, what it passes on, and that nothing outlives it."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import teambus
from teambus import DefinitionError
from teambus.app.serving import loading
from tests.unit.app_parts import app

SHARED = str(Path(teambus.__file__).parents[1])

# Stands where Python is started, tells what it was started with, and ends when its pipe does.
SUPERVISOR = """\
#!{python}
import json, os, signal, sys

def end(number, frame):
    os.write(1, signal.Signals(number).name.encode())  # print may have been interrupted in itself
    os._exit(7)

signal.signal(signal.SIGTERM, end)
signal.signal(signal.SIGINT, end)
watched = int(sys.argv[sys.argv.index("--watch-fd") + 1])
said = dict(argv=sys.argv[1:-1], cwd=os.getcwd(), mine=os.environ.get("MINE"), pid=os.getpid())
print(json.dumps(said), flush=True)
os.read(watched, 1)
print("gone", flush=True)
"""

PROGRAM = """\
import sys
from teambus import Agent, OpenAIChat, Team, TeamBus

sys.executable = {supervisor!r}
model = OpenAIChat(id="gpt-test")
bus = TeamBus(teams=[Team(name="Desk", model=model, members=[Agent(name="Writer")])])
app = bus.get_app()
if __name__ == "__main__":
    assert bus.id.endswith("my_program"), bus.id
    bus.serve(app="my_program:app", host="0.0.0.0", port=7001, reload=True)
    print("returned")
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    supervisor, program = tmp_path / "supervisor", tmp_path / "place" / "my_program.py"
    supervisor.write_text(SUPERVISOR.format(python=sys.executable))
    supervisor.chmod(0o755)
    program.parent.mkdir()
    program.write_text(PROGRAM.format(supervisor=str(supervisor)))
    for name in ("nats", "gateway", "openai", "email", "csv", "zipfile"):
        beside = f"raise RuntimeError('the {name} beside the program was imported')\n"
        (program.parent / f"{name}.py").write_text(beside)
    return program


class Serving:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said: dict[str, Any] = json.loads(self.line())

    def line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def rest(self) -> list[str]:
        """What is still printed until no process holds the output any more."""
        assert self.process.stdout
        return self.process.stdout.read().split()

    def exit_code(self) -> int:
        return self.process.wait(timeout=20)


@contextmanager
def serving(program: Path, *arguments: str) -> Iterator[Serving]:
    environment = {**os.environ, "PYTHONPATH": SHARED, "MINE": "kept"}
    command = [sys.executable, *(arguments or (str(program),))]
    with subprocess.Popen(
        command, cwd=program.parent.parent, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Serving(process)
        finally:
            process.kill()


def test_serve_starts_the_command_in_the_callers_folder_and_environment(program: Path) -> None:
    with serving(program) as served:
        assert served.said["argv"] == [
            *("-P", "-m", "teambus", "serve", "--app", "my_program:app"),
            *("--app-dir", str(program.parent), "--host", "0.0.0.0", "--port", "7001"),
            *("--reload", "--watch-fd"),
        ]
        assert served.said["cwd"] == str(program.parent.parent)
        assert served.said["mine"] == "kept"


def test_a_program_started_as_a_module_is_found_from_where_it_was_started(program: Path) -> None:
    with serving(program, "-m", "place.my_program") as served:
        argv = served.said["argv"]
        assert argv[argv.index("--app-dir") + 1] == str(program.parent.parent)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_passed_on_and_the_exit_code_back(
    program: Path, number: signal.Signals
) -> None:
    with serving(program) as served:
        served.process.send_signal(number)
        assert served.rest() == [number.name]
        assert served.exit_code() == 7


def test_the_terminals_signal_reaches_the_supervisor_once_by_the_program(program: Path) -> None:
    with serving(program) as served:
        assert os.getpgid(served.said["pid"]) == served.said["pid"]


def test_a_supervisor_that_was_killed_is_told_as_shells_do(program: Path) -> None:
    with serving(program) as served:
        os.kill(served.said["pid"], signal.SIGKILL)
        assert served.exit_code() == 128 + signal.SIGKILL


def test_a_killed_program_takes_its_supervisor_with_it(program: Path) -> None:
    with serving(program) as served:
        served.process.kill()
        assert served.rest() == ["gone"]


def test_an_unremarkable_end_returns_to_the_program(program: Path) -> None:
    text = program.read_text().replace(".serve(", ".serve(  # as before\n        ")
    program.write_text(text)
    supervisor = program.parent.parent / "supervisor"
    supervisor.write_text(supervisor.read_text().replace("os.read(watched, 1)", ""))
    with serving(program) as served:
        assert served.rest() == ["gone", "returned"]
        assert served.exit_code() == 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "serve() needs the app as text, because other processes load it: write serve(app="),
        ({"app": object()}, "serve() needs the app as text, not object"),
        ({"app": "a:b", "port": "7777"}, "port='7777' must be a whole number up to 65535"),
        ({"app": "a:b", "port": 65536}, "port=65536 must be"),
        ({"app": "a:b", "port": -1}, "port=-1 must be"),
        ({"app": "a:b", "port": True}, "port=True must be"),
        ({"app": "a:b", "host": ""}, "host='' must be a host name"),
        ({"app": "a:b", "reload": "yes"}, "reload='yes' must be True or False"),
        (
            {"app": "a:b", "relod": True},
            "unknown option 'relod' for serve(); did you mean 'reload'",
        ),
    ],
)
def test_serve_refuses_what_it_cannot_serve(options: dict[str, Any], says: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        app().serve(**options)
    assert says in str(refused.value)


def test_serve_while_a_service_loads_the_app_is_refused() -> None:
    with loading(), pytest.raises(DefinitionError, match='if __name__ == "__main__":'):
        app().serve(app="a:b")


def test_a_users_program_brings_in_no_service_and_no_client() -> None:
    check = """
        import sys, teambus
        heavy = "nats fastapi starlette openai sqlalchemy importlib.metadata email".split()
        print([each for each in heavy if each in sys.modules])
        """
    environment = {**os.environ, "PYTHONPATH": SHARED}
    command = [sys.executable, "-c", textwrap.dedent(check)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
