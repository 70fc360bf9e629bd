"""What is said to a broker about the messages that are done with, in as few words as possible."""

from __future__ import annotations


class Settlements:
    """The deliveries of one channel; their tags are 1, 2, 3 and so on, in the order of arrival.

    One acknowledgement may stand for all messages up to its own, which is as cheap as one.
    """

    def __init__(self) -> None:
        self._newest = 0
        self._settled_through = 0
        self._unsaid: set[int] = set()
        self._settled: set[int] = set()

    def arrived(self, tag: int) -> None:
        """Note a delivery; what was skipped has been refused by the library itself."""
        self._settled.update(range(self._newest + 1, tag))
        self._newest = tag

    def refused(self, tag: int) -> None:
        """Note that the broker has been told otherwise about a message."""
        self._settled.add(tag)

    def acknowledged(self, tag: int) -> None:
        """Note that a message is done with."""
        self._unsaid.add(tag)

    def take(self) -> list[tuple[int, bool]]:
        """What is now to be acknowledged: tags, and whether each stands for all before it too."""
        said = 0
        while (tag := self._settled_through + 1) in self._unsaid or tag in self._settled:
            if tag in self._unsaid:
                self._unsaid.remove(tag)
                said = tag
            self._settled.discard(tag)
            self._settled_through = tag
        alone = sorted(self._unsaid)
        self._settled |= self._unsaid
        self._unsaid.clear()
        return ([(said, True)] if said else []) + [(tag, False) for tag in alone]
