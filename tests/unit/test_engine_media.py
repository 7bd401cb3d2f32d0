"""Files of a run: who is shown them, and what is told of them."""

from teambus import TeamRunInput, hook
from teambus.contracts.media import Media
from teambus.contracts.output import ChatMessage
from tests.unit.engine_fakes import FakeModels, Played, agent, delegate, play, started, team

IMAGE = Media(id="f-1", kind="image", object="run-1/aa", filename="a.png", size=3)
SOUND = Media(id="f-2", kind="audio", object="run-1/bb", format="wav", size=4)
REPORT = Media(id="f-3", kind="file", object="run-1/cc", filename="r.pdf", size=5)
VIDEO = Media(id="f-4", kind="video", url="https://example.org/v.mp4")


async def played(**given: object) -> Played:
    models = FakeModels(leader=[[delegate("writer", "Describe it.")], "Done."], writer=["A cat."])
    start = started(media=[IMAGE, SOUND, REPORT, VIDEO], **given)
    return await play(team(agent("Writer")), models, start=start)


def names(message: ChatMessage) -> list[list[str]]:
    groups = (message.images, message.audio, message.files, message.videos)
    return [[each.id for each in group or ()] for group in groups]


ALL = [["f-1"], ["f-2"], ["f-3"], ["f-4"]]
NONE: list[list[str]] = [[], [], [], []]


async def test_the_leader_and_each_member_are_shown_the_files_of_the_request() -> None:
    models = (await played()).models
    for asked in (models.asked_of("leader")[0], models.asked_of("writer")[0]):
        by_role = {message.role: names(message) for message in asked.messages}
        assert by_role == {"system": NONE, "user": ALL}


async def test_an_output_tells_of_the_files_by_reference_and_never_has_their_bytes() -> None:
    output = (await played()).output
    [member] = output.member_responses
    for run in (output, member):
        assert run.input is not None
        told = run.input
        assert told.images
        assert told.videos
        assert [len(some or ()) for some in (told.audios, told.files)] == [1, 1]
        assert told.images[0].media_reference is not None
        assert told.images[0].media_reference.storage_key == "run-1/aa"
        assert told.videos[0].url == "https://example.org/v.mp4"
        user = next(message for message in run.messages or () if message.role == "user")
        assert names(user) == ALL


async def test_the_leader_is_told_that_members_get_the_files_too() -> None:
    models = (await played()).models
    system = models.asked_of("leader")[0].messages[0].content or ""
    assert "1 image, 1 audio, 1 file, 1 video. Every member gets them" in system
    inner = models.asked_of("writer")[0].messages
    assert not [m for m in inner if m.role == "system" and "Every member" in (m.content or "")]


async def test_without_files_nothing_is_said_of_any() -> None:
    models = FakeModels(leader=["Done."])
    done = await play(team(agent("Writer")), models)
    assert "attached_media" not in (models.asked[0][1].messages[0].content or "")
    assert done.output.input == TeamRunInput(input_content="Which tea?")


async def test_a_pre_hook_is_told_of_the_files_and_cannot_take_them_away() -> None:
    seen: list[int] = []

    @hook
    def look(run_input: TeamRunInput) -> None:
        seen.append(len(run_input.images or ()))
        run_input.images = None
        run_input.input_content = "changed"

    models = FakeModels(leader=["Done."])
    start = started(media=[IMAGE])
    done = await play(team(agent("Writer"), pre_hooks=[look]), models, start=start)
    user = models.asked[0][1].messages[-1]
    assert (seen, user.content, names(user)[0]) == ([1], "changed", ["f-1"])
    assert done.output.input is not None
    assert done.output.input.images


async def test_files_of_earlier_runs_are_shown_again_with_their_messages() -> None:
    first = await played()
    history = [m for m in first.output.messages or () if m.role != "system"]
    for message in history:
        message.from_history = True
    models = FakeModels(leader=["Done."])
    await play(team(agent("Writer")), models, start=started(run_id="run-2", history=history))
    users = [m for m in models.asked[0][1].messages if m.role == "user"]
    assert [names(message) for message in users] == [ALL, NONE]
