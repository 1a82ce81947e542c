"""Whether choices mean anything to a question: one that changes nothing is refused, never ignored.

A question says which choices it honours; some of them matter only beside others (a grain beside by=period), or where
the snapshot knows enough. So the plan is made with and without each choice that was made, and what would be run is
compared. A value that is the question's own default changes nothing either, and is fine: then another value would.
Runs nothing; refuses to know what any question does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import msgspec
import pyarrow as pa

from headwater.ground.errors import HeadwaterError, Invalid
from headwater.observatory.choices import STEPS_MAX, Choices, allowed
from headwater.observatory.questions.plan import Question, Scope
from headwater.observatory.questions.population import kind, knows
from headwater.observatory.steps import reads

_ALWAYS = frozenset({"population", "top", "sort"})
"""Choices that every answer honours by itself."""
_DEFAULTS = ("attribution", "parent", "steps", "window", "young_days")
"""Choices that have a value where none is made."""
_COLUMNS = {"removed": "removed", "private": "private", "restricted": "gated", "series": "created_at"}
"""What must be known of models for an exclusion to leave any out."""
_BESIDE: tuple[tuple[str, Any], ...] = (
    ("attribution", "uploader"), ("attribution", "root"), ("attribution", "named"), ("downloads_min", 1),
    ("age_days_max", 365), ("country", ("US",)), ("over", "countries"), ("grain", "month"),
)  # fmt: skip
"""Choices beside which others may begin to matter: tried for the text of a refusal."""


class _Ignored(Exception):
    """A choice that changes nothing: its name, and how it is called."""

    def __init__(self, name: str, called: str) -> None:
        super().__init__(name)
        self.name, self.called = name, called


def refusal(asked: Question, scope: Scope) -> HeadwaterError | None:
    """Why the question can't be asked of this snapshot with these choices; None if it can."""
    scope = weighed(scope)
    try:
        _heed(asked, scope)
    except _Ignored as ignored:
        return Invalid(_told(asked, scope, ignored.name, ignored.called))
    except HeadwaterError as error:
        return error
    return None


def heeds(asked: Question, scope: Scope) -> bool:
    """Whether it can be; a third of the work of saying why it can't."""
    try:
        _heed(asked, weighed(scope))
    except (_Ignored, HeadwaterError):
        return False
    return True


def _heed(asked: Question, scope: Scope) -> None:
    own = _shape(asked, scope)
    for name in scope.choices.made():
        _refuse(asked, scope, own, name)


def unmeant(asked: Question, scope: Scope) -> tuple[str, ...]:
    """The choices that have a default and mean nothing here, whatever their value: they are not stated."""
    scope = weighed(scope)
    made = scope.choices.made()
    own = _shape(asked, scope)
    return tuple(
        name
        for name in _DEFAULTS
        if name in asked.choices
        and name not in made
        and not any(_differs(asked, own, other) for other in _others(asked, scope, name))
    )


def weighed(scope: Scope) -> Scope:
    """The scope for a plan that nobody runs: what it looks at beforehand is empty."""
    return replace(scope, look=lambda _: pa.table({}))


def _refuse(asked: Question, scope: Scope, own: str, name: str) -> None:
    """Raises _Ignored for a choice that changes nothing; `own`: the plan as it is."""
    if name in _ALWAYS:
        return
    if name == "exclude":
        for item in scope.choices.exclude:
            _refuse_exclusion(asked, scope, own, item)
        return
    if _differs(asked, own, _without(scope, name)):
        return
    if not any(_differs(asked, own, other) for other in _others(asked, scope, name)):
        raise _Ignored(name, name)


def _refuse_exclusion(asked: Question, scope: Scope, own: str, item: str) -> None:
    rest = tuple(one for one in scope.choices.exclude if one != item)
    if not _differs(asked, own, _with(scope, exclude=rest)):
        raise _Ignored("exclude", f"exclude: {item}")
    column = _COLUMNS.get(item, "id")
    try:
        kind(scope)
    except Invalid:  # edges alone
        known, column = item != "series" or scope.has("edge.declared_at"), "declared_at"
    else:
        known = knows(scope, column)
    if not known:
        raise Invalid(f"exclude: {item} needs {column}, which snapshot {scope.snapshot.id} does not know of any model")


def _told(asked: Question, scope: Scope, name: str, what: str) -> str:
    said = f"{what} changes nothing in {asked.name} of {scope.snapshot.id}"
    beside = next(_beside(asked, scope, name), "")
    return f"{said}; it would with {beside}" if beside else said


def _beside(asked: Question, scope: Scope, name: str) -> Iterator[str]:
    """Choices beside which the one named would mean something."""
    for other, value in (*(("by", by) for by in asked.by), *_BESIDE):
        if other == name or other not in asked.choices or other in scope.choices.made():
            continue
        if other == "attribution" and value not in asked.attributions:
            continue
        try:
            changed = _with(scope, **{other: value})
            own = _shape(asked, changed)
            if own != _shape(asked, _without(changed, name)):
                yield f"{other}={value if isinstance(value, str | int) else ','.join(value)}"
        except HeadwaterError:
            continue


def _differs(asked: Question, own: str, other: Scope) -> bool:
    """Whether something else would be run, or be refused."""
    try:
        return own != _shape(asked, other)
    except HeadwaterError:
        return True


def _shape(asked: Question, scope: Scope) -> str:
    """All that would be run, as one text: steps that nothing reads are not."""
    plan = asked.build(scope)
    run = [plan.select, plan.order, *(f"from {share.units} {share.group} {share.weight}" for share in plan.shares)]
    for step in reversed(plan.steps):
        if any(reads(sql, step.name) for sql in run):
            run.append(step.sql)
    if any(reads(sql, "accounts") for sql in run):
        run.append(f"the registry of {scope.as_of.date()}")
    return "\n".join(run)


def _without(scope: Scope, name: str) -> Scope:
    return replace(scope, known=()) if name == "known" else scope.without(name)


def _with(scope: Scope, **changed: Any) -> Scope:
    return replace(scope, choices=msgspec.structs.replace(scope.choices, **changed))


def _others(asked: Question, scope: Scope, name: str) -> Iterator[Scope]:
    """The same with another value of a choice."""
    value = getattr(scope.choices, name)
    for other in _values(asked, name, value):
        if other != value:
            try:
                yield _with(scope, **{name: other})
            except Invalid:  # bounds that no longer ascend
                continue


def _values(asked: Question, name: str, value: Any) -> tuple[Any, ...]:
    listed = {"by": asked.by, "attribution": asked.attributions, "window": ("all", "30d")}.get(name) or allowed(name)
    if listed and isinstance(value, str):
        return listed
    if isinstance(value, date):
        return (value + timedelta(days=1),)
    if isinstance(value, int | float):
        return (value + 1 if value != STEPS_MAX else 1,)
    if isinstance(value, tuple) and value and isinstance(value[0], int | float):
        return ((*value, value[-1] + 1),)
    return ()


def stated(asked: Question, scope: Scope) -> dict[str, str]:
    """Every choice that the question honours and that has a value, defaults included where they mean something."""
    plain = weighed(scope)
    written: dict[str, str] = scope.choices.written()
    silent = unmeant(asked, scope)
    said = {name: written[name] for name in asked.choices if written[name] and name not in silent}
    if scope.choices.attribution not in asked.attributions and "attribution" in said:
        said["attribution"] = asked.attributions[0]
    said["population"] = written["population"] or scope.snapshot.id
    by = scope.choices.by or next(iter(asked.by), None)
    if by and not _differs(asked, _shape(asked, plain), _with(plain, by=by)):
        said["by"] = by
    return said


def checked(asked: Question, choices: Choices) -> Choices:
    """The choices with their types and bounds checked, and those refused that the question never honours."""
    try:  # Python does not look when a struct is made
        whole = msgspec.convert(msgspec.to_builtins(choices), Choices)
    except (msgspec.ValidationError, TypeError) as error:
        raise Invalid(f"choices: {error}") from error
    for name in whole.made():
        if name not in asked.choices:
            raise Invalid(f"{name}: {asked.name} does not honour this choice; it has {', '.join(asked.choices)}")
    if whole.by is not None and whole.by not in asked.by:
        raise Invalid(f"by: {whole.by[:40]!r} is not one of {', '.join(asked.by)}")
    if "attribution" in whole.made() and whole.attribution not in asked.attributions:
        raise Invalid(f"attribution: {asked.name} can do {', '.join(asked.attributions)}, not {whole.attribution}")
    return whole
