"""One message taken from a queue, whichever queue it is."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from dedupd.ports import Delivery
from dedupd.request import Record

LOG = logging.getLogger(__name__)

Notice = tuple[str, Record | None]
"""What a message says: a request's id, and its record as it was claimed, where that is known."""

Settle = Callable[[Any, bool], None]
"""What a queue does with a message's tag; True: hand it back, False: it is done with."""


class Message:
    """``dedupd.ports.Delivery``: settled once, by the first call; any other does nothing."""

    __slots__ = ("_settle", "_tag", "claimed", "id")

    def __init__(
        self, request_id: str, settle: Settle, tag: Any, claimed: Record | None = None
    ) -> None:
        self.id = request_id
        self.claimed = claimed
        self._settle: Settle | None = settle
        self._tag = tag

    def acknowledge(self) -> None:
        """See ``Delivery.acknowledge``."""
        self._end(hand_back=False)

    def hand_back(self) -> None:
        """See ``Delivery.hand_back``."""
        self._end(hand_back=True)

    def _end(self, *, hand_back: bool) -> None:
        settle, self._settle = self._settle, None
        if settle is not None:
            settle(self._tag, hand_back)


def handle(handler: Callable[[Delivery], None], message: Message) -> None:
    """Call a handler; if it raises, that is logged, and its message stays unacknowledged."""
    try:
        handler(message)
    except Exception:
        LOG.exception("a queue's handler failed with %s", message.id)
