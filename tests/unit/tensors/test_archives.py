"""Files inside of files: where the members of tar and zip lie, and what an archive may not claim."""

from __future__ import annotations

import io
import tarfile
import zipfile

import pytest
from tensor_files import noise, reader, tar_file, zip_file

from headwater.tensors import Malformed, archives, zips

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
FILES = [("a.bin", noise(700)), ("folder/b.bin", noise(512, 2)), ("c", noise(1, 3))]


def in_tar(content: bytes, bytes_min: int = 1) -> dict[str, bytes]:
    return {i.name: content[i.start : i.stop] for i in archives.in_tar(reader(content), len(content), bytes_min)}


def refusal(content: bytes) -> str:
    with pytest.raises(Malformed) as caught:
        in_tar(content)
    return caught.value.text


def header(size: bytes = b"00000000005\0", kind: bytes = b"0", name: bytes = b"x") -> bytearray:
    raw = bytearray(name.ljust(100, b"\0") + b"0000644\0" * 3 + size + b"00000000000\0" + b" " * 8 + kind)
    raw = raw.ljust(257, b"\0") + b"ustar\x0000"
    raw = raw.ljust(512, b"\0")
    raw[148:156] = b"%06o\0 " % sum(raw)
    return raw


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS.keys())
def test_members_of_a_tar_are_found(form: int) -> None:
    content = tar_file(FILES, form)
    assert in_tar(content) == dict(FILES)
    assert list(in_tar(content, 600)) == ["a.bin"]


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS.keys())
def test_long_names_are_found(form: int) -> None:
    name = "long/" * 30 + "name"
    assert in_tar(tar_file([(name, b"x"), ("y", b"z")], form)) == {name: b"x", "y": b"z"}


def test_directories_links_and_devices_are_no_files() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for kind in (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo(f"kind-{kind.decode()}")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    assert in_tar(out.getvalue()) == {}


def test_a_tar_without_its_empty_end_is_good() -> None:
    assert in_tar(bytes(header()) + b"hello".ljust(512, b"\0")) == {"x": b"hello"}


def test_sizes_in_base_256_and_in_extended_headers_count() -> None:
    wide = header(b"\x80" + (5).to_bytes(11, "big"))
    assert in_tar(bytes(wide) + b"hello".ljust(512, b"\0")) == {"x": b"hello"}
    line = b"10 size=5\n"
    extended = bytes(header(b"%011o\0" % len(line), b"x")) + line.ljust(512, b"\0")
    assert in_tar(extended + bytes(header(b"00000000000\0")) + b"hello".ljust(512, b"\0")) == {"x": b"hello"}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (header(b"77777777777\0"), "has 8589934591 bytes, the file ends at 512"),
        (header(b"\x80" + b"\xff" * 11), "the file ends at 512"),
        (header(b"\xff" * 12), "has the number"),
        (header(b"0000000009\0\0"), "which is not octal"),
        (header(b"-0000000005\0"), "which is not octal"),
        (b"y" + header()[1:], "sums up to"),
        (header()[:148] + b"xxxxxxxx" + header()[156:], "which is not octal"),
        (header(b"00000000000\0", b"S"), "is sparse"),
        (header(b"00000200001\0", b"x") + bytes(1 << 17), "over the limit"),
        (header(b"00000000010\0", b"x") + b"99 path=".ljust(512, b"\0"), "is broken"),
        (header(b"00000000010\0", b"x") + b"0 path=x".ljust(512, b"\0"), "is broken"),
        (header(b"00000000010\0", b"x") + b"8path=x\n".ljust(512, b"\0"), "is broken"),
        (header(b"00000000012\0", b"x") + b"10 size=-\n".ljust(512, b"\0"), "has the size b'-'"),
        (header(b"00000000023\0", b"x") + b"19 GNU.sparse.x=1 \n".ljust(512, b"\0"), "is sparse"),
    ],
    ids=range(14),
)
def test_headers_that_lie_are_refused(content: bytearray, text: str) -> None:
    assert text in refusal(bytes(content))


def test_every_cut_of_a_tar_is_refused_or_whole_members() -> None:
    content = tar_file(FILES)
    for size in range(0, len(content), 7):
        try:
            found = in_tar(content[:size])
        except Malformed:
            continue
        assert found.items() <= dict(FILES).items()


def test_more_members_than_the_limit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "TAR_MEMBERS_MAX", 20)
    assert "over 20 members" in refusal(bytes(header(b"00000000000\0")) * 21)


def test_stored_members_of_a_zip_are_found_and_compressed_ones_not() -> None:
    out = io.BytesIO(zip_file(FILES))
    with zipfile.ZipFile(out, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(1 << 20))
    content = out.getvalue()
    read = reader(content)
    found = archives.in_zip(read, zips.read_directory(read, len(content)), 600)
    assert [(inner.name, content[inner.start : inner.stop]) for inner in found] == [FILES[0]]
