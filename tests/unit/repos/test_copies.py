"""A copy of a repo has its history and its right to the bytes; what is taken out of a history is in none of its refs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import delete, update

from headwater.accounts.actor import Actor
from headwater.ground import names
from headwater.ground.db import Database
from headwater.ground.errors import Conflict, Forbidden, RepoMissing, TooMuch
from headwater.ground.events import Event
from headwater.ground.names import CommitId, FilePath, Sha256
from headwater.repos import copies as module
from headwater.repos.commit import Commits
from headwater.repos.copies import Copies
from headwater.repos.git import Git
from headwater.repos.holds import Holds
from headwater.repos.moves import Moves
from headwater.repos.refs import Refs
from headwater.repos.registry import Registry
from headwater.repos.tables import hold, repo
from headwater.repos.tree import Tree
from headwater.repos.values import AddInline, AddPointer, CommitResult, DeleteFile, Entry, Message, Repo

Committer = Callable[..., CommitResult]


@pytest.fixture
def copies(db: Database, git: Git, moves: Moves, registry: Registry) -> Copies:
    return Copies(db, git, moves, registry)


@pytest.fixture
def large(a_blob: Callable[..., Sha256], holds: Holds, model: Repo) -> Callable[[str], Sha256]:
    """`large("a")`: a blob that the model holds, as after an upload."""

    def make(letter: str) -> Sha256:
        sha256 = a_blob(letter)
        holds.hold(model.id, [sha256])
        return sha256

    return make


def pointer(path: str, sha256: Sha256) -> AddPointer:
    return AddPointer(FilePath(path), sha256, None)


def inline(path: str, data: bytes = b"x\n") -> AddInline:
    return AddInline(FilePath(path), data)


def files(tree: Tree, repo: Repo, commit: CommitId) -> dict[str, Entry]:
    page = tree.listing(repo, commit, "", recursive=True, after=None)
    return {entry.path: entry for entry in page.entries if entry.kind == "file"}


def twin_id(name: str = "ada/twin") -> names.RepoId:
    return names.repo_id("model", name)


# --- duplicates ---


def before_link(monkeypatch: pytest.MonkeyPatch, at: int, change: Callable[[], object]) -> None:
    """`change` happens once, right before the link number `at`."""
    real, calls = os.link, []

    def link(source: object, target: object) -> None:
        calls.append(source)
        if len(calls) == at:
            change()
        real(source, target)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "link", link)


def test_a_copy_has_the_branches_and_tags_and_files_of_its_source(
    copies: Copies, commit: Committer, refs: Refs, tree: Tree, git: Git, ada: Actor, model: Repo,
    large: Callable[[str], Sha256], holds: Holds,
) -> None:  # fmt: skip
    sha256 = large("a")
    first = commit([pointer("a.bin", sha256), inline("README.md", b"# one\n")])
    refs.create_tag(ada, model, "v1", "main", "first")
    refs.create_branch(ada, model, "dev", "main")
    second = commit({"later.txt": b"2\n"})
    twin = copies.duplicate(ada, model, twin_id(), private=True)
    assert (twin.rid.full, twin.private, twin.id != model.id) == ("ada/twin", True, True)
    assert dict(git.refs(twin.id)) == dict(git.refs(model.id))
    assert refs.resolve(twin, "main") == second.commit
    assert refs.resolve(twin, "v1") == refs.resolve(twin, "dev") == first.commit
    assert files(tree, twin, second.commit) == files(tree, model, second.commit)
    assert holds.has(twin.id, sha256)
    assert git.problems(twin.id) == []


def test_pull_refs_are_not_copied(
    copies: Copies, commits: Commits, git: Git, ada: Actor, model: Repo, commit: Committer
) -> None:
    commit({"a.txt": b"1\n"})
    commits.apply(ada, model, "main", None, Message("proposal"), [inline("b.txt")], create_pr=True)
    assert "refs/pr/1" in git.refs(model.id)
    twin = copies.duplicate(ada, model, twin_id(), private=False)
    assert sorted(git.refs(twin.id)) == ["refs/heads/main"]


def test_a_repo_with_nothing_but_its_first_commit_can_be_copied(
    copies: Copies, git: Git, ada: Actor, model: Repo
) -> None:
    twin = copies.duplicate(ada, model, twin_id(), private=False)
    assert git.refs(twin.id)["refs/heads/main"] == git.refs(model.id)["refs/heads/main"]


def test_T17_an_upload_that_no_commit_of_the_source_names_is_not_given_along(
    copies: Copies, ada: Actor, model: Repo, large: Callable[[str], Sha256], holds: Holds
) -> None:
    pending = large("b")
    twin = copies.duplicate(ada, model, twin_id(), private=False)
    assert not holds.has(twin.id, pending)


def test_a_copy_and_its_source_go_separate_ways(
    copies: Copies, commits: Commits, commit: Committer, registry: Registry, tree: Tree, git: Git, ada: Actor,
    model: Repo, large: Callable[[str], Sha256], holds: Holds,
) -> None:  # fmt: skip
    sha256 = large("a")
    before = commit([pointer("a.bin", sha256)])
    twin = copies.duplicate(ada, model, twin_id(), private=False)
    ours = commits.apply(ada, twin, "main", None, Message("ours"), [inline("ours.txt")])
    assert git.refs(model.id)["refs/heads/main"] == before.commit
    registry.delete(ada, model.rid)
    assert sorted(files(tree, twin, ours.commit)) == [".gitattributes", "a.bin", "ours.txt"]
    assert holds.has(twin.id, sha256)
    assert git.problems(twin.id) == []


def test_the_moves_of_a_copys_refs_are_events_of_the_copy(
    copies: Copies, commit: Committer, git: Git, ada: Actor, model: Repo, happened: Callable[[str], list[Event]]
) -> None:
    tip = commit({"a.txt": b"1\n"}).commit
    twin = copies.duplicate(ada, model, twin_id(), private=False)
    mine = [event for event in happened("ref.moved") if event.repo_id == twin.id]
    assert [(event.data["cause"], event.data["new"], event.data["of"]) for event in mine] == [
        ("duplicate", tip, "ada/falcon")
    ]


def test_a_name_that_is_taken_or_somebody_elses_is_refused(
    copies: Copies, ada: Actor, model: Repo, people: object, a_repo: Callable[..., Repo]
) -> None:
    a_repo(ada, "ada/taken")
    with pytest.raises(Conflict):
        copies.duplicate(ada, model, twin_id("ada/taken"), private=False)
    people.user("bob")  # type: ignore[attr-defined]
    with pytest.raises(Forbidden):
        copies.duplicate(ada, model, twin_id("bob/mine"), private=False)


def test_packs_that_are_joined_while_they_are_linked_are_all_there(
    copies: Copies, commit: Committer, git: Git, tree: Tree, ada: Actor, model: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(8):
        tip = commit({f"{number}.txt": b"x\n"}).commit
    before_link(monkeypatch, 5, lambda: git.maintenance(model.id))
    twin = copies.duplicate(ada, model, twin_id(), private=False)
    assert len(files(tree, twin, tip)) == 9
    assert git.problems(twin.id) == []


@pytest.mark.parametrize("at", [1, 4])
def test_of_a_source_that_a_command_deletes_meanwhile_nothing_is_half_copied(
    copies: Copies, commit: Committer, git: Git, registry: Registry, ada: Actor, model: Repo, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, at: int,
) -> None:  # fmt: skip
    for number in range(4):
        commit({f"{number}.txt": b"x\n"})
    before_link(monkeypatch, at, lambda: git.path(model.id).rename(tmp_path / "elsewhere"))
    with pytest.raises(RepoMissing):
        copies.duplicate(ada, model, twin_id(), private=False)
    made = registry.open(ada, twin_id(), "read")
    assert list(git.refs(made.id)) == ["refs/heads/main"]
    assert git.problems(made.id) == []


def test_T17_a_source_whose_holds_go_with_it_meanwhile_is_not_copied(
    copies: Copies, commit: Committer, git: Git, registry: Registry, ada: Actor, model: Repo, db: Database,
    large: Callable[[str], Sha256], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    commit([pointer("a.bin", large("a"))])
    linking = copies._link_packs

    def link(source_id: int, target_id: int) -> None:
        linking(source_id, target_id)
        with db.write() as connection:
            connection.execute(update(repo).where(repo.c.id == source_id).values(state="deleted", key="#gone"))
            connection.execute(delete(hold).where(hold.c.repo_id == source_id))

    monkeypatch.setattr(copies, "_link_packs", link)
    with pytest.raises(RepoMissing):
        copies.duplicate(ada, model, twin_id(), private=False)
    made = registry.open(ada, twin_id(), "read")
    assert git.refs(made.id)["refs/heads/main"] != git.refs(model.id)["refs/heads/main"]


def test_a_source_is_copied_in_its_turn_so_that_nobody_deletes_it_meanwhile(
    copies: Copies, commit: Committer, moves: Moves, ada: Actor, model: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit({"a.txt": b"1\n"})
    in_turn = []
    before_link(monkeypatch, 1, lambda: in_turn.append(model.id in moves._turns))
    copies.duplicate(ada, model, twin_id(), private=False)
    assert in_turn == [True]


def test_a_deleted_source_takes_no_name(copies: Copies, registry: Registry, ada: Actor, model: Repo) -> None:
    registry.delete(ada, model.rid)
    with pytest.raises(RepoMissing):
        copies.duplicate(ada, model, twin_id(), private=False)
    with pytest.raises(RepoMissing):
        registry.open(ada, twin_id(), "read")


# --- forgetting files ---


@pytest.fixture
def history(
    commit: Committer, large: Callable[[str], Sha256], refs: Refs, ada: Actor, model: Repo
) -> tuple[Sha256, Sha256, list[CommitId]]:
    """Three commits: a large file in a folder, another beside it under the same folder, and a small one; v1, dev."""
    one, two = large("a"), large("b")
    made = [commit([pointer("w/a.bin", one), inline("README.md", b"# x\n")]).commit]
    refs.create_tag(ada, model, "v1", "main", "first")
    made.append(commit([pointer("w/b.bin", two)]).commit)
    refs.create_branch(ada, model, "dev", "main")
    made.append(commit({"later.txt": b"2\n"}).commit)
    return one, two, made


def all_commits(git: Git, repo: Repo) -> set[str]:
    return {
        str(found)
        for oid in git.refs(repo.id).values()
        if (tip := git.find_commit(repo.id, oid)) is not None
        for found in git.walk(repo.id, tip)
    }


def test_a_file_that_is_forgotten_leaves_every_branch_and_stays_in_the_history(
    copies: Copies, git: Git, refs: Refs, tree: Tree, holds: Holds, ada: Actor, model: Repo,
    history: tuple[Sha256, Sha256, list[CommitId]],
) -> None:  # fmt: skip
    one, two, made = history
    copies.forget_files(ada, model, [one], rewrite_history=False)
    for branch, parent in (("main", made[2]), ("dev", made[1])):
        tip = refs.resolve(model, branch)
        assert git.commit(model.id, tip).parents == (parent,)
        assert set(files(tree, model, tip)) == set(files(tree, model, parent)) - {"w/a.bin"}
    assert refs.resolve(model, "v1") == made[0]
    assert holds.has(model.id, one)
    assert holds.has(model.id, two)
    assert git.problems(model.id) == []


def test_with_its_history_a_file_is_in_no_commit_of_any_ref_and_no_longer_held(
    copies: Copies, git: Git, refs: Refs, tree: Tree, holds: Holds, ada: Actor, model: Repo,
    history: tuple[Sha256, Sha256, list[CommitId]],
) -> None:  # fmt: skip
    one, two, made = history
    copies.forget_files(ada, model, [one], rewrite_history=True)
    for commit_id in all_commits(git, model):
        assert one not in {entry.sha256 for entry in files(tree, model, CommitId(commit_id)).values()}
    tip = refs.resolve(model, "main")
    assert set(files(tree, model, tip)) == {".gitattributes", "README.md", "w/b.bin", "later.txt"}
    assert tip not in made
    assert git.commit(model.id, tip).text == git.commit(model.id, made[2]).text
    # at the tag nothing was left of the folder
    assert set(files(tree, model, refs.resolve(model, "v1"))) == {".gitattributes", "README.md"}
    assert (holds.has(model.id, one), holds.has(model.id, two)) == (False, True)
    assert git.problems(model.id) == []


def test_commits_before_the_file_stay_what_they_are(
    copies: Copies, git: Git, refs: Refs, ada: Actor, model: Repo, history: tuple[Sha256, Sha256, list[CommitId]]
) -> None:
    _one, two, made = history
    copies.forget_files(ada, model, [two], rewrite_history=True)
    assert refs.resolve(model, "v1") == made[0]
    assert git.commit(model.id, refs.resolve(model, "dev")).parents == (made[0],)


@pytest.mark.parametrize("rewrite_history", [False, True])
def test_a_file_that_no_ref_has_moves_nothing(
    copies: Copies, git: Git, holds: Holds, ada: Actor, model: Repo, commit: Committer,
    large: Callable[[str], Sha256], happened: Callable[[str], list[Event]], rewrite_history: bool,
) -> None:  # fmt: skip
    pending = large("c")
    commit({"a.txt": b"1\n"})
    before, events = dict(git.refs(model.id)), happened("ref.moved")
    copies.forget_files(ada, model, [pending], rewrite_history=rewrite_history)
    assert dict(git.refs(model.id)) == before
    assert happened("ref.moved") == events
    assert holds.has(model.id, pending) is not rewrite_history


def test_a_file_that_was_deleted_before_is_still_taken_out_of_the_history(
    copies: Copies, commit: Committer, git: Git, tree: Tree, refs: Refs, ada: Actor, model: Repo,
    large: Callable[[str], Sha256],
) -> None:  # fmt: skip
    sha256 = large("d")
    commit([pointer("d.bin", sha256)])
    tip = commit([DeleteFile(FilePath("d.bin"))]).commit
    copies.forget_files(ada, model, [sha256], rewrite_history=False)
    assert refs.resolve(model, "main") == tip
    copies.forget_files(ada, model, [sha256], rewrite_history=True)
    assert refs.resolve(model, "main") != tip
    assert all("d.bin" not in files(tree, model, CommitId(found)) for found in all_commits(git, model))


def test_a_branch_of_which_nothing_is_left_becomes_empty(
    copies: Copies, commit: Committer, tree: Tree, refs: Refs, ada: Actor, model: Repo,
    large: Callable[[str], Sha256],
) -> None:  # fmt: skip
    sha256 = large("e")
    commit([pointer("deep/er/e.bin", sha256), DeleteFile(FilePath(".gitattributes"))])
    copies.forget_files(ada, model, [sha256], rewrite_history=False)
    assert files(tree, model, refs.resolve(model, "main")) == {}


def test_a_history_that_is_too_long_is_refused_and_nothing_moves(
    copies: Copies, git: Git, ada: Actor, model: Repo, history: tuple[Sha256, Sha256, list[CommitId]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(module, "COMMITS_MAX", 2)
    before = dict(git.refs(model.id))
    with pytest.raises(TooMuch):
        copies.forget_files(ada, model, [history[0]], rewrite_history=True)
    assert dict(git.refs(model.id)) == before
    assert list(git.incoming.iterdir()) == []
