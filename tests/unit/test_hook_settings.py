"""The hook-runner's settings, and how hooks share processes."""

import pytest

from teambus.contracts.catalogue import HookDescription
from teambus.runtime.settings import SettingsError, read_settings
from teambus_hook_runner.groups import chosen
from teambus_hook_runner.main import _shares
from teambus_hook_runner.settings import Settings


def test_all_mistakes_are_said_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings(Settings, "HOOK_RUNNER", {"HOOK_RUNNER_DRAIN_S": "long"})
    said = str(caught.value)
    assert "NATS_URL is not set" in said
    assert "TEAMBUS_APP is not set" in said
    assert "HOOK_RUNNER_DRAIN_S='long'" in said


def test_settings_come_from_their_variables() -> None:
    environment = {
        "NATS_URL": "nats://a:4222,nats://b:4222",
        "TEAMBUS_APP": "shop:app",
        "HOOK_RUNNER_PROCESSES_MAX": "3",
    }
    settings = read_settings(Settings, "HOOK_RUNNER", environment)
    assert settings.bus("app").urls == ("nats://a:4222", "nats://b:4222")
    assert settings.processes_max == 3


@pytest.mark.parametrize(("hooks", "processes"), [(0, 0), (1, 1), (3, 3), (4, 3), (10, 3)])
def test_each_hook_has_a_process_of_its_own_while_there_are_enough(
    hooks: int, processes: int
) -> None:
    names = [f"h{n}" for n in range(hooks)]
    described = [HookDescription(name=n, app="a", function=n, teams=[]) for n in names]
    shares = _shares(described, 3)
    assert len(shares) == processes
    assert sorted(hook.name for share in shares for hook in share) == names


HOOKS = [HookDescription(name=n, app="a", function=n, teams=[]) for n in ("bill", "note", "tell")]


@pytest.mark.parametrize(
    ("only", "all_but", "names"),
    [
        ((), (), ["bill", "note", "tell"]),
        (("note",), (), ["note"]),
        ((), ("note",), ["bill", "tell"]),
        ((), ("bill", "note", "tell"), []),
    ],
)
def test_groups_share_the_hooks_without_gap_or_overlap(
    only: tuple[str, ...], all_but: tuple[str, ...], names: list[str]
) -> None:
    assert [hook.name for hook in chosen(HOOKS, only=only, all_but=all_but)] == names


def test_a_hook_that_no_app_has_is_refused_by_name() -> None:
    with pytest.raises(SettingsError, match=r"HOOK_RUNNER_HOOKS names 'bil'; .*bill, note, tell"):
        chosen(HOOKS, only=("bil", "note"), all_but=())
    with pytest.raises(SettingsError, match="HOOK_RUNNER_HOOKS_EXCEPT names 'bil'"):
        chosen(HOOKS, only=(), all_but=("bil",))


def test_a_group_is_told_its_hooks_in_one_way() -> None:
    environment = {"NATS_URL": "nats://a:4222", "TEAMBUS_APP": "shop:app"}
    both = {"HOOK_RUNNER_HOOKS": "bill", "HOOK_RUNNER_HOOKS_EXCEPT": "note"}
    with pytest.raises(SettingsError, match="set one of them"):
        read_settings(Settings, "HOOK_RUNNER", environment | both)


def test_a_network_that_is_none_is_refused_by_name() -> None:
    environment = {"NATS_URL": "nats://a:4222", "TEAMBUS_APP": "shop:app"}
    variable = "HOOK_RUNNER_WEBHOOK_NETWORKS_ALLOWED"
    settings = read_settings(Settings, "HOOK_RUNNER", environment | {variable: "10.0.0.0/8, ::1"})
    assert settings.webhook_networks_allowed == ("10.0.0.0/8", "::1")
    with pytest.raises(SettingsError, match=f"{variable} has '10.0.0.1/8': .*host bits"):
        read_settings(Settings, "HOOK_RUNNER", environment | {variable: "10.0.0.0/8,10.0.0.1/8"})
