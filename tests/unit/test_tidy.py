"""The house style as a failing test, and the proof that each of its rules can fail."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit import tidy

ROOT = Path(__file__).parents[2]
SOURCE_FOLDERS = ("shared", "services", "deploy/app")
TEST_FOLDERS = ("tests",)
NOT_OURS = {"build", "dist", "node_modules", "tmp"}

# (path, rule, name): why. One that excuses nothing any more fails too.
EXCEPTIONS: dict[tuple[str, str, str], str] = {}


def files(folders: tuple[str, ...]) -> list[Path]:
    found = [path.relative_to(ROOT) for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return sorted(p for p in found if not any(q in NOT_OURS or q[0] == "." for q in p.parts))


def findings(
    path: Path, rules: tuple[tidy.Rule, ...]
) -> Iterator[tuple[tuple[str, str, str], str]]:
    source = tidy.Source((ROOT / path).read_text(encoding="utf-8"), path.as_posix())
    for rule in rules:
        for line, name, what in rule(source):
            yield (source.path, rule.__name__, name), f"{path}:{line}: {name} {what}"


def test_the_house_is_tidy() -> None:
    found = [f for path in files(SOURCE_FOLDERS) for f in findings(path, tidy.SOURCE_RULES)]
    found += [f for path in files(TEST_FOLDERS) for f in findings(path, tidy.TEST_RULES)]
    untidy = [what for key, what in found if key not in EXCEPTIONS]
    unneeded = EXCEPTIONS.keys() - {key for key, _ in found}
    assert not untidy, "\n".join(untidy)
    assert not unneeded, f"exceptions that excuse nothing: {unneeded}"


def test_each_package_is_looked_at() -> None:
    looked_at = {path.parts[:3] for path in files(SOURCE_FOLDERS)}
    assert ("shared", "teambus", "contracts") in looked_at
    assert ("services", "gateway", "teambus_gateway") in looked_at
    assert ("tests", "unit", "test_tidy.py") in {path.parts for path in files(TEST_FOLDERS)}


def locks() -> list[str]:
    folders = ("", "tests/", "tests/*/", "services/*/", "deploy/*/", ".ci/")
    places = [f"{folder}*.lock" for folder in folders]
    return sorted(str(path.relative_to(ROOT)) for place in places for path in ROOT.glob(place))


@pytest.mark.parametrize("lock", locks())
def test_a_lock_is_by_hash_and_names_no_host_and_no_path(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    assert not re.findall(r"^-.*|.*(?:://|file:|/(?:home|root|tmp)/).*", text, re.MULTILINE)
    for pin in re.split(r"\n(?=[a-z])", text.strip()):
        assert re.match(r"[a-z0-9-]+==\S+", pin), pin
        assert "--hash=sha256:" in pin, pin


def body(lines: int) -> str:
    return "def f() -> None:\n" + "    print()\n" * lines


def nested(*heads: str) -> str:
    rows = ["def f() -> None:", *heads, "pass"]
    return "\n".join("    " * depth + row for depth, row in enumerate(rows))


def caught(what: str, comment: str = "") -> str:
    return f"try:\n    print()\n{what}:{comment}\n    print()\n"


# Written apart, so that these lines are not findings themselves.
TODO = "# TO" + "DO"
IGNORE = "# type" + ": ignore"
NOQA = "# no" + "qa: BLE001"
SEVEN = "a, b, c, d, e, f, g"
LOOPS = "for b in c:\n            for d in e:\n                for g in h: pass"
ELIFS = "".join(f"\n            elif e{n}:\n                pass" for n in range(30))

BROKEN: list[tuple[tidy.Rule, str]] = [
    (tidy.module_length, "x = 1\n" * 301),
    (tidy.module_docstring, ""),
    (tidy.module_docstring, "x = 1\n"),
    (tidy.function_length, body(41)),
    (tidy.function_length, "async " + body(41)),
    (tidy.function_length, "class A:\n    " + body(41).replace("\n", "\n    ")),
    (tidy.nesting, nested("if a:", "for b in c:", "while d:", "with e:")),
    (tidy.nesting, nested("for a in b:", "match c:", "case d:", "async with e:", "if f:")),
    (tidy.nesting, f"def f():\n    if a: pass\n    else:\n        {LOOPS}"),
    (tidy.nesting, f"def f():\n    try: pass\n    finally:\n        {LOOPS}"),
    (tidy.parameter_count, f"def f({SEVEN}): ..."),
    (tidy.parameter_count, f"def f(*, {SEVEN}): ..."),
    (tidy.parameter_count, f"class A:\n    def __init__(self, {SEVEN}): ..."),
    (tidy.import_inside, "def f():\n    import os"),
    (tidy.import_inside, "def f():\n    if a:\n        from os import path"),
    (tidy.bare_todo, f"x = 1  {TODO} later"),
    (tidy.bare_todo, f"{TODO}: later"),
    (tidy.bare_todo, f"{TODO}(me): later"),
    (tidy.ignore_code, f"x = 1  {IGNORE}"),
    (tidy.ignore_code, f"x = 1  {IGNORE}  # the stubs are wrong"),
    (tidy.ignore_reason, f"x = 1  {IGNORE}[assignment]"),
    (tidy.ignore_reason, f"x = 1  {NOQA}"),
    (tidy.broad_except, caught("except Exception")),
    (tidy.broad_except, caught("except BaseException as error", f"  {NOQA}")),
    (tidy.broad_except, caught("except (ValueError, Exception)")),
    (tidy.broad_except, caught("except")),
    (tidy.broad_except, caught("except Exception") + "    raise Other()\n"),
    (tidy.banned_word, "class RunManager: ..."),
    (tidy.banned_word, "class HTTPHandler: ..."),
    (tidy.banned_word, "def start_jobs(): ..."),
    (tidy.banned_word, "def f(on_done_callback): ..."),
    (tidy.banned_word, "self.helpers = 1"),
    (tidy.banned_word, "def process_run(): ..."),
    (tidy.empty_test, "assert True"),
    (tidy.empty_test, "assert (x == 1, 'said twice')"),
    (tidy.empty_test, "assert x == 1 or True"),
    (tidy.empty_test, "assert x.y == x.y"),
    (tidy.empty_test, "def test_it():\n    'It works.'"),
    (tidy.empty_test, "async def test_it(): ..."),
]

KEPT: list[tuple[tidy.Rule, str]] = [
    (tidy.module_length, "x = 1\n" * 300),
    (tidy.module_docstring, '"""What it is."""\nx = 1\n'),
    (tidy.function_length, body(40)),
    (tidy.function_length, "def f():\n    '''One" + "\n" * 50 + "    '''"),
    (tidy.nesting, nested("if a:", "for b in c:", "while d:")),
    (tidy.nesting, nested("if a:", "for b in c:", "if d:") + ELIFS),
    (tidy.nesting, nested("if a:", "for b in c:", "def g() -> None:", "if d:", "with e:")),
    (tidy.parameter_count, f"class A:\n    def f(self, {SEVEN[:-3]}): ..."),
    (tidy.parameter_count, f"class A:\n    def __init__(self, x, *, {SEVEN}): ..."),
    (tidy.import_inside, "if TYPE_CHECKING:\n    import os\ndef f(): ..."),
    (tidy.bare_todo, f"{TODO}(#12): take the newer form"),
    (tidy.bare_todo, f"x = '{TODO}'"),
    (tidy.ignore_code, f"x = 1  {IGNORE}[assignment, misc]"),
    (tidy.ignore_reason, f"x = 1  {IGNORE}[assignment]  # the stubs are wrong"),
    (tidy.ignore_reason, f"x = 1  {NOQA} - a user's code ends here"),
    (tidy.broad_except, caught("except Exception", f"  {NOQA} - a user's code ends here")),
    (tidy.broad_except, caught("except (ValueError, OSError)")),
    (tidy.broad_except, caught("except BaseException") + "    raise\n"),
    (tidy.banned_word, "class Status: ...\ndef handler(): ...\nprocess_id = x.add_callback(f)"),
    (tidy.empty_test, "def test_it():\n    assert f() == f()"),
    (tidy.empty_test, "def test_it():\n    assert x == y or z"),
]


@pytest.mark.parametrize(("rule", "text"), BROKEN)
def test_a_broken_rule_is_found(rule: tidy.Rule, text: str) -> None:
    assert list(rule(tidy.Source(text)))


@pytest.mark.parametrize(("rule", "text"), KEPT)
def test_a_kept_rule_is_left_alone(rule: tidy.Rule, text: str) -> None:
    assert not list(rule(tidy.Source(text)))


def test_a_module_is_named_for_what_it_is() -> None:
    assert list(tidy.banned_word(tidy.Source("", "shared/teambus/bus/utils.py")))
    assert not list(tidy.banned_word(tidy.Source("", "shared/teambus/bus/journal.py")))


def test_each_rule_is_seen_to_fail_and_to_pass() -> None:
    assert {rule for rule, _ in BROKEN} == set(tidy.SOURCE_RULES)
    assert {rule for rule, _ in KEPT} == set(tidy.SOURCE_RULES)
