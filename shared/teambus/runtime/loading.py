"""Loading the user's app by name, and saying clearly why it cannot be loaded."""

import difflib
import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

from teambus.app.asgi import App
from teambus.app.errors import DefinitionError
from teambus.app.serving import loading
from teambus.app.teambus import TeamBus

REASON_CHARS_MAX = 4000


class LoadError(Exception):
    """The app cannot be loaded. The text is for whoever wrote it; the cause has the traceback."""


def load_app(app: str, app_dir: str) -> TeamBus:
    """Import `module`, `module:attr`, `file.py` or `path/file.py:attr` and return its TeamBus.

    Puts `app_dir`, and a file's own folder before it, first on `sys.path`. So a service imports all
    it needs itself before it calls this. Raises `LoadError`.
    """
    where, colon, attribute = app.partition(":")
    if not where or (colon and not attribute.isidentifier()):
        raise LoadError(f"{app!r} names no app; write module:attr or file.py")
    folder = Path(app_dir).absolute()
    module = _load_file(app, folder, where) if _is_file(where) else _load(app, folder, where)
    found = _named(module, attribute, app) if attribute else _only(module)
    try:
        found.check()
    except DefinitionError as error:
        raise LoadError(f"cannot load {app!r}: {error}") from error
    return found


def _is_file(where: str) -> bool:
    return where.endswith(".py") or "/" in where


def _load(app: str, folder: Path, name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise LoadError(f"{name!r} is not the name of a module; write module:attr or file.py")
    _put_first(folder)
    _refuse_taken_name(folder, name.partition(".")[0])
    try:
        with loading():
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            raise LoadError(_no_module(folder, error.name)) from error
        raise LoadError(_reason(app, folder, error)) from error
    except (Exception, SystemExit) as error:  # user code ends here
        raise LoadError(_reason(app, folder, error)) from error


def _load_file(app: str, folder: Path, where: str) -> ModuleType:
    path = (folder / where).resolve()
    if not path.is_file():
        raise LoadError(f"there is no file {path}")
    _put_first(folder)
    _put_first(path.parent)
    _refuse_taken_name(path.parent, path.stem)
    if path.stem in sys.modules:
        return sys.modules[path.stem]
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise LoadError(f"{path} is not a Python file; it must end in .py")
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    try:
        with loading():
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # user code ends here
        del sys.modules[path.stem]
        raise LoadError(_reason(app, path.parent, error)) from error
    return module


def _put_first(folder: Path) -> None:
    text = str(folder)
    sys.path[:] = [text, *(each for each in sys.path if each != text)]


def _refuse_taken_name(folder: Path, name: str) -> None:
    """A module that is already imported would be found in place of the user's."""
    candidates = [folder / f"{name}.py", folder / name / "__init__.py"]
    mine = next((each.resolve() for each in candidates if each.is_file()), None)
    if mine is None or name not in sys.modules:
        return
    taken = getattr(sys.modules[name], "__file__", None)
    if taken is None or Path(taken).resolve() != mine:
        raise LoadError(f"{mine} has the name of a module the service itself uses; rename the file")


def _no_module(folder: Path, name: str) -> str:
    files = sorted(each.stem for each in folder.glob("*.py"))
    close = difflib.get_close_matches(name, files, n=1)
    if close:
        return f"there is no module {name!r} in {folder}; did you mean {close[0]!r}?"
    return f"there is no module {name!r} in {folder}; it has {', '.join(files) or 'no .py files'}"


def _reason(app: str, folder: Path, error: BaseException) -> str:
    what = str(error) if isinstance(error, DefinitionError) else _last_line(error)
    return f"cannot load {app!r}: {what[:REASON_CHARS_MAX]} ({_place(folder, error)})"


def _last_line(error: BaseException) -> str:
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _place(folder: Path, error: BaseException) -> str:
    """The file and line the user should look at: the last of their own, if any."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = list(traceback.extract_tb(error.__traceback__))
    own = [each for each in frames if Path(each.filename).is_relative_to(folder)]
    last = (own or frames)[-1]
    return f"{last.filename}:{last.lineno}"


def _teambus_of(value: object) -> TeamBus | None:
    if isinstance(value, App):
        return value.teambus
    return value if isinstance(value, TeamBus) else None


def _offers(module: ModuleType) -> dict[str, TeamBus]:
    found = {name: _teambus_of(value) for name, value in vars(module).items()}
    return {name: value for name, value in found.items() if value is not None}


def _named(module: ModuleType, attribute: str, app: str) -> TeamBus:
    names = ", ".join(_offers(module)) or "none"
    if not hasattr(module, attribute):
        raise LoadError(
            f"module {module.__name__!r} has no attribute {attribute!r};"
            f" it has TeamBus objects: {names}"
        )
    value = getattr(module, attribute)
    if (teambus := _teambus_of(value)) is None:
        raise LoadError(
            f"{app!r} is of type {type(value).__name__}, neither a TeamBus nor what its get_app()"
            f" returned; module {module.__name__!r} has TeamBus objects: {names}"
        )
    return teambus


def _only(module: ModuleType) -> TeamBus:
    offers = _offers(module)
    different = {id(value): value for value in offers.values()}
    if len(different) == 1:
        return next(iter(different.values()))
    if not offers:
        raise LoadError(
            f"module {module.__name__!r} has no TeamBus;"
            " write agent_os = TeamBus(teams=[...]) in it"
        )
    first = next(iter(offers))
    raise LoadError(
        f"module {module.__name__!r} has several TeamBus objects: {', '.join(offers)};"
        f" name one, as in {module.__name__}:{first}"
    )
