"""Who is behind an account, and which row decides."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from headwater.ground.errors import Invalid
from headwater.observatory.imports.door import Report
from headwater.observatory.licences import Licences, read_licences
from headwater.observatory.registry import Registry, Row, read_rows, write_rows
from headwater.observatory.world import World

Take = Callable[..., Report]
TODAY = date(2026, 11, 21)
HEAD = "account,country,organisation,override,valid_from,valid_to,conflict\n"


def registry(*lines: str) -> Registry:
    rows, faults = read_rows(HEAD + "\n".join(lines), "test")
    assert not faults
    return Registry.of(rows)


def test_the_shipped_registry_knows_accounts_and_rests_on_evidence_that_may_ship() -> None:
    shipped = Registry.load(Path("nowhere"))
    assert shipped.on(TODAY)["deepseek-ai"].country == "CN"
    assert len(shipped.rows) > 250
    assert all(row.ship == "yes" and row.evidence for row in shipped.rows)
    assert not [row for row in shipped.rows if row.evidence.split("(")[0] == "hf-datasets"]
    assert {row.country for row in shipped.rows} >= {"INT", "USER", "US", "CN"}


def test_shipped_rows_say_who_stands_behind_an_account_and_who_disagrees() -> None:
    shipped = Registry.load(Path("nowhere")).on(TODAY)
    for account in ("sentence-transformers", "cross-encoder"):
        row = shipped[account]
        assert (row.country, row.parent) == ("DE", "Hugging Face")
        assert "observatory.md-0.2" in row.evidence
        assert "observatory.md-0.2:US" in row.conflict
    assert "ecosystem-graphs" in shipped["deepseek-ai"].conflict
    assert shipped["mistralai"].decided == "FR"  # what disagrees is kept, and decides nothing
    assert shipped["stabilityai"].conflict == "epoch:INT"
    assert all(row.evidence for row in shipped.values() if row.parent or row.conflict)


def test_a_later_row_replaces_an_earlier_one() -> None:
    assert registry("a,US,,,,,", "a,CN,,,,,").on(TODAY)["a"].country == "CN"


def test_an_override_beats_later_rows() -> None:
    decided = registry("a,US,,DE,,,", "a,CN,,,,,").on(TODAY)["a"]
    assert decided.decided == "DE"
    assert decided.country == "US"


def test_a_row_counts_only_while_it_is_valid() -> None:
    moving = registry("a,DE,,,,2025-10-01,", "a,US,,,2025-10-01,,")
    assert moving.on(date(2025, 9, 30))["a"].country == "DE"
    assert moving.on(date(2025, 10, 1))["a"].country == "US"


def test_several_accounts_belong_to_one_organisation() -> None:
    rows = registry("Qwen,CN,Alibaba,,,,", "alibaba-pai,CN,Alibaba,,,,").on(TODAY)
    assert {row.organisation for row in rows.values()} == {"Alibaba"}


def test_the_version_names_exactly_these_rows() -> None:
    assert registry("a,US,,,,,").version == registry("a,US,,,,,").version
    assert registry("a,US,,,,,").version != registry("a,CN,,,,,").version


@pytest.mark.parametrize(
    ("line", "field"),
    [
        (",US,,,,,", "account"),
        ("a/b,US,,,,,", "account"),
        ("a,Germany,,,,,", "country"),
        ("a,,,,,,", "country"),
        ("a,US,,Mars,,,", "override"),
        ("a,US,,,01.02.2025,,", "valid_from"),
    ],
)
def test_a_line_that_says_nothing_is_left_out_and_named(line: str, field: str) -> None:
    rows, faults = read_rows(HEAD + line + "\nok,FR,,,,,\n", "test")
    assert [row.account for row in rows] == ["ok"]
    assert [(fault.line, fault.field) for fault in faults] == [(2, field)]


def test_a_file_without_the_columns_is_refused() -> None:
    with pytest.raises(Invalid, match="account, country"):
        read_rows("name,place\na,b\n", "test")


def test_written_rows_read_the_same() -> None:
    row = Row(
        "a", "US", organisation='quo"ted, Inc', valid_from=date(2025, 1, 1), override="CN", source="x", ship="yes"
    )
    assert read_rows(write_rows([row]), "other") == ([row], [])


def test_hidden_characters_do_not_make_two_accounts() -> None:
    assert list(registry("a\u200b,us,,,,,", "a,CN,,,,,").on(TODAY)) == ["a"]


def test_an_imported_registry_comes_after_the_shipped_one(world: World, take: Take, tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("account,country\ndeepseek-ai,FR\nnobody-knows-me,DE\n")
    before = world.registry()
    report = take(file, name="mine", licence="CC0")
    assert (report.kind, report.rows, report.already) == ("registry", {"accounts": 2}, False)
    after = world.registry()
    assert after.on(TODAY)["deepseek-ai"].country == "FR"
    assert after.version != before.version
    assert take(file, name="mine", licence="CC0").already
    assert world.registry().version == after.version


def test_a_new_edition_of_a_registry_takes_the_place_of_the_old_one(world: World, take: Take, tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("account,country\nz,DE\n")
    take(file, name="mine")
    file.write_text("account,country\nz,FR\n")
    take(file, name="mine")
    assert [row.country for row in world.registry().rows if row.account == "z"] == ["FR"]


def test_licences_fall_into_families_of_a_coarse_order(world: World, take: Take, tmp_path: Path) -> None:
    shipped = {row.license: row for row in Licences.load(Path("nowhere")).rows}
    assert (shipped["mit"].family, shipped["mit"].rank) == ("permissive", 0)
    assert shipped["cc-by-nc-4.0"].rank == 4
    file = tmp_path / "mine.csv"
    file.write_text("license,family,rank\nmit,mine,1\nnew,mine,\nbad,mine,9\n,x,1\n")
    report = take(file, name="mine")
    assert (report.kind, report.rows_dropped) == ("licences", 2)
    now = {row.license: row for row in world.licences().rows}
    assert (now["mit"].family, now["new"].rank) == ("mine", None)


def test_a_rank_beyond_the_order_is_refused() -> None:
    assert [fault.field for fault in read_licences("license,family,rank\na,b,5\n")[1]] == ["rank"]
