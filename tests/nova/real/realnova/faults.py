"""Lost answers and errors on demand, at the edge of Nova's API, outside Nova.

PUT /__fault__ sets the rules, a JSON list of

    {"method": "POST", "path": "/servers$", "fault": "drop-after", "times": 1, "seconds": 1}

where `path` is a regular expression searched in the path, `method` and `path` may be left out
(any), `times` says how many requests it hits (1), `probability` (1) lets it hit only so often,
drawn from a generator seeded with `seed`, and `fault` is one of

    drop-before   the connection is closed; Nova never sees the request
    drop-after    Nova handles it, then the connection is closed without a byte of answer
    delay-before  Nova gets the request `seconds` later
    delay-after   Nova handles it, the answer is held back `seconds`
    NNN-before    answered with status NNN; Nova never sees the request
    NNN-after     Nova handles it, then it is answered with status NNN
    late-commit   answered with `status` (503), or with status 0 closed, at once; Nova handles it
                  `seconds` later

The first rule with `times` left that fits a request, and that chance does not spare, is used.
GET /__fault__ returns the rules as they are now, and of what came since they were set (the last
10,000 of each) `seen`: method and path of every request, and `lost`: the body of every answer of
Nova's that a fault kept back.
"""

import collections
import errno
import io
import json
import random
import re
import socket
import threading
import time
from collections.abc import Iterable
from typing import Any, NoReturn

from realnova.web import SOCKET, Application, Environ, StartResponse

HOOK = "/__fault__"
_KINDS = re.compile(r"(drop|delay|[2-5][0-9][0-9])-(before|after)|late-commit")
_KEYS = {"method", "path", "fault", "times", "seconds", "status", "probability", "seed"}

Rule = dict[str, Any]


class Dropped(ConnectionResetError):
    """For cheroot: the peer is gone, as it takes it. It lets go of the connection in silence."""


class Faults:
    """The WSGI application around Nova's that carries out the rules."""

    def __init__(self, nova: Application) -> None:
        self._nova = nova
        self._lock = threading.Lock()
        self._rules: list[Rule] = []
        self._chances: list[random.Random] = []
        self._seen: collections.deque[tuple[str, str]] = collections.deque(maxlen=10_000)
        self._lost: collections.deque[str] = collections.deque(maxlen=10_000)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Pass a request on to Nova, or do to it what a rule says."""
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        if path == HOOK:
            return self._hook(environ, start_response)
        rule = self._use_rule(method, path)
        if rule is None:
            return self._nova(environ, start_response)
        kind, _, when = _handling(rule).partition("-")
        answer = _Answer.of(self._nova, environ) if when == "after" else None
        if answer is not None:
            self._lost.append(answer.body.decode())
        if rule["fault"] == "late-commit":
            self._handle_later(environ, rule.get("seconds", 1))
        if kind == "drop":
            _drop(environ)
        if kind != "delay":
            return _Answer.injected(kind).send(start_response)
        time.sleep(rule.get("seconds", 1))
        return (answer or _Answer.of(self._nova, environ)).send(start_response)

    def _use_rule(self, method: str, path: str) -> Rule | None:
        """Write the request down; the rule for it, used once more."""
        with self._lock:
            self._seen.append((method, path))
            for rule, chance in zip(self._rules, self._chances, strict=True):
                fits = rule.get("method", method) == method and re.search(rule["path"], path)
                if fits and rule["times"] > 0 and chance.random() < rule["probability"]:
                    rule["times"] -= 1
                    return rule
        return None

    def _handle_later(self, environ: Environ, seconds: float) -> None:
        """Let Nova handle a request when its connection has long been answered."""
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        kept = {**environ, "wsgi.input": io.BytesIO(body)}
        timer = threading.Timer(seconds, _Answer.of, (self._nova, kept))
        timer.daemon = True
        timer.start()

    def _hook(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] == "PUT":
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            try:
                rules = [_checked(rule) for rule in json.loads(body or b"[]")]
            except (ValueError, re.error) as error:
                return _Answer("400 Bad Request", [], str(error).encode()).send(start_response)
            with self._lock:
                self._rules = rules
                self._chances = [random.Random(rule["seed"]) for rule in rules]  # noqa: S311
                self._seen.clear()
                self._lost.clear()
        with self._lock:
            shown = {"rules": self._rules, "seen": list(self._seen), "lost": list(self._lost)}
            body = json.dumps(shown).encode()
        headers = [("Content-Type", "application/json")]
        return _Answer("200 OK", headers, body).send(start_response)


class _Answer:
    """A whole answer of a WSGI application."""

    def __init__(self, status: str, headers: list[tuple[str, str]], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @classmethod
    def of(cls, application: Application, environ: Environ) -> "_Answer":
        """What `application` answers."""
        begun: list[tuple[str, list[tuple[str, str]]]] = []
        chunks = application(environ, lambda status, headers, *_: begun.append((status, headers)))
        body = b"".join(chunks)
        return cls(*begun[-1], body)

    @classmethod
    def injected(cls, status: str) -> "_Answer":
        """One that Nova has nothing to do with."""
        body = b"injected by realnova\n"
        return cls(f"{status} Injected", [("Content-Type", "text/plain")], body)

    def send(self, start_response: StartResponse) -> list[bytes]:
        """Give it to the server."""
        start_response(self.status, self.headers)
        return [self.body]


def _checked(rule: Rule) -> Rule:
    """The rule with its defaults.

    Raises:
        ValueError: it has an unknown key or fault.
        re.error: its path is not a regular expression.
    """
    if unknown := set(rule) - _KEYS:
        raise ValueError(f"unknown key {min(unknown)!r} in a rule: it takes {sorted(_KEYS)}")
    if not _KINDS.fullmatch(str(rule.get("fault"))):
        raise ValueError(f"unknown fault {rule.get('fault')!r}: it must match {_KINDS.pattern}")
    re.compile(rule.setdefault("path", ""))
    return {"times": 1, "probability": 1, "seed": 0, **rule}


def _handling(rule: Rule) -> str:
    """What a rule does to the answer: that of a late commit is a status, or a closed connection."""
    if rule["fault"] != "late-commit":
        return str(rule["fault"])
    status = rule.get("status", 503)
    return f"{status}-before" if status else "drop-before"


def _drop(environ: Environ) -> NoReturn:
    """Take the connection away from under the server, so that not a byte is sent."""
    environ[SOCKET].shutdown(socket.SHUT_RDWR)
    raise Dropped(errno.ECONNRESET, "dropped on purpose")
