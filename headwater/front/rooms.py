"""Rooms: the services a handler may ask. Made once by `app.py`."""

from __future__ import annotations

from dataclasses import dataclass

from headwater.accounts import Accounts
from headwater.accounts.tickets import Tickets
from headwater.catalog.counts import Counts
from headwater.catalog.index import Index
from headwater.catalog.tags import TagLists
from headwater.ground.clock import Clock
from headwater.ground.db import Database
from headwater.ground.jobs import Runner
from headwater.ground.settings import Settings
from headwater.repos import Repos
from headwater.store import Store, Uploads, Xets
from headwater.store.sealing import Supervisor


@dataclass(frozen=True, slots=True)
class Rooms:
    settings: Settings
    clock: Clock
    db: Database
    accounts: Accounts
    tickets: Tickets
    store: Store
    xets: Xets
    uploads: Uploads
    repos: Repos
    index: Index
    counts: Counts
    tags: TagLists
    jobs: Runner
    sealing: Supervisor | None = None
    """None where sealing is off (setting `seal`)."""
