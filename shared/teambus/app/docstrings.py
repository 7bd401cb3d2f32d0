"""What a docstring says about a function and its arguments: Google, NumPy and Sphinx style."""

import inspect
import re
from dataclasses import dataclass

TEXT_CHARS_MAX = 1024

_SECTION = re.compile(
    r"(Args|Arguments|Parameters|Params|Returns?|Raises|Yields?|Examples?|Notes?|Attributes)"
    r"\s*:?\s*\Z"
)
_ARGUMENTS = ("Args", "Arguments", "Parameters", "Params")
_UNDERLINE = re.compile(r"-{3,}\s*\Z")
_GOOGLE_ARGUMENT = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)\Z")
_NUMPY_ARGUMENT = re.compile(r"\*{0,2}(\w+)\s*(?::.*)?\Z")
_SPHINX_ARGUMENT = re.compile(r":param\s+(?:[^:\s]+\s+)?\*{0,2}(\w+)\s*:\s*(.*)\Z")
_SPHINX_FIELD = re.compile(r":\w+[^:]*:")


@dataclass(frozen=True, slots=True)
class Docstring:
    """Texts longer than a model is shown are cut."""

    description: str
    arguments: dict[str, str]


def parse(text: str | None) -> Docstring:
    lines = inspect.cleandoc(text or "").splitlines()
    end = next((n for n in range(len(lines)) if _is_section(lines, n)), len(lines))
    description = "\n".join(lines[:end]).strip()
    arguments: dict[str, list[str]] = {}
    _read_sphinx(lines, arguments)
    for start in range(len(lines)):
        if _is_arguments(lines, start):
            _read_section(lines, start + 1, arguments)
    texts = {name: " ".join(words).strip()[:TEXT_CHARS_MAX] for name, words in arguments.items()}
    return Docstring(description[:TEXT_CHARS_MAX], {n: each for n, each in texts.items() if each})


def _is_section(lines: list[str], n: int) -> bool:
    line = lines[n]
    if _SPHINX_FIELD.match(line):
        return True
    if not _SECTION.match(line):
        return False
    return line.rstrip().endswith(":") or _is_underlined(lines, n)


def _is_underlined(lines: list[str], n: int) -> bool:
    return n + 1 < len(lines) and _UNDERLINE.match(lines[n + 1]) is not None


def _is_arguments(lines: list[str], n: int) -> bool:
    return _is_section(lines, n) and lines[n].strip(" :") in _ARGUMENTS


def _read_sphinx(lines: list[str], into: dict[str, list[str]]) -> None:
    current: list[str] | None = None
    for line in lines:
        if found := _SPHINX_ARGUMENT.match(line):
            current = into.setdefault(found[1], [])
            current.append(found[2])
        elif current is not None and line.startswith(" "):
            current.append(line.strip())
        else:
            current = None


def _read_section(lines: list[str], start: int, into: dict[str, list[str]]) -> None:
    """Read one section of arguments, which ends where the next begins."""
    numpy = start < len(lines) and _UNDERLINE.match(lines[start]) is not None
    body = lines[start + 1 :] if numpy else lines[start:]
    end = next((n for n in range(len(body)) if _is_section(body, n)), len(body))
    body = [line for line in body[:end] if line.strip()]
    if not body:
        return
    pattern = _NUMPY_ARGUMENT if numpy else _GOOGLE_ARGUMENT
    margin = _indent(body[0])
    current: list[str] | None = None
    for line in body:
        if _indent(line) < margin:
            return
        found = pattern.match(line.strip()) if _indent(line) == margin else None
        if found:
            current = into.setdefault(found[1], [])
            current.extend(found.groups()[1:])
        elif current is not None:
            current.append(line.strip())


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
