"""The command lines of the programs."""

import argparse
from pathlib import Path


def _program(name: str, about: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=name, description=about)
    parser.add_argument(
        "--state",
        metavar="DIR",
        help="where databases, configuration and logs lie; an existing one is used again, with "
        "its data (default: a new temporary one, removed at the end)",
    )
    parser.add_argument(
        "--until-eof",
        action="store_true",
        help="end when standard input ends too: with whoever holds its other end",
    )
    return parser


def compute(arguments: list[str]) -> argparse.Namespace:
    """Options of the program that runs Nova."""
    parser = _program("realnova.compute", "A real Nova (and Placement) on loopback.")
    add = parser.add_argument
    add("--host", default="127.0.0.1")
    add("--port", type=int, default=0, help="of the compute API (default: any free one)")
    add("--placement-port", type=int, default=0)
    add("--auth", choices=["fake", "keystone"], default="fake")
    add("--keystone-url", default="http://127.0.0.1:5000/v3")
    add("--threads", type=int, default=16, help="requests served at a time")
    add("--instances-quota", type=int, default=-1, help="servers of a project; -1: no limit")
    add("--keypairs-quota", type=int, default=100, help="of a user")
    add("--hosts", type=int, default=1, help="compute hosts")
    add(
        "--hold-cast",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="let nova-api wait between its commit and the cast to the conductor, and so before "
        "its 202",
    )
    add("--hold-until", type=Path, metavar="FILE", help="... but no longer once FILE is there")
    add("--debug", action="store_true")
    add(
        "--set",
        action="append",
        default=[],
        metavar="GROUP.OPTION=VALUE",
        help="one more line of nova.conf",
    )
    return parser.parse_args(arguments)


def identity(arguments: list[str]) -> argparse.Namespace:
    """Options of the program that runs Keystone."""
    parser = _program("realnova.identity", "A real Keystone on loopback.")
    add = parser.add_argument
    add("--port", type=int, default=0, help="default: any free one")
    add("--compute", required=True, metavar="URL", help="the catalogue's compute, without /v2.1")
    add("--threads", type=int, default=8, help="requests served at a time")
    return parser.parse_args(arguments)
