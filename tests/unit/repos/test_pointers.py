"""LFS pointers: written canonically, read strictly."""

from __future__ import annotations

import pytest

from headwater.ground.names import Sha256
from headwater.repos import pointers
from headwater.repos.pointers import Pointer

SHA = Sha256("4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393")
TEXT = f"version https://git-lfs.github.com/spec/v1\noid sha256:{SHA}\nsize 12345\n".encode()


def test_a_pointer_is_the_text_of_the_specification() -> None:
    assert pointers.text(SHA, 12345) == TEXT
    assert pointers.parse(TEXT) == Pointer(SHA, 12345)


def test_extensions_and_a_missing_last_newline_are_read() -> None:
    extended = TEXT.replace(b"oid ", b"ext-0-foo sha256:" + b"0" * 64 + b"\noid ")
    assert pointers.parse(extended) == Pointer(SHA, 12345)
    assert pointers.parse(TEXT.rstrip()) == Pointer(SHA, 12345)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"version https://git-lfs.github.com/spec/v1\n",
        TEXT + b"\n",
        TEXT + b"more\n",
        b" " + TEXT,
        TEXT.replace(b"\n", b"\r\n"),
        TEXT.replace(b"sha256:4d", b"sha256:4D"),
        TEXT.replace(b"sha256", b"sha1"),
        TEXT.replace(b"size 12345", b"size -1"),
        TEXT.replace(b"size 12345", b"size 012"),
        TEXT.replace(b"size 12345", b"size 9223372036854775808"),
        TEXT.replace(b"size 12345\n", b"size 12345" + b" " * 2000),
        TEXT.replace(b"git-lfs.github.com", b"git-lfs.github.com.evil"),
    ],
)
def test_what_is_not_exactly_a_pointer_is_a_file_of_its_own(text: bytes) -> None:
    assert pointers.parse(text) is None
