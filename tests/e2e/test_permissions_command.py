"""`teambus permissions` and `teambus nkey`, as the page on security shows them."""

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from teambus.cli.main import main
from teambus.local.binary import find_binary

PAGE = Path(__file__).parents[2] / "deploy" / "security.md"
APP = """\
from teambus import Agent, TeamBus, OpenAIChat, hook

@hook(run_in_background=True)
def invoice(run_output): ...

seller = Agent(id="seller", name="Seller", model=OpenAIChat(id="m"), post_hooks=[invoice])
app = TeamBus(id="shop", agents=[seller])
"""
KEY = "U" + "A" * 55


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "shop.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def described(shop: Path) -> str:
    """The file that says what the app is."""
    command = [sys.executable, "-P", "-m", "teambus", "describe", "--app", "shop:app"]
    said = subprocess.run(command, cwd=shop, capture_output=True, timeout=60, check=True)
    (shop / "shop.json").write_bytes(said.stdout)
    return "--description=shop.json"


def checked(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """What nats-server says of a configuration that includes `accounts.conf`."""
    (folder / "nats.conf").write_text(
        f'include "accounts.conf"\njetstream {{ store_dir: "{folder}" }}'
    )
    return subprocess.run(
        [str(find_binary()), "-t", "-c", str(folder / "nats.conf")],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_recipe_of_the_page_makes_what_nats_server_takes(shop: Path) -> None:
    recipe = re.findall(r"^```\n(mkdir keys\n.*?)^```", PAGE.read_text(), re.M | re.S)[0]
    command = f'set -e\nteambus() {{ "{sys.executable}" -P -m teambus "$@"; }}\n{recipe}'
    done = subprocess.run(
        ["bash", "-c", command], cwd=shop, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    told = checked(shop)
    assert told.returncode == 0, told.stderr
    seeds = sorted((shop / "keys").glob("*.nk"))
    assert len(seeds) == 7
    assert {stat.S_IMODE(seed.stat().st_mode) for seed in seeds} == {0o600}
    text = (shop / "accounts.conf").read_text()
    assert not any(seed.read_text().strip() in text for seed in seeds)


def test_an_identity_without_a_key_is_a_variable_of_nats_server(
    shop: Path, described: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["permissions", described]) == 0
    (shop / "accounts.conf").write_text(capsys.readouterr().out)
    assert "NKEY_GATEWAY" in checked(shop).stderr
    names = ("GATEWAY", "TEAM_RUNNER_SHOP", "HOOK_RUNNER_SHOP", "PROVISION", "OPERATOR", "DOCTOR")
    variables = {}
    for name in names:
        assert main(["nkey", name]) == 0
        variables[f"NKEY_{name}"] = capsys.readouterr().out.strip()
    told = checked(shop, **variables)
    assert told.returncode == 0, told.stderr


def test_as_json_it_says_the_rights_of_each(
    described: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["permissions", described, "--tenant", "acme", "--format", "json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["client.acme"]["account"] == "TEAMBUS_acme"
    assert said["gateway"]["allow_responses"] == {"max": 1, "expires": "1h"}
    assert "teambus.v1.hook.*.*.shop-invoice" in said["hook-runner.shop"]["publish"]["allow"]


def test_while_a_key_is_replaced_both_are_let_in(
    shop: Path, described: str, capsys: pytest.CaptureFixture[str]
) -> None:
    other = KEY[:-1] + "B"
    keys = [f"--key=gateway={key}" for key in (KEY, other)]
    assert main(["permissions", described, *keys]) == 0
    said = capsys.readouterr().out
    assert (said.count(KEY), said.count(other)) == (1, 1)
    assert "$NKEY_GATEWAY" not in said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--key", f"nobody={KEY}"], "nobody is called 'nobody'; there are doctor, gateway"),
        (["--key", "gateway=SU123"], "the key of gateway is no public NKey of a user (U...)"),
        (["--tenant", "a.b"], "'a.b' is no tenant"),
        (["--description", "missing.json"], "cannot read 'missing.json': No such file"),
        (["--description", "shop.py"], "write it with teambus describe"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(
    described: str, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    assert main(["permissions", *([] if "--description" in words else [described]), *words]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
    assert "SU123" not in said


def test_a_seed_is_never_written_over_another(
    shop: Path, described: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["nkey", "mine.nk"]) == 0
    before = (shop / "mine.nk").read_bytes()
    assert main(["nkey", "mine.nk"]) == 2
    assert "cannot write to 'mine.nk': File exists" in capsys.readouterr().err
    assert (shop / "mine.nk").read_bytes() == before
