"""Repos: named git repositories with an owner and a visibility, what is in them, and which bytes they may name.

Nouns: Repo, Revision (a commit id), Entry, hold. Invariants: `registry.open` is the only way from an actor to a Repo;
every ref moves by intent, ref, settle (`moves`); a revision names no blob that its repo does not hold; what was
acknowledged is on the disk. Refuses to know: HTTP, how bytes are stored, what a card says, who was made from whom.
"""

from __future__ import annotations

from pathlib import Path

from headwater.ground.clock import Clock
from headwater.ground.db import Database
from headwater.ground.settings import Settings
from headwater.repos.commit import Commits
from headwater.repos.copies import Copies
from headwater.repos.git import Git
from headwater.repos.holds import Holds, LfsFile, Pending
from headwater.repos.likes import Liked, Liker, Likes
from headwater.repos.moves import Moves
from headwater.repos.pull_requests import PullRequest, PullRequests
from headwater.repos.refs import Refs
from headwater.repos.registry import UNSET, Created, Deleted, Moved, Registry
from headwater.repos.tree import Tree
from headwater.repos.values import (
    AddInline,
    AddPointer,
    Candidate,
    Commit,
    CommitResult,
    Copy,
    DeleteFile,
    DeleteFolder,
    Entry,
    Message,
    Operation,
    RefInfo,
    RefMove,
    RefsList,
    Repo,
    UploadMode,
)
from headwater.repos.wire import Wire
from headwater.store import Store

__all__ = [
    "UNSET", "AddInline", "AddPointer", "Candidate", "Commit", "CommitResult", "Copy", "Created", "DeleteFile",
    "DeleteFolder", "Deleted", "Entry", "LfsFile", "Liked", "Liker", "Message", "Moved", "Operation", "Pending",
    "PullRequest", "RefInfo", "RefMove", "RefsList", "Repo", "Repos", "UploadMode",
]  # fmt: skip


class Repos:
    """The whole room; `prepare` belongs to every start, before anything is asked of it."""

    def __init__(self, db: Database, git_root: Path, store: Store, clock: Clock, settings: Settings) -> None:
        self.git = Git(git_root)
        self.moves = Moves(db, self.git, clock)
        self.registry = Registry(db, self.git, self.moves, clock, settings)
        self.holds = Holds(db, clock)
        self.likes = Likes(db, clock)
        self.refs = Refs(self.git, self.moves, clock)
        self.pull_requests = PullRequests(db, self.git, self.moves, self.refs)
        self.tree = Tree(self.git, settings)
        self.commit = Commits(
            self.git, self.moves, self.refs, self.tree, holds=self.holds, clock=clock, settings=settings
        )
        self.wire = Wire(self.git, self.moves, self.holds, self.pull_requests, clock, settings)
        self.copies = Copies(db, self.git, self.moves, self.registry)
        self.open = self.registry.open
        self.follow_namespace = self.registry.follow_namespace

    def prepare(self) -> None:
        """Clears what a crash left half-written, and finishes what it left half-done."""
        self.git.empty_incoming()
        self.moves.settle_all()
        self.registry.finish()
