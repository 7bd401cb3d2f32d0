"""What each party is told before the conversation."""

import html
import re
from collections import ChainMap, Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from teambus.app.agents import Agent
from teambus.app.teams import Team
from teambus.contracts.media import Media

_PLACEHOLDER = re.compile(r"\{(\w+)\}")

_LEAD = (
    "You lead a team. You see the user's request, decide what is needed, let the members do what"
    " they are good at, and write the final answer yourself."
)
_DELEGATION = """\
- Give a member work with `delegate_task_to_member`. What no member is needed for, answer yourself.
- Name the member by its id, exactly as it stands in `<team_members>`. There are no others.
- A member reads only the task you write: neither this conversation nor what other members said. \
Put everything it must know into the task, and say what you expect back.
- Tasks that do not need each other's results belong in one turn; they are done at the same time. \
A task that builds on a result comes in a later turn and carries that result.
- A result may be wrong, partial or an error. Check it, ask again or ask someone else, and do not \
repeat the same task unchanged.
- The user does not see what the members write. Your last message must be the whole answer."""
_MARKDOWN = "Write your answer in Markdown where that makes it easier to read."


def system_prompt(
    who: Agent | Team, known: Mapping[str, Any], media: Sequence[Media] = ()
) -> str | None:
    """The system message, None when there is nothing to say. `{name}` of `known` is filled in."""
    text = "\n\n".join(_parts(who, media))
    return _PLACEHOLDER.sub(lambda found: str(known.get(found[1], found[0])), text) or None


def known_values(*sources: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """What placeholders may name; earlier sources win."""
    return ChainMap(*(dict(source) for source in sources if source))


def roster(team: Team) -> str:
    """The members' ids, for a leader that asked for somebody else."""
    return ", ".join(f"{each.id} ({each.name})" for each in team.members)


def _parts(who: Agent | Team, media: Sequence[Media]) -> Iterator[str]:
    if who.description:
        yield _block("description", who.description)
    if who.role:
        yield _block("your_role", who.role)
    if who.instructions:
        yield _instructions(who.instructions)
    if isinstance(who, Team):
        yield _team(who)
    if media:
        yield _block("attached_media", _attached(who, media))
    if who.markdown:
        yield _block("additional_information", _bullets([_MARKDOWN]))
    if who.expected_output:
        yield _block("expected_output", who.expected_output.strip())
    if who.additional_context:
        yield _block("additional_context", who.additional_context.strip())


def _instructions(instructions: str | list[str]) -> str:
    if isinstance(instructions, str):
        return instructions
    return (
        instructions[0]
        if len(instructions) == 1
        else _block("instructions", _bullets(instructions))
    )


def _team(team: Team) -> str:
    members = _block("team_members", "\n".join(map(_member, team.members)))
    delegation = _block("delegation", _DELEGATION)
    return _block("team", "\n\n".join((_LEAD, members, delegation)))


def _attached(who: Agent | Team, media: Sequence[Media]) -> str:
    """Which files go with the request. A leader must know that it need not describe them."""
    kinds = Counter(each.kind for each in media)
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    to_members = " Every member gets them with its task." if isinstance(who, Team) else ""
    return f"With the request come these files: {counts}.{to_members}"


def _member(member: Agent | Team) -> str:
    kind = ' type="team"' if isinstance(member, Team) else ""
    name = html.escape(member.name)
    tools = ", ".join(getattr(tool, "__name__", str(tool)) for tool in member.tools)
    said = {"Role": member.role, "Description": member.description, "Tools": tools}
    lines = [f"  {label}: {text}" for label, text in said.items() if text]
    return "\n".join([f'<member id="{member.id}" name="{name}"{kind}>', *lines, "</member>"])


def _block(tag: str, text: str) -> str:
    return f"<{tag}>\n{text}\n</{tag}>"


def _bullets(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
