"""A description that was written elsewhere is only acted on when its ids can do no harm."""

import msgspec
import pytest

from teambus.contracts.catalogue import AppDescription, HookDescription, TeamDescription
from teambus.domain.descriptions import mistakes_of

HOOK = HookDescription(name="note", app="news", function="note", teams=["desk"])
APP = AppDescription(id="news", teams=[TeamDescription(id="desk", name="Desk")], hooks=[HOOK])


def of_hook(**changes: object) -> AppDescription:
    return msgspec.structs.replace(APP, hooks=[msgspec.structs.replace(HOOK, **changes)])


def test_what_describe_writes_has_no_mistakes() -> None:
    assert mistakes_of(APP) == []


@pytest.mark.parametrize("id_", ["*", ">", "a.b", "", "x" * 65, "two words"])
def test_an_id_that_is_more_than_one_word_of_a_subject_is_a_mistake(id_: str) -> None:
    team = TeamDescription(id=id_, name="Desk")
    [of_team] = mistakes_of(msgspec.structs.replace(APP, teams=[*APP.teams, team]))
    assert f"the team or agent {id_!r} has no usable id" in of_team
    [of_app] = mistakes_of(msgspec.structs.replace(APP, id=id_, hooks=[]))
    assert f"the app {id_!r} has no usable id" in of_app
    [of_a_hook] = mistakes_of(of_hook(name=id_))
    assert f"the hook {id_!r} has no usable id" in of_a_hook


@pytest.mark.parametrize(
    ("changes", "mistake"),
    [
        ({"app": "shop"}, "the hook 'note' is of the app 'shop', not of 'news'"),
        ({"teams": []}, "the hook 'note' hears no team and no agent"),
        ({"teams": ["*"]}, "the hook 'note' hears '*', which is not of this app"),
        ({"teams": ["desk", "till"]}, "the hook 'note' hears 'till', which is not of this app"),
        ({"replay": "last"}, "the hook 'note' has replay 'last'; it may be new or all"),
    ],
)
def test_a_hook_hears_only_teams_of_its_own_app(changes: dict[str, object], mistake: str) -> None:
    assert mistakes_of(of_hook(**changes)) == [mistake]
