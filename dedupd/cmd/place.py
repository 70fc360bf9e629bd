"""Options that stand for configuration, the same for a server and the tools that work beside it."""

from __future__ import annotations

import argparse

NO_FRONT = {"auth.strategy": "noauth", "api.listen": "127.0.0.1:0"}
"""Overrides for a tool that does not care about the front's part of the configuration."""


def add_state_path(parser: argparse.ArgumentParser) -> None:
    """Add ``--state-path``."""
    parser.add_argument(
        "--state-path", metavar="DIR", help="where records and keys are kept (state_path)"
    )


def add_nova(parser: argparse.ArgumentParser) -> None:
    """Add ``--nova``."""
    parser.add_argument(
        "--nova", metavar="URL", help="Nova, as http://controller:8774 ([nova] endpoint)"
    )


def overrides(arguments: argparse.Namespace) -> dict[str, str]:
    """What these options override in the configuration."""
    given = {
        "state_path": getattr(arguments, "state_path", None),
        "api.listen": getattr(arguments, "listen", None),
        "nova.endpoint": getattr(arguments, "nova", None),
    }
    return {name: value for name, value in given.items() if value is not None}
