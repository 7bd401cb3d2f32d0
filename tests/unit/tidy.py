"""The rules of the house that ruff and mypy do not know: shape, comments, names.

A rule is a function from a source to its findings, so that each can be seen to fail on a crafted
source. What is checked, and what is excused, stands in test_tidy.
"""

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

MODULE_LINES_MAX = 300
FUNCTION_LINES_MAX = 40
NESTING_MAX = 3
PARAMETERS_MAX = 6

BANNED_WORDS = {"callback", "helper", "job", "manager", "util"}
BANNED_IN_CLASSES = BANNED_WORDS | {"handler"}

Function = ast.FunctionDef | ast.AsyncFunctionDef
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
SCOPES = (*FUNCTIONS, ast.ClassDef, ast.Lambda)
BLOCKS = (
    ast.If,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.With,
    ast.AsyncWith,
    ast.Try,
    ast.TryStar,
    ast.Match,
)


class Finding(NamedTuple):
    """One broken rule: where, and of what. `name` is what an exception is granted to."""

    line: int
    name: str
    what: str


class Source:
    """One Python file, read once for all rules."""

    def __init__(self, text: str, path: str = "shared/teambus/example.py") -> None:
        self.text = text
        self.path = path
        self.tree = ast.parse(text)
        self.functions = [node for node in ast.walk(self.tree) if isinstance(node, FUNCTIONS)]
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        self.comments = {t.start[0]: t.string for t in tokens if t.type == tokenize.COMMENT}


Rule = Callable[[Source], Iterator[Finding]]


def module_length(source: Source) -> Iterator[Finding]:
    lines = len(source.text.splitlines())
    if lines > MODULE_LINES_MAX:
        yield Finding(1, "", f"module of {lines} lines, at most {MODULE_LINES_MAX}")


def module_docstring(source: Source) -> Iterator[Finding]:
    if not ast.get_docstring(source.tree):
        yield Finding(1, "", "module does not open with what it is")


def function_length(source: Source) -> Iterator[Finding]:
    for function in source.functions:
        body = function.body[1:] if ast.get_docstring(function) else function.body
        lines = (function.end_lineno or 0) - body[0].lineno + 1 if body else 0
        if lines > FUNCTION_LINES_MAX:
            yield Finding(
                function.lineno,
                function.name,
                f"body of {lines} lines, at most {FUNCTION_LINES_MAX}",
            )


def nesting(source: Source) -> Iterator[Finding]:
    for function in source.functions:
        deepest = max((_depth(node) for node in function.body), default=0)
        if deepest > NESTING_MAX:
            yield Finding(
                function.lineno, function.name, f"nested {deepest} deep, at most {NESTING_MAX}"
            )


def _depth(node: ast.AST) -> int:
    """How many blocks deep a statement is; a function defined inside is measured by itself."""
    if isinstance(node, SCOPES):
        return 0
    children = list(ast.iter_child_nodes(node))
    if isinstance(node, ast.If) and _is_elif(node.orelse):
        children = [node.test, *node.body]
        return max(1 + max(map(_depth, children)), _depth(node.orelse[0]))
    return max(map(_depth, children), default=0) + isinstance(node, BLOCKS)


def _is_elif(orelse: list[ast.stmt]) -> bool:
    return len(orelse) == 1 and isinstance(orelse[0], ast.If)


def parameter_count(source: Source) -> Iterator[Finding]:
    """A constructor's keyword-only arguments are options: named at the call, so not counted."""
    for function in source.functions:
        args = function.args
        named = [a for a in (*args.posonlyargs, *args.args) if a.arg not in {"self", "cls"}]
        options = [] if function.name in {"__init__", "__new__"} else args.kwonlyargs
        if (count := len(named) + len(options)) > PARAMETERS_MAX:
            yield Finding(
                function.lineno, function.name, f"{count} parameters, at most {PARAMETERS_MAX}"
            )


def import_inside(source: Source) -> Iterator[Finding]:
    for function in source.functions:
        for node in ast.walk(function):
            if isinstance(node, ast.Import | ast.ImportFrom):
                yield Finding(node.lineno, function.name, "import inside a function")


def bare_todo(source: Source) -> Iterator[Finding]:
    for line, comment in source.comments.items():
        if re.search(r"\b(TODO|FIXME|XXX|HACK)\b(?!\(#\d+\): \S)", comment):
            yield Finding(line, "", "a TODO names the issue that ends it: TODO(#12): what")


def ignore_code(source: Source) -> Iterator[Finding]:
    for line, comment in source.comments.items():
        if re.search(r"#\s*type:\s*ignore(?!\[[\w, -]+\])", comment):
            yield Finding(line, "", "type: ignore without the [code] it ignores")


def ignore_reason(source: Source) -> Iterator[Finding]:
    for line, comment in source.comments.items():
        if re.search(r"#\s*(noqa|type:\s*ignore)", comment) and not _reason(comment):
            yield Finding(line, "", "noqa or type: ignore without its reason on the line")


def broad_except(source: Source) -> Iterator[Finding]:
    """One that always raises again only cleans up, and needs no excuse."""
    caught = [node for node in ast.walk(source.tree) if isinstance(node, ast.ExceptHandler)]
    broad = [n for n in caught if _is_broad(n.type) and not _raises_again(n.body[-1])]
    for node in broad:
        if not _reason(source.comments.get(node.lineno, "")):
            yield Finding(node.lineno, "", "except Exception without its reason on the line")


def _is_broad(caught: ast.expr | None) -> bool:
    kinds = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(
        k is None or (isinstance(k, ast.Name) and k.id in {"Exception", "BaseException"})
        for k in kinds
    )


def _raises_again(last: ast.stmt) -> bool:
    return isinstance(last, ast.Raise) and last.exc is None


def _reason(comment: str) -> bool:
    """Two words of its own, beside what tools read."""
    said = re.sub(
        r"noqa(:\s*[A-Z]+\d+(,\s*[A-Z]+\d+)*)?|type:\s*ignore(\[[^\]]*\])?|pragma: no cover",
        "",
        comment,
    )
    return len(re.findall(r"[A-Za-z]{2,}", said)) >= 2


def banned_word(source: Source) -> Iterator[Finding]:
    for part in Path(source.path).parts:
        if found := _words(part.removesuffix(".py")) & BANNED_WORDS:
            yield Finding(1, part, f"'{found.pop()}' says nothing: name what it is")
    for line, name, banned in _names(source.tree):
        if found := _words(name) & banned:
            yield Finding(line, name, f"'{found.pop()}' says nothing: name what it is or does")
    for function in source.functions:
        if re.match(r"_*process(_|$)", function.name):
            yield Finding(function.lineno, function.name, "'process' as a verb: say what is done")


def _names(tree: ast.AST) -> Iterator[tuple[int, str, set[str]]]:
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(name=name):
                yield node.lineno, name, BANNED_IN_CLASSES
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.arg(arg=name):
                yield node.lineno, name, BANNED_WORDS
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield node.lineno, name, BANNED_WORDS


def _words(name: str) -> set[str]:
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)
    return {word.lower().removesuffix("s") for word in words}


def empty_test(source: Source) -> Iterator[Finding]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Assert) and _cannot_fail(node.test):
            yield Finding(node.lineno, "", "an assert that cannot fail")
    for function in source.functions:
        says = [n for n in function.body if not isinstance(n, ast.Pass) and not _is_constant(n)]
        if function.name.startswith("test_") and not says:
            yield Finding(function.lineno, function.name, "a test that does nothing")


def _is_constant(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _cannot_fail(test: ast.expr) -> bool:
    match test:
        case ast.Constant(value=value):
            return bool(value)
        case ast.Tuple(elts=elts):
            return bool(elts)
        case ast.BoolOp(op=ast.Or(), values=values):
            return any(_cannot_fail(value) for value in values)
        case ast.Compare(left=left, ops=[ast.Eq() | ast.Is()], comparators=[right]):
            return ast.dump(left) == ast.dump(right) and not any(
                isinstance(n, ast.Call | ast.Await) for n in ast.walk(left)
            )
    return False


TEST_RULES: tuple[Rule, ...] = (bare_todo, ignore_code, empty_test)
SOURCE_RULES: tuple[Rule, ...] = (
    *TEST_RULES,
    module_docstring,
    module_length,
    function_length,
    nesting,
    parameter_count,
    import_inside,
    ignore_reason,
    broad_except,
    banned_word,
)
