"""What was published on a channel and is not confirmed yet."""

from __future__ import annotations

from typing import Generic, TypeVar

Item = TypeVar("Item")


class Unconfirmed(Generic[Item]):
    """Whatever belongs to each message, by the number under which the broker confirms it."""

    def __init__(self) -> None:
        self._published = 0
        self._items: dict[int, Item] = {}

    def __len__(self) -> int:
        return len(self._items)

    @property
    def oldest(self) -> Item | None:
        """What belongs to the one that has waited for longest."""
        return next(iter(self._items.values()), None)

    def published(self, item: Item) -> None:
        """Note one more message."""
        self._published += 1
        self._items[self._published] = item

    def take(self, number: int, multiple: bool) -> list[Item]:
        """What belongs to a confirmation, which may stand for all messages before it too."""
        if not multiple:
            return [self._items.pop(number)] if number in self._items else []
        taken = []
        while self._items and (oldest := next(iter(self._items))) <= number:
            taken.append(self._items.pop(oldest))
        return taken
