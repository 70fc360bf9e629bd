"""The options of tools that work beside a server: whose configuration, where its files are."""

from __future__ import annotations

import argparse

NO_FRONT = {"auth.strategy": "noauth", "api.listen": "127.0.0.1:0"}
"""Overrides for a tool that does not care about the front's part of the configuration."""


def add_state_path(parser: argparse.ArgumentParser) -> None:
    """Add ``--state-path``, which is ``dedupd standalone --state``."""
    parser.add_argument(
        "--state-path", metavar="DIR", help="where records and keys are kept (state_path)"
    )


def add_nova(parser: argparse.ArgumentParser) -> None:
    """Add ``--nova``, as ``dedupd standalone`` has it."""
    parser.add_argument("--nova", metavar="URL", help="Nova's endpoint ([nova] endpoint)")


def overrides(arguments: argparse.Namespace) -> dict[str, str]:
    """What these options override in the configuration."""
    given = {
        "state_path": getattr(arguments, "state_path", None),
        "nova.endpoint": getattr(arguments, "nova", None),
    }
    return {name: value for name, value in given.items() if value is not None}
