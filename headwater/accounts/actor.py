"""Actor: who asks, with the grants that hold for this one request; and what grants allow.

Knows namespaces by number and no repo: `visible` takes the columns it filters, so that every list is filtered by the
database itself (trust.md, incident 8).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from sqlalchemy import ColumnElement, false, or_, true

Role = Literal["admin", "write", "contributor", "read"]
"""Roles of organization members as the Hub names them; a contributor writes only repos he made himself."""
TokenRole = Literal["read", "write"]
Want = Literal["read", "write", "admin"]


@dataclass(frozen=True, slots=True)
class Actor:
    """`user_id` None is nobody. `token_role` None: by browser session, which may do all that the user may."""

    user_id: int | None = None
    name: str = ""
    is_admin: bool = False
    roles: Mapping[int, Role] = field(default_factory=lambda: MappingProxyType({}))
    token_role: TokenRole | None = None
    token_id: int | None = None
    session_hash: str = ""

    @property
    def signed_in(self) -> bool:
        return self.user_id is not None

    @property
    def can_write(self) -> bool:
        """Whether the credential itself allows changes; a read token never does (T36)."""
        return self.signed_in and self.token_role != "read"  # noqa: S105 - a role

    def sees(self, *, private: bool, namespace_id: int | None) -> bool:
        return not private or self.is_admin or namespace_id in self.namespace_ids

    def may_write(self, *, namespace_id: int | None, creator_id: int | None) -> bool:
        """Whether commits, branches and the like are allowed in a repo of that namespace."""
        if not self.can_write:
            return False
        if self.is_admin or (namespace_id is not None and namespace_id == self.user_id):
            return True
        role = self.roles.get(namespace_id) if namespace_id is not None else None
        return role in ("admin", "write") or (role == "contributor" and creator_id == self.user_id)

    def may_administer(self, *, namespace_id: int | None, creator_id: int | None) -> bool:
        """Whether settings, names and existence of a repo of that namespace are his."""
        if not self.can_write:
            return False
        if self.is_admin or (namespace_id is not None and namespace_id == self.user_id):
            return True
        role = self.roles.get(namespace_id) if namespace_id is not None else None
        return role == "admin" or (role in ("write", "contributor") and creator_id == self.user_id)

    def may_create_in(self, namespace_id: int | None) -> bool:
        if not self.can_write:
            return False
        if self.is_admin or (namespace_id is not None and namespace_id == self.user_id):
            return True
        return namespace_id is not None and self.roles.get(namespace_id) in ("admin", "write", "contributor")

    @property
    def namespace_ids(self) -> frozenset[int]:
        """The namespaces whose private repos he sees."""
        own = {self.user_id} if self.user_id is not None else set()
        return frozenset(own | set(self.roles))


NOBODY = Actor()


def visible(actor: Actor, private: ColumnElement[bool], namespace_id: ColumnElement[int | None]) -> ColumnElement[bool]:
    """The WHERE clause that leaves exactly the rows this actor may know of."""
    if actor.is_admin:
        return true()
    mine = namespace_id.in_(sorted(actor.namespace_ids)) if actor.namespace_ids else false()
    return or_(private.is_(False), mine)
