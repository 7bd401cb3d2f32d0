"""Every stream and consumer, described once. `provision` applies it, services verify it."""

import hashlib
from dataclasses import dataclass
from typing import Any

import msgspec

from teambus.contracts.catalogue import AppDescription, HookDescription
from teambus.contracts.ids import digest
from teambus.contracts.media import BODIES_BUCKET, FILES_BUCKET
from teambus.contracts.subjects import ROOT, STANDARD_LANE

REQUESTS = "TEAMBUS_REQUESTS"
EVENTS = "TEAMBUS_EVENTS"
JOURNAL = "TEAMBUS_JOURNAL"
FRAMES = "TEAMBUS_FRAMES"
CONTROL = "TEAMBUS_CONTROL"
SESSIONS = "TEAMBUS_SESSIONS"
HOOKS = "TEAMBUS_HOOKS"
DEAD = "TEAMBUS_DEAD"
LEASES = "TEAMBUS_LEASES"
REDRIVE = "TEAMBUS_REDRIVE"
CATALOGUE_BUCKET = "teambus_catalogue"
CATALOGUE = f"KV_{CATALOGUE_BUCKET}"
BODIES = f"OBJ_{BODIES_BUCKET}"
FILES = f"OBJ_{FILES_BUCKET}"

FINGERPRINT = "teambus.topology"
OWNER = "teambus.app"
HOOK = "teambus.hook"
DAY_S = 24 * 3600
CONSUMERS_MAX = 10_000
ACK_PENDING_MAX = 50_000
STORE_OPTIONS = {"allow_rollup_hdrs": True, "deny_delete": True}


@dataclass(frozen=True, slots=True)
class TopologySettings:
    """What an operator chooses; the defaults suit one machine."""

    replicas: int = 1
    ack_wait_s: float = 30
    duplicate_window_s: float = 600
    retention_s: float = 14 * DAY_S
    frames_retention_s: float = DAY_S
    dead_retention_s: float = 90 * DAY_S
    requests_per_team_max: int = 10_000
    requests_bytes_max: int = 4 * 1024**3
    events_bytes_max: int = 8 * 1024**3
    journal_bytes_max: int = 8 * 1024**3
    frames_bytes_max: int = 4 * 1024**3
    bodies_bytes_max: int = 8 * 1024**3
    redrive_bytes_max: int = 1024**3
    files_bytes_max: int = 8 * 1024**3
    files_retention_s: float = 91 * DAY_S
    small_bytes_max: int = 1024**3


def streams(settings: TopologySettings) -> list[dict[str, Any]]:
    """The full document of every stream."""
    return [
        *_run_streams(settings),
        _frames(settings),
        *_record_streams(settings),
        *_letter_streams(settings),
        *_stores(settings),
    ]


def subjects_of(name: str) -> set[str]:
    """All that is said in a stream."""
    found = (each for each in streams(TopologySettings()) if each["name"] == name)
    return {subject for each in found for subject in each["subjects"]}


def _run_streams(settings: TopologySettings) -> list[dict[str, Any]]:
    """What a run is asked, does and says."""
    events = f"{ROOT}.event.*.*.*.*"
    live = f"{ROOT}.live.{{{{wildcard(1)}}}}.{{{{wildcard(3)}}}}.{{{{wildcard(4)}}}}"
    return [
        _stream(
            settings,
            REQUESTS,
            f"{ROOT}.request.*.*.*",
            retention="workqueue",
            max_msgs_per_subject=settings.requests_per_team_max,
            discard_new_per_subject=True,
            max_bytes=settings.requests_bytes_max,
        ),
        _stream(
            settings,
            EVENTS,
            events,
            max_age=_ns(settings.retention_s),
            max_bytes=settings.events_bytes_max,
            republish={"src": events, "dest": live},
        ),
        _stream(
            settings,
            JOURNAL,
            f"{ROOT}.journal.*.*.*",
            max_age=_ns(settings.retention_s),
            max_bytes=settings.journal_bytes_max,
        ),
    ]


def _frames(settings: TopologySettings) -> dict[str, Any]:
    """What runs say while they run. With no room left the oldest goes: frames are no promise."""
    frames = f"{ROOT}.frame.*.*"
    live = f"{ROOT}.live.{{{{wildcard(1)}}}}.{{{{wildcard(2)}}}}.frame.batch"
    return _stream(
        settings,
        FRAMES,
        frames,
        discard="old",
        max_age=_ns(settings.frames_retention_s),
        max_bytes=settings.frames_bytes_max,
        republish={"src": frames, "dest": live},
    )


def _record_streams(settings: TopologySettings) -> list[dict[str, Any]]:
    """Small records beside the runs: cancels, sessions, hook outcomes."""
    small = {"max_bytes": settings.small_bytes_max}
    return [
        _stream(
            settings,
            CONTROL,
            f"{ROOT}.control.*.*.*",
            max_msgs_per_subject=1,
            max_age=_ns(settings.retention_s),
            republish={"src": f"{ROOT}.control.>", "dest": f"{ROOT}.ordered.>"},
            **small,
        ),
        _stream(
            settings,
            SESSIONS,
            f"{ROOT}.session.*.*",
            max_msgs_per_subject=1,
            republish={"src": f"{ROOT}.session.>", "dest": f"{ROOT}.open.>"},
            **small,
        ),
        _stream(settings, HOOKS, f"{ROOT}.hook.*.*.*", max_age=_ns(settings.retention_s), **small),
        _stream(settings, LEASES, f"{ROOT}.lease.*", max_msgs_per_subject=1, **small),
    ]


def _letter_streams(settings: TopologySettings) -> list[dict[str, Any]]:
    """Work that was given up, and what is to be delivered again, however long that takes."""
    return [
        _stream(
            settings,
            DEAD,
            f"{ROOT}.dead.*.*.*.*",
            max_msgs_per_subject=1,
            max_age=_ns(settings.dead_retention_s),
            max_bytes=settings.small_bytes_max,
        ),
        _stream(
            settings,
            REDRIVE,
            f"{ROOT}.redrive.*.*",
            retention="workqueue",
            max_bytes=settings.redrive_bytes_max,
        ),
    ]


def _stores(settings: TopologySettings) -> list[dict[str, Any]]:
    """The catalogue, large bodies and files, in the layouts of NATS's own stores."""
    kept_s = max(settings.retention_s, settings.dead_retention_s) + DAY_S
    # What a run is asked refers to them for as long as it is kept.
    files_kept_s = max(settings.files_retention_s, settings.retention_s + DAY_S)
    return [
        _stream(
            settings,
            CATALOGUE,
            f"$KV.{CATALOGUE_BUCKET}.>",
            max_msgs_per_subject=1,
            max_bytes=settings.small_bytes_max,
            **STORE_OPTIONS,
        ),
        _object_store(settings, BODIES_BUCKET, settings.bodies_bytes_max, kept_s),
        _object_store(settings, FILES_BUCKET, settings.files_bytes_max, files_kept_s),
    ]


def _object_store(
    settings: TopologySettings, bucket: str, bytes_max: int, kept_s: float
) -> dict[str, Any]:
    return _stream(
        settings,
        object_store_stream(bucket),
        f"$O.{bucket}.C.>",
        f"$O.{bucket}.M.>",
        max_bytes=bytes_max,
        max_age=_ns(kept_s),
        **STORE_OPTIONS,
    )


def object_store_stream(bucket: str) -> str:
    return f"OBJ_{bucket}"


def pool_consumer(app: AppDescription, settings: TopologySettings) -> dict[str, Any]:
    """The one consumer that all runners of an app pull from."""
    subjects = [f"{ROOT}.request.*.{each.id}.{STANDARD_LANE}" for each in app.components]
    return _consumer(pool_name(app.id), subjects, settings, policy="all")


def hook_consumer(hook: HookDescription, settings: TopologySettings) -> dict[str, Any]:
    """A hook's own consumer: its own place in the events, its own retries."""
    subjects = [f"{ROOT}.event.*.{team}.*.completed" for team in hook.teams]
    document = _consumer(hook_consumer_name(hook), subjects, settings, policy=hook.replay)
    return _signed(document | {"metadata": {OWNER: hook.app, HOOK: hook.name}})


def hearing_too(document: dict[str, Any], patterns: list[str]) -> dict[str, Any]:
    """A consumer that gets these subjects besides its own."""
    return _signed(document | {"filter_subjects": [*document["filter_subjects"], *patterns]})


def filters(config: dict[str, Any]) -> list[str]:
    """The subjects of a consumer as the server says it is."""
    one = config.get("filter_subject")
    return [one] if one else list(config.get("filter_subjects") or [])


def redrive_consumer(hook: HookDescription, settings: TopologySettings) -> dict[str, Any]:
    """A hook's consumer of what is delivered to it again, and to no other hook."""
    subjects = [f"{ROOT}.redrive.*.{hook.name}"]
    return _consumer(hook_consumer_name(hook), subjects, settings, policy="all")


def pool_name(app_id: str) -> str:
    return f"pool_{app_id}"


def hook_consumer_name(hook: HookDescription) -> str:
    return f"hook_{digest(f'{hook.app}/{hook.name}'.encode(), 26)}"


def fingerprint(document: dict[str, Any]) -> str:
    """Tells whether a stream or consumer was made from another description than this."""
    return hashlib.sha256(msgspec.json.encode(document, order="sorted")).hexdigest()


def _stream(
    settings: TopologySettings, name: str, *subjects: str, **options: Any
) -> dict[str, Any]:
    document: dict[str, Any] = {
        "name": name,
        "subjects": list(subjects),
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "num_replicas": settings.replicas,
        "duplicate_window": _ns(settings.duplicate_window_s),
        "max_consumers": CONSUMERS_MAX,
        "max_msg_size": -1,
        "max_msgs": -1,
        "max_age": 0,
        "allow_direct": True,
        **options,
    }
    return {**document, "metadata": {FINGERPRINT: fingerprint(document)}}


def _consumer(
    name: str, subjects: list[str], settings: TopologySettings, *, policy: str
) -> dict[str, Any]:
    document: dict[str, Any] = {
        "durable_name": name,
        "name": name,
        "deliver_policy": policy,
        "ack_policy": "explicit",
        "ack_wait": _ns(settings.ack_wait_s),
        "max_deliver": -1,
        "max_ack_pending": ACK_PENDING_MAX,
        "max_waiting": 512,
        "filter_subjects": subjects,
        "replay_policy": "instant",
    }
    return _signed(document)


def _signed(document: dict[str, Any]) -> dict[str, Any]:
    metadata = {k: v for k, v in document.get("metadata", {}).items() if k != FINGERPRINT}
    plain = document | {"metadata": metadata} if metadata else document
    return document | {"metadata": {**metadata, FINGERPRINT: fingerprint(plain)}}


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
