"""The command line: what it takes, and that every mistake is one clear line and exit code 2."""

import json
from pathlib import Path

import pytest

from teambus.cli.main import main
from teambus.cli.options import environment, parse
from teambus.local import folder

APP = """
from teambus import Agent, OpenAIChat, Team, TeamBus
print("imported")
model = OpenAIChat(id="gpt-5.2")
team = Team(id="writers", name="Writers", model=model, members=[Agent(name="Ann", model=model)])
app = TeamBus(teams=[team]).get_app()
"""


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    # Set up once, it would keep the captured stderr of one test for all later ones.
    monkeypatch.setattr("teambus.cli.main.configure_logging", lambda *_, **__: None)
    for name in ("TEAMBUS_APP", "TEAMBUS_APP_DIR", "NATS_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def said(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """What a refused command says, which must be one line."""
    try:
        code = main(list(argv))
    except SystemExit as ended:
        code = int(ended.code or 0)
    assert code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1, err
    return err.strip()


def test_a_command_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert "see teambus --help" in said(capsys)


def test_an_unknown_option_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--hots" in said(capsys, "serve", "--app", "a", "--hots", "x")


def test_a_port_out_of_range_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "'70000' is not a port: 0 to 65535" in said(capsys, "serve", "--port", "70000")


@pytest.mark.parametrize("command", ["serve", "provision", "describe"])
def test_an_app_must_be_named(capsys: pytest.CaptureFixture[str], command: str) -> None:
    expected = f"teambus {command}: no app is named; write --app module:attr, or set TEAMBUS_APP"
    assert said(capsys, command) == expected


def test_a_module_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert "there is no module 'nope'" in said(capsys, "describe", "--app", "nope")


def test_provision_needs_to_know_the_bus(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "provision", "--app", "nope") == "teambus provision: NATS_URL is not set"


def test_the_doctor_needs_to_know_the_bus(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    expected = "teambus doctor: which bus? set NATS_URL; nothing is served with the data in"
    assert said(capsys, "doctor") == f"{expected} {tmp_path / '.teambus'}"


def test_a_wrong_setting_is_named_by_its_variable(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEAMBUS_DRAIN_S", "long")
    assert "TEAMBUS_DRAIN_S='long'" in said(capsys, "serve", "--app", "nope")


@pytest.mark.parametrize("command", ["demo", "run"])
def test_without_a_checkout_the_sample_is_missed(
    capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert "there is no deploy/app/background_hooks_team.py here" in said(capsys, command)


def test_describe_prints_nothing_but_json(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "described_app.py").write_text(APP)
    assert main(["describe", "--app", "described_app:app", "--app-dir", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    description = json.loads(out)
    assert description["id"] == "described_app"
    assert [team["id"] for team in description["teams"]] == ["writers"]
    assert err == "imported\n"


def test_describe_writes_to_a_file_what_it_would_print(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "written_app.py").write_text(APP)
    app = ("--app", "written_app:app", "--app-dir", str(tmp_path), "--id", "written_app")
    assert main(["describe", *app]) == 0
    printed = capsys.readouterr().out
    assert main(["describe", *app, "--out", str(tmp_path / "app.json")]) == 0
    assert (tmp_path / "app.json").read_text() == printed
    capsys.readouterr()
    refused = said(capsys, "describe", *app, "--out", str(tmp_path / "none" / "app.json"))
    assert refused.endswith("none/app.json': No such file or directory")


def test_describe_refuses_an_app_of_another_id(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "named_app.py").write_text(APP.replace('print("imported")', ""))
    app = ("--app", "named_app:app", "--app-dir", str(tmp_path))
    assert said(capsys, "describe", *app, "--id", "desk") == (
        "teambus describe: the app's id is 'named_app', not 'desk';"
        " write TeamBus(id='desk'), or use the id it has"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, "cannot read '{file}': No such file or directory"),
        ("{", "{file} is not a app.description.v1: Input data was truncated; write it with"),
        ('{"kind": "app.description.v1", "id": "*"}', "the app '*' has no usable id"),
    ],
)
def test_a_description_that_is_none_is_refused_before_the_bus_is_asked(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str | None,
    expected: str,
) -> None:
    monkeypatch.setenv("NATS_URL", "nats://127.0.0.1:1")
    file = tmp_path / "app.json"
    if text is not None:
        file.write_text(text)
    refused = said(capsys, "provision", "--description", str(file))
    assert expected.replace("{file}", str(file)) in refused


def test_an_app_that_is_described_twice_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NATS_URL", "nats://127.0.0.1:1")
    for name in ("one.json", "two.json"):
        (tmp_path / name).write_text('{"kind": "app.description.v1", "id": "desk"}')
    refused = said(capsys, "provision", "--description", "one.json", "--description", "two.json")
    assert "one.json and two.json both describe the app 'desk'; leave one out" in refused
    both = said(capsys, "provision", "--streams-only", "--description", "one.json")
    assert "--streams-only is for no app" in both


def test_contracts_are_written_where_they_are_wanted(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert "--out" in said(capsys, "contracts")
    assert main(["contracts", "--out", str(tmp_path / "new" / "folder")]) == 0
    written = sorted((tmp_path / "new" / "folder").rglob("*.json"))
    assert capsys.readouterr().out.startswith(f"{len(written)} documents are in ")
    (tmp_path / "file").write_text("")
    refused = said(capsys, "contracts", "--out", str(tmp_path / "file"))
    assert (
        refused == f"teambus contracts: cannot write to {str(tmp_path / 'file')!r}: Not a directory"
    )


def test_options_stand_in_for_variables() -> None:
    options = parse(["serve", "--app", "mine", "--port", "0", "--reload"])
    variables = environment(options, {"TEAMBUS_APP": "theirs", "TEAMBUS_HOST": "h", "OTHER": "x"})
    assert variables == {
        "TEAMBUS_APP": "mine",
        "TEAMBUS_PORT": "0",
        "TEAMBUS_RELOAD": "True",
        "TEAMBUS_HOST": "h",
        "OTHER": "x",
    }


def test_status_of_nothing_says_so(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["status", "--data-dir", str(tmp_path / "none")]) == 1
    assert "nothing is served with the data in" in capsys.readouterr().out


def test_status_shows_what_runs_where(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    service = {"name": "gateway", "pid": 12, "ready": True, "management_port": 4242, "ended": 0}
    with folder.held(tmp_path / "data") as data:
        data.write_status(
            {
                "pid": 11,
                "since": data.since,
                "app": "mine",
                "url": "http://127.0.0.1:7777",
                "nats": {"pid": 13, "url": "nats://127.0.0.1:2222"},
                "services": [service],
            }
        )
        assert main(["status", "--data-dir", str(tmp_path / "data")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("mine is served at http://127.0.0.1:7777 since 20")
    assert [line.split() for line in lines[1:]] == [
        ["supervisor", "pid", "11"],
        ["nats", "pid", "13", "nats://127.0.0.1:2222"],
        ["gateway", "pid", "12", "ready,", "http://127.0.0.1:4242/readyz"],
    ]


def test_status_after_the_end_does_not_show_the_past(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with folder.held(tmp_path / "data") as data:
        data.write_status({"pid": 11})
    assert main(["status", "--data-dir", str(tmp_path / "data")]) == 1
