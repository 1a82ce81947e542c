"""`headwater` itself: help, errors as one line and an exit status, and what `serve` announces. No socket is opened."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import importlib
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Self

import click
import msgspec
import pytest
from click.testing import CliRunner
from hub_building import Hub

from headwater import __version__, cli
from headwater.ground.errors import RepoMissing, Unavailable
from headwater.ground.settings import Settings

serving = importlib.import_module("headwater.cli.serve")  # `headwater.cli` has the command under this name


def main(monkeypatch: pytest.MonkeyPatch, does: Callable[[], object]) -> int:
    """The exit status of the program when its command does this."""

    def command(standalone_mode: bool) -> None:
        assert standalone_mode is False
        does()

    monkeypatch.setattr(cli, "program", command)
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def fails(error: BaseException) -> Callable[[], object]:
    def work() -> None:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (Unavailable("The disk is full."), 21, "headwater: The disk is full."),
        (RepoMissing("ada/x"), 10, "headwater: Repository not found: ada/x\n"),
        (click.exceptions.Abort(), 130, "headwater: stopped"),
        (click.UsageError("No such option: --x"), 2, "No such option: --x"),
        (OSError(errno.EACCES, "Permission denied", "/data"), 1, "headwater: /data: Permission denied\n"),
        (OSError(errno.ENOSPC, "No space left", "/from", None, "/to"), 21, "headwater: /to: No space left\n"),
        (OSError("said by a library"), 1, "headwater: said by a library\n"),
    ],
)
def test_an_error_is_one_line_and_its_exit_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, status: int, said: str
) -> None:
    assert main(monkeypatch, fails(error)) == status
    out, shown = capsys.readouterr()
    assert said in shown
    assert "Traceback" not in shown
    assert out == ""


def test_a_command_that_ends_well_has_exit_status_0(monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(monkeypatch, lambda: None) == 0


def test_help_explains_every_command() -> None:
    said = CliRunner().invoke(cli.program, ["--help"]).stdout
    for name in ("serve", "admin", "verify", "verify-download", "backup", "restore", "rebuild", "collect"):
        assert re.search(rf"^  {name}  +\S", said, re.MULTILINE), name
    assert CliRunner().invoke(cli.program, ["--version"]).stdout == f"headwater, version {__version__}\n"
    for command in cli.program.commands.values():
        assert command.help


def commands(path: list[str], group: click.Group) -> list[list[str]]:
    """Every command and group below this one, by the words that call it."""
    found = [path]
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        words = [*path, name]
        found += commands(words, command) if isinstance(command, click.Group) else [words]
    return found


@pytest.mark.parametrize("words", commands([], cli.program), ids=" ".join)
def test_help_says_nothing_that_is_meant_for_click(words: list[str]) -> None:
    result = CliRunner().invoke(cli.program, [*words, "--help"])
    assert result.exit_code == 0, result.output
    assert "\\" not in result.output
    assert "\b" not in result.output


def test_help_keeps_the_lines_that_are_to_be_kept() -> None:
    said = CliRunner().invoke(cli.program, ["--help"]).stdout
    assert re.search(r"^ +Start one: +headwater serve$", said, re.MULTILINE)
    assert re.search(r"^ +Keep it safe: +headwater backup, headwater verify$", said, re.MULTILINE)


def test_a_hub_without_an_administrator_announces_a_way_in_that_works_once(
    a_hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    serving.announce(a_hub.rooms, a_hub.rooms.settings)
    out, said = capsys.readouterr()
    assert out == ""
    (secret,) = re.findall(r"https://hub\.test/login/link/([0-9a-f]+)", said)
    assert str(a_hub.data) in said
    assert "HF_ENDPOINT=https://hub.test" in said
    user = a_hub.rooms.accounts.use_signin_link(secret)
    assert a_hub.rooms.accounts.actor_again(user, None).is_admin


def test_every_start_has_a_fresh_link_for_the_same_account_until_somebody_came_in(
    a_hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    links = []
    for _ in range(2):
        serving.announce(a_hub.rooms, a_hub.rooms.settings)
        links += re.findall(r"/login/link/([0-9a-f]+)", capsys.readouterr().err)
    assert len(set(links)) == 2
    accounts = a_hub.rooms.accounts
    accounts.sign_in(accounts.use_signin_link(links[1]))
    serving.announce(a_hub.rooms, a_hub.rooms.settings)
    assert "login" not in capsys.readouterr().err


def test_a_link_for_somebody_else_than_admin_says_for_whom_and_how_long(
    a_hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    a_hub.rooms.accounts.create_user("boss", is_admin=True)
    for length_s, span in ((86_400, "a day"), (7200, "2 hours"), (60, "a minute"), (90, "90 seconds")):
        settings = msgspec.structs.replace(a_hub.rooms.settings, signin_link_s=length_s)
        serving.announce(dataclasses.replace(a_hub.rooms, settings=settings), settings)
        assert f"(once, within {span}; it makes you the administrator boss)" in capsys.readouterr().err


def test_a_mistyped_setting_in_the_environment_is_told_without_its_value(
    a_hub: Hub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADWATER_PROT", "hf_secret")
    monkeypatch.setenv("HEADWATER_PORT", "8411")
    serving.announce(a_hub.rooms, a_hub.rooms.settings)
    said = capsys.readouterr().err
    assert "warning: HEADWATER_PROT is in the environment and no setting\n" in said
    assert "hf_secret" not in said
    assert "HEADWATER_PORT " not in said


def test_a_machine_without_git_is_told_so_at_the_start(
    a_hub: Hub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    serving.announce(a_hub.rooms, a_hub.rooms.settings)
    assert "git is not installed" not in capsys.readouterr().err
    monkeypatch.setenv("PATH", "/nonexistent")
    serving.announce(a_hub.rooms, a_hub.rooms.settings)
    assert "warning: git is not installed" in capsys.readouterr().err


def test_a_guessed_address_is_announced_as_one_and_a_given_one_is_not(
    a_hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    # the hub was told https://hub.test; whoever starts it so that it must guess has given nothing
    serving.announce(a_hub.rooms, msgspec.structs.replace(a_hub.rooms.settings, public_url="", host="0.0.0.0"))
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "--public-url" in line]
    assert "guess" in line
    serving.announce(a_hub.rooms, a_hub.rooms.settings)
    assert "--public-url" not in capsys.readouterr().err


class Sock:
    """A socket that binds where a test lets it."""

    bound: tuple[object, ...] = ()
    options: ClassVar[list[tuple[object, ...]]] = []

    def __init__(self, family: int, kind: int) -> None:
        Sock.bound = (family, kind)
        Sock.options.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def setsockopt(self, *option: object) -> None:
        Sock.options.append(option)

    def bind(self, address: tuple[str, int]) -> None:
        if address[1] == 99:
            raise OSError(errno.EADDRINUSE, "Address already in use")
        Sock.bound = (*Sock.bound, address)


def test_the_address_is_taken_before_anything_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving.socket, "socket", Sock)
    with serving.listening(Settings(host="::1", port=5)):
        assert Sock.bound == (socket.AF_INET6, socket.SOCK_STREAM, ("::1", 5))
    with serving.listening(Settings(host="127.0.0.1", port=5)):
        assert Sock.bound[0] == socket.AF_INET


def test_all_addresses_are_those_of_ipv4_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving.socket, "socket", Sock)
    both = (socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    with serving.listening(Settings(host="::", port=5)):
        assert both in Sock.options
    with serving.listening(Settings(host="::1", port=5)):
        assert both not in Sock.options


def test_a_taken_port_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving.socket, "socket", Sock)
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:99.*--port"), serving.listening(Settings(port=99)):
        raise AssertionError


def test_a_new_data_folder_is_for_its_owner_alone(tmp_path: Path) -> None:
    serving.make_private(tmp_path / "a" / "new")
    assert (tmp_path / "a" / "new").stat().st_mode & 0o777 == 0o700
    (tmp_path / "old").mkdir(0o750)
    serving.make_private(tmp_path / "old")
    assert (tmp_path / "old").stat().st_mode & 0o777 == 0o750
    (tmp_path / "file").touch()
    serving.make_private(tmp_path / "file")  # refused later, with what to do


def test_an_address_that_this_machine_has_not_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def bind(_self: Sock, _address: object) -> None:
        raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")

    monkeypatch.setattr(serving.socket, "socket", Sock)
    monkeypatch.setattr(Sock, "bind", bind)
    with pytest.raises(Unavailable, match="--host"), serving.listening(Settings(host="192.0.2.1")):
        raise AssertionError


@pytest.mark.parametrize("words", [["--port", "70000"], ["--port", "x"], ["--data"]])
def test_a_wrong_option_is_refused_before_anything_is_opened(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []

    def listening(settings: Settings) -> object:
        opened.append(settings)
        return contextlib.nullcontext()

    monkeypatch.setattr(serving, "listening", listening)
    assert CliRunner().invoke(cli.program, ["serve", *words]).exit_code != 0
    assert opened == []
