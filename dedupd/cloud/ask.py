"""Asking the cloud: GETs with the caller's credentials, or with the service user's own."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Protocol
from urllib.parse import urlencode

import msgspec
import tenacity

from dedupd.errors import BadGateway
from dedupd.exchange import NOT_JSON, Answer, Call, Headers, without
from dedupd.microversion import HEADER, HEADERS, Microversion
from dedupd.policy import Policy
from dedupd.ports import Cloud, Lost, NotSent

_CREDENTIALS = frozenset({b"x-auth-token", b"x-service-token"})
_NOT_FOR_ASKING = HEADERS | _CREDENTIALS | {b"content-type", b"content-length", b"accept"}
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})


class CannotAsk(BadGateway):
    """The cloud did not tell what was asked: away, failing, or it refuses these credentials.

    Args:
        answer: What Nova answered instead, if that is why.
    """

    def __init__(self, message: str, answer: Answer | None = None) -> None:
        super().__init__(message)
        self.answer = answer


class _TryAgain(Exception):
    """A transient failure of a GET; tried again by the policy below."""

    def __init__(self, message: str, answer: Answer | None = None) -> None:
        super().__init__(message)
        self.answer = answer


ASKING = Policy(
    retry=tenacity.retry_if_exception_type(_TryAgain),
    wait=tenacity.wait_random_exponential(multiplier=0.1, max=2),
    stop=tenacity.stop_after_attempt(4),
)
"""How a question is repeated within one look: four times within a few seconds."""


class ServiceUser(Protocol):
    """dedupd's own identity in the cloud."""

    async def token(self) -> str:
        """A valid token.

        Raises:
            CannotAsk: Keystone did not give one.
        """


class Asker:
    """Asks the cloud about one request.

    The caller's token is used, with the service user's beside it (so that Nova takes it even
    after it has expired); where Nova refuses it, the service user's own.
    """

    def __init__(
        self,
        cloud: Cloud,
        headers: Headers,
        service_user: ServiceUser | None,
        timeout: float,
        *,
        in_line: float | None = None,
    ) -> None:
        """Ask on behalf of the request that carried ``headers``; each GET takes ``timeout`` s.

        ``in_line``: see ``afresh``.
        """
        self._cloud = cloud
        self._given = headers
        self._service_user = service_user
        self._timeout = timeout
        self._in_line = in_line

    def afresh(self, timeout: float) -> Asker:
        """One that asks behind all that waits for Nova already (see ``Cloud.send``).

        So does each of its GETs until one was answered. Each of these takes ``timeout`` s and is
        not repeated: that would mean to leave the line, and to come again at its end.
        """
        return Asker(self._cloud, self._given, self._service_user, self._timeout, in_line=timeout)

    @cached_property
    def _headers(self) -> Headers:
        return without(self._given, _NOT_FOR_ASKING)

    @cached_property
    def _credentials(self) -> Headers:
        return tuple(pair for pair in self._given if pair[0].lower() in _CREDENTIALS)

    @property
    def has_service_user(self) -> bool:
        """Whether questions can be asked as an administrator."""
        return self._service_user is not None

    async def as_caller(
        self,
        target: str,
        microversion: Microversion | None,
        method: str = "GET",
    ) -> Answer:
        """The answer to the caller's own question; 401 where its token has ended.

        Raises:
            CannotAsk: no answer, or a 5xx, after all retries.
        """
        credentials = self._credentials
        if self._service_user is not None:
            service_token = (await self._service_user.token()).encode()
            own = without(credentials, frozenset({b"x-service-token"}))
            credentials = (*own, (b"X-Service-Token", service_token))
        return await self._ask(method, target, microversion, credentials)

    async def as_service(
        self,
        target: str,
        microversion: Microversion | None,
        method: str = "GET",
    ) -> Answer:
        """The answer to the service user's question.

        Raises:
            CannotAsk: no service user is configured, or no answer after all retries.
        """
        if self._service_user is None:
            raise CannotAsk(
                "Nova no longer takes the caller's token, and there is no service user to ask "
                "instead; configure [service_user]."
            )
        token = (await self._service_user.token()).encode()
        credentials = ((b"X-Auth-Token", token),)
        return await self._ask(method, target, microversion, credentials)

    async def _ask(
        self,
        method: str,
        target: str,
        microversion: Microversion | None,
        credentials: Headers,
    ) -> Answer:
        version: Headers = ()
        if microversion is not None:
            value = f"compute {microversion}".encode()
            version = ((HEADER.title(), value),)
        headers = (*self._headers, (b"Accept", b"application/json"), *version, *credentials)
        call = Call(method=method, target=target, headers=headers)
        try:
            if self._in_line is not None:
                return await self._behind(call, self._in_line)
            return await ASKING.repeat(self._once, call, self._timeout)
        except _TryAgain as error:
            message = f"{method} {target.partition('?')[0]}: {error}"
            raise CannotAsk(message, error.answer) from None

    async def _behind(self, call: Call, timeout: float) -> Answer:
        """The answer to what waited in line; what follows need not."""
        answer = await self._once(call, timeout, afresh=True)
        self._in_line = None
        return answer

    async def _once(self, call: Call, timeout: float, *, afresh: bool = False) -> Answer:
        try:
            answer = await self._cloud.send(call, timeout, afresh=afresh)
        except (NotSent, Lost) as error:
            raise _TryAgain(str(error)) from None
        if answer.status in _TRANSIENT:
            raise _TryAgain(f"Nova answered {answer.status}", answer)
        return answer


def query(path: str, parameters: Mapping[str, str | int]) -> str:
    """A target with its query."""
    return f"{path}?{urlencode(parameters)}" if parameters else path


def document(answer: Answer, what: str) -> Any:
    """The JSON of a 200 answer.

    Raises:
        CannotAsk: another status, or no JSON; ``what`` names the question.
    """
    if answer.status != 200:
        raise CannotAsk(f"{what}: Nova answered {answer.status}.")
    try:
        return msgspec.json.decode(answer.body)
    except NOT_JSON:
        raise CannotAsk(f"{what}: Nova's answer is not JSON.") from None
