"""The microversion that Nova will apply, read as Nova reads it (package microversion_parse)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedupd import microversion
from dedupd.errors import BadRequest
from dedupd.microversion import HEADER, LATEST, LEGACY_HEADER, LOWEST, Microversion

numbers = st.integers(1, 9999)
minors = st.integers(0, 9999)


def parsed(*headers: tuple[bytes, str]) -> Microversion | None:
    return microversion.parse((name, value.encode("latin-1")) for name, value in headers)


def modern(value: str) -> Microversion | None:
    return parsed((HEADER, value))


def legacy(value: str) -> Microversion | None:
    return parsed((LEGACY_HEADER, value))


def refusal(*headers: tuple[bytes, str]) -> str:
    with pytest.raises(BadRequest) as caught:
        parsed(*headers)
    return caught.value.message


@settings(max_examples=60, deadline=None)
@given(numbers, minors)
def test_what_is_written_is_what_is_read(major: int, minor: int) -> None:
    version = Microversion(major, minor)
    if version != LATEST:
        assert str(version) == f"{major}.{minor}"
    assert modern(f"compute {version}") == legacy(str(version)) == version


@settings(max_examples=60, deadline=None)
@given(st.lists(st.builds(Microversion, numbers, minors), min_size=2, max_size=5))
def test_versions_sort_by_number_and_latest_above_all(versions: list[Microversion]) -> None:
    by_number = sorted(versions, key=lambda version: (version.major, version.minor))
    assert sorted(versions) == by_number
    assert max(*versions, LATEST) == LATEST
    assert Microversion(2, 100) > Microversion(2, 99) > Microversion(2, 9)


def test_none_asked_for() -> None:
    assert parsed() is None
    assert parsed((b"x-auth-token", "2.1"), (b"openstack-api", "compute 2.1")) is None
    assert modern("volume 3.70") is None
    assert modern("") is None
    assert Microversion(2, 1) == LOWEST


@pytest.mark.parametrize(
    "value", ["compute latest", "compute  latest", "Compute latest", " compute latest "]
)
def test_latest(value: str) -> None:
    assert modern(value) == LATEST
    assert str(LATEST) == "latest"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("compute 2.52", Microversion(2, 52)),
        ("compute  2.52", Microversion(2, 52)),
        ("compute 2.0", Microversion(2, 0)),
        ("volume 3.70, compute 2.52", Microversion(2, 52)),
        ("compute 2.52,volume 3.70", Microversion(2, 52)),
        ("compute 2.1, compute 2.52", Microversion(2, 52)),
    ],
)
def test_the_last_one_for_compute_counts(value: str, expected: Microversion) -> None:
    assert modern(value) == expected


def test_the_last_of_several_headers_counts() -> None:
    assert parsed((HEADER, "compute 2.1"), (HEADER, "compute 2.9")) == Microversion(2, 9)
    assert parsed((HEADER, "compute 2.9"), (HEADER, "volume 3.1")) == Microversion(2, 9)
    assert parsed((LEGACY_HEADER, "2.1"), (LEGACY_HEADER, "2.9")) == Microversion(2, 9)
    assert legacy("2.1, 2.9") == Microversion(2, 9)


@pytest.mark.parametrize("first", [HEADER, LEGACY_HEADER])
def test_the_modern_header_wins(first: bytes) -> None:
    headers = [(HEADER, "compute 2.9"), (LEGACY_HEADER, "2.1")]
    assert parsed(*sorted(headers, reverse=first is LEGACY_HEADER)) == Microversion(2, 9)
    assert parsed((HEADER, "volume 3.1"), (LEGACY_HEADER, "2.9")) == Microversion(2, 9)


@pytest.mark.parametrize(
    "value", ["2", "2.", ".1", "2.01", "02.1", "2.1.1", "x", "-2.1", "2.12345"]
)
def test_what_is_malformed_is_refused_and_the_header_named(value: str) -> None:
    message = refusal((HEADER, f"compute {value}"))
    assert message.startswith("OpenStack-API-Version is malformed")
    assert message.endswith("OpenStack-API-Version: compute 2.96.")
    message = refusal((LEGACY_HEADER, value))
    assert message.startswith("X-OpenStack-Nova-API-Version is malformed")
    assert message.endswith("X-OpenStack-Nova-API-Version: 2.96.")


def test_an_empty_legacy_header_is_malformed() -> None:
    message = refusal((LEGACY_HEADER, ""))
    assert "is malformed" in message
    assert message.endswith("as in X-OpenStack-Nova-API-Version: 2.96.")
