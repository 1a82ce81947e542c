"""`headwater admin`: users, organizations, members and tokens, from the machine that the hub's data lies on.

Works on the database itself, also while the hub runs, which sees every change within five seconds. Whoever can write
the data folder may do all of this. Passwords come from a prompt or from standard input: never from the command line,
where every user of the machine could read them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from headwater.accounts import OPERATOR, Accounts
from headwater.accounts import seed as seeding
from headwater.accounts.people import Kind
from headwater.cli import address
from headwater.cli.shared import DATA_HELP, FOLDER, of_a_hub, remembered_data
from headwater.ground import names
from headwater.ground.clock import iso
from headwater.ground.errors import Conflict, EntryMissing
from headwater.ground.settings import DAY_S, Settings, from_environment

ROLES = ("admin", "write", "contributor", "read")
_OPEN = "headwater.admin.accounts"


def open_accounts(settings: Settings) -> Accounts:
    """The accounts of a data folder; close `.db` after use."""
    # Put together as the hub itself is, so that repos follow a rename made here; loaded late, so that --help is quick.
    from headwater import app as root

    return root.open_rooms(settings).accounts


def open_or_begin(settings: Settings) -> Accounts:
    """The same; the folder is made if there is none, so that a hub can be furnished before its first start."""
    data = Path(settings.data)
    if not data.exists():
        click.echo(f"Making a new data folder in {data.absolute()}", err=True)
        data.mkdir(parents=True, mode=0o700)
    return open_accounts(settings)


_data_option = click.option("--data", type=FOLDER, expose_value=False, callback=remembered_data, help=DATA_HELP)
_json_option = click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
_stdin_option = click.option("--password-stdin", is_flag=True, help="Read the password from standard input, one line.")


def _accounts() -> Accounts:
    """Of a hub that is there; opened once per run, when the command needs it, so that --help works everywhere."""
    return _opened(lambda settings: open_accounts(of_a_hub(settings)))


def _first_accounts() -> Accounts:
    """For the commands that may be a hub's first ones."""
    return _opened(open_or_begin)


def _opened(opening: Callable[[Settings], Accounts]) -> Accounts:
    ctx = click.get_current_context()
    if _OPEN not in ctx.meta:
        accounts = opening(address.as_served(from_environment(data=remembered_data(ctx))))
        ctx.find_root().call_on_close(accounts.db.close)
        ctx.meta[_OPEN] = accounts
    opened: Accounts = ctx.meta[_OPEN]
    return opened


def _show(values: Sequence[object], columns: dict[str, Callable[[Any], str]], as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(values), indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for title in columns:
        table.add_column(title, overflow="fold")
    for value in values:
        # As Text: brackets in a name are no markup.
        table.add_row(*(Text(cell(value)) for cell in columns.values()))
    Console().print(table)


def _all_pages(page: Callable[[str], Iterable[Any]]) -> list[Any]:
    found: list[Any] = []
    while rows := list(page(found[-1].name if found else "")):
        found += rows
    return found


def _password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    entered: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    return entered


def _day(at_ms: int | None) -> str:
    return "" if at_ms is None else iso(at_ms)[:10]


@click.group()
@_data_option
def admin() -> None:
    """Users, organizations, members, tokens and repos. Also while the hub runs.

    \b
    headwater admin user create ada --fullname "Ada L."
    headwater admin org create acme --admin ada
    headwater admin token create ada laptop --role write
    headwater admin repo create ada/my-model
    """  # noqa: D301 - a backspace as such: it tells click to keep the lines as they are


@admin.group()
def user() -> None:
    """People who may sign in."""


@user.command("create")
@_data_option
@click.argument("name")
@click.option("--fullname", default="", help="The name that people read.")
@click.option("--email", default="", help="Where mail reaches the user.")
@click.option("--admin", "is_admin", is_flag=True, help="May administer the whole hub.")
@click.option("--ask-password", is_flag=True, help="Ask for a password now.")
@_stdin_option
def user_create(
    *, name: str, fullname: str, email: str, is_admin: bool, ask_password: bool, password_stdin: bool
) -> None:
    """Make a user. Without a password, print a one-time link by which he signs in."""
    accounts = _first_accounts()
    password = _password(password_stdin) if ask_password or password_stdin else None
    made = accounts.create_user(name, fullname, email, password, is_admin)
    click.echo(f"Made the user {made.name}.", err=True)
    if password is None:
        _print_link(accounts, made.id)


@user.command("list")
@_data_option
@_json_option
def user_list(as_json: bool) -> None:
    """All users."""
    columns: dict[str, Callable[[Any], str]] = {
        "name": lambda row: row.name,
        "full name": lambda row: row.fullname,
        "e-mail": lambda row: row.email,
        "made": lambda row: _day(row.created_ms),
        "is": lambda row: ", ".join(["admin"] * row.is_admin + ["disabled"] * row.disabled),
    }
    _show(_all_pages(_accounts().users), columns, as_json)


@user.command("set-password")
@_data_option
@click.argument("name")
@_stdin_option
def user_set_password(name: str, password_stdin: bool) -> None:
    """Set a password; ends the user's browser sessions."""
    accounts = _accounts()
    accounts.user(name)  # before anything is typed
    accounts.set_password(OPERATOR, name, _password(password_stdin))


@user.command("set-profile")
@_data_option
@click.argument("name")
@click.option("--fullname", help="The name that people read; '' for none.")
@click.option("--email", help="Where mail reaches the user; '' for none.")
def user_set_profile(name: str, fullname: str | None, email: str | None) -> None:
    """Change a user's full name or e-mail address. What is not given stays."""
    accounts = _accounts()
    found = accounts.user(name)
    accounts.set_profile(
        OPERATOR,
        name,
        found.fullname if fullname is None else fullname,
        found.email if email is None else email,
    )


@user.command("disable")
@_data_option
@click.argument("name")
def user_disable(name: str) -> None:
    """Sign a user out everywhere and let none of his tokens work."""
    _accounts().disable(OPERATOR, name)


@user.command("enable")
@_data_option
@click.argument("name")
def user_enable(name: str) -> None:
    """Undo `disable`."""
    _accounts().enable(OPERATOR, name)


@user.command("make-admin")
@_data_option
@click.argument("name")
@click.option("--undo", is_flag=True, help="Make an ordinary user again.")
def user_make_admin(name: str, undo: bool) -> None:
    """Let a user administer the whole hub."""
    _accounts().set_admin(OPERATOR, name, is_admin=not undo)


@user.command("link")
@_data_option
@click.argument("name")
def user_link(name: str) -> None:
    """Print a link that signs the user in once. It lasts for `signin_link_s`, and leads to the hub as last served."""
    accounts = _accounts()
    _print_link(accounts, accounts.user(name).id)


def _print_link(accounts: Accounts, user_id: int) -> None:
    click.echo("One-time sign-in link:", err=True)
    click.echo(f"{accounts.settings.base_url}/login/link/{accounts.make_signin_link(user_id)}")


@admin.group()
def org() -> None:
    """Organizations."""


@org.command("create")
@_data_option
@click.argument("name")
@click.option("--fullname", default="", help="The name that people read.")
@click.option("--visibility", type=click.Choice(["public", "private"]), help="Of new repos whose creator does not say.")
@click.option("--admin", "admin_name", metavar="USER", help="Its first member, who may add others.")
def org_create(name: str, fullname: str, visibility: str | None, admin_name: str | None) -> None:
    """Make an organization."""
    accounts = _first_accounts()
    if admin_name is not None:
        accounts.user(admin_name)  # before the organization is there without him
    accounts.create_org(OPERATOR, name, fullname, visibility)
    if admin_name is not None:
        accounts.set_member(OPERATOR, name, admin_name, "admin")


@org.command("list")
@_data_option
@_json_option
def org_list(as_json: bool) -> None:
    """All organizations."""
    columns: dict[str, Callable[[Any], str]] = {
        "name": lambda row: row.name,
        "full name": lambda row: row.fullname,
        "new repos are": lambda row: row.default_visibility,
    }
    _show(_all_pages(_accounts().orgs), columns, as_json)


@org.command("set-visibility")
@_data_option
@click.argument("name")
@click.argument("visibility", type=click.Choice(["public", "private"]))
def org_set_visibility(name: str, visibility: str) -> None:
    """Visibility of new repos whose creator does not say."""
    _accounts().set_org(OPERATOR, name, default_visibility=visibility)


@org.command("set-profile")
@_data_option
@click.argument("name")
@click.option("--fullname", required=True, help="The name that people read; '' for none.")
def org_set_profile(name: str, fullname: str) -> None:
    """Change an organization's full name."""
    _accounts().set_org(OPERATOR, name, fullname=fullname)


def _add_names(group: click.Group, kind: Kind) -> None:
    @group.command("rename")
    @_data_option
    @click.argument("name")
    @click.argument("new")
    def rename(name: str, new: str) -> None:
        """Give another name. The old one leads to it and is never given to anybody else."""
        accounts = _accounts()
        accounts.rename_namespace(OPERATOR, _exactly(accounts, name, kind), new)

    @group.command("delete")
    @_data_option
    @click.argument("name")
    @click.option("--yes", is_flag=True, help="Do not ask.")
    def delete(name: str, yes: bool) -> None:
        """Delete for good; the name is never given again. Repos must be moved or deleted first."""
        accounts = _accounts()
        exact = _exactly(accounts, name, kind)
        if not yes:
            click.confirm(f"Delete {exact} for good?", abort=True)
        accounts.delete_namespace(OPERATOR, exact)


def _exactly(accounts: Accounts, name: str, kind: Kind) -> str:
    """What an old name leads to is not renamed or deleted by mistake."""
    found = accounts.namespace(name)
    if found.kind != kind:
        raise EntryMissing(name, text=f"{name!r} is not the name of a{'n organization' if kind == 'org' else ' user'}")
    if names.key(found.name) != names.key(name):
        raise Conflict(f"{name!r} is called {found.name!r} now")
    return found.name


_add_names(user, "user")
_add_names(org, "org")


@admin.group()
def member() -> None:
    """Who belongs to an organization, and as what."""


@member.command("set")
@_data_option
@click.argument("org_name", metavar="ORG")
@click.argument("user_name", metavar="USER")
@click.argument("role", type=click.Choice(ROLES))
def member_set(org_name: str, user_name: str, role: str) -> None:
    """Take a user in, or give a member another role."""
    _accounts().set_member(OPERATOR, org_name, user_name, role)


@member.command("remove")
@_data_option
@click.argument("org_name", metavar="ORG")
@click.argument("user_name", metavar="USER")
def member_remove(org_name: str, user_name: str) -> None:
    """End a membership."""
    _accounts().remove_member(OPERATOR, org_name, user_name)


@member.command("list")
@_data_option
@click.argument("org_name", metavar="ORG")
@_json_option
def member_list(org_name: str, as_json: bool) -> None:
    """The members of an organization."""
    accounts = _accounts()
    columns: dict[str, Callable[[Any], str]] = {
        "name": lambda row: row.name,
        "full name": lambda row: row.fullname,
        "role": lambda row: row.role,
    }
    _show(_all_pages(lambda after: accounts.members(org_name, after)), columns, as_json)


@admin.group()
def token() -> None:
    """Access tokens."""


@token.command("create")
@_data_option
@click.argument("user_name", metavar="USER")
@click.argument("name")
@click.option("--role", type=click.Choice(["read", "write"]), default="read", show_default=True, help="What it may do.")
@click.option("--days", type=click.IntRange(1, 36_500), help="Ends after so many days.")
def token_create(user_name: str, name: str, role: str, days: int | None) -> None:
    """Make a token and print it: it is shown only this once."""
    accounts = _accounts()
    expires_ms = None if days is None else accounts.clock.now_ms() + days * DAY_S * 1000
    _, secret = accounts.create_token(OPERATOR, name, role, expires_ms, owner=user_name)
    click.echo(secret)


@token.command("list")
@_data_option
@click.argument("user_name", metavar="USER")
@_json_option
def token_list(user_name: str, as_json: bool) -> None:
    """A user's tokens, without their values."""
    accounts = _accounts()
    columns: dict[str, Callable[[Any], str]] = {
        "id": lambda row: str(row.id),
        "name": lambda row: row.name,
        "role": lambda row: row.role,
        "ends in": lambda row: f"...{row.hint}" if row.hint else "",
        "made": lambda row: _day(row.created_ms),
        "expires": lambda row: _day(row.expires_ms),
        "last used": lambda row: _day(row.used_ms),
    }
    _show(accounts.list_tokens(accounts.user(user_name).id), columns, as_json)


@token.command("revoke")
@_data_option
@click.argument("token_id", metavar="ID", type=int)
def token_revoke(token_id: int) -> None:
    """End a token for good; `token list` shows its ID."""
    _accounts().revoke_token(OPERATOR, token_id)


@admin.command("seed")
@_data_option
@click.argument("file", type=click.File("rb"))
def seed(file: BinaryIO) -> None:
    """Make the users and organizations of a JSON FILE hold. '-' is standard input.

    {"users": [{"name", "fullname", "email", "password", "token", "token_role"}], "orgs": [{"name", "fullname",
    "members": {"USER": "ROLE"}, "default_visibility"}]}. Only names must be there. The same file twice changes
    nothing; a file with a mistake changes nothing either.
    """
    report = seeding.seed(_first_accounts(), file.read(seeding.BYTES_MAX + 1))
    for warning in report.warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(", ".join(map(_counted, report.counts.items())) or "Everything held already.")


def _counted(counted: tuple[str, int]) -> str:
    """`orgs_created` twice: "2 organizations created"."""
    what, count = counted
    noun, done = what.replace("orgs", "organizations").split("_")
    return f"{count} {noun if count != 1 else noun.removesuffix('s')} {done}"
