"""What hook-runners say of the calls they are making."""

import msgspec

from teambus.contracts.ids import HookName, RunId


class HookCall(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A call that is being made. `generation` counts how often its delivery was redriven."""

    hook: HookName
    attempt: int
    began_at: float
    generation: int = 0


class CallsOfRun(msgspec.Struct, kw_only=True):
    """`hook.calls`: every hook-runner that is calling a hook for this run answers, no other does.
    So ask, and take what comes within a moment.
    """

    run_id: RunId


class RunCalls(msgspec.Struct, kw_only=True):
    """The answer to `hook.calls`."""

    calls: list[HookCall]
