"""One full example of every message, in the order of the golden file."""

import msgspec

from teambus.contracts.catalogue import (
    AgentDescription,
    AppDescription,
    HookDescription,
    ManifestDescription,
    MemberDescription,
    ModelDescription,
    TeamDescription,
    ToolDescription,
)
from teambus.contracts.control import CancelRun
from teambus.contracts.frames import Frame, FrameBatch
from teambus.contracts.hook import DeadLetter, HookFailure, HookOutcome, RedriveDelivery
from teambus.contracts.journal import (
    AttemptReleased,
    AttemptStarted,
    JournalEntry,
    ModelAnswer,
    ModelAnswered,
    Record,
    RunEnded,
    RunPinned,
    ToolIntended,
    ToolResult,
    ToolReturned,
)
from teambus.contracts.lease import LeaseRecord
from teambus.contracts.media import Media, MediaOutput, MediaReference
from teambus.contracts.message import Message
from teambus.contracts.output import (
    ChatMessage,
    FunctionCall,
    Metrics,
    RunOutput,
    RunStatus,
    TeamRunInput,
    TeamRunOutput,
    TokenDetails,
    ToolCall,
    ToolExecution,
)
from teambus.contracts.run import Continuation, RunAccepted, RunCompleted, RunRefused, RunRequest
from teambus.contracts.session import SessionClaim, SessionRecord

METRICS = Metrics(
    input_tokens=10,
    output_tokens=5,
    total_tokens=15,
    cache_read_tokens=2,
    reasoning_tokens=1,
    time_to_first_token=0.25,
    start_time=1.5,
    end_time=2.5,
    duration=1.0,
    details={"model": [TokenDetails(id="gpt-5.2", provider="OpenAI", input_tokens=10)]},
)
SHOWN = MediaOutput(
    id="f-1",
    url="https://example.org/a.png",
    format="png",
    mime_type="image/png",
    filename="a.png",
    detail="low",
    metadata={"m": "x"},
    media_reference=MediaReference(
        media_id="f-1",
        storage_key="r-1/00ff",
        storage_backend="nats",
        bucket="teambus_bodies",
        media_type="image",
        mime_type="image/png",
        filename="a.png",
        size=12,
        content_hash="00ff",
    ),
)
INPUT = TeamRunInput(
    input_content="question", images=[SHOWN], videos=[SHOWN], audios=[SHOWN], files=[SHOWN]
)
CALL = ToolCall(id="call_1", function=FunctionCall(name="search", arguments='{"q":"ü"}'))
CHAT = ChatMessage(
    id="m-1",
    role="assistant",
    from_history=True,
    stop_after_tool_call=False,
    created_at=1_700_000_000,
    content="said",
    name="Writer",
    tool_call_id="call_1",
    tool_name="search",
    tool_args={"q": "ü"},
    tool_call_error=False,
    tool_calls=[CALL],
    metrics=METRICS,
    images=[SHOWN],
    audio=[SHOWN],
    videos=[SHOWN],
    files=[SHOWN],
)
EXECUTION = ToolExecution(
    tool_call_id="call_1",
    tool_name="search",
    tool_args={"q": "ü"},
    tool_call_error=False,
    result="found",
    metrics=METRICS,
    child_run_id="r-1-member",
    created_at=1_700_000_000,
)
MEDIA = Media(
    id="f-1",
    kind="file",
    object="r-1/f-1",
    url="https://example.org/a.pdf",
    mime_type="application/pdf",
    filename="a.pdf",
    format="pdf",
    detail="low",
    size=12,
    metadata={"m": "x"},
)
MEMBER = RunOutput(
    run_id="r-1-member",
    status=RunStatus.COMPLETED,
    created_at=1_700_000_000,
    parent_run_id="r-1",
    agent_id="writer",
    agent_name="Writer",
    team_id="desk",
    team_name="Desk",
    session_id="s 1",
    user_id="ann",
    input=TeamRunInput(input_content="do it"),
    content={"any": ["json", 1, None]},
    messages=[CHAT],
    metrics=METRICS,
    model="gpt-5.2",
    model_provider="OpenAI",
    tools=[EXECUTION],
    session_state={"k": 1},
    metadata={"m": "x"},
    events=[{"event": "RunStarted"}],
    cancellation_stage="EXECUTING",
)
OUTPUT = TeamRunOutput(
    run_id="r-1",
    team_id="desk",
    session_id="s 1",
    status=RunStatus.ERROR,
    created_at=1_700_000_000,
    content_type="str",
    member_responses=[MEMBER],
    team_name="Desk",
    parent_run_id="r-0",
    user_id="ann",
    input=INPUT,
    content="answer ü\n",
    messages=[CHAT],
    metrics=METRICS,
    model="gpt-5.2",
    model_provider="OpenAI",
    tools=[EXECUTION],
    session_state={"k": {"n": 1.5}},
    metadata={"m": "x"},
    events=[{"event": "TeamRunError"}],
    cancellation_stage="running",
    forked_from_run_id="r-0",
    forked_from_message_index=4,
    regenerated_from="r-0",
    last_checkpoint_at_message_index=4,
    agent_id="desk",
    agent_name="Desk",
)
COMPLETED = RunCompleted(
    event_id="default:desk:r-1:completed",
    tenant="default",
    team_id="desk",
    run_id="r-1",
    session_id="s 1",
    output=OUTPUT,
    completed_at=1_700_000_001.5,
    dependencies={"d": 1},
    code="attempts_used_up",
    stored=False,
    frames=12,
)
CLAIM = SessionClaim(run_id="r-1", team_id="desk", request_seq=7, leg=1)
FAILURE = HookFailure(attempt=1, code="raised", error="boom", started_at=1.0, failed_at=2.0)
MODEL = ModelDescription(id="gpt-5.2", provider="OpenAI", name="OpenAIChat")
TOOL = ToolDescription(name="search", description="finds", parameters={"type": "object"})

RECORDS: list[Record] = [
    AttemptStarted(
        runner="runner-1", request_seq=7, team_id="desk", request_digest="abc", at=1_700_000_000.5
    ),
    AttemptReleased(reason="the session is busy"),
    RunPinned(
        created_at=1_700_000_000,
        history_run_ids=["r-0"],
        session_state={"k": 1},
        input_content="question",
    ),
    ModelAnswered(
        path="leader/0",
        digest="def",
        answer=ModelAnswer(
            content="said",
            tool_calls=[CALL],
            finish_reason="tool_calls",
            metrics=METRICS,
            model="gpt-5.2-2026",
            provider_data={"id": "x"},
        ),
        message_id="m-1",
        at=1_700_000_000.75,
    ),
    ToolReturned(
        path="leader/0/tool:call_1",
        digest="ghi",
        result=ToolResult(
            content="found", error=True, session_state={"k": 2}, started_at=1.0, duration_s=0.5
        ),
        at=1_700_000_001.0,
    ),
    ToolIntended(path="leader/0/tool:call_2", digest="jkl", tool="charge", at=1_700_000_001.5),
    RunEnded(completed=COMPLETED, fence=3, session_state={"k": 2}, replaces="r-0"),
]

EXAMPLES: list[Message] = [
    RunRequest(
        run_id="r-1",
        input="question",
        session_id="s 1",
        user_id="ann",
        session_state={"k": 1},
        dependencies={"d": 1},
        metadata={"m": "x"},
        add_history_to_context=True,
        stream=True,
        media=[MEDIA],
        continues=Continuation(
            run_id="r-0", continue_from=4, regenerate=True, replace_original=False
        ),
    ),
    RunAccepted(
        event_id="default:desk:r-1:accepted",
        tenant="default",
        team_id="desk",
        run_id="r-1",
        session_id="s 1",
        request_digest="abc",
        accepted_at=1_700_000_000.5,
        user_id="u-1",
    ),
    COMPLETED,
    RunRefused(
        event_id="default:desk:r-1:refused:8",
        tenant="default",
        team_id="desk",
        run_id="r-1",
        request_seq=8,
        code="run_id_in_use",
        detail="choose a new one",
    ),
    JournalEntry(nonce="a-0", attempt="a", n=0, records=RECORDS),
    FrameBatch(
        tenant="default",
        team_id="desk",
        run_id="r-1",
        attempt=7,
        frames=[
            Frame(event_index=0, event="TeamRunStarted", data=msgspec.Raw(b'{"a":"\xc3\xbc"}'))
        ],
    ),
    CancelRun(
        tenant="default",
        team_id="desk",
        run_id="r-1",
        requested_at=1_700_000_000.5,
        reason="not needed",
    ),
    SessionRecord(tenant="default", session_id="s 1", fence=3, holder=CLAIM, waiting=[CLAIM]),
    HookOutcome(
        delivery_id="default:note:r-1",
        tenant="default",
        team_id="desk",
        run_id="r-1",
        hook="note",
        state="failed",
        attempt=2,
        failures=[FAILURE],
        retry_at=3.5,
        at=2.5,
        generation=1,
        replay="p-1",
    ),
    DeadLetter(
        id="default:note:r-1",
        about="hook",
        name="note",
        tenant="default",
        reason="gave up after 5 attempts",
        died_at=9.5,
        team_id="desk",
        run_id="r-1",
        event_id="default:desk:r-1:completed",
        event=COMPLETED,
        attempts=5,
        failures=[FAILURE],
        traceback="Traceback",
        body="{",
        generation=1,
    ),
    RedriveDelivery(
        delivery_id="default:note:r-1",
        tenant="default",
        hook="note",
        event=COMPLETED,
        generation=2,
        asked_at=10.5,
        suspect=True,
        replay="p-1",
    ),
    AppDescription(
        id="news",
        name="News",
        description="what is new",
        quick_prompts={"desk": ["what is new?"]},
        manifest={
            "desk": ManifestDescription(
                description="d", labels=["news"], quick_prompts=["what is new?"]
            )
        },
        teams=[
            TeamDescription(
                id="desk",
                name="Desk",
                db_id="db-1",
                session_table="teambus_sessions",
                description="d",
                role="r",
                instructions=["one", "two"],
                markdown=True,
                expected_output="e",
                model=MODEL,
                tools=[TOOL],
                tool_call_limit=3,
                add_history_to_context=True,
                num_history_runs=3,
                metadata={"m": "x"},
                members=[
                    MemberDescription(
                        id="writer",
                        name="Writer",
                        role="writes",
                        description="d",
                        instructions="one",
                        markdown=True,
                        model=MODEL,
                        tools=[TOOL],
                        tool_call_limit=2,
                        members=[MemberDescription(id="inner", name="Inner")],
                    )
                ],
            )
        ],
        hooks=[
            HookDescription(
                name="note",
                app="news",
                function="note",
                teams=["desk"],
                members=("writer",),
                on=("COMPLETED", "ERROR"),
                attempts_max=3,
                timeout_s=1.5,
                backoff_s=0.5,
                concurrency_max=2,
                replay="all",
                needs_session=True,
            )
        ],
        agents=[
            AgentDescription(
                id="poet",
                name="Poet",
                db_id="db-1",
                session_table="teambus_sessions",
                description="d",
                role="r",
                instructions=["one", "two"],
                markdown=True,
                expected_output="e",
                additional_context="c",
                model=MODEL,
                tools=[TOOL],
                tool_call_limit=3,
                add_history_to_context=True,
                num_history_runs=3,
                metadata={"m": "x"},
            )
        ],
    ),
    LeaseRecord(
        name="janitor",
        term=3,
        holder="team-runner-host-1",
        lease_s=30.0,
        renewed_at=1700000000.5,
        notes={"n": 1},
    ),
]
