"""Who may do what on the bus, worked out from the streams, the channels and the endpoints.

What is not listed is refused. A stream, channel or endpoint that is named here and does not exist
is an error, so the lists cannot name what is gone.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from teambus.bus import identities, topology
from teambus.bus.topology import BODIES, FILES
from teambus.contracts.catalogue import AppDescription
from teambus.contracts.channels import CHANNELS, PARAMETERS
from teambus.contracts.endpoints import ENDPOINTS
from teambus.contracts.ids import HookName, Tenant, token
from teambus.contracts.media import BODIES_BUCKET, FILES_BUCKET
from teambus.contracts.subjects import ROOT, STANDARD_LANE, fits

API = "$JS.API"
WHO_AM_I = "$SYS.REQ.USER.INFO"
"""Where the server tells whoever asks what that one may do."""
WORK = (topology.REQUESTS, topology.EVENTS, topology.REDRIVE)
"""The streams that have consumers."""
STREAMS = tuple(document["name"] for document in topology.streams(topology.TopologySettings()))
_CHANNELS = {channel.name: channel for channel in CHANNELS}
_ENDPOINTS = {endpoint.verb: endpoint for endpoint in ENDPOINTS}


@dataclass(frozen=True, slots=True)
class Rights:
    """All that one identity may publish and hear; `answers`: also a reply to each question.

    A `tenant` is one whose programs are kept in an account of their own: what passes between that
    and the services is `asks` and `hears`.
    """

    identity: str
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    answers: bool = False
    tenant: Tenant | None = None

    @property
    def asks(self) -> tuple[str, ...]:
        return self.publish

    @property
    def hears(self) -> tuple[str, ...]:
        return tuple(each for each in self.subscribe if not each.startswith("_INBOX"))


def everybody(apps: Iterable[AppDescription], tenants: Iterable[Tenant] = ()) -> list[Rights]:
    """The services and people of a bus that serves these apps, and the programs of tenants."""
    served = sorted(apps, key=lambda app: app.id)
    return [
        gateway(),
        *(team_runner(app) for app in served),
        *(hook_runner(app) for app in served),
        provision(),
        operator(),
        doctor(),
        *(client(tenant) for tenant in tenants),
    ]


def gateway() -> Rights:
    """Takes requests in, and tells how runs end: of every tenant."""
    return _rights(
        identities.GATEWAY,
        publish=(
            said("request"),
            said("event.accepted"),
            said("control"),
            asked("hook.calls"),
            *_stored_questions(),
            *_kept_aside(FILES_BUCKET),
            *_redriving(),
            *_reading(
                *(topology.REQUESTS, topology.JOURNAL, topology.FRAMES, topology.SESSIONS),
                *(topology.CONTROL, FILES),
            ),
            *(_about(stream) for stream in (topology.REQUESTS, topology.FRAMES)),
            nearby(topology.EVENTS, said("event.completed")),
            nearby(topology.EVENTS, said("event.refused")),
            nearby(topology.FRAMES, said("frame")),
            f"{API}.DIRECT.GET.{topology.FRAMES}",
            *(f"{API}.STREAM.PURGE.{store}" for store in (BODIES, FILES)),
        ),
        subscribe=(f"{ROOT}.live.>", *(asked(verb) for verb in _ENDPOINTS if _is_for_all(verb))),
        answers=True,
    )


def team_runner(app: AppDescription) -> Rights:
    """Pulls from its own pool. Each may be the janitor, who ends what any app left."""
    pool = topology.pool_name(app.id)
    databases = {each.db_id for each in app.components if each.db_id is not None}
    return _rights(
        identities.team_runner(app.id),
        publish=(
            *_pulling(topology.REQUESTS, pool),
            *(said(f"event.{kind}") for kind in ("completed", "refused")),
            *(said(name) for name in ("journal", "frame", "session", "lease")),
            *(said("dead", about=about) for about in ("run", "request")),
            asked("runner.{runner}.holds"),
            asked("pool.{app}"),
            *_kept_aside(BODIES_BUCKET),
            *_reading(*(stream for stream in STREAMS if stream != topology.REDRIVE)),
            *(_about(stream) for stream in STREAMS),
            *(f"{API}.CONSUMER.LIST.{stream}" for stream in WORK),
            f"{API}.DIRECT.GET.{topology.SESSIONS}",
            f"{API}.STREAM.MSG.DELETE.{topology.REQUESTS}",
            *(f"{API}.STREAM.PURGE.{store}" for store in (BODIES,)),
        ),
        subscribe=(
            f"{ROOT}.ordered.>",
            f"{ROOT}.open.*.*",
            *(asked(verb, app=app.id) for verb in ("pool.{app}", "pool.{app}.check")),
            asked("runner.{runner}.holds"),
            *(each for db in sorted(databases) for each in _stored_questions(token(db))),
        ),
        answers=True,
    )


def hook_runner(app: AppDescription) -> Rights:
    """Pulls what is meant for the hooks of its app, and says how that went."""
    mine = [hook.name for hook in app.hooks]
    consumers = [topology.hook_consumer_name(hook) for hook in app.hooks]
    return _rights(
        identities.hook_runner(app.id),
        publish=(
            *(
                subject
                for stream in (topology.EVENTS, topology.REDRIVE)
                for name in consumers
                for subject in _pulling(stream, name)
            ),
            *_outcomes(mine),
            asked("db.{db}.session"),
            *_kept_aside(BODIES_BUCKET),
            *_reading(topology.HOOKS, topology.DEAD, topology.CATALOGUE),
            _about(topology.CATALOGUE),
            f"{API}.STREAM.MSG.DELETE.{topology.DEAD}",
            f"{API}.STREAM.PURGE.{BODIES}",
        ),
        subscribe=(asked("hook.calls"),),
        answers=True,
    )


def provision() -> Rights:
    """Makes the streams and consumers, and fills the catalogue; the only one who may."""
    consumers = ("CREATE", "INFO", "DELETE")
    return _rights(
        identities.PROVISION,
        publish=(
            *(f"{API}.STREAM.{verb}.{s}" for s in STREAMS for verb in ("INFO", "CREATE", "UPDATE")),
            *(f"{API}.CONSUMER.{verb}.{s}.*" for s in WORK for verb in consumers),
            *(f"{API}.CONSUMER.LIST.{stream}" for stream in WORK),
            f"{API}.CONSUMER.CREATE.{topology.EVENTS}",
            f"{API}.STREAM.PURGE.{topology.REDRIVE}",
            said("$KV.teambus_catalogue"),
            *_reading(topology.CATALOGUE),
        ),
    )


def operator() -> Rights:
    """`teambus dead-letters` and `teambus hooks`."""
    return _rights(identities.OPERATOR, publish=(*_redriving(), f"{API}.STREAM.PURGE.{BODIES}"))


def doctor() -> Rights:
    """`teambus doctor`: looks at everything and changes nothing."""
    return _rights(
        identities.DOCTOR,
        publish=(
            *(_about(stream) for stream in STREAMS),
            *(f"{API}.CONSUMER.LIST.{stream}" for stream in WORK),
            *_reading(*WORK, topology.CATALOGUE, topology.LEASES),
            *(asked(verb) for verb in ("pool.{app}", "pool.{app}.check")),
        ),
    )


def client(tenant: Tenant) -> Rights:
    """A program of a tenant's: asks for runs and cancels them, and for its sessions; what it hears
    and changes is its tenant's alone.
    """
    heard = [each.name for each in CHANNELS if each.direction == "heard"]
    told = [each.name for each in CHANNELS if each.direction == "told"]
    return Rights(
        identities.client(tenant),
        publish=(
            *(said(name, tenant=tenant, lane=STANDARD_LANE) for name in heard),
            *(asked(verb, tenant=tenant) for verb in _ENDPOINTS if _is_open(verb)),
            *(nearby(_stream_of(name), said(name, tenant=tenant)) for name in told),
        ),
        # Its account is its own, so no other's answers are there to be heard.
        subscribe=("_INBOX.>", f"{ROOT}.live.{tenant}.>"),
        tenant=tenant,
    )


def said(channel: str, **known: str) -> str:
    """What is said in a channel, by any tenant and about anything but what is `known`."""
    return _pattern(_CHANNELS[channel].address, known)


def asked(verb: str, **known: str) -> str:
    """A question that may be asked."""
    return _pattern(_ENDPOINTS[verb].address, known)


def nearby(stream: str, subject: str) -> str:
    """Reading the last message of a subject, and of no other."""
    return f"{API}.DIRECT.GET.{stream}.{subject}"


def _rights(
    identity: str, *, publish: Iterable[str], subscribe: Iterable[str] = (), answers: bool = False
) -> Rights:
    heard = (f"{identities.inbox(identity)}.>", *subscribe)
    told = (*publish, WHO_AM_I)
    return Rights(identity, tuple(dict.fromkeys(told)), tuple(dict.fromkeys(heard)), answers)


def _redriving() -> tuple[str, ...]:
    """Looking at what was given up, and having it or the past delivered again."""
    return (
        said("redrive"),
        said("hook"),
        *_kept_aside(BODIES_BUCKET),
        *_reading(topology.EVENTS, topology.HOOKS, topology.DEAD, topology.CATALOGUE),
        *(_about(stream) for stream in (topology.EVENTS, topology.DEAD, topology.CATALOGUE)),
        *(f"{API}.CONSUMER.INFO.{stream}.*" for stream in (topology.EVENTS, topology.REDRIVE)),
        f"{API}.DIRECT.GET.{topology.DEAD}",
        f"{API}.STREAM.MSG.DELETE.{topology.DEAD}",
    )


def _outcomes(hooks: Iterable[HookName]) -> list[str]:
    names = list(hooks)
    return [
        *(said("hook", hook=name) for name in names),
        *(said("dead", about="hook", name=name) for name in names),
    ]


def _pulling(stream: str, consumer: str) -> tuple[str, ...]:
    """Taking from one consumer and settling what was taken; the last is the newer form of acks."""
    return (
        f"{API}.CONSUMER.INFO.{stream}.{consumer}",
        f"{API}.CONSUMER.MSG.NEXT.{stream}.{consumer}",
        f"$JS.ACK.{stream}.{consumer}.>",
        f"$JS.ACK.*.*.{stream}.{consumer}.>",
    )


def _reading(*streams: str) -> list[str]:
    """Single messages of whole streams, from their leaders."""
    return [f"{API}.STREAM.MSG.GET.{stream}" for stream in streams]


def _about(stream: str) -> str:
    return f"{API}.STREAM.INFO.{stream}"


def _kept_aside(bucket: str) -> tuple[str, ...]:
    """Writing large bodies, and reading those."""
    stream = topology.object_store_stream(bucket)
    return f"$O.{bucket}.C.*", f"$O.{bucket}.M.*", *_reading(stream)


def _stored_questions(db: str = "*") -> list[str]:
    """All that a database may be asked."""
    return [asked(verb, db=db) for verb in _ENDPOINTS if verb.startswith("db.")]


def _is_for_all(verb: str) -> bool:
    """Whether gateways answer it, for any program."""
    return verb.startswith("run.")


def _is_open(verb: str) -> bool:
    """Whether a tenant's programs may ask it."""
    return _is_for_all(verb) or verb.startswith("db.")


def _stream_of(channel: str) -> str:
    for document in topology.streams(topology.TopologySettings()):
        if any(fits(_CHANNELS[channel].address, each) for each in document["subjects"]):
            return str(document["name"])
    raise LookupError(f"no stream has what is said in {channel}")


def _pattern(address: str, known: dict[str, str]) -> str:
    assert known.keys() <= PARAMETERS.keys(), known
    return address.format(**{name: known.get(name, "*") for name in PARAMETERS})
