"""What clients show of an app beside its teams and agents, declared in the words of AgentOS."""

from collections.abc import Collection, Iterator
from dataclasses import field
from typing import Any

from teambus.app.options import definition, fits, shortened


@definition("ChatConfig")
class ChatConfig:
    """Prompts that a chat offers before anything is asked, by the id of a team or agent."""

    quick_prompts: dict[str, Any] = field(default_factory=dict)


@definition("Manifest")
class Manifest:
    """How a team or agent is shown: not to its model, to people."""

    description: str | None = None
    labels: list[str] | None = None
    quick_prompts: list[str] | None = None


@definition("AgentOSConfig")
class AgentOSConfig:
    """The whole of it; `manifest` is by the id of a team or agent."""

    chat: ChatConfig | None = None
    manifest: dict[str, Any] | None = None


def config_of(given: AgentOSConfig | dict[str, Any] | None) -> AgentOSConfig:
    """The configuration, also from the objects that a YAML file of AgentOS has in it.

    Raises `DefinitionError`.
    """
    if isinstance(given, AgentOSConfig):
        return given
    options = dict(given or {})
    if isinstance(chat := options.get("chat"), dict):
        options["chat"] = ChatConfig(**chat)
    if isinstance(manifest := options.get("manifest"), dict):
        options["manifest"] = {
            id_: Manifest(**each) if isinstance(each, dict) else each
            for id_, each in manifest.items()
        }
    return AgentOSConfig(**options)


def config_mistakes(label: str, config: AgentOSConfig, ids: Collection[str]) -> Iterator[str]:
    """`ids` are those of the app's teams and agents."""
    prompts = config.chat.quick_prompts if config.chat else {}
    for id_, some in prompts.items():
        yield from _unknown(label, "chat.quick_prompts", id_, ids)
        yield from _no_texts(f"{label}: chat.quick_prompts of {id_!r}", some)
    for id_, each in (config.manifest or {}).items():
        yield from _unknown(label, "manifest", id_, ids)
        if not isinstance(each, Manifest):
            yield f"{label}: manifest of {id_!r} is {shortened(each)}; write Manifest(...)"
        elif each.quick_prompts is not None:
            yield from _no_texts(f"{label}: manifest of {id_!r}: quick_prompts", each.quick_prompts)


def _unknown(label: str, what: str, id_: object, ids: Collection[str]) -> Iterator[str]:
    if id_ not in ids:
        known = ", ".join(sorted(ids)) or "none"
        yield f"{label}: {what} names {id_!r}, which is no team or agent; there are: {known}"


def _no_texts(what: str, given: Any) -> Iterator[str]:
    if not fits(given, list[str]) or not all(each.strip() for each in given):
        yield f"{what} must be a list of texts that are not empty, not {shortened(given)}"
