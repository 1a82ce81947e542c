"""Where people reach the hub if nobody said it: found, left in the data folder, and used for links."""

from __future__ import annotations

import ipaddress
import re
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner
from hub_building import Hub

from headwater.cli import address, program
from headwater.ground.settings import Settings
from headwater.upkeep import backup as keeping


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "0", "", "::0", "0:0:0:0:0:0:0:0"])
def test_a_host_that_stands_for_all_becomes_an_address_that_clients_can_use(host: str) -> None:
    assert address.reachable(Settings(host=host, port=5), lambda _: "10.0.0.7").base_url == "http://10.0.0.7:5"
    assert address.reachable(Settings(host=host, port=5), lambda _: "fd00::2").base_url == "http://[fd00::2]:5"


@pytest.mark.parametrize("given", [Settings(host="127.0.0.1"), Settings(host="::1"), Settings(host="hub.test")])
def test_any_other_host_is_taken_as_it_is(given: Settings) -> None:
    assert address.reachable(given, lambda _: "10.0.0.7") is given


def test_a_public_url_goes_before_any_guess() -> None:
    given = Settings(host="0.0.0.0", public_url="https://hub.test")
    assert address.reachable(given, lambda _: "10.0.0.7") is given


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_the_machines_own_address_is_one_that_it_has(host: str) -> None:
    found = ipaddress.ip_address(address.own_address(host))
    assert not (found.is_unspecified or found.is_link_local)
    with socket.socket(socket.AF_INET6 if found.version == 6 else socket.AF_INET) as sock:
        sock.bind((str(found), 0))  # the system takes no address that is not the machine's


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_a_machine_without_a_network_is_reached_by_itself(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(address.socket, "socket", refuse)
    assert address.own_address(host) == "127.0.0.1"


def test_a_network_that_leads_nowhere_has_addresses_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "_on_the_way_out", lambda _: iter(()))
    monkeypatch.setattr(address, "_of_interfaces", lambda: iter(("127.0.0.1", "169.254.1.1", "10.0.0.7", "10.0.0.8")))
    assert address.own_address("0.0.0.0") == "10.0.0.7"


def test_interfaces_have_the_addresses_that_the_system_says() -> None:
    assert "127.0.0.1" in list(address._of_interfaces())


@pytest.fixture
def data(tmp_path: Path) -> str:
    address.leave(tmp_path, "http://127.0.0.1:18911")
    return str(tmp_path)


def test_what_a_hub_left_is_used_where_nothing_else_is_said(data: str) -> None:
    assert address.as_served(Settings(data=data)).base_url == "http://127.0.0.1:18911"
    assert address.as_served(Settings(data=data, port=18911, host="0.0.0.0")).base_url == "http://127.0.0.1:18911"


def test_what_is_said_goes_before_what_a_hub_left(data: str) -> None:
    assert address.as_served(Settings(data=data, public_url="https://hub.test/")).base_url == "https://hub.test"
    assert address.as_served(Settings(data=data, port=18912)).base_url == "http://127.0.0.1:18912"


def test_the_next_start_says_it_anew(data: str) -> None:
    address.leave(Path(data), "https://hub.test/prefix")
    assert address.as_served(Settings(data=data)).base_url == "https://hub.test/prefix"


@pytest.mark.parametrize(
    "left", [b"", b"http://127.0.0.1:18", b"\xff\n", b"file:///x\n", b"http://a\nb\n", b"http://a b\n"]
)
def test_half_an_address_and_none_at_all_are_overlooked(data: str, left: bytes) -> None:
    (Path(data) / address.FILE).write_bytes(left)
    assert address.as_served(Settings(data=data)).base_url == "http://127.0.0.1:8411"
    (Path(data) / address.FILE).unlink()
    assert address.as_served(Settings(data=data)).base_url == "http://127.0.0.1:8411"


def test_a_link_leads_to_the_hub_that_serves_the_data(a_hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADWATER_PUBLIC_URL")
    address.leave(a_hub.data, "http://127.0.0.1:18911")
    words = ["admin", "--data", str(a_hub.data), "user", "link", "ada"]
    printed = CliRunner().invoke(program, words).stdout
    assert re.search(r"^http://127\.0\.0\.1:18911/login/link/[0-9a-f]{64}$", printed, re.MULTILINE)


def test_a_backup_and_what_is_restored_from_it_know_no_address(a_hub: Hub, tmp_path: Path) -> None:
    address.leave(a_hub.data, "http://127.0.0.1:18911")
    keeping.backup(a_hub.data, tmp_path / "copy", "1", "now", lambda _done, _total: None)
    keeping.restore(tmp_path / "copy", tmp_path / "back", lambda _done, _total: None)
    assert not list(tmp_path.rglob(address.FILE))
