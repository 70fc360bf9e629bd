from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dedupd.conf.values import (
    Address,
    Choice,
    Described,
    Number,
    Parsed,
    StoreScheme,
    StoreUrl,
    Text,
    Whole,
    expand,
    parse_absolute,
    parse_address,
    parse_endpoint,
    parse_file,
    parse_store_url,
)


class Colour(Described):
    RED = "red", "when it is warm"
    BLUE = "blue", "when it is cold"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8775", Address("127.0.0.1", 8775)),
        ("0.0.0.0:0", Address("0.0.0.0", 0)),
        ("[::1]:65535", Address("::1", 65535)),
        ("localhost:80", Address("localhost", 80)),
        ("node-1.example.org:80", Address("node-1.example.org", 80)),
    ],
)
def test_address(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("8775", "is not HOST:PORT"),
        ("127.0.0.1", "is not HOST:PORT"),
        (":8775", "is not HOST:PORT"),
        ("::1:8775", "is not HOST:PORT"),
        ("127.0.0.1:http", "is not HOST:PORT"),
        ("http://127.0.0.1:8775", "is not HOST:PORT"),
        ("127.0.0.1:-1", "is not HOST:PORT"),
        ("127.0.0.1:65536", "ports end at 65535"),
        ("127.0.0.1:99999", "ports end at 65535"),
        ("300.0.0.1:80", "neither an IP address nor a host name"),
        ("[127.0.0.1]:80", "neither an IP address nor a host name"),
        ("[::g]:80", "neither an IP address nor a host name"),
        ("-a:80", "neither an IP address nor a host name"),
        ("a..b:80", "neither an IP address nor a host name"),
        (f"{'a' * 64}:80", "neither an IP address nor a host name"),
    ],
)
def test_bad_address(text: str, rule: str) -> None:
    refuses(parse_address, text, rule)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("localhost.example.org", False),
    ],
)
def test_loopback(host: str, *, loopback: bool) -> None:
    assert Address(host, 1).is_loopback is loopback


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("http://controller:8774", "http://controller:8774"),
        ("http://controller:8774/", "http://controller:8774"),
        ("https://cloud.example.org/compute/", "https://cloud.example.org/compute"),
        ("http://[::1]:8774", "http://[::1]:8774"),
        ("HTTP://controller", "HTTP://controller"),
    ],
)
def test_endpoint(text: str, endpoint: str) -> None:
    assert parse_endpoint(text) == endpoint


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "neither http:// nor https://"),
        ("controller", "neither http:// nor https://"),
        ("controller:8774", "neither http:// nor https://"),
        ("/compute", "neither http:// nor https://"),
        ("ftp://controller", "neither http:// nor https://"),
        ("http://", "names no host"),
        ("http:///compute", "names no host"),
        ("http://:8774", "names no host"),
        ("http://controller:0", "names no host, or a port"),
        ("http://controller:65536", "names no host, or a port"),
        ("http://controller:nova", "names no host, or a port"),
        ("http://[::1", "is not a URL"),
        ("http://controller?a=b", "a user, a query or a fragment"),
        ("http://controller#a", "a user, a query or a fragment"),
        ("http://controller:8774/v2.1", "ends with a version"),
        ("http://controller:8774/v2/", "ends with a version"),
    ],
)
def test_bad_endpoint(text: str, rule: str) -> None:
    refuses(parse_endpoint, text, rule)


def test_endpoint_with_a_password_keeps_it_out_of_the_message() -> None:
    message = refuses(parse_endpoint, "http://me:geheim@controller", "a user, a query")
    assert "geheim" not in message


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("memory://", StoreUrl(StoreScheme.MEMORY)),
        ("sqlite:///records.db", StoreUrl(StoreScheme.SQLITE, Path("records.db"))),
        ("sqlite:////srv/records.db", StoreUrl(StoreScheme.SQLITE, Path("/srv/records.db"))),
        ("sqlite:///~/records.db", StoreUrl(StoreScheme.SQLITE, Path.home() / "records.db")),
    ],
)
def test_store_url(text: str, url: StoreUrl) -> None:
    assert parse_store_url(text) == url


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "is no store"),
        ("records.db", "is no store"),
        ("mysql://db/dedupd", "is no store"),
        ("SQLITE:///records.db", "is no store"),
        ("sqlite://", "no path"),
        ("sqlite:///", "no path"),
        ("sqlite:////", "no path"),
        ("sqlite://host/records.db", "a host"),
        ("sqlite:///records.db?mode=ro", "a query"),
        ("sqlite:///a\0b", "a query"),
        ("sqlite:///:memory:", "would not outlive a connection"),
    ],
)
def test_bad_store_url(text: str, rule: str) -> None:
    refuses(parse_store_url, text, rule)


def test_directory(tmp_path: Path) -> None:
    assert parse_absolute(str(tmp_path)) == tmp_path
    assert parse_absolute(str(tmp_path / "none-yet")) == tmp_path / "none-yet"
    assert parse_absolute("~/dedupd") == Path.home() / "dedupd"


def test_bad_directory() -> None:
    refuses(parse_absolute, "var/dedupd", "is relative")
    refuses(parse_absolute, "", "is not a path")


def test_file(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    refuses(parse_file, str(file), "is not a file that this user may read")
    file.touch()
    assert parse_file(str(file)) == file
    refuses(parse_file, str(tmp_path), "is not a file that this user may read")
    refuses(parse_file, "ca.pem", "is relative")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "is not a path"),
        ("a\0b", "is not a path"),
        ("~no-such-user-here/x", "no home directory is known"),
    ],
)
def test_bad_path(text: str, rule: str) -> None:
    refuses(expand, text, rule)


def test_number() -> None:
    seconds = Number("seconds", low=0.5, high=60)
    assert [seconds(text) for text in ("0.5", "1", "60", "6e1")] == [0.5, 1.0, 60.0, 60.0]
    assert seconds(5) == 5.0


@pytest.mark.parametrize("text", ["", "ten", "0.4", "60.1", "-1", "nan", "inf", "-inf", "5s", None])
def test_bad_number(text: str | None) -> None:
    rule = "write a number of seconds, from 0.5 to 60"
    refuses(Number("seconds", low=0.5, high=60), text, rule)


def test_whole() -> None:
    assert [Whole("bytes")(text) for text in ("1", " 7 ", 9)] == [1, 7, 9]


@pytest.mark.parametrize("text", ["", "x", "0", "-1", "1.5", "1e3", None])
def test_bad_whole(text: str | None) -> None:
    refuses(Whole("bytes"), text, "write a whole number of bytes, 1 or more")


def test_choice() -> None:
    assert Choice(Colour)(" red ") is Colour.RED
    assert Choice(Colour)(Colour.BLUE) is Colour.BLUE
    assert Colour.RED.description == "when it is warm"


@pytest.mark.parametrize("text", ["", "green", "RED", "red blue"])
def test_bad_choice(text: str) -> None:
    refuses(Choice(Colour), text, "write red or blue")


def test_text() -> None:
    name = Text(r"[a-z]+", "write letters")
    assert name("abc") == "abc"
    refuses(name, "abc1", "write letters")
    refuses(name, "", "write letters")


def test_what_is_parsed_already_stays() -> None:
    address = Address("::1", 1)
    parsed = Parsed(parse_address, "host:port")
    assert parsed(address) is address
    assert parsed(" [::1]:1 ") == address


def refuses(parse: Callable[[Any], object], text: object, rule: str) -> str:
    """The message says the rule, and names what was given."""
    with pytest.raises(ValueError, match=re.escape(rule)) as caught:
        parse(text)
    return str(caught.value)
