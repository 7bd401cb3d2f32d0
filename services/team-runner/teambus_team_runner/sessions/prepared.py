"""A statement as a driver takes it. Types convert nothing: JSON is kept as text."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.engine import Dialect, result_tuple

Statement: TypeAlias = sa.Select[Any] | sa.UpdateBase


class Prepared:
    def __init__(self, statement: Statement, dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
        self.text = str(compiled)
        binds = compiled.binds
        self.fixed = {k: v for k, v in compiled.params.items() if not binds[k].required}
        columns = statement.selected_columns if isinstance(statement, sa.Select) else ()
        self.row: Callable[[Sequence[Any]], sa.Row[Any]] = result_tuple(
            [str(column.key) for column in columns]
        )


class PreparedStatements:
    """Each statement is prepared once, for all connections of one database."""

    def __init__(self) -> None:
        self._prepared: dict[Statement, Prepared] = {}

    def of(self, statement: Statement, dialect: Dialect) -> Prepared:
        if (prepared := self._prepared.get(statement)) is None:
            prepared = self._prepared[statement] = Prepared(statement, dialect)
        return prepared
