"""`headwater COMMAND`: the program as people start it. Data goes to stdout, what is said to people to stderr."""

from __future__ import annotations

import errno
import os
import sys

import click

from headwater import __version__
from headwater.cli.admin import admin
from headwater.cli.admin_repos import repo
from headwater.cli.carry import export, import_
from headwater.cli.keep import backup, collect, rebuild, restore, verify, verify_download
from headwater.cli.serve import serve
from headwater.ground.errors import HeadwaterError, RepoMissing, Unavailable

FULL = (errno.ENOSPC, errno.EDQUOT)
OBSERVATORY = "observatory"
STORE = "store"


class Program(click.Group):
    """Loads the observatory and the store's commands only when they are asked for: a hub must not carry their needs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), OBSERVATORY, STORE])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == STORE:
            from headwater.cli.store import store_commands

            return store_commands
        if cmd_name != OBSERVATORY:
            return super().get_command(ctx, cmd_name)
        from headwater.cli.observatory import observatory

        return observatory


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=True)
@click.version_option(__version__, prog_name="headwater")
def program() -> None:
    """Headwater: a hub for open-weight models that anybody can own.

    \b
    Start one:            headwater serve
    Make people and orgs: headwater admin --help
    Keep it safe:         headwater backup, headwater verify

    Settings, such as the options of `serve`, can also be given as HEADWATER_NAME in the environment or in the TOML file
    that HEADWATER_CONFIG names; all of them are listed at /docs/reference/settings of a running hub.
    """  # noqa: D301 - a backspace as such: it tells click to keep the lines as they are


admin.add_command(repo)
for command in (serve, admin, verify, verify_download, backup, restore, rebuild, collect, export, import_):
    program.add_command(command)


def main() -> None:
    """The entry point: errors of the taxonomy become one clear line and their exit status."""
    try:
        program(standalone_mode=False)
    except HeadwaterError as error:
        # to HTTP clients the name is not repeated; whoever may run this typed it himself, and may have typed several
        named = f": {error.repo}" if isinstance(error, RepoMissing) else ""
        click.echo(f"headwater: {error.text}{named}", err=True)
        sys.exit(error.exit_status)
    except click.exceptions.Abort:
        click.echo("headwater: stopped", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # `| head` has seen enough; what is left in the buffer must not be written either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        # a folder that can't be read or written: what the system says is all that there is to say
        where = error.filename2 or error.filename  # the second is where something was copied to
        click.echo(f"headwater: {f'{where}: {error.strerror}' if where else error}", err=True)
        sys.exit(Unavailable.exit_status if error.errno in FULL else 1)
