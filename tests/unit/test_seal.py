"""Keys and sealing: nothing opens that was changed, moved, or sealed with another key."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedupd import seal
from dedupd.errors import ConfigError
from dedupd.seal import Keys, Unsealable

IDENTITY = "1a" * 32
FIRST, SECOND = "2b" * 32, "3c" * 32
TEXT = f"identity {IDENTITY}\nseal 1 {FIRST}\n"
KEYS = seal.parse(TEXT, "here")
PLAIN = b"an answer with a secret"
CONTEXT = "result r1 b1"


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        seal.parse(text, "keys")
    return caught.value.message


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.text(max_size=40).filter(lambda text: text.isascii()))
def test_what_is_sealed_opens_and_does_not_show(plain: bytes, context: str) -> None:
    sealed = KEYS.seal(plain, context)
    assert KEYS.open(sealed, context) == plain
    assert len(plain) < 4 or plain not in sealed


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_flipped_bit_is_noticed(data: st.DataObject) -> None:
    sealed = bytearray(KEYS.seal(PLAIN, CONTEXT))
    place = data.draw(st.integers(0, len(sealed) - 1))
    sealed[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(Unsealable):
        KEYS.open(bytes(sealed), CONTEXT)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2 + 12 + len(PLAIN) + 15))
def test_a_part_of_it_does_not_open(length: int) -> None:
    with pytest.raises(Unsealable):
        KEYS.open(KEYS.seal(PLAIN, CONTEXT)[:length], CONTEXT)


def test_it_opens_in_its_own_place_only() -> None:
    with pytest.raises(Unsealable, match="does not open with key 1"):
        KEYS.open(KEYS.seal(PLAIN, CONTEXT), "result r1 b2")


def test_the_same_is_never_sealed_twice_alike() -> None:
    assert KEYS.seal(PLAIN, CONTEXT) != KEYS.seal(PLAIN, CONTEXT)


class TestRotation:
    def test_the_last_key_seals_and_every_one_opens(self) -> None:
        both = seal.parse(f"{TEXT}seal 2 {SECOND}", "here")
        assert both.open(KEYS.seal(PLAIN, CONTEXT), CONTEXT) == PLAIN
        sealed = both.seal(PLAIN, CONTEXT)
        assert sealed[1] == 2
        with pytest.raises(Unsealable, match="sealed with key 2, which the key file"):
            KEYS.open(sealed, CONTEXT)

    def test_the_order_of_lines_counts_not_the_number(self) -> None:
        keys = seal.parse(f"seal 200 {SECOND}\n{TEXT}", "here")
        assert keys.seal(PLAIN, CONTEXT)[1] == 1

    def test_another_key_under_the_same_number_does_not_open(self) -> None:
        other = seal.parse(TEXT.replace(FIRST, SECOND), "here")
        with pytest.raises(Unsealable, match="holds another key under that number"):
            other.open(KEYS.seal(PLAIN, CONTEXT), CONTEXT)

    def test_another_format_does_not_open(self) -> None:
        with pytest.raises(Unsealable, match="unknown format"):
            KEYS.open(b"\x02" + KEYS.seal(PLAIN, CONTEXT)[1:], CONTEXT)
        with pytest.raises(Unsealable, match="unknown format"):
            KEYS.open(b"", CONTEXT)


class TestParse:
    def test_reads_keys_comments_and_spacing(self) -> None:
        text = f"# a comment\n\n  identity\t{IDENTITY.upper()}  # ours\nseal   255 {FIRST}\r\n"
        keys = seal.parse(text, "here")
        assert keys.identity == bytes.fromhex(IDENTITY)
        assert keys.seal(PLAIN, CONTEXT)[1] == 255

    def test_the_check_tells_identity_keys_apart_and_gives_none_away(self) -> None:
        other = seal.parse(TEXT.replace(IDENTITY, SECOND), "here")
        same = Keys(KEYS.identity, {7: bytes.fromhex(SECOND)})
        assert KEYS.check == same.check != other.check
        assert IDENTITY not in KEYS.check

    @pytest.mark.parametrize(
        "line",
        [
            "nonsense",
            f"identity {IDENTITY}0",
            f"identity {IDENTITY[:-1]}",
            f"identity {'g' * 64}",
            f"seal {FIRST}",
            f"seal 0 {FIRST}",
            f"seal 01 {FIRST}",
            f"seal 1000 {FIRST}",
            f"Seal 2 {FIRST}",
            f"seal 2 {FIRST} more",
        ],
    )
    def test_names_a_malformed_line_but_never_what_it_says(self, line: str) -> None:
        message = refusal(f"{TEXT}{line}\n")
        assert "[seal] key_file: keys: line 3 is none of" in message
        assert "Copy the one that the other fronts and workers have" in message
        assert not re.search("[0-9a-f]{16}", message)

    @pytest.mark.parametrize("line", [f"seal 256 {FIRST}", f"seal 1 {SECOND}"])
    def test_a_number_is_1_to_255_and_given_once(self, line: str) -> None:
        assert "line 3: a seal key's number is 1 to 255, each given once" in refusal(TEXT + line)

    @pytest.mark.parametrize(
        "text",
        ["", f"identity {IDENTITY}", f"seal 1 {FIRST}", f"{TEXT}identity {SECOND}"],
    )
    def test_both_kinds_are_needed_and_one_identity_key(self, text: str) -> None:
        assert "must hold one identity key and at least one seal key" in refusal(text)


class TestFile:
    def test_what_is_created_loads_and_is_the_owner_s_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "seal.keys"
        seal.create(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        keys = seal.load(path)
        assert keys.open(keys.seal(PLAIN, CONTEXT), CONTEXT) == PLAIN
        assert list(tmp_path.iterdir()) == [path]

    def test_no_two_are_alike(self) -> None:
        one, other = seal.parse(seal.generate(), "a"), seal.parse(seal.generate(), "b")
        assert one.identity != other.identity
        with pytest.raises(Unsealable):
            other.open(one.seal(PLAIN, CONTEXT), CONTEXT)

    def test_a_key_file_is_never_overwritten(self, tmp_path: Path) -> None:
        path = tmp_path / "seal.keys"
        path.write_text(TEXT)
        with pytest.raises(FileExistsError):
            seal.create(path)
        assert path.read_text() == TEXT
        assert list(tmp_path.iterdir()) == [path]

    def test_a_missing_one_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="No such file or directory") as caught:
            seal.load(tmp_path / "none")
        assert str(tmp_path / "none") in caught.value.message
        assert "Copy the one that the other fronts and workers have" in caught.value.message

    def test_one_that_is_no_text_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "seal.keys"
        path.write_bytes(b"\xff\xfe")
        with pytest.raises(ConfigError, match=r"it is not text.* Copy the one that the other"):
            seal.load(path)

    @pytest.mark.parametrize("mode", [0o604, 0o602, 0o601, 0o644])
    def test_one_open_to_everybody_is_refused(self, tmp_path: Path, mode: int) -> None:
        path = tmp_path / "seal.keys"
        path.write_text(TEXT)
        path.chmod(mode)
        with pytest.raises(ConfigError, match=f"chmod 600 {re.escape(os.fspath(path))}"):
            seal.load(path)

    def test_one_for_owner_and_group_is_not(self, tmp_path: Path) -> None:
        path = tmp_path / "seal.keys"
        path.write_text(TEXT)
        path.chmod(0o640)
        assert seal.load(path).identity == bytes.fromhex(IDENTITY)
