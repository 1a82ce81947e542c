"""A JSON file of users and organizations, made to hold: what is missing is made, what differs is changed.

One transaction, so that a file with a mistake changes nothing; the same file twice changes nothing the second time.
What the file does not name stays as it is. Safe beside a running hub, which sees the changes within five seconds.

    {"users": [{"name", "fullname", "email", "password", "token", "token_role"}],
     "orgs": [{"name", "fullname", "members": {"USER": "ROLE"}, "default_visibility"}]}

Only `name` must be there. Passwords and tokens are taken as they are: whoever may run this may choose them.
"""

from __future__ import annotations

import codecs
import contextlib
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

import msgspec
from sqlalchemy import Connection, select, update

from headwater.accounts import Accounts, passwords
from headwater.accounts.actor import Role, TokenRole
from headwater.accounts.actors import OPERATOR, fingerprint
from headwater.accounts.orgs import add_org, put_member
from headwater.accounts.people import (
    Kind,
    Namespace,
    Visibility,
    add_user,
    check_email,
    check_fullname,
    end_sessions,
    find,
    live,
    tell,
)
from headwater.accounts.tables import namespace, org, token, user
from headwater.accounts.tokens import add_token
from headwater.ground import names
from headwater.ground.errors import Conflict, EntryMissing, Forbidden, Invalid

BYTES_MAX = 16 << 20
ENTRIES_MAX = 20_000  # of users, and of organizations: each password costs 25 ms
TOKEN_LENGTH_MAX = 512
TOKEN_LENGTH_GOOD = 20  # shorter ones can be guessed, or are not recognised as secrets in logs
WARNINGS_MAX = 100
TOKEN_NAME = "seed"  # noqa: S105  (a name, not a secret)


class _User(msgspec.Struct, frozen=True):
    name: str
    fullname: str | None = None
    email: str | None = None
    password: str | None = None
    token: str | None = None
    token_role: TokenRole | None = None


class _Org(msgspec.Struct, frozen=True):
    name: str
    fullname: str | None = None
    members: dict[str, Role] | None = None
    default_visibility: Visibility | None = None


class _Document(msgspec.Struct, frozen=True):
    users: list[_User] = []
    orgs: list[_Org] = []


Count = Literal["users_created", "users_changed", "orgs_created", "orgs_changed", "members_changed", "tokens_created"]


@dataclass(frozen=True, slots=True)
class SeedReport:
    """What was done: how many of each, zero for all when everything held already."""

    counts: Mapping[Count, int]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Work:
    connection: Connection
    at_ms: int
    default_visibility: str
    password_hashes: Mapping[str, str]
    """By name key: the hashes to store, none where the password holds already."""
    warnings: list[str]
    counts: Counter[Count] = field(default_factory=Counter)


def seed(accounts: Accounts, document: bytes) -> SeedReport:
    """Makes `document` hold. Invalid or Conflict, naming the entry, if it cannot; then nothing has changed."""
    parsed, warnings = _parsed(document)
    hashes = {}
    for entry in parsed.users:
        if entry.password is not None:
            with _naming("user", entry.name):
                passwords.check_length(entry.password)
                names.new_namespace(entry.name)
            if not passwords.fits(_stored_hash(accounts, entry.name), entry.password):
                hashes[names.key(entry.name)] = passwords.hashed(entry.password)
    with accounts.db.write() as connection:
        work = _Work(connection, accounts.clock.now_ms(), accounts.settings.default_visibility, hashes, warnings)
        for entry in parsed.users:
            with _naming("user", entry.name):
                _put_token(work, entry, _put_user(work, entry))
        for entry_org in parsed.orgs:
            with _naming("organization", entry_org.name):
                _put_members(work, entry_org, _put_org(work, entry_org))
    return SeedReport(dict(work.counts), tuple(warnings[:WARNINGS_MAX]))


@contextlib.contextmanager
def _naming(kind: str, name: str) -> Iterator[None]:
    """Says in which entry the mistake is."""
    try:
        yield
    except (Invalid, Conflict, Forbidden) as error:
        raise type(error)(f"seed: {kind} {name[:100]!r}: {error.text}") from error


def _parsed(document: bytes) -> tuple[_Document, list[str]]:
    if len(document) > BYTES_MAX:
        raise Invalid(f"seed: the file has more than {BYTES_MAX} bytes")
    try:
        raw = msgspec.json.decode(document.removeprefix(codecs.BOM_UTF8))  # editors of Windows write one
        parsed = msgspec.convert(raw, _Document)
    except msgspec.MsgspecError as error:
        raise Invalid(f"seed: {error}{_choices(str(error))}") from error
    except RecursionError:
        raise Invalid("seed: the file is nested too deeply") from None
    for what, entries in (("users", parsed.users), ("orgs", parsed.orgs)):
        if len(entries) > ENTRIES_MAX:
            raise Invalid(f"seed: more than {ENTRIES_MAX} {what}")
    given = [entry.name for entry in parsed.users] + [entry.name for entry in parsed.orgs]
    for name, times in Counter(map(names.key, given)).items():
        if times > 1:
            raise Invalid(f"seed: {name[:100]!r} is there {times} times")
    return parsed, _unknown_keys(raw)


def _choices(text: str) -> str:
    """What may stand where `text` says that something else does; '' if it says something else."""
    known = {".token_role`": TokenRole, ".members[...]`": Role, ".default_visibility`": Visibility}
    if text.startswith("Invalid enum value"):
        for place, choices in known.items():
            if text.endswith(place):
                return f"; it is one of {', '.join(get_args(choices))}"
    return ""


def _unknown_keys(raw: Mapping[str, list[Mapping[str, object]]]) -> list[str]:
    found = Counter(key for key in raw if key not in _Document.__struct_fields__)
    for what, struct in (("users", _User), ("orgs", _Org)):
        found.update(
            f"{what}[].{key}" for entry in raw.get(what, []) for key in entry if key not in struct.__struct_fields__
        )
    return [
        f"unknown key {key[:100]!r} ignored{f' ({times} times)' if times > 1 else ''}" for key, times in found.items()
    ]


def _stored_hash(accounts: Accounts, name: str) -> str | None:
    question = select(user.c.password_hash).join(namespace, namespace.c.id == user.c.id)
    with accounts.db.read() as connection:
        found: str | None = connection.execute(question.where(namespace.c.key == names.key(name))).scalar()
    return found


def _existing(work: _Work, name: str, kind: Kind) -> Namespace | None:
    found = find(work.connection, namespace.c.key == names.key(name))
    if found is None:
        return None
    space, _ = found
    if space.state != "live":
        raise Conflict(f"this name was {'renamed' if space.state == 'moved' else 'deleted'} and is not given again")
    if space.kind != kind:
        raise Conflict(
            "this name is that of a user" if space.kind == "user" else "this name is that of an organization"
        )
    return space


def _put_user(work: _Work, entry: _User) -> Namespace:
    connection = work.connection
    wanted: dict[str, str] = {}
    if entry.fullname is not None:
        wanted["fullname"] = check_fullname(entry.fullname)
    if entry.email is not None:
        wanted["email"] = check_email(entry.email)
    password_hash = work.password_hashes.get(names.key(entry.name))
    if password_hash is not None:
        wanted["password_hash"] = password_hash
    space = _existing(work, entry.name, "user")
    if space is None:
        user_id = add_user(connection, entry.name, work.at_ms, **wanted)
        tell(connection, "user.created", work.at_ms, OPERATOR, id=user_id, name=entry.name, is_admin=False)
        work.counts["users_created"] += 1
        return live(connection, entry.name)
    before = connection.execute(select(user).where(user.c.id == space.id)).mappings().one()
    changes = {column: value for column, value in wanted.items() if before[column] != value}
    if changes:
        connection.execute(update(user).where(user.c.id == space.id).values(changes))
        if password_hash is not None:
            end_sessions(connection, space.id)
        what = "password" if password_hash is not None else "profile"
        tell(connection, "user.changed", work.at_ms, OPERATOR, id=space.id, name=space.name, what=what)
        work.counts["users_changed"] += 1
    return space


def _put_token(work: _Work, entry: _User, owner: Namespace) -> None:
    secret = entry.token
    if secret is None:
        return
    if not (0 < len(secret) <= TOKEN_LENGTH_MAX and secret.isascii() and secret.isprintable() and " " not in secret):
        raise Invalid(f"token: must have 1 to {TOKEN_LENGTH_MAX} printable ASCII characters and no space")
    if len(secret) < TOKEN_LENGTH_GOOD or not secret.startswith("hf_"):
        work.warnings.append(f"the token of {owner.name!r} is short or does not begin with hf_: fit for tests only")
    connection = work.connection
    row = connection.execute(select(token).where(token.c.hash == fingerprint(secret))).one_or_none()
    role = entry.token_role or "write"
    if row is None:
        taken = set(connection.execute(select(token.c.name).where(token.c.user_id == owner.id)).scalars())
        name = next(name for name in _token_names() if name not in taken)
        token_id = add_token(connection, owner, name, secret, role, at_ms=work.at_ms)
        data = {"id": token_id, "user_id": owner.id, "name": name, "role": role, "expires_ms": None}
        tell(connection, "token.created", work.at_ms, OPERATOR, **data)
        work.counts["tokens_created"] += 1
    elif row.user_id != owner.id:
        raise Conflict("token: it is somebody else's already")
    elif row.revoked_ms is not None:
        work.warnings.append(f"the token of {owner.name!r} was revoked and stays so; choose another")
    elif row.role != role:
        connection.execute(update(token).where(token.c.id == row.id).values(role=role))
        data = {"id": owner.id, "name": owner.name, "what": f"token {row.id} may {role}"}
        tell(connection, "user.changed", work.at_ms, OPERATOR, **data)
        work.counts["users_changed"] += 1


def _token_names() -> Iterator[str]:
    yield TOKEN_NAME
    yield from (f"{TOKEN_NAME}-{number}" for number in itertools.count(2))


def _put_org(work: _Work, entry: _Org) -> Namespace:
    connection = work.connection
    space = _existing(work, entry.name, "org")
    fullname = None if entry.fullname is None else check_fullname(entry.fullname)
    if space is None:
        visibility: Visibility = entry.default_visibility or (
            "private" if work.default_visibility == "private" else "public"
        )
        org_id = add_org(connection, entry.name, work.at_ms, fullname or "", visibility)
        data = {"id": org_id, "name": entry.name, "default_visibility": visibility}
        tell(connection, "org.created", work.at_ms, OPERATOR, **data)
        work.counts["orgs_created"] += 1
        return live(connection, entry.name)
    values = {
        "fullname": space.fullname if fullname is None else fullname,
        "default_visibility": entry.default_visibility or space.default_visibility,
    }
    if values != {"fullname": space.fullname, "default_visibility": space.default_visibility}:
        connection.execute(update(org).where(org.c.id == space.id).values(values))
        data = {"id": space.id, "name": space.name, "default_visibility": values["default_visibility"]}
        tell(connection, "org.changed", work.at_ms, OPERATOR, **data)
        work.counts["orgs_changed"] += 1
    return space


def _put_members(work: _Work, entry: _Org, space: Namespace) -> None:
    # Admins first: in a file that makes one member admin instead of another, one is there at every moment.
    for name, role in sorted((entry.members or {}).items(), key=lambda member: member[1] != "admin"):
        try:
            who = live(work.connection, name, "user")
        except EntryMissing:
            raise Invalid(f"members: {name[:100]!r} is neither a user in this file nor on this hub") from None
        before = put_member(work.connection, space.id, who.id, role)
        if before != role:
            data = {"org_id": space.id, "org": space.name, "user_id": who.id, "user": who.name}
            tell(work.connection, "member.changed", work.at_ms, OPERATOR, **data, before=before, role=role)
            work.counts["members_changed"] += 1
