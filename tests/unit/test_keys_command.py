"""The command that makes keys for the gateway's callers."""

import json
import stat
from pathlib import Path

import pytest

from teambus.cli.main import main
from teambus.runtime.api_keys import PREFIX, hash_of, read_api_keys

NEW = ["keys", "new", "ci", "--scope", "teams:run", "--scope", "teams:read"]


def test_a_new_key_is_shown_once_and_only_its_hash_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "keys.json"
    more = ["--tenant", "acme", "--user", "robot", "--expires", "90d", "--file", str(file)]
    assert main([*NEW, *more]) == 0
    key = capsys.readouterr().out.strip()
    assert key.startswith(PREFIX)
    assert len(key) > 40
    assert key not in file.read_text()
    [kept] = read_api_keys(file.read_bytes()).keys
    assert (kept.sha256, kept.tenant, kept.user_id) == (hash_of(key), "acme", "robot")
    assert kept.scopes == ["teams:run", "teams:read"]
    assert kept.expires_at is not None
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_keys_are_listed_and_removed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = ["--file", str(tmp_path / "keys.json")]
    made = []
    for id_ in ("ci", "web"):
        assert main(["keys", "new", id_, "--scope", "teams:run", *file]) == 0
        made.append(capsys.readouterr().out.strip())
    assert made[0] != made[1]
    assert main(["keys", "list", *file]) == 0
    assert capsys.readouterr().out == "ci  default: teams:run\nweb  default: teams:run\n"
    assert main(["keys", "remove", "ci", *file]) == 0
    assert main(["keys", "list", *file]) == 0
    assert capsys.readouterr().out == "web  default: teams:run\n"


def test_without_a_file_the_key_and_its_entry_are_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(NEW) == 0
    key, _, entry = capsys.readouterr().out.partition("\n")
    assert json.loads(entry)["sha256"] == hash_of(key)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["keys", "new", "c i", "--scope", "a:b"], "'c i' is no id of a key"),
        ([*NEW, "--tenant", "a.b"], "'a.b' is no tenant"),
        (["keys", "list", "--file", "/nowhere/keys"], "cannot read '/nowhere/keys'"),
        ([*NEW, "--file", "/nowhere/keys"], "cannot write '/nowhere/keys'"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    told = capsys.readouterr()
    assert says in told.err
    assert told.err.strip().count("\n") == 0


def test_a_key_that_is_there_is_not_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "keys.json"
    assert main([*NEW, "--file", str(file)]) == 0
    before = file.read_bytes()
    assert main([*NEW, "--file", str(file)]) == 2
    assert "there is a key 'ci'" in capsys.readouterr().err
    assert main(["keys", "remove", "nobody", "--file", str(file)]) == 2
    assert file.read_bytes() == before
    file.write_text("{}")
    assert main([*NEW, "--file", str(file)]) == 2
    assert file.read_text() == "{}"


@pytest.mark.parametrize("when", ["tomorrow", "90x", "-1d", "1e99d"])
def test_a_time_that_is_none_is_told(when: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*NEW, f"--expires={when}"])
    assert ended.value.code == 2
    assert "is no time" in capsys.readouterr().err
