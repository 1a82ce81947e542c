"""No path that is taken can leave the folder that it is put into, be taken for git's, or be two files at once (T47)."""

from __future__ import annotations

import os.path
import posixpath
import unicodedata
from pathlib import PureWindowsPath

from hypothesis import example, given
from hypothesis import strategies as st

from headwater.ground import names
from headwater.ground.errors import Invalid

NASTY = st.sampled_from(
    ["..", ".", "", "/", "\\", "\0", "~", "C:", "con", "NUL", ".git", ".GIT", "git~1", "%2e%2e", "\u202e", "\u200c",
     " ", "a", "B", ".", "é", "e\u0301", "\ufeff", ":", "$INDEX_ALLOCATION", "\n", "\ud800", "-", "aux.txt", "ﬁ"]
)  # fmt: skip
PATHS = st.lists(NASTY | st.text(max_size=4), max_size=8).map("".join) | st.lists(NASTY, max_size=6).map("/".join)


def taken(path: str) -> bool:
    try:
        assert names.file_path(path) == path
    except Invalid as refused:
        assert refused.status == 422
        return False
    return True


@given(PATHS)
@example(".g\u200cit/config")
@example("a/..\u2025/b")
def test_a_path_that_is_taken_stays_inside(path: str) -> None:
    if not taken(path):
        return
    root = "/store/repo"
    assert posixpath.normpath(posixpath.join(root, path)) == f"{root}/{path}"
    assert os.path.commonpath([root, posixpath.join(root, path)]) == root
    windows = PureWindowsPath(path)
    assert not windows.is_absolute()
    assert not windows.drive or ":" in path.split("/", maxsplit=1)[0]
    assert ".." not in windows.parts
    assert "\0" not in path


@given(PATHS)
def test_a_path_that_is_taken_is_gits_under_no_file_systems_rules(path: str) -> None:
    if not taken(path):
        return
    for part in path.split("/"):
        hfs = "".join(c for c in part if unicodedata.category(c) != "Cf").casefold()
        ntfs = part.casefold().partition(":")[0].rstrip(" .")
        assert ".git" not in (hfs, ntfs)
        assert not ntfs.startswith("git~")


@given(PATHS)
def test_a_path_that_is_taken_is_the_same_in_every_normal_form_that_clients_write(path: str) -> None:
    if taken(path):
        assert unicodedata.normalize("NFC", path) == path
        assert path.isprintable() or any(unicodedata.category(c) in ("Cf", "Zs", "Zl", "Zp") for c in path)


@given(st.text(max_size=30))
def test_refs_that_are_taken_are_one_path_below_refs(text: str) -> None:
    try:
        ref = names.ref_part(text)
    except Invalid:
        return
    assert posixpath.normpath(f"refs/heads/{ref}") == f"refs/heads/{ref}"
    assert not any(c in ref for c in " ~^:?*[\\\x7f\0\n")


@given(st.text(st.characters(codec="ascii"), max_size=20), st.text(st.characters(codec="ascii"), max_size=20))
def test_names_that_look_alike_share_a_key_or_a_skeleton_and_keys_are_finer(one: str, other: str) -> None:
    if names.key(one) == names.key(other):
        assert names.skeleton(one) == names.skeleton(other)
    assert names.key(names.key(one)) == names.key(one)
    assert names.skeleton(names.skeleton(one)) == names.skeleton(one)
