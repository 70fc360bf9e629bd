"""What an answer of Nova means for the token. This table is the one place that decides it.

========== =============================================== =====================================
class      when                                            what is kept
========== =============================================== =====================================
no effect  never sent; 401, 408, 413, 425, 429, quota 403  nothing; tried again where that helps
definite   2xx, 3xx and every other 4xx                    the answer
ambiguous  5xx after it was sent; the answer was lost, or  the request, until Nova was looked at
           does not name what it says was made
========== =============================================== =====================================
"""

from __future__ import annotations

import enum
import re

import msgspec

from dedupd.exchange import Answer


class Outcome(enum.Enum):
    """The three classes."""

    NO_EFFECT = "no-effect"
    DEFINITE = "definite"
    AMBIGUOUS = "ambiguous"


class Retry(enum.Enum):
    """Whether sending a request without effect again by itself can help."""

    NEVER = "never"
    ALWAYS = "always"
    IF_ASKED = "if Retry-After says when"


class Ruling(msgspec.Struct, frozen=True):
    """The class of an answer, and whether the worker tries again."""

    outcome: Outcome
    retry: Retry = Retry.NEVER


NOT_SENT = Ruling(Outcome.NO_EFFECT, Retry.ALWAYS)
"""Refused, no such host, TLS failed, connect timed out: not a byte of the request went out."""

LOST = Ruling(Outcome.AMBIGUOUS)
"""Timed out, reset, or broken off after the first byte was sent."""

DEFINITE = Ruling(Outcome.DEFINITE)
AMBIGUOUS = Ruling(Outcome.AMBIGUOUS)

BY_STATUS: dict[int, Ruling] = {
    401: Ruling(Outcome.NO_EFFECT),
    408: Ruling(Outcome.NO_EFFECT, Retry.ALWAYS),
    413: Ruling(Outcome.NO_EFFECT, Retry.IF_ASKED),
    425: Ruling(Outcome.NO_EFFECT, Retry.ALWAYS),
    429: Ruling(Outcome.NO_EFFECT, Retry.ALWAYS),
}
"""The statuses that differ from their hundred."""

BY_HUNDRED: dict[int, Ruling] = {2: DEFINITE, 3: DEFINITE, 4: DEFINITE, 5: AMBIGUOUS}

QUOTA = Ruling(Outcome.NO_EFFECT)
"""A 403 for quota: a repeat may succeed when something was deleted."""

_QUOTA_WORDS = re.compile(rb"(?<!-)quota|exceed|maximum number", re.IGNORECASE)
"""Nova: "Quota exceeded for instances", "Maximum number of ports exceeded"; a policy's 403 says
"Policy doesn't allow" and the policy's name, such as os_compute_api:os-quota-sets:update."""


def classify(answer: Answer, *, nameless: bool = False) -> Ruling:
    """The ruling on a complete answer; what is no HTTP status that we know is ambiguous.

    ``nameless``: it says that something was made which it should name, and does not. Where its
    end is that of the connection (RFC 9112, 6.3), it may be one half of an answer.
    """
    if nameless:
        return LOST
    if answer.status == 403 and _QUOTA_WORDS.search(answer.body):
        return QUOTA
    hundred = BY_HUNDRED.get(answer.status // 100, AMBIGUOUS)
    return BY_STATUS.get(answer.status, hundred)


def retry_after(answer: Answer) -> float | None:
    """The seconds that Retry-After asks for (RFC 9110, 10.2.3), or None; a date is not read."""
    value = answer.header(b"retry-after") or b""
    return float(value) if value.isdigit() else None
