"""Loading a user's app: every way to name it, and a clear reason when it cannot be loaded."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import teambus
from teambus.runtime.loading import LoadError, load_app

SHARED = str(Path(teambus.__file__).parents[1])
SAMPLE = Path(__file__).parents[2] / "deploy/app/background_hooks_team.py"

HEAD = """\
from teambus import Agent, OpenAIChat, Team, TeamBus
model = OpenAIChat(id="gpt-test")
def make(id):
    return TeamBus(teams=[Team(id=id, model=model, members=[Agent(name="Writer")])])
"""


@pytest.fixture(autouse=True)
def imports_undone() -> Iterator[None]:
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def write(folder: Path, name: str, body: str) -> str:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(HEAD + body)
    return str(folder)


@pytest.mark.parametrize(
    "app",
    [
        "load_a",
        "load_a:bus",
        "load_a:app",
        "load_a.py",
        "load_a.py:app",
        "in/load_b.py:app",
        "in.load_b:app",
    ],
)
def test_an_app_is_found_by_every_way_to_name_it(tmp_path: Path, app: str) -> None:
    body = "bus = make('t')\napp = bus.get_app()\n"
    folder = write(tmp_path, "load_a.py", body)
    write(tmp_path, "in/load_b.py", body)
    found = load_app(app, folder)
    assert [team.id for team in found.teams] == ["t"]
    assert found.id in {"load_a", "load_b", "in-load_b"}


def test_the_apps_folder_and_before_it_the_files_own_come_first(tmp_path: Path) -> None:
    folder = write(tmp_path, "in/load_c.py", "import load_beside\nbus = make(load_beside.ID)\n")
    (tmp_path / "in/load_beside.py").write_text("ID = 'own'\n")
    (tmp_path / "load_beside.py").write_text("ID = 'other'\n")
    assert load_app("in/load_c.py", folder).teams[0].id == "own"
    assert sys.path[:2] == [str(tmp_path / "in"), folder]


def test_loading_twice_gives_the_same_app(tmp_path: Path) -> None:
    folder = write(tmp_path, "load_d.py", "bus = make('t')\n")
    assert load_app("load_d", folder) is load_app("load_d.py", folder)


@pytest.mark.parametrize(
    ("app", "says"),
    [
        ("", "names no app; write module:attr or file.py"),
        ("load_e:", "names no app"),
        ("load_e:a b", "names no app"),
        ("load-e", "'load-e' is not the name of a module"),
        ("load_f", "there is no module 'load_f' in {dir}; did you mean 'load_e'?"),
        ("zzz", "there is no module 'zzz' in {dir}; it has load_e"),
        ("in/load_f.py", "there is no file {dir}/in/load_f.py"),
        ("load_e:ap", "module 'load_e' has no attribute 'ap'; it has TeamBus objects: a, b, c"),
        ("load_e:model", "'load_e:model' is of type OpenAIChat, neither a TeamBus nor"),
        ("load_e", "several TeamBus objects: a, b, c; name one, as in load_e:a"),
        ("in", "there is no module 'in'"),
    ],
)
def test_a_name_that_leads_to_no_app_is_refused_with_the_ones_there_are(
    tmp_path: Path, app: str, says: str
) -> None:
    folder = write(tmp_path, "load_e.py", "a, b = make('a'), make('b')\nc = b.get_app()\n")
    with pytest.raises(LoadError) as refused:
        load_app(app, folder)
    assert says.format(dir=folder) in str(refused.value)


def test_a_module_without_an_app_says_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="has no TeamBus; write agent_os = TeamBus"):
        load_app("load_g", write(tmp_path, "load_g.py", ""))


@pytest.mark.parametrize("app", ["load_h", "load_h.py"])
@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("1 / 0\n", "ZeroDivisionError: division by zero ({file}:5)"),
        ("import load_missing\n", "ModuleNotFoundError: No module named 'load_missing' ({file}:5)"),
        ("x = (\n", "SyntaxError: '(' was never closed ({file}:5)"),
        ("raise SystemExit(3)\n", "SystemExit: 3 ({file}:5)"),
        ("int('x')\n", "ValueError: invalid literal"),
        ("make('a b')\n", "the id 'a b' must be 1 to 64 of A-Z a-z 0-9 _ - ({file}:4)"),
        (
            "make('a').serve(app='load_h:a')\n",
            'serve() was reached while a service was loading the app; put it under `if __name__ == "__main__":` ({file}:5)',  # noqa: E501 - one sentence as users read it
        ),
    ],
)
def test_an_app_that_fails_while_loading_shows_its_error_and_line(
    tmp_path: Path, app: str, body: str, says: str
) -> None:
    folder = write(tmp_path, "load_h.py", body)
    with pytest.raises(LoadError) as refused:
        load_app(app, folder)
    assert f"cannot load {app!r}: " in str(refused.value)
    assert says.format(file=f"{folder}/load_h.py") in str(refused.value)
    assert refused.value.__cause__ is not None
    assert "load_h" not in sys.modules


def test_an_error_in_a_library_is_shown_at_the_users_own_line(tmp_path: Path) -> None:
    folder = write(tmp_path, "load_i.py", "import json\n\n\njson.loads('{')\n")
    with pytest.raises(LoadError) as refused:
        load_app("load_i", folder)
    assert f"({folder}/load_i.py:8)" in str(refused.value)


def test_a_failed_load_can_be_tried_again_once_mended(tmp_path: Path) -> None:
    folder = write(tmp_path, "load_j.py", "1 / 0\n")
    with pytest.raises(LoadError):
        load_app("load_j.py", folder)
    write(tmp_path, "load_j.py", "bus = make('mended')\n# longer than before, so compiled again\n")
    assert load_app("load_j.py", folder).teams[0].id == "mended"


def test_an_app_changed_after_it_was_declared_is_checked_again(tmp_path: Path) -> None:
    folder = write(tmp_path, "load_k.py", "bus = make('t')\nbus.teams.clear()\n")
    with pytest.raises(LoadError, match="cannot load 'load_k': TeamBus 'load_k' has no teams"):
        load_app("load_k", folder)


@pytest.mark.parametrize("app", ["json", "json.py", "json:app"])
def test_an_app_named_like_a_module_in_use_is_refused(tmp_path: Path, app: str) -> None:
    folder = write(tmp_path, "json.py", "bus = make('t')\n")
    with pytest.raises(LoadError, match="has the name of a module the service itself uses; rename"):
        load_app(app, folder)


# A service: everything of its own is imported before the user's folder is on the path.
SERVICE = """
import sys, nats, openai
from teambus.runtime.loading import load_app
team = load_app(sys.argv[1], sys.argv[2]).team("content-team")
print(team.id, team.db.path, nats.__file__.startswith(sys.prefix))
"""


@pytest.mark.parametrize("app", ["background_hooks_team:app", "background_hooks_team.py"])
@pytest.mark.parametrize("where", ["code", "elsewhere"])
def test_the_sample_loads_from_anywhere_and_beside_files_named_like_ours(
    tmp_path: Path, app: str, where: str
) -> None:
    code, cwd = tmp_path / "code", tmp_path / where
    for folder in (code, tmp_path / "elsewhere"):
        folder.mkdir()
    (code / SAMPLE.name).write_text(SAMPLE.read_text())
    for name in ("nats", "gateway", "openai", "teambus"):
        (code / f"{name}.py").write_text("raise RuntimeError('the wrong one was imported')\n")
    done = subprocess.run(
        [sys.executable, "-P", "-c", SERVICE, app, str(code)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": SHARED},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["content-team", str(cwd / "tmp/content_desk.db"), "True"], done
