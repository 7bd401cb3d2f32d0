"""What a checkup found, and how it is said: to people in lines, to programs as JSON."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

Level: TypeAlias = Literal["ok", "note", "fault"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `mend` is what to do about it; a note needs nobody now."""

    about: str
    level: Level
    says: str
    mend: str | None = None


def ok(about: str, says: str) -> Finding:
    return Finding(about, "ok", says)


def note(about: str, says: str, mend: str) -> Finding:
    return Finding(about, "note", says, mend)


def fault(about: str, says: str, mend: str) -> Finding:
    return Finding(about, "fault", says, mend)


def faults(findings: list[Finding]) -> int:
    return sum(each.level == "fault" for each in findings)


def lines(findings: list[Finding]) -> list[str]:
    """One line for each, a second one where something can be done, and one for all."""
    width = max((len(each.about) for each in findings), default=0)
    said = []
    for each in findings:
        said.append(f"{each.level:<5}  {each.about:<{width}}  {each.says}")
        if each.mend is not None:
            said.append(f"{'':<5}  {'':<{width}}  -> {each.mend}")
    count = faults(findings)
    if count:
        return [*said, f"{count} thing{'s' if count > 1 else ''} to mend"]
    return [*said, "nothing to mend"]


def document(findings: list[Finding]) -> dict[str, Any]:
    return {"faults": faults(findings), "findings": [asdict(each) for each in findings]}


def counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
