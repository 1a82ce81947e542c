"""The tables of `accounts`: who there is, who belongs where, and what they sign in with."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, Table, Text, UniqueConstraint, text

from headwater.ground.db import metadata

# A namespace row is never deleted: a dead one is the tombstone that keeps its name from changing hands (T41).
namespace = Table(
    "namespace",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("key", Text, nullable=False, unique=True),  # names.key(name)
    Column("skeleton", Text, nullable=False),  # names.skeleton(name)
    Column("kind", Text, nullable=False),  # user | org
    Column("state", Text, nullable=False, server_default=text("'live'")),  # live | dead | moved
    Column("moved_to", ForeignKey("namespace.id")),  # where a renamed one went
    Column("created_ms", BigInteger, nullable=False),
    Index("namespace_skeleton", "skeleton"),
)

user = Table(
    "user_account",
    metadata,
    Column("id", ForeignKey("namespace.id"), primary_key=True),
    Column("fullname", Text, nullable=False, server_default=text("''")),
    Column("email", Text, nullable=False, server_default=text("''")),
    Column("password_hash", Text),  # argon2id; none: this user signs in by link only
    Column("is_admin", Boolean, nullable=False, server_default=text("0")),  # of the whole hub
    Column("disabled", Boolean, nullable=False, server_default=text("0")),
)

org = Table(
    "org",
    metadata,
    Column("id", ForeignKey("namespace.id"), primary_key=True),
    Column("fullname", Text, nullable=False, server_default=text("''")),
    Column("default_visibility", Text, nullable=False, server_default=text("'public'")),
)

member = Table(
    "member",
    metadata,
    Column("org_id", ForeignKey("org.id"), primary_key=True),
    Column("user_id", ForeignKey("user_account.id"), primary_key=True),
    Column("role", Text, nullable=False),  # admin | write | contributor | read
    Index("member_user", "user_id"),
)

token = Table(
    "token",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("user_id", ForeignKey("user_account.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("hash", Text, nullable=False, unique=True),  # SHA-256 of the token: it is random, argon2 would add nothing
    Column("hint", Text, nullable=False),  # its last four characters, to tell tokens apart on the page
    Column("role", Text, nullable=False),  # read | write
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger),
    Column("revoked_ms", BigInteger),
    Column("used_ms", BigInteger),
    UniqueConstraint("user_id", "name"),
)

session = Table(
    "session",
    metadata,
    Column("hash", Text, primary_key=True),  # SHA-256 of the cookie
    Column("user_id", ForeignKey("user_account.id"), nullable=False),
    Column("csrf", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
)

signin_link = Table(
    "signin_link",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("user_id", ForeignKey("user_account.id"), nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Column("used_ms", BigInteger),
)
