"""Model families: rules that read a family out of a name, as data (data/families.toml) and as a DuckDB macro.

A family read from a name is a guess that anybody can check; which weights a model really descends from is another
question. The first rule whose text occurs in the lower-cased name decides.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import msgspec

from headwater.ground.errors import Corrupt


class Family(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`patterns` are plain lower-case texts, not regular expressions."""

    name: str
    patterns: tuple[str, ...]
    owners: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Families:
    rules: tuple[Family, ...]

    @classmethod
    def load(cls) -> Families:
        """The rules shipped with the package."""
        return cls(_shipped())

    def pattern_rows(self) -> list[tuple[int, str, str]]:
        """(position, family, pattern)"""
        pairs = [(family.name, pattern) for family in self.rules for pattern in family.patterns]
        return [(position, name, pattern) for position, (name, pattern) in enumerate(pairs, start=1)]

    def owner_rows(self) -> list[tuple[str, str]]:
        """(family, account)"""
        return [(family.name, owner) for family in self.rules for owner in family.owners]

    def macro(self) -> str:
        """`family_of(name)`: the family's name, or NULL."""
        cases = " ".join(
            "when "
            + " or ".join(f"contains(lower(name), {quoted(p)})" for p in family.patterns)
            + f" then {quoted(family.name)}"
            for family in self.rules
        )
        return f"create or replace macro family_of(name) as case {cases} end"


@lru_cache(maxsize=1)
def _shipped() -> tuple[Family, ...]:
    text = resources.files("headwater.observatory").joinpath("data/families.toml").read_text("utf-8")
    try:
        return tuple(msgspec.convert(tomllib.loads(text)["family"], list[Family]))
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, KeyError) as error:
        raise Corrupt(f"observatory: the package's families.toml can't be read ({error}); install it again") from error


def quoted(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"
