"""Whatever names a client puts into an address, percent-encoded, the handler gets exactly those, of the right route."""

from __future__ import annotations

from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from headwater.front.router import NO_PEOPLE, TYPES, Route, Router
from headwater.front.routes import ROUTES
from headwater.ground.errors import HeadwaterError

ROUTER = Router(ROUTES)
LITERALS = {part for route in ROUTES for part in route.pattern.split("/") if not part.startswith("{")}
# Any text that UTF-8 can carry; in a name of its own, so that no literal segment is meant.
VALUES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(lambda v: v not in LITERALS)


@given(st.sampled_from(ROUTES), st.data())
def test_every_value_comes_back_as_it_was_encoded(route: Route, data: st.DataObject) -> None:
    names = [part.strip("{}") for part in route.pattern.split("/") if part.startswith("{")]
    values = {}
    for name in names:
        if name.endswith("*"):
            # the rest of a path: its slashes may come encoded or not
            parts = data.draw(st.lists(VALUES, min_size=1, max_size=4))
            values[name] = "/".join(parts)
        elif name == "type":
            values[name] = data.draw(st.sampled_from(sorted(TYPES)))
        elif name == "ns":
            values[name] = data.draw(VALUES.filter(lambda text: not text.startswith(".") and text not in NO_PEOPLE))
        else:
            values[name] = data.draw(VALUES)
    encode_slash = data.draw(st.booleans())

    def encoded(part: str) -> str:
        if not part.startswith("{"):
            return part
        name = part.strip("{}")
        return quote(values[name], safe="/" if name.endswith("*") and not encode_slash else "")

    path = "/".join(encoded(part) for part in route.pattern.split("/"))
    found, params = ROUTER.match(route.method, path)
    if found is route:
        assert params == {name.rstrip("*"): value for name, value in values.items()}
    else:
        # another route may fit as well, but only one that is at least as literal
        assert found.method == route.method
        assert literal_parts(found) >= literal_parts(route)


def literal_parts(route: Route) -> int:
    return sum(not part.startswith("{") for part in route.pattern.split("/"))


@given(st.text(st.characters(codec="ascii"), max_size=80), st.sampled_from(["GET", "HEAD", "PUT", "PURGE"]))
def test_any_path_leads_to_a_route_or_to_an_error_of_ours(path: str, method: str) -> None:
    try:
        route, params = ROUTER.match(method, path)
    except HeadwaterError as error:
        assert error.status in (400, 404, 405)
    else:
        assert route.method in (method, "GET")
        assert len(params) == route.pattern.count("{")


@given(st.lists(st.sampled_from(sorted(LITERALS | {"a", "b", ""})), max_size=12))
def test_paths_made_of_our_own_words_are_found_or_refused_in_bounded_time(parts: list[str]) -> None:
    try:
        ROUTER.match("GET", "/" + "/".join(parts))
    except HeadwaterError as error:
        assert error.status in (404, 405)
