"""A paste filter in keystonemiddleware's place, for a Nova without Keystone.

Nova has no such middleware of its own any more. This one turns `X-Auth-Token:
user[:project[:role,role]]` into the identity headers that keystonemiddleware would have set; all
that follows in the pipeline (context, policy, microversions) is Nova's own.

    admin             user admin, default project, roles admin, member, reader
    demo              user demo, default project, roles member, reader
    alice:blue        user alice, project blue, roles member, reader
    bob:blue:reader   user bob, project blue, role reader

No token: 401, as from the real one. A GET with X-Auth-User and no token answers 204 with a token.
"""

import json
from collections.abc import Callable, Iterable

from realnova.web import Application, Environ, StartResponse

DEFAULT_PROJECT = "6f70656e737461636b20342065766572"
_IDENTITY_HEADERS = (
    "HTTP_X_IDENTITY_STATUS",
    "HTTP_X_PROJECT_ID",
    "HTTP_X_ROLES",
    "HTTP_X_SERVICE_CATALOG",
    "HTTP_X_TENANT",
    "HTTP_X_TENANT_ID",
    "HTTP_X_USER",
    "HTTP_X_USER_ID",
)


class TokenFilter:
    """The filter around an application."""

    def __init__(self, application: Application) -> None:
        self._application = application

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Pass the request on as the user that its token names."""
        token = environ.get("HTTP_X_AUTH_TOKEN")
        if token:
            for header in _IDENTITY_HEADERS:  # what a client says of itself is never believed
                environ.pop(header, None)
            environ.update(_identity(token))
            return self._application(environ, start_response)
        user = environ.get("HTTP_X_AUTH_USER")
        if user and environ["REQUEST_METHOD"] == "GET":
            return _hand_out(user, environ, start_response)
        return _refuse(start_response)


def _identity(token: str) -> dict[str, str]:
    user, project, roles = (*token.split(":"), "", "")[:3]
    project = project or DEFAULT_PROJECT
    return {
        "HTTP_X_IDENTITY_STATUS": "Confirmed",
        "HTTP_X_USER_ID": user,
        "HTTP_X_USER_NAME": user,
        "HTTP_X_USER_DOMAIN_ID": "default",
        "HTTP_X_PROJECT_ID": project,
        "HTTP_X_PROJECT_NAME": project,
        "HTTP_X_PROJECT_DOMAIN_ID": "default",
        "HTTP_X_ROLES": roles or ("admin,member,reader" if user == "admin" else "member,reader"),
    }


def _hand_out(user: str, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    project = environ.get("HTTP_X_AUTH_PROJECT_ID", DEFAULT_PROJECT)
    headers = [
        ("X-Auth-Token", f"{user}:{project}"),
        ("X-Server-Management-Url", f"http://{environ.get('HTTP_HOST', 'localhost')}/v2.1"),
    ]
    start_response("204 No Content", headers)
    return [b""]


def _refuse(start_response: StartResponse) -> Iterable[bytes]:
    message = "The request you have made requires authentication."
    error = {"error": {"code": 401, "title": "Unauthorized", "message": message}}
    body = json.dumps(error).encode()
    headers = [
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
        ("WWW-Authenticate", 'Keystone uri="http://127.0.0.1:5000"'),
    ]
    start_response("401 Unauthorized", headers)
    return [body]


def filter_factory(*_: object, **__: object) -> Callable[[Application], TokenFilter]:
    """What the paste file names."""
    return TokenFilter
