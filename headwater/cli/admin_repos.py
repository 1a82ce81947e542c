"""`headwater admin repo`: repos, from the machine that the hub's data lies on; also while the hub runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec
from sqlalchemy import select

from headwater.accounts import OPERATOR
from headwater.cli.shared import data_option, json_option, rooms_of, type_option
from headwater.ground import names
from headwater.ground.clock import iso
from headwater.ground.errors import RepoMissing
from headwater.ground.names import RepoId
from headwater.repos.registry import SDKS
from headwater.repos.tables import repo as repo_table

if TYPE_CHECKING:
    from headwater.front.rooms import Rooms
    from headwater.repos import Deleted

_visibility = click.Choice(["public", "private"])


def _id(kind: str, name: str) -> RepoId:
    return names.repo_id(names.repo_type(kind), name)


@click.group()
def repo() -> None:
    """Repos: make, list, move, show or hide, delete, bring back."""


@repo.command("create")
@click.argument("name")
@type_option("NAME")
@data_option
@click.option("--visibility", type=_visibility, help="Default: the organization's, else the hub's.")
@click.option("--sdk", type=click.Choice(SDKS), help="What runs a space. Default: static.")
def create(name: str, kind: str, data: str | None, visibility: str | None, sdk: str | None) -> None:
    """Make the repo NAME. That is `namespace/name`, or `name` alone for one without a namespace, such as gpt2."""
    private = None if visibility is None else visibility == "private"
    if kind == "space":
        sdk = sdk or "static"
    rid = _id(kind, name)
    with rooms_of(data) as rooms:
        if rid.namespace:
            rooms.accounts.namespace(rid.namespace)  # the operator may do everything, but not for nobody
        made = rooms.repos.registry.create(OPERATOR, rid, private, sdk)
    for warning in made.warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(made.repo.rid.full)


@repo.command("list")
@data_option
@json_option
def listing(data: str | None, as_json: bool) -> None:
    """All repos, private ones too."""
    with rooms_of(data) as rooms, rooms.db.read() as connection:
        rows = connection.execute(
            select(repo_table).where(repo_table.c.state == "live").order_by(repo_table.c.type, repo_table.c.key)
        ).all()
    shown = [
        {
            "type": row.type,
            "id": f"{row.namespace}/{row.name}" if row.namespace else row.name,
            "visibility": "private" if row.private else "public",
        }
        for row in rows
    ]
    if as_json:
        click.echo(msgspec.json.encode(shown))
    else:
        for one in shown:
            click.echo(f"{one['type']:8} {one['visibility']:8} {one['id']}")


@repo.command("set-visibility")
@click.argument("name")
@click.argument("visibility", type=_visibility)
@type_option("NAME")
@data_option
def set_visibility(name: str, visibility: str, kind: str, data: str | None) -> None:
    """Show a repo to everybody, or to its members alone."""
    with rooms_of(data) as rooms:
        found = rooms.repos.registry.open(OPERATOR, _id(kind, name), "admin")
        rooms.repos.registry.update(OPERATOR, found, visibility == "private")


@repo.command("move")
@click.argument("name")
@click.argument("new")
@type_option("NAME")
@data_option
def move(name: str, new: str, kind: str, data: str | None) -> None:
    """Give a repo another name or owner. The old name leads to it from now on."""
    with rooms_of(data) as rooms:
        rooms.repos.registry.move(OPERATOR, _id(kind, name), _id(kind, new))


@repo.command("delete")
@click.argument("name")
@type_option("NAME")
@data_option
@click.option("--now", is_flag=True, help="For good: it can't be brought back.")
@click.confirmation_option(prompt="Delete this repo for everybody?")
def delete(name: str, kind: str, data: str | None, now: bool) -> None:
    """Delete a repo; its name stays kept for its namespace. For a while `undelete` brings it back."""
    from headwater.upkeep import leaving

    rid = _id(kind, name)
    with rooms_of(data) as rooms:
        dying = rooms.repos.registry.open(OPERATOR, rid, "admin")
        with rooms.db.read() as connection:
            left = leaving.leaving(connection, OPERATOR, dying.id, rooms.clock.now_ms())
        rooms.repos.registry.delete(OPERATOR, rid)
        keep_s = rooms.settings.undelete_s
        if now and keep_s:
            rooms.repos.registry.purge(OPERATOR, dying.id)
    click.echo(leaving.sentence(left, 0 if now else keep_s))


@repo.command("deleted")
@data_option
@json_option
def deleted(data: str | None, as_json: bool) -> None:
    """Deleted repos that can be brought back, and until when. The newest first."""
    with rooms_of(data) as rooms:
        found = rooms.repos.registry.deleted(OPERATOR)
    shown = [
        {
            "number": one.repo.id,
            "type": one.repo.rid.type,
            "id": one.repo.rid.full,
            "deleted": iso(one.deleted_ms),
            "until": iso(one.until_ms),
        }
        for one in found
    ]
    if as_json:
        click.echo(msgspec.json.encode(shown))
    else:
        for row in shown:
            click.echo(f"#{row['number']:<7} {row['type']:8} until {row['until']}  {row['id']}")


@repo.command("undelete")
@click.argument("name")
@type_option("NAME")
@data_option
@click.option("--to", metavar="NAME", help="Another name in the same namespace, if the old one is taken.")
def undelete(name: str, kind: str, data: str | None, to: str | None) -> None:
    """Bring back the repo that was deleted last as NAME. Or the one of that number, written '#12'."""
    with rooms_of(data) as rooms:
        found = _deleted(rooms, kind, name)
        target = None if to is None else names.repo_id(found.repo.rid.type, to)
        back = rooms.repos.registry.undelete(OPERATOR, found.repo.id, target)
    click.echo(back.rid.full)


@repo.command("purge")
@click.argument("name")
@type_option("NAME")
@data_option
@click.confirmation_option(prompt="Give up this deleted repo, so that it can't be brought back?")
def purge(name: str, kind: str, data: str | None) -> None:
    """Give up a deleted repo before its time is over. NAME as for `undelete`; its bytes are free within the hour."""
    with rooms_of(data) as rooms:
        rooms.repos.registry.purge(OPERATOR, _deleted(rooms, kind, name).repo.id)


def _deleted(rooms: Rooms, kind: str, name: str) -> Deleted:
    if not name.startswith("#"):
        return rooms.repos.registry.find_deleted(OPERATOR, _id(kind, name))
    for one in rooms.repos.registry.deleted(OPERATOR):
        if f"#{one.repo.id}" == name:
            return one
    raise RepoMissing(name)
