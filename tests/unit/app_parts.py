"""Small declarations that tests of the app build on."""

from typing import Any

from teambus import Agent, OpenAIChat, Team, TeamBus

MODEL = OpenAIChat(id="gpt-test")


def agent(name: str = "Writer", **options: Any) -> Agent:
    return Agent(name=name, **options)


def team(**options: Any) -> Team:
    return Team(**{"name": "Desk", "model": MODEL, "members": [agent()], **options})


def app(*teams: Team, **options: Any) -> TeamBus:
    return TeamBus(**{"id": "app", "teams": list(teams) or [team()], **options})
