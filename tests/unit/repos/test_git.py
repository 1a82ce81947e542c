"""Repositories on the disk: what we write is what git itself reads, and it stays there."""

from __future__ import annotations

import os
import random
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import pygit2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.ground.errors import Corrupt, RepoMissing, Unavailable
from headwater.ground.names import FilePath
from headwater.repos import git as git_module
from headwater.repos import objects
from headwater.repos.git import Git, child_environment
from headwater.repos.lru import Lru
from headwater.repos.objects import TreeObject

AT_MS = 1_767_225_600_000


def real_git(git: Git, repo_id: int, *words: str) -> str:
    done = subprocess.run(
        ["git", *words], env=child_environment(git.path(repo_id)), capture_output=True, text=True, check=True
    )
    return done.stdout


def create(git: Git, repo_id: int = 1, **files: bytes) -> str:
    return git.create(repo_id, {FilePath(k): v for k, v in files.items()}, "ada", AT_MS, "initial commit")


def one_blob(git: Git, repo_id: int, data: bytes) -> str:
    pack = git.pack()
    name = pack.add("blob", data).hex()
    git.land(repo_id, pack)
    return name


def one_commit(git: Git, repo_id: int = 1) -> str:
    """A commit of nothing, that no ref knows yet."""
    pack = git.pack()
    commit = objects.CommitObject(objects.EMPTY_TREE, (), "ada", "ada@example.org", AT_MS // 1000, "empty\n")
    name = pack.add("commit", objects.encode_commit(commit)).hex()
    git.land(repo_id, pack)
    return name


def test_a_new_repository_is_one_that_git_finds_whole(git: Git) -> None:
    commit = create(git, a=b"one\n", b=b"two\n")
    real_git(git, 1, "fsck", "--strict", "--full")
    assert real_git(git, 1, "rev-parse", "HEAD").strip() == commit
    assert real_git(git, 1, "show", "HEAD:a") == "one\n"
    shown = real_git(git, 1, "log", "--format=%an|%ae|%at|%s")
    assert shown == "ada|ada@users.noreply.headwater|1767225600|initial commit\n"
    assert not (git.path(1) / "hooks").exists()
    assert list(git.incoming.iterdir()) == []


def test_an_undone_creation_under_the_same_number_is_put_aside(git: Git) -> None:
    create(git, a=b"left over")
    commit = create(git, a=b"new")
    assert git.refs(1) == {"refs/heads/main": commit}
    assert git.blob(1, git.tree(1, git.commit(1, commit).tree)[b"a"][1].hex()) == b"new"
    git.empty_incoming()
    assert list(git.incoming.iterdir()) == []


def test_packs_of_all_kinds_and_sizes_are_read_by_git(git: Git) -> None:
    create(git)
    chance = random.Random(7)
    contents = [chance.randbytes(size) for size in (0, 1, 15, 16, 127, 128, 2047, 2048, 70_000)] + [b"a" * 300_000]
    pack = git.pack()
    blobs = [pack.add("blob", data).hex() for data in contents]
    assert [pack.add("blob", data).hex() for data in contents] == blobs
    assert len(pack) == len(contents)
    tree = pack.add(
        "tree", objects.encode_tree((objects.FILE, b"f%d" % i, bytes.fromhex(b)) for i, b in enumerate(blobs))
    )
    git.land(1, pack)
    real_git(git, 1, "fsck", "--strict", "--full")
    for name, data in zip(blobs, contents, strict=True):
        assert git.object(1, name) == ("blob", data)
        assert git.kind_and_size(1, name) == ("blob", len(data))
        assert real_git(git, 1, "cat-file", "-s", name).strip() == str(len(data))
    assert set(git.tree(1, tree.hex())) == {b"f%d" % i for i in range(len(blobs))}


def test_offsets_beyond_two_gibibytes_go_into_the_wide_table(git: Git, monkeypatch: pytest.MonkeyPatch) -> None:
    create(git)
    monkeypatch.setattr(objects, "_OFFSET_32_MAX", 1 << 12)
    pack = git.pack()
    for i in range(3):
        pack.add("blob", os.urandom(3000) + bytes([i]))
    index = pack._index(bytes(20))
    far = [offset for _, offset in pack._places.values() if offset >= 1 << 12]
    assert len(far) == 1
    assert index[-40 - 8 : -40] == far[0].to_bytes(8, "big")
    pack.abandon()


def test_an_abandoned_pack_leaves_nothing(git: Git) -> None:
    create(git)
    before = sorted(git.path(1).rglob("*"))
    pack = git.pack()
    name = pack.add("blob", b"never")
    pack.abandon()
    assert git.kind_and_size(1, name.hex()) is None
    assert sorted(git.path(1).rglob("*")) == before
    assert list(git.incoming.iterdir()) == []


def test_a_full_disk_while_spooling_is_said_and_nothing_is_stored(git: Git, monkeypatch: pytest.MonkeyPatch) -> None:
    create(git)

    def full(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    pack = git.pack()
    pack.add("blob", b"x")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Unavailable) as refused:
        git.land(1, pack)
    assert refused.value.status == 507
    pack.abandon()
    assert len(list((git.path(1) / "objects/pack").glob("*.pack"))) == 1


def test_trees_are_in_git_s_order_and_strictly_read() -> None:
    items = [(objects.FILE, b"a.b", bytes(20)), (objects.FOLDER, b"a", bytes(20)), (objects.FILE, b"a-b", bytes(20))]
    data = objects.encode_tree(items)
    assert [name for _, name, _ in objects.parse_tree(data)] == [b"a-b", b"a.b", b"a"]
    assert objects.parse_tree(b"") == []
    for broken in (data[:-1], data + b"x", b"100644 a\0short", b"junk" + data):
        with pytest.raises(Corrupt):
            objects.parse_tree(broken)


NAMES = st.one_of(
    st.sampled_from(
        [b"", b".", b"..", b".git", b"a", b"A", b"a.b", b"a-b", b"a b", b" a", b"  ", b"a/b", b"\xff", b"1 2"]
    ),
    st.binary(max_size=4),
)
MODES = st.sampled_from([b"100644", b"100755", b"40000", b"040000", b"120000", b"160000", b"12345", b"4000", b"100648"])
OIDS = st.one_of(
    st.binary(min_size=20, max_size=20), st.sampled_from([bytes(20), b"100644 a\0100644 a\0zz"]), st.binary(max_size=21)
)
HOSTILE_TREES = st.one_of(
    st.lists(st.builds(lambda *item: b"%s %s\0%s" % item, MODES, NAMES, OIDS), max_size=6).map(b"".join), st.binary()
)


def sound_items(*modes: bytes) -> st.SearchStrategy[dict[bytes, tuple[bytes, bytes]]]:
    names = NAMES.filter(lambda name: name and not set(name) & {0, ord("/")})
    return st.dictionaries(names, st.tuples(st.sampled_from(modes), st.binary(min_size=20, max_size=20)))


SOUND_ITEMS = sound_items(b"100644", b"100755") | sound_items(b"100644", b"40000", b"040000", b"12345")


@given(HOSTILE_TREES)
def test_a_tree_in_one_piece_is_read_as_strictly_as_item_by_item(data: bytes) -> None:
    try:
        items = objects.parse_tree(data)
    except Corrupt:
        with pytest.raises(Corrupt):
            TreeObject(data)
        return
    found = TreeObject(data)
    expected = {name: (mode, oid) for mode, name, oid in items}  # of items with one name the last one counts
    assert list(found.items()) == list(found.behind(None)) == list(expected.items())
    assert list(found.values()) == [found[name] for name in found]
    assert len(found) == len(expected)
    for i, name in enumerate(expected):
        assert list(found.behind(name)) == list(expected.items())[i + 1 :]
    if len(items) == len(expected):
        assert found.encoded() == data


@pytest.mark.parametrize("few", [0, 256])
@given(before=SOUND_ITEMS, changes=SOUND_ITEMS, gone=st.sets(st.integers(0, 5)), shuffled=st.randoms())
def test_a_spliced_tree_is_the_one_that_is_encoded_anew(few: int, before, changes, gone, shuffled) -> None:
    raw = [b"%s %s\0%s" % (mode, name, oid) for name, (mode, oid) in before.items()]
    shuffled.shuffle(raw)  # none of our making: git would not have it so
    dropped = {name: None for i, name in enumerate(before) if i in gone}
    after = {name: item for name, item in {**before, **dropped, **changes}.items() if item is not None}
    with mock.patch.object(objects, "SPLICED_MAX", few):
        for data in (b"".join(raw), objects.encode_tree((mode, name, oid) for name, (mode, oid) in before.items())):
            tree = TreeObject(data)
            made = tree.spliced({**dropped, **changes})
            assert made.encoded() == objects.encode_tree((mode, name, oid) for name, (mode, oid) in after.items())
            assert made == after
            assert len(made) == len(after)
            assert made.spliced({}).encoded() == made.encoded()
            assert tree.encoded() == data  # as it was
            differing = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
            assert tree.differing(made) == sorted(differing)


@pytest.mark.parametrize(
    ("text", "name", "at_s"),
    [
        (b"author A B <a@b> 12 +0000", "A B", 12),
        (b"author <a@b> 12 +0000", "", 12),
        (b"author nobody", "nobody", 0),
        (b"author A <a> 999999999999999999 +0000", "A", objects.AT_S_MAX),
        (b"author A <a> -5 +0000", "A", 0),
        (b"author \xff <a> 1 +0000", "\ufffd", 1),
    ],
)
def test_strange_authors_of_pushed_commits_are_read_as_far_as_they_go(text: bytes, name: str, at_s: int) -> None:
    commit = objects.parse_commit(b"tree " + b"0" * 40 + b"\n" + text + b"\n\nhello\n")
    assert (commit.author_name, commit.at_s, commit.text) == (name, at_s, "hello\n")


@pytest.mark.parametrize(
    ("encoding", "data", "text"),
    [
        ("ISO-8859-1", b"caf\xe9", "café"),
        ("latin1", b"caf\xe9", "café"),
        ("windows-1251", b"\xea\xee\xf2", "кот"),
        ("gbk", b"\xb9\xa4", "工"),
        ("iso-8859-99", b"caf\xc3\xa9", "café"),  # there is none
        ("unicode_escape", rb"\u0041", rb"\u0041".decode()),  # of Python's own
        ("\xff", b"plain", "plain"),
    ],
)
def test_a_pushed_commit_is_read_in_the_encoding_that_it_names(encoding: str, data: bytes, text: str) -> None:
    head = b"tree %s\nauthor %s <a@b> 12 +0000\nencoding %s\n\n" % (b"0" * 40, data, encoding.encode())
    commit = objects.parse_commit(head + data)
    assert (commit.author_name, commit.text) == (text, text)


@pytest.mark.parametrize("data", [b"", b"tree x\n\n", b"tree " + b"0" * 40 + b"\nparent ..\n\n"])
def test_a_malformed_commit_is_corrupt(data: bytes) -> None:
    with pytest.raises(Corrupt):
        objects.parse_commit(data)


def test_names_cannot_break_out_of_their_field() -> None:
    commit = objects.CommitObject("0" * 40, (), "a\n<b>", "c>\0d", 1, "x")
    assert b"author ab <cd> 1 +0000\n" in objects.encode_commit(commit)


def test_refs_move_durably_and_are_answered_from_memory(git: Git) -> None:
    first = create(git, a=b"1")
    git.move_ref(1, "refs/heads/x/y", first)
    assert git.refs(1) == {"refs/heads/main": first, "refs/heads/x/y": first}
    assert Git(git._root).refs(1) == git.refs(1)
    assert real_git(git, 1, "rev-parse", "x/y").strip() == first
    git.move_ref(1, "refs/heads/x/y", None)
    git.move_ref(1, "refs/heads/x", first)  # where an empty folder was
    assert Git(git._root).refs(1) == {"refs/heads/main": first, "refs/heads/x": first} == git.refs(1)


def test_how_many_refs_are_kept_in_memory_does_not_grow_with_those_of_each_repo(git: Git) -> None:
    git._ref_tables = Lru(2 * git_module.REF_TABLE_WEIGHT + 6)
    first = create(git, a=b"1")
    create(git, 2, a=b"1")
    for i in range(5):
        git.move_ref(1, f"refs/heads/b{i}", first)
    with mock.patch.object(git_module, "_read_refs", wraps=git_module._read_refs) as read:
        assert [len(git.refs(repo_id)) for repo_id in (1, 2, 2, 1)] == [6, 1, 1, 6]
    assert [call.args[0] for call in read.call_args_list] == [git.path(2), git.path(1)]  # one at a time has room


def test_packed_refs_are_read_and_deleted(git: Git) -> None:
    first = create(git, a=b"1")
    git.move_ref(1, "refs/tags/t", first)
    real_git(git, 1, "pack-refs", "--all")
    git.forget(1)
    assert git.refs(1) == {"refs/heads/main": first, "refs/tags/t": first}
    git.move_ref(1, "refs/tags/t", None)
    assert Git(git._root).refs(1) == {"refs/heads/main": first}


def meanwhile(monkeypatch: pytest.MonkeyPatch, at: str, change: Callable[[], object]) -> None:
    """`change` happens once, right before a file named `at` is read."""
    reading = Path.read_text
    left = [change]

    def read_text(path: Path, *args: Any, **kwargs: Any) -> str:
        if path.name == at and left:
            left.pop()()
        return reading(path, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", read_text)


@pytest.mark.parametrize("at", ["main", "packed-refs"])
def test_a_repository_that_is_moved_away_under_a_reader_is_missing(
    git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    commit = create(git, a=b"1")
    git.move_ref(1, "refs/tags/t", commit)
    real_git(git, 1, "pack-refs", "--all")
    git.move_ref(1, "refs/heads/main", one_commit(git))
    git.forget(1)
    meanwhile(monkeypatch, at, lambda: git.retire(1, tmp_path / "trash/1"))
    with pytest.raises(RepoMissing):
        git.refs(1)


def test_a_ref_that_is_deleted_under_a_reader_is_there_or_not_and_never_an_older_one(
    git: Git, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = create(git, a=b"1")
    git.move_ref(1, "refs/heads/old", first)
    real_git(git, 1, "pack-refs", "--all")
    second = one_commit(git)
    for at, seen in (("old", None), ("packed-refs", second)):
        git.move_ref(1, "refs/heads/old", second)
        git.forget(1)
        meanwhile(monkeypatch, at, lambda: git.move_ref(1, "refs/heads/old", None))
        assert git.refs(1).get("refs/heads/old") == seen
        assert git.refs(1) == {"refs/heads/main": first}


def test_a_ref_that_can_never_be_read_is_corrupt(git: Git) -> None:
    create(git, a=b"1")
    (git.path(1) / "refs/heads/odd").symlink_to("nowhere")
    git.forget(1)
    with pytest.raises(Corrupt, match="can't be read"):
        git.refs(1)


def test_a_damaged_ref_is_corrupt_and_does_not_vanish(git: Git) -> None:
    create(git, a=b"1")
    (git.path(1) / "refs/heads/main").write_text("")
    git.forget(1)
    with pytest.raises(Corrupt, match="refs/heads/main"):
        git.refs(1)


def test_a_flipped_bit_in_a_pack_is_never_served(git: Git) -> None:
    create(git)
    name = one_blob(git, 1, os.urandom(5000))
    for pack in (git.path(1) / "objects/pack").glob("*.pack"):
        pack.chmod(0o644)
        data = bytearray(pack.read_bytes())
        data[len(data) // 2] ^= 1
        pack.write_bytes(data)
    with pytest.raises(Corrupt):
        Git(git._root).blob(1, name)


def test_an_object_that_is_another_than_its_name_says_is_never_served(
    git: Git, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole for zlib and for the pack's checksum: only the name tells."""
    create(git)
    wrong = objects.object_name("blob", b"this is what was sent\n")
    pack = git.pack()
    with monkeypatch.context() as patched:
        patched.setattr(objects, "object_name", lambda _kind, _data: wrong)
        pack.add("blob", b"this is what is there\n")
    right = pack.add("blob", b"one\n")
    trees = [pack.add("tree", objects.encode_tree([(objects.FILE, b"a", name)])).hex() for name in (right, wrong)]
    git.land(1, pack)
    with pytest.raises(Corrupt, match="is damaged"):
        git.blob(1, wrong.hex())
    (change,) = git.changes(1, *trees)
    with pytest.raises(Corrupt, match="is damaged"):
        change.patch()


def test_objects_of_the_wrong_kind_and_missing_ones_are_corrupt(git: Git) -> None:
    commit = create(git, a=b"1")
    with pytest.raises(Corrupt, match="should be a blob"):
        git.blob(1, commit)
    with pytest.raises(Corrupt, match="missing"):
        git.blob(1, "ab" * 20)


def test_a_repository_that_was_retired_is_missing_and_its_refs_do_not_come_back(git: Git, tmp_path: Path) -> None:
    commit = create(git, a=b"1")
    git.retire(1, tmp_path / "trash/1")
    with pytest.raises(RepoMissing):
        git.object(1, commit)
    with pytest.raises(RepoMissing):
        git.refs(1)
    with pytest.raises(RepoMissing):
        git.move_ref(1, "refs/heads/main", commit)
    assert not git.path(1).exists()
    assert (tmp_path / "trash/1/HEAD").exists()


@pytest.mark.parametrize("ref", ["refs/tags/t", "refs/heads/new/one"])
def test_a_ref_does_not_make_the_folder_anew_of_a_repository_that_goes_away_meanwhile(
    git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ref: str
) -> None:
    commit = create(git, a=b"1")
    making = git._make_folder

    def make(*where: Path) -> None:
        git.path(1).rename(tmp_path / "elsewhere")  # by another process
        making(*where)

    monkeypatch.setattr(git, "_make_folder", make)
    with pytest.raises(RepoMissing):
        git.move_ref(1, ref, commit)
    assert not git.path(1).exists()
    assert list(git.incoming.iterdir()) == []


def test_what_lands_in_a_repository_that_went_away_meanwhile_finds_it_missing(git: Git, tmp_path: Path) -> None:
    create(git, a=b"1")
    git.path(1).rename(tmp_path / "elsewhere")
    with pytest.raises(RepoMissing):
        one_blob(git, 1, b"late")


def test_what_is_not_found_since_the_repository_went_away_meanwhile_is_not_damaged(git: Git, tmp_path: Path) -> None:
    commit = create(git, a=b"1")

    def question(repository: pygit2.Repository) -> object:
        if git.path(1).exists():
            git.retire(1, tmp_path / "trash/1")
        return repository.odb.read("ab" * 20)

    assert git.commit(1, commit)
    with pytest.raises(RepoMissing):
        git._ask(1, question)


def test_maintenance_joins_packs_and_drops_nothing_even_unreachable(git: Git) -> None:
    create(git, a=b"1")
    names = [one_blob(git, 1, b"contents %d" % i) for i in range(git_module.PACKS_MAX)]
    assert git.needs_maintenance(1)
    git.maintenance(1)
    assert not git.needs_maintenance(1)
    assert len(list((git.path(1) / "objects/pack").glob("*.pack"))) == 1
    assert [git.blob(1, name) for name in names] == [b"contents %d" % i for i in range(git_module.PACKS_MAX)]
    real_git(git, 1, "fsck", "--full")
    assert list(git.incoming.iterdir()) == []
    git.maintenance(1)  # nothing to do


def test_maintenance_of_a_repository_that_goes_away_meanwhile_leaves_it_as_it_was(
    git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(git, a=b"1")
    names = [one_blob(git, 1, b"contents %d" % i) for i in range(git_module.PACKS_MAX)]
    joining = git._join_packs

    def join(repo_id: int, joined: list[Path]) -> None:
        git.retire(repo_id, tmp_path / "trash/1")
        joining(repo_id, joined)

    monkeypatch.setattr(git, "_join_packs", join)
    git.maintenance(1)
    git.restore(1, tmp_path / "trash/1")
    assert [git.blob(1, name) for name in names] == [b"contents %d" % i for i in range(git_module.PACKS_MAX)]
    assert list(git.incoming.iterdir()) == []


def test_maintenance_of_a_repository_that_goes_away_and_comes_back_meanwhile_leaves_it_as_it_was(
    git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(git, a=b"1")
    names = [one_blob(git, 1, b"contents %d" % i) for i in range(git_module.PACKS_MAX)]
    joining = git._join_packs

    def join(repo_id: int, joined: list[Path]) -> None:
        git.retire(repo_id, tmp_path / "trash/1")
        try:
            joining(repo_id, joined)
        finally:
            git.restore(repo_id, tmp_path / "trash/1")

    monkeypatch.setattr(git, "_join_packs", join)
    git.maintenance(1)
    assert [git.blob(1, name) for name in names] == [b"contents %d" % i for i in range(git_module.PACKS_MAX)]


def test_what_maintenance_joined_for_a_repository_that_went_away_does_not_stay(
    git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(git, a=b"1")
    for i in range(git_module.PACKS_MAX):
        one_blob(git, 1, b"contents %d" % i)
    swapping = git._swap_packs

    def swap(*packs: Any) -> None:
        git.retire(1, tmp_path / "trash/1")
        swapping(*packs)

    monkeypatch.setattr(git, "_swap_packs", swap)
    git.maintenance(1)
    assert list(git.incoming.iterdir()) == []


def test_maintenance_leaves_large_packs_alone(git: Git) -> None:
    create(git)
    one_blob(git, 1, os.urandom(3_000_000))
    large = max((git.path(1) / "objects/pack").glob("*.pack"), key=lambda path: path.stat().st_size)
    for i in range(git_module.PACKS_MAX):
        one_blob(git, 1, b"small %d" % i)
    git.maintenance(1)
    assert large.exists()
    assert len(list((git.path(1) / "objects/pack").glob("*.pack"))) == 2


def test_readers_go_on_while_packs_are_joined_and_written(git: Git) -> None:
    create(git)
    names = [one_blob(git, 1, b"contents %d" % i) for i in range(30)]
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            for i, name in enumerate(names[:30]):
                assert git.blob(1, name) == b"contents %d" % i

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        for i in range(6):
            names.append(one_blob(git, 1, b"later %d" % i))
            git.maintenance(1)
        stop.set()
        for reader in readers:
            reader.result()
    assert git.blob(1, names[-1]) == b"later 5"


def test_walking_and_containing_follow_parents(git: Git) -> None:
    first = create(git, a=b"1")
    tree = git.commit(1, first).tree
    pack = git.pack()
    second = pack.add("commit", objects.encode_commit(objects.CommitObject(tree, (first,), "a", "a", 1, "two")))  # type: ignore[arg-type]
    git.land(1, pack)
    assert list(git.walk(1, second.hex())) == [second.hex(), first]  # type: ignore[arg-type]
    assert git.contains(1, second.hex(), first)
    assert not git.contains(1, first, second.hex())
    assert not git.contains(1, first, "ab" * 20)


def test_the_memory_is_bounded_by_weight_and_forgets_the_oldest() -> None:
    memory: Lru[str, int] = Lru(10)
    memory.put("a", 1, weight=4)
    memory.put("b", 2, weight=4)
    assert memory.get("a") == 1
    memory.put("c", 3, weight=4)
    assert (memory.get("a"), memory.get("b"), memory.get("c")) == (1, None, 3)
    memory.put("heavy", 4, weight=11)
    assert memory.get("heavy") is None
    memory.put("a", 5, weight=1)
    assert (memory.get("a"), len(memory), memory._weight) == (5, 2, 5)
    memory.drop("a")
    assert memory.get("a") is None


def test_threads_have_handles_of_their_own(git: Git) -> None:
    commit = create(git, a=b"1")
    mine = git._open(1)
    theirs: list[object] = []
    other = threading.Thread(target=lambda: theirs.append(git._open(1)))
    other.start()
    other.join()
    assert git._open(1) is mine
    assert theirs[0] is not mine
    for number in range(2, git_module.OPEN_MAX + 3):
        create(git, number)
        git._open(number)
    assert len(git._mine.open) == git_module.OPEN_MAX
    assert git.find_commit(1, commit) == commit


def test_a_repository_s_damage_is_told_by_git_s_own_check(git: Git) -> None:
    create(git, a=b"1")
    assert git.problems(1) == []
    blob = one_blob(git, 1, b"needed")
    pack = git.pack()
    root = pack.add("tree", objects.encode_tree([(objects.FILE, b"f", bytes.fromhex("ab" * 20))]))
    made = pack.add("commit", objects.encode_commit(objects.CommitObject(root.hex(), (), "a", "a", 1, "x")))
    git.land(1, pack)
    git.move_ref(1, "refs/heads/broken", made.hex())
    assert any("missing blob " + "ab" * 20 in line for line in git.problems(1))
    assert git.kind_and_size(1, blob) == ("blob", 6)


def test_without_the_git_program_background_work_says_so(git: Git, monkeypatch: pytest.MonkeyPatch) -> None:
    create(git, a=b"1")
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(Unavailable, match="git is not installed"):
        git.problems(1)
