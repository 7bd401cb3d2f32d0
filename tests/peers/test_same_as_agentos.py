"""The same requests get the same answers from AgentOS and from us, but for what is listed."""

import asyncio
from typing import Any

import pytest
import pytest_asyncio

from tests.peers import agent_chapters, chapters, continue_chapters, file_chapters, session_chapters
from tests.peers.agentos import Served
from tests.peers.clients import CLIENT_CHAPTERS, client_says
from tests.peers.comparing import Finding, accepted_places, compare, fitting
from tests.peers.visitor import play

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

CHAPTERS = {
    chapter.__name__: chapter
    for chapter in (
        chapters.offers,
        chapters.runs,
        chapters.failures,
        chapters.mistakes,
        chapters.streams,
        chapters.background,
        chapters.resumed,
        chapters.cancels,
        chapters.cut,
        file_chapters.files,
        session_chapters.sessions,
        session_chapters.session_changes,
        agent_chapters.agents,
        agent_chapters.agent_streams,
        continue_chapters.going_on,
        continue_chapters.regenerated,
        continue_chapters.told_going_on,
        continue_chapters.after_failures,
        continue_chapters.not_to_go_on,
        continue_chapters.agents_going_on,
    )
}


class Told(dict[str, dict[str, Any]]):
    """What a server answered: by chapter, then by step."""

    methods: frozenset[str] = frozenset()


async def told_by(served: Served) -> Told:
    """All that is asked of a server, in HTTP and through Agno's own client."""
    told = Told()
    for name, chapter in CHAPTERS.items():
        told[name] = await play(served, chapter)
    said = await client_says(served)
    told.update(said.chapters)
    told.methods = said.methods
    return told


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def both(their_office: Served, our_office: Served) -> tuple[Told, Told]:
    return await asyncio.gather(told_by(their_office), told_by(our_office))


def findings(both: tuple[Told, Told], chapter: str) -> list[Finding]:
    theirs, ours = (told[chapter] for told in both)
    shared = [step for step in theirs if step in ours]
    assert len(shared) == len(theirs) == len(ours), (theirs.keys(), ours.keys())
    return [
        each for step in shared for each in compare(f"{chapter}: {step}", theirs[step], ours[step])
    ]


@pytest.mark.parametrize("chapter", [*CHAPTERS, *CLIENT_CHAPTERS])
async def test_the_answers_differ_only_where_it_is_listed(
    both: tuple[Told, Told], chapter: str
) -> None:
    places = accepted_places()
    refused = {
        each.place: str(each) for each in findings(both, chapter) if not fitting(each, places)
    }
    assert not refused, "not as AgentOS does:\n" + "\n".join(refused.values())


async def test_each_difference_that_is_listed_occurs(both: tuple[Told, Told]) -> None:
    places = accepted_places()
    found = [each for chapter in both[0] for each in findings(both, chapter)]
    occurring = {place for each in found for place in fitting(each, places)}
    unneeded = [place for place in places if place not in occurring]
    assert not unneeded, "differences.toml lists what is no difference any more:\n" + "\n".join(
        unneeded
    )


async def test_each_method_of_the_client_is_called(both: tuple[Told, Told]) -> None:
    steps = [step for chapter in CLIENT_CHAPTERS for step in both[0][chapter]]
    assert {step.split()[0] for step in steps} == both[0].methods
