"""Trees: entries, pages, last commits, and how a file to be uploaded should come."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from headwater.accounts.actor import Actor
from headwater.ground.clock import FixedClock
from headwater.ground.errors import EntryMissing, Invalid, TooMuch
from headwater.ground.names import CommitId, FilePath, Sha256
from headwater.repos import objects, pointers
from headwater.repos import tree as tree_module
from headwater.repos.git import Git
from headwater.repos.holds import Holds
from headwater.repos.patterns import compile_pattern, read_attributes, read_ignores
from headwater.repos.refs import Refs
from headwater.repos.tree import Tree, is_binary
from headwater.repos.values import (
    AddInline,
    AddPointer,
    Candidate,
    CommitResult,
    DeleteFile,
    DeleteFolder,
    Entry,
    Repo,
    UploadMode,
)

Commits = Callable[..., CommitResult]
FILES = {
    "a.txt": b"a",
    "b/c.txt": b"bc",
    "b/d/e.txt": b"bde",
    "b/d/f.txt": b"bdf",
    "b.txt": b"b",  # git sorts it before the folder b
    "z": b"z",
}
ORDER = [".gitattributes", "a.txt", "b.txt", "b", "b/c.txt", "b/d", "b/d/e.txt", "b/d/f.txt", "z"]


def paths(entries: list[Entry]) -> list[str]:
    return [entry.path for entry in entries]


def test_an_entry_tells_kind_size_and_object_name(tree: Tree, git: Git, model: Repo, commit: Commits) -> None:
    at = commit(FILES).commit
    found = tree.entry(model, at, FilePath("b/c.txt"))
    assert (found.kind, found.size, found.sha256, found.pointer_size) == ("file", 2, None, 0)
    assert found.oid == objects.object_name("blob", b"bc").hex()
    assert tree.read_inline(model, found) == b"bc"
    folder = tree.entry(model, at, FilePath("b/d"))
    assert (folder.kind, folder.size) == ("directory", 0)
    assert tree.entry(model, at, FilePath("b/c.txt")) is found  # from memory


@pytest.mark.parametrize("path", ["nope", "b/nope", "a.txt/x", "B", "b/d/e.txt/x/y"])
def test_what_is_not_there_is_missing_and_says_at_which_commit(
    tree: Tree, model: Repo, commit: Commits, path: str
) -> None:
    at = commit(FILES).commit
    with pytest.raises(EntryMissing) as refused:
        tree.entry(model, at, FilePath(path))
    assert refused.value.headers == {"X-Repo-Commit": at}


def test_a_pointer_is_an_entry_of_the_real_size(
    tree: Tree, model: Repo, commit: Commits, holds: Holds, a_blob: Callable[..., Sha256]
) -> None:
    sha256 = a_blob("a", size=7_000_000)
    holds.hold(model.id, [sha256])
    at = commit([AddPointer(FilePath("m.bin"), sha256, 7_000_000), AddInline(FilePath("note.txt"), b"x")]).commit
    found = tree.entry(model, at, FilePath("m.bin"))
    text = pointers.text(sha256, 7_000_000)
    assert (found.sha256, found.size, found.pointer_size) == (sha256, 7_000_000, len(text))
    assert tree.read_inline(model, found) == text
    assert [entry.path for entry in tree.pointers(model.id, at)] == ["m.bin"]


def test_T48_links_and_submodules_are_shown_as_such_and_not_followed(tree: Tree, git: Git, model: Repo) -> None:
    pack = git.pack()
    link = pack.add("blob", b"../../etc/passwd")
    items = [(objects.SYMLINK, b"link", link), (objects.SUBMODULE, b"sub", bytes(range(20)))]
    root = pack.add("tree", objects.encode_tree(items))
    made = pack.add("commit", objects.encode_commit(objects.CommitObject(root.hex(), (), "a", "a", 1, "x")))
    git.land(model.id, pack)
    at = CommitId(made.hex())
    shown = tree.listing(model, at, "", recursive=True).entries
    assert [(entry.path, entry.kind, entry.size) for entry in shown] == [
        ("link", "symlink", 16),
        ("sub", "submodule", 0),
    ]
    for path in ("link/x", "sub/x"):
        with pytest.raises(EntryMissing):
            tree.entry(model, at, FilePath(path))


def test_folders_are_listed_in_pages_without_gap_or_repeat(tree: Tree, model: Repo, commit: Commits) -> None:
    at = commit(FILES).commit
    for limit in (1, 2, 3, 100):
        for path, recursive, expected in (
            ("", False, [".gitattributes", "a.txt", "b.txt", "b", "z"]),
            ("", True, ORDER),
            ("b", False, ["b/c.txt", "b/d"]),
            ("b", True, ["b/c.txt", "b/d", "b/d/e.txt", "b/d/f.txt"]),
        ):
            found: list[str] = []
            after: str | None = None
            while True:
                page = tree.listing(model, at, FilePath(path), recursive=recursive, after=after, limit=limit)
                assert len(page.entries) <= limit
                found += paths(page.entries)
                after = page.next
                if after is None:
                    break
            assert found == expected, (path, recursive, limit)


def test_a_listing_of_what_is_no_folder_is_missing(tree: Tree, model: Repo, commit: Commits) -> None:
    at = commit(FILES).commit
    for path in ("a.txt", "nope"):
        with pytest.raises(EntryMissing):
            tree.listing(model, at, FilePath(path))


@pytest.mark.parametrize("cursor", ["nope", "b/nope", "a.txt/x", "", "b/", "/", "b/d/e.txt/x", "\udc80"])
@pytest.mark.parametrize("recursive", [False, True])
def test_a_cursor_that_no_listing_gave_is_invalid(
    tree: Tree, model: Repo, commit: Commits, cursor: str, recursive: bool
) -> None:
    at = commit(FILES).commit
    with pytest.raises(Invalid, match="cursor"):
        tree.listing(model, at, "", recursive=recursive, after=cursor)


def test_a_page_looks_into_no_folder_before_its_own(tree: Tree, git: Git, model: Repo, commit: Commits) -> None:
    at = commit({f"f{i}/x.txt": b"%d" % i for i in range(50)}).commit
    asked: list[str] = []
    look = git.tree
    git.tree = lambda repo_id, oid: asked.append(oid) or look(repo_id, oid)  # type: ignore[method-assign, func-returns-value, return-value]
    page = tree.listing(model, at, "", recursive=True, after="f8/x.txt", limit=2)
    assert paths(page.entries) == ["f9", "f9/x.txt"]
    assert len(asked) <= 4  # root, f8, f9


def test_what_changed_between_two_revisions_is_told_with_all_that_is_below(
    tree: Tree, model: Repo, commit: Commits
) -> None:
    def seen(at: CommitId) -> dict[str, Entry]:
        return {entry.path: entry for entry in tree.listing(model, at, "", recursive=True).entries}

    old = commit(FILES).commit
    deleted = [DeleteFolder(FilePath("b/d")), DeleteFile(FilePath("z"))]
    new = commit([*deleted, *(AddInline(FilePath(path), b"new") for path in ("a.txt", "b/d", "z/y/x"))]).commit
    for first, second in ((old, new), (new, old), (old, old)):
        before, after = seen(first), seen(second)
        told = {(was or now).path: (was, now) for was, now in tree.changes(model.id, first, second) if was or now}  # type: ignore[union-attr]
        paths = before.keys() | after.keys()
        differs = {path for path in paths if before.get(path) != after.get(path)}
        assert told == {path: (before.get(path), after.get(path)) for path in differs}


def test_paths_are_told_once_each_and_missing_ones_left_out(tree: Tree, model: Repo, commit: Commits) -> None:
    at = commit(FILES).commit
    asked = [FilePath(path) for path in ("z", "nope", "b", "z", "a.txt/x")]
    assert paths(tree.paths_info(model, at, asked)) == ["z", "b"]
    with pytest.raises(TooMuch):
        tree.paths_info(model, at, [FilePath("x")] * (tree_module.PATHS_MAX + 1))


# Last commits


def test_each_path_knows_the_commit_that_made_it(
    tree: Tree, refs: Refs, model: Repo, commit: Commits, clock: FixedClock
) -> None:
    first = commit(FILES).commit
    clock.advance(5)
    second = commit({"b/d/e.txt": b"new"}).commit
    clock.advance(5)
    third = commit({"a.txt": b"new"}).commit
    clock.advance(5)
    at = commit([DeleteFile(FilePath("z")), AddInline(FilePath("y"), b"y")]).commit
    last = tree.last_commits(model, at, [FilePath(p) for p in ("a.txt", "b", "b/c.txt", "b/d", "b/d/e.txt", "y", "z")])
    assert {path: found.id for path, found in last.items()} == {
        "a.txt": third, "b": second, "b/c.txt": first, "b/d": second, "b/d/e.txt": second, "y": at,
    }  # fmt: skip


def test_last_commits_follow_the_side_of_a_merge_that_made_the_file(
    tree: Tree, git: Git, refs: Refs, model: Repo, ada: Actor, commit: Commits, clock: FixedClock
) -> None:
    base = commit({"base.txt": b"1"}).commit
    refs.create_branch(ada, model, "side")
    side = commit({"side.txt": b"1"}, "side").commit
    clock.advance(5)
    ours = commit({"main.txt": b"1"}).commit
    pack = git.pack()
    items = {
        **git.tree(model.id, git.commit(model.id, ours).tree),
        **git.tree(model.id, git.commit(model.id, side).tree),
    }
    root = pack.add("tree", objects.encode_tree((mode, name, oid) for name, (mode, oid) in items.items()))
    merge = objects.CommitObject(root.hex(), (ours, side), "a", "a", clock.now_ms() // 1000 + 5, "merge")
    at = CommitId(pack.add("commit", objects.encode_commit(merge)).hex())
    git.land(model.id, pack)
    last = tree.last_commits(model, at, [FilePath(p) for p in ("base.txt", "side.txt", "main.txt")])
    assert {path: found.id for path, found in last.items()} == {"base.txt": base, "side.txt": side, "main.txt": ours}


def test_the_walk_for_last_commits_is_bounded(
    tree: Tree, model: Repo, commit: Commits, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit({"old.txt": b"1"})
    for i in range(4):
        at = commit({"new.txt": b"%d" % i}).commit
    for limit in ("LAST_COMMITS_WALK_MAX", "LAST_COMMITS_ITEMS_MAX"):
        with monkeypatch.context() as patched:
            patched.setattr(tree_module, limit, 2)
            assert list(tree.last_commits(model, at, [FilePath("old.txt"), FilePath("new.txt")])) == ["new.txt"]


# How to upload


def modes(tree: Tree, model: Repo, at: CommitId, *files: tuple[str, int, bytes], **more: str) -> list[UploadMode]:
    return tree.modes(model, at, [Candidate(FilePath(path), size, sample) for path, size, sample in files], **more)


def test_files_go_by_attributes_size_and_content(tree: Tree, refs: Refs, model: Repo) -> None:
    at = refs.resolve(model, "main")
    asked = {
        ("model.safetensors", 10, b"x"): "lfs",
        ("deep/er/model.safetensors", 10, b"x"): "lfs",
        ("saved_model/a/b", 10, b"x"): "lfs",
        ("README.md", 10, b"hello"): "regular",
        ("README.md2", 10 * 2**20, b"hello"): "regular",
        ("big.txt", 10 * 2**20 + 1, b"hello"): "lfs",
        ("blob", 10, b"a\0b"): "lfs",
        ("empty.safetensors", 0, b""): "regular",
    }
    assert [found.mode for found in modes(tree, model, at, *asked)] == list(asked.values())


def test_the_present_file_s_name_is_told_so_that_equal_ones_are_not_sent(
    tree: Tree, model: Repo, commit: Commits, holds: Holds, a_blob: Callable[..., Sha256]
) -> None:
    sha256 = a_blob("b", size=5)
    holds.hold(model.id, [sha256])
    at = commit([AddPointer(FilePath("m.bin"), sha256, 5), AddInline(FilePath("d/a.txt"), b"a")]).commit
    found = modes(tree, model, at, ("m.bin", 5, b""), ("d/a.txt", 1, b"a"), ("d", 1, b"a"), ("new", 1, b"a"))
    assert [one.oid for one in found] == [sha256, objects.object_name("blob", b"a").hex(), None, None]


def test_ignored_files_are_said_to_be(tree: Tree, model: Repo, commit: Commits) -> None:
    at = commit({".gitignore": b"*.log\nbuild/\n!keep.log\n"}).commit
    asked = [("a.log", 1, b""), ("keep.log", 1, b""), ("build/x", 1, b""), ("x/build/keep.log", 1, b""), ("b", 1, b"")]
    assert [one.ignore for one in modes(tree, model, at, *asked)] == [True, False, True, True, False]
    assert [one.ignore for one in modes(tree, model, at, *asked, git_ignore="b")] == [False, False, False, False, True]


def test_attributes_about_to_be_uploaded_go_before_the_present_ones(tree: Tree, refs: Refs, model: Repo) -> None:
    at = refs.resolve(model, "main")
    found = modes(tree, model, at, ("a.bin", 1, b"a"), ("a.md", 1, b"a"), git_attributes="*.md filter=lfs")
    assert [one.mode for one in found] == ["regular", "lfs"]


def test_too_many_candidates_and_an_oversized_rule_file(tree: Tree, model: Repo, commit: Commits) -> None:
    at = commit({".gitattributes": b"*.md filter=lfs\n" * 20_000}).commit
    assert modes(tree, model, at, ("a.md", 1, b"a"))[0].mode == "regular"
    with pytest.raises(TooMuch):
        modes(tree, model, at, *[("a.md", 1, b"a")] * (tree_module.CANDIDATES_MAX + 1))


@pytest.mark.parametrize(
    ("sample", "whole", "expected"),
    [
        (b"", True, False), (b"plain\ttext\r\n\f", True, False), ("é".encode(), True, False), (b"\x1b[0m", True, False),
        (b"\0", True, True), (b"\xff\xfe", True, True), (b"\x01", True, True), (b"\x7f", True, True),
        ("é".encode()[:1], False, False), ("é".encode()[:1], True, True), (b"\xed\xa0\x80", True, True),
    ],
)  # fmt: skip
def test_text_is_told_from_binary_by_its_first_bytes(sample: bytes, whole: bool, expected: bool) -> None:
    assert is_binary(sample, whole=whole) is expected


# Patterns


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("*.bin", "a/b.bin", True), ("*.bin", "bin", False), ("lfs.*", "lfs.x.y", True), ("*.tar.*", "a.tar.gz", True),
        ("*tfevents*", "x/tfevents.1", True), ("saved_model/**/*", "saved_model/a", True),
        ("saved_model/**/*", "saved_model/a/b/c", True), ("saved_model/**/*", "x/saved_model/a", False),
        ("a/**", "a", False), ("a/**", "a/b/c", True), ("**/b", "b", True), ("**/b", "x/y/b", True),
        ("a/**/b", "a/b", True), ("a/**/b", "a/x/y/b", True), ("a/**/b", "a/x/y/c", False), ("**", "a/b", True),
        ("/a", "a", True), ("/a", "b/a", False), ("d/*.bin", "d/x.bin", True), ("d/*.bin", "d/e/x.bin", False),
        ("ab*b", "ab", False), ("ab*b", "abb", True), ("*e*f*", "xefx", True), ("?", "a", True), ("??", "a", False),
        ("[ab].x", "b.x", True), ("[!ab].x", "b.x", False), ("[^ab].x", "c.x", True), ("[]a].x", "].x", True),
        ("[[:digit:]]x", "5x", True), ("[a-c]*", "b", True), ("[a--b]x", "ax", False), ("[z-a]", "b", False),
        ("\\*x", "*x", True), ("\\*x", "yx", False), ("[", "[", True), ("a\\", "a\\", True), ("a//b", "a/b", False),
        ("[[a]", "[", True), ("[a&&b]", "&", True), ("[\\]]", "]", True), ("", "a", False), ("x" * 2000, "x", False),
    ],
)  # fmt: skip
def test_patterns_match_as_git_says(pattern: str, path: str, expected: bool) -> None:
    compiled = compile_pattern(pattern)
    assert (compiled is not None and compiled.matches(tuple(path.split("/")))) is expected


def test_attributes_of_later_lines_win_and_other_attributes_do_not_matter() -> None:
    rules = read_attributes(
        "# all\n*.bin filter=lfs diff=lfs merge=lfs -text\nraw/*.bin -filter\nx.bin !filter\ny.bin filter=other\n"
        '*.bin text eol=lf\n!z.bin filter=lfs\nfolder/ filter=lfs\n[attr]mac filter=lfs\n"with space.dat" filter=lfs\n'
        "two.dat -filter filter=lfs\n  \n*.md\n"
    )
    expected = {
        "a.bin": True, "raw/a.bin": False, "x.bin": False, "y.bin": False, "z.bin": True, "folder": False,
        "mac": False, "with space.dat": True, "two.dat": True, "a.md": False,
    }  # fmt: skip
    assert {path: rules.is_lfs(path) for path in expected} == expected


def test_a_folder_once_ignored_stays_ignored_with_all_that_is_in_it() -> None:
    rules = read_ignores("/out\n!out/keep\n*.tmp \n\\#x\n#comment\n!\\!y\n")
    for path, expected in (
        ("out", True), ("out/keep", True), ("x/out", False), ("a.tmp", True), ("#x", True), ("comment", False), ("!y", False),
    ):  # fmt: skip
        assert rules.ignores(path) is expected, path


def test_hostile_patterns_cost_little(clock: FixedClock) -> None:
    hostile = ["*a" * 500 + "b", "**/a/" * 200 + "b", "?*" * 400 + "b", "[a]*" * 250 + "b"]
    deep = "/".join("a" * 60)
    rules = read_attributes("".join(f"{pattern} filter=lfs\n" for pattern in hostile * 20))
    assert len(rules.lines) == 80
    assert not any(rules.is_lfs(path) for path in ("a" * 255, deep, f"{deep}/{'a' * 255}"))


def test_large_files_are_found_in_folders_that_unfold_to_billions_of_places(
    tree: Tree, git: Git, model: Repo, ada: Actor, clock: FixedClock
) -> None:
    """Ten folders in each of forty, all the same but for one path that has a large file."""
    pack = git.pack()
    pointer = pack.add("blob", pointers.text(Sha256("a" * 64), 5))
    barren = pack.add("tree", objects.encode_tree([(objects.FILE, b"x", pack.add("blob", b"x"))]))
    fertile = pack.add("tree", objects.encode_tree([(objects.FILE, b"w.bin", pointer)]))
    for _ in range(40):
        inner = [(objects.FOLDER, b"d%d" % i, barren) for i in range(10)]
        barren = pack.add("tree", objects.encode_tree(inner))
        fertile = pack.add("tree", objects.encode_tree([*inner, (objects.FOLDER, b"w", fertile)]))
    made = objects.CommitObject(fertile.hex(), (), "ada", "a@x", 0, "many\n")
    at = CommitId(pack.add("commit", objects.encode_commit(made)).hex())
    git.land(model.id, pack)
    assert [entry.path for entry in tree.pointers(model.id, at)] == ["w/" * 40 + "w.bin"]
