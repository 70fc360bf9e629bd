"""``[keystone_authtoken]`` and ``[service_user]``: credentials, as the libraries' own options.

The first are what keystonemiddleware validates callers' tokens with; the second what dedupd looks
things up in Nova with where a caller's token no longer works.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from keystoneauth1 import loading
from keystoneauth1.exceptions import MissingRequiredOptions, NoMatchingPlugin, OptionError
from keystoneauth1.plugin import BaseAuthPlugin
from oslo_config import cfg

from dedupd.errors import ConfigError

CALLERS = "keystone_authtoken"
SERVICE = "service_user"

NO_CACHE = "dedupd.no_cache"
"""Under this name the middleware finds a cache that keeps nothing, in the request's environment."""


def register(conf: cfg.ConfigOpts) -> None:
    """Register what both groups have whatever plugin they name."""
    loading.register_auth_conf_options(conf, CALLERS)
    loading.register_auth_conf_options(conf, SERVICE)
    loading.register_session_conf_options(conf, SERVICE)


def prepare(conf: cfg.ConfigOpts, *, callers: bool) -> None:
    """Register what the groups' plugins read, and refuse credentials that cannot work.

    Asks nothing of Keystone. Slow with ``callers``: it imports keystonemiddleware then.

    Args:
        conf: The parsed options.
        callers: Whether Keystone validates callers, so that the credentials must be there.

    Raises:
        ConfigError: as ``load_plugin``, or missing.
    """
    load_plugin(conf, SERVICE)
    if not callers:
        return
    if load_plugin(conf, CALLERS) is None:
        raise ConfigError(
            f"[{CALLERS}] auth_type is not set, but [auth] strategy = keystone needs credentials "
            "to validate tokens with: fill in that group (the end of the sample configuration "
            "shows it), or write strategy = noauth in [auth] for development."
        )
    _register_middleware(conf)


def load_plugin(conf: cfg.ConfigOpts, group: str) -> BaseAuthPlugin | None:
    """Make the group's authentication plugin, which asks nothing of Keystone yet.

    Returns:
        None where the group names no ``auth_type``.

    Raises:
        ConfigError: an unknown plugin, or one that misses an option.
    """
    # Again, now that auth_section may name another group, which has an auth_type then.
    loading.register_auth_conf_options(conf, group)
    try:
        with _known_plugin(group):
            return loading.load_auth_from_conf_options(conf, group)
    except (MissingRequiredOptions, OptionError) as error:
        raise ConfigError(
            f"[{group}] is not complete: {error}. See the end of the sample configuration."
        ) from None


def public_uri(conf: cfg.ConfigOpts) -> str:
    """Where clients take tokens, for WWW-Authenticate; never asks Keystone for it."""
    return str(conf[CALLERS].www_authenticate_uri)


def former_names(conf: cfg.ConfigOpts, group: str) -> set[str]:
    """Names under which the libraries still read options of the group, besides today's.

    Raises:
        ConfigError: an unknown plugin, also where nobody would load it.
    """
    options = [*loading.get_auth_common_conf_options(), *loading.get_session_conf_options()]
    if conf[group].auth_type:
        with _known_plugin(group):
            options += loading.get_auth_plugin_conf_options(conf[group].auth_type)
    if is_prepared(conf) and group == CALLERS:
        options += _middleware_options()
    return {former.name for option in options for former in option.deprecated_opts if former.name}


def is_prepared(conf: cfg.ConfigOpts) -> bool:
    """Whether all options of ``[keystone_authtoken]`` are known."""
    return "www_authenticate_uri" in conf[CALLERS]


@contextmanager
def _known_plugin(group: str) -> Iterator[None]:
    """Say what to write instead of a plugin that keystoneauth does not find in the block."""
    try:
        yield
    except NoMatchingPlugin as error:
        raise ConfigError(
            f"[{group}] auth_type = {error.name!r} is no plugin of keystoneauth: write password, "
            "or one of those that `openstack --help` lists under --os-auth-type."
        ) from None


def _middleware_options() -> Iterable[cfg.Opt]:
    from keystonemiddleware import auth_token

    return [copy.deepcopy(option) for _, options in auth_token.list_opts() for option in options]


def _register_middleware(conf: cfg.ConfigOpts) -> None:
    """Register keystonemiddleware's options, with defaults that fit a front with its own cache.

    The middleware's cache would keep a revoked token alive for five minutes in every process, it
    waits for Keystone without end, and it asks Keystone for the address to send clients to. Before
    its release 13 it takes anybody's token for a service's.
    """
    conf.register_opts(_middleware_options(), CALLERS)
    section = conf[CALLERS]
    seconds = max(1, round(conf.auth.timeout_seconds / 2))
    conf.set_default("http_connect_timeout", seconds, CALLERS)
    conf.set_default("http_request_max_retries", 1, CALLERS)
    conf.set_default("service_type", "compute", CALLERS)
    conf.set_default("service_token_roles_required", True, CALLERS)
    if not section.memcached_servers:
        conf.set_default("cache", NO_CACHE, CALLERS)
    if not section.www_authenticate_uri:
        conf.set_default("www_authenticate_uri", _auth_url(conf), CALLERS)


def _auth_url(conf: cfg.ConfigOpts) -> str:
    """The plugin's ``auth_url``; a plugin without one (``none``, ``admin_token``) names nothing."""
    section = conf[conf[CALLERS].auth_section or CALLERS]
    return str(section.auth_url) if "auth_url" in section else ""
