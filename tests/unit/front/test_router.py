"""The router: raw segments first, decoding after; the more literal route wins; what is not there says so."""

from __future__ import annotations

import pytest

from headwater.front.router import SEGMENTS_MAX, Route, Router
from headwater.front.routes import ROUTES
from headwater.ground.errors import Invalid, NotOffered


def route(method: str, pattern: str) -> Route:
    return Route(method, pattern, lambda rooms, request: None, "A test.")


ROUTER = Router(
    [
        route("GET", "/"),
        route("GET", "/api/models"),
        route("POST", "/api/models"),
        route("GET", "/api/models/{ns}/{name}"),
        route("GET", "/api/models/{ns}/{name}/tree/{rev}/{path*}"),
        route("GET", "/api/models/{ns}/{name}/tree/{rev}"),
        route("GET", "/{name}/resolve/{rev}/{path*}"),
        route("GET", "/{ns}/{name}/resolve/{rev}/{path*}"),
        route("GET", "/{ns}/{name}"),
        route("GET", "/datasets/{name}"),
        route("DELETE", "/{ns}/{name}"),
    ]
)


def matched(path: str, method: str = "GET") -> tuple[str, dict[str, str]]:
    found, params = ROUTER.match(method, path)
    return found.pattern, params


@pytest.mark.parametrize(
    ("path", "pattern", "params"),
    [
        ("/", "/", {}),
        ("/api/models", "/api/models", {}),
        ("/ada/x", "/{ns}/{name}", {"ns": "ada", "name": "x"}),
        ("/datasets/x", "/datasets/{name}", {"name": "x"}),
        ("/api/models/ada/x", "/api/models/{ns}/{name}", {"ns": "ada", "name": "x"}),
        ("/gpt2/resolve/main/a/b.txt", "/{name}/resolve/{rev}/{path*}", {"name": "gpt2", "rev": "main", "path": "a/b.txt"}),
        ("/ada/x/resolve/v1/a", "/{ns}/{name}/resolve/{rev}/{path*}", {"ns": "ada", "name": "x", "rev": "v1", "path": "a"}),
        ("/resolve/resolve/resolve/resolve", "/{name}/resolve/{rev}/{path*}",
         {"name": "resolve", "rev": "resolve", "path": "resolve"}),
        ("/api/models/ada/x/tree/main/a%20b/c", "/api/models/{ns}/{name}/tree/{rev}/{path*}",
         {"ns": "ada", "name": "x", "rev": "main", "path": "a b/c"}),
    ],
)  # fmt: skip
def test_a_path_leads_to_its_route(path: str, pattern: str, params: dict[str, str]) -> None:
    assert matched(path) == (pattern, params)


def test_an_encoded_slash_does_not_end_a_segment() -> None:
    pattern, params = matched("/ada/x/resolve/refs%2Fpr%2F1/a%2Fb")
    assert pattern == "/{ns}/{name}/resolve/{rev}/{path*}"
    assert params == {"ns": "ada", "name": "x", "rev": "refs/pr/1", "path": "a/b"}


def test_a_percent_sign_is_decoded_once() -> None:
    assert matched("/ada/x/resolve/main/100%2525.txt")[1]["path"] == "100%25.txt"
    assert matched("/ada/x/resolve/main/%zz")[1]["path"] == "%zz"


def test_T47_bytes_that_are_no_utf8_are_refused() -> None:
    with pytest.raises(Invalid):
        matched("/ada/x/resolve/main/%ff%fe")


@pytest.mark.parametrize(
    "path", ["/api/models/", "/nowhere/at/all/here", "//", "/ada/", "//x", "/ada/x/resolve/main", "", "ada/x"]
)
def test_what_is_not_there_is_404(path: str) -> None:
    with pytest.raises(NotOffered) as refused:
        matched(path)
    assert refused.value.status == 404


def test_another_method_is_405_and_tells_which_there_are() -> None:
    for method, path, allowed in [("PUT", "/api/models", "GET, POST"), ("POST", "/ada/x", "DELETE, GET")]:
        with pytest.raises(NotOffered) as refused:
            matched(path, method)
        assert (refused.value.status, refused.value.headers) == (405, {"Allow": allowed})


def test_head_is_get_without_the_body() -> None:
    assert matched("/ada/x", "HEAD") == matched("/ada/x")


def test_a_method_that_the_best_route_lacks_is_looked_for_in_the_next() -> None:
    assert matched("/datasets/x", "DELETE") == ("/{ns}/{name}", {"ns": "datasets", "name": "x"})


def test_T61_a_path_with_too_many_parts_is_refused_at_once() -> None:
    with pytest.raises(NotOffered):
        matched("/a" * (SEGMENTS_MAX + 1))
    with pytest.raises(NotOffered):
        matched("/resolve" * SEGMENTS_MAX, "PUT")


def test_the_same_route_twice_is_a_mistake_of_ours() -> None:
    with pytest.raises(AssertionError):
        Router([route("GET", "/a/{x}"), route("GET", "/a/{y}")])
    with pytest.raises(AssertionError):
        Router([route("GET", "/a/{x*}"), route("GET", "/a/{y*}")])


def test_every_route_of_the_hub_is_found_by_its_own_pattern() -> None:
    router = Router(ROUTES)
    for each in ROUTES:
        # placeholders with what no literal segment is called
        names = [part.strip("{}*") for part in each.pattern.split("/") if part.startswith("{")]
        values = {name: "models" if name == "type" else f"~{name}" for name in names}
        path = "/".join(values[part.strip("{}*")] if part.startswith("{") else part for part in each.pattern.split("/"))
        found, params = router.match(each.method, path)
        assert found is each, (each.method, each.pattern, found.pattern)
        assert params == values


@pytest.mark.parametrize("path", ["/api/jobs/ada/x", "/oauth/userinfo", "/.well-known/x", "/api/buckets/ada/x"])
def test_addresses_of_what_this_version_does_not_offer_are_404_and_no_repo(path: str) -> None:
    for method in ("GET", "POST"):
        with pytest.raises(NotOffered) as refused:
            Router(ROUTES).match(method, path)
        assert refused.value.status in (404, 405)
