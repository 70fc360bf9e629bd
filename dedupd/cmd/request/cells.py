"""How a record looks in a table; JSON and YAML get the plain values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cliff.columns import FormattableColumn

from dedupd.api.answers import timestamp
from dedupd.api.status import describe
from dedupd.request import Record

COLUMNS = ("ID", "State", "Project", "Route", "Status", "Resource", "Created", "Completed")


class Cell(FormattableColumn[Any]):
    """A value that may be nothing, a resource, or a list of attempts."""

    def human_readable(self) -> str:
        """As a person reads it."""
        if isinstance(self._value, dict):
            return f"{self._value['type']} {self._value['id']}"
        if isinstance(self._value, list):
            return "\n".join(_attempt(attempt) for attempt in self._value)
        return "" if self._value is None else str(self._value)


def row(record: Record) -> Sequence[object]:
    """A record's line in the list."""
    return (
        record.id,
        record.state.label,
        record.project_id,
        record.route,
        Cell(record.status),
        Cell(record.resource and record.resource.id),
        timestamp(record.created_at),
        Cell(timestamp(record.completed_at)),
    )


def whole(record: Record) -> tuple[Sequence[str], Sequence[object]]:
    """Names and values of all that is known of a record, as the API shows it."""
    shown = describe(record)
    del shown["links"]
    return tuple(shown), tuple(Cell(value) for value in shown.values())


def _attempt(attempt: dict[str, Any]) -> str:
    facts = (attempt["started_at"], attempt["outcome"], attempt["status"], attempt["detail"])
    return " ".join(str(fact) for fact in facts if fact)
