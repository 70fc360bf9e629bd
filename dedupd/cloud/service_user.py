"""dedupd's own identity in the cloud: tokens from keystoneauth, in a thread of their own."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from keystoneauth1 import exceptions, session
from keystoneauth1.plugin import BaseAuthPlugin

from dedupd.cloud.ask import CannotAsk

TOKEN_SECONDS = 15.0
"""How long Keystone may take for a token."""


class KeystoneServiceUser:
    """Takes tokens from Keystone and keeps each until shortly before it ends.

    Args:
        plugin: A keystoneauth plugin, loaded from ``[service_user]``.
        verify: As keystoneauth takes it: a CA bundle, or whether to check certificates.
    """

    def __init__(self, plugin: BaseAuthPlugin, *, verify: bool | str = True) -> None:
        self._session = session.Session(auth=plugin, verify=verify, timeout=TOKEN_SECONDS)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="service-user")

    async def token(self) -> str:
        """See ``ServiceUser.token``."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(2 * TOKEN_SECONDS):
                token = await loop.run_in_executor(self._thread, self._session.get_token)
        except (exceptions.ClientException, TimeoutError) as error:
            raise CannotAsk(
                f"Keystone gave no token for the service user ({error}); check [service_user]."
            ) from None
        if not token:
            raise CannotAsk("Keystone gave no token for the service user; check [service_user].")
        return str(token)

    def close(self) -> None:
        """Let the thread go; a token that is being fetched is not waited for."""
        self._thread.shutdown(wait=False, cancel_futures=True)
