"""The pages' part of the route table; `front/routes.py` appends it."""

from __future__ import annotations

from headwater.front.answer import Answer
from headwater.front.pages import account, assets, browse, documents, repository, storage
from headwater.front.request import Request
from headwater.front.rooms import Rooms
from headwater.front.router import BodyKind, Handler, Route
from headwater.ground.names import RepoType

_PREFIXES: dict[RepoType, str] = {"model": "", "dataset": "datasets/", "space": "spaces/"}


def _page(method: str, pattern: str, handler: Handler, does: str, *, needs: str = "", body: BodyKind = "none") -> Route:
    return Route(method, pattern, handler, does, body, "actor", needs)


def _of_kind(handler: Handler, kind: RepoType) -> Handler:
    """The handler, told which type the address stands for."""

    def told(rooms: Rooms, request: Request) -> Answer:
        request.params["type"] = kind
        made: Answer = handler(rooms, request)
        return made

    told.__name__, told.__module__ = handler.__name__, handler.__module__
    return told


def _observed(name: str) -> Handler:
    """A handler of pages/observe.py, which brings DuckDB and Arrow (46 MB): not before somebody asks for its pages."""

    def called(rooms: Rooms, request: Request) -> Answer:
        from headwater.front.pages import observe  # noqa: PLC0415 - see above

        made: Answer = getattr(observe, name)(rooms, request)
        return made

    called.__name__ = f"observe_{name}"
    return called


def _of_repo(rest: str, handler: Handler, does: str) -> list[Route]:
    """A page below a repo's own address. `/{name}` alone may also be a person's: `browse.namespace` decides."""
    return [
        Route("GET", f"/{prefix}{repo}{rest}", _of_kind(handler, kind), does, needs="read")
        for kind, prefix in _PREFIXES.items()
        for repo in ("{ns}/{name}", "{name}")
        if rest or prefix or "/" in repo
    ]


def _form_of_repo(rest: str, handler: Handler, does: str) -> list[Route]:
    """What a form on a repo's page sends, by somebody who is signed in."""
    return [
        _page("POST", f"/{prefix}{repo}{rest}", _of_kind(handler, kind), does, needs="signed-in", body="json")
        for kind, prefix in _PREFIXES.items()
        for repo in ("{ns}/{name}", "{name}")
    ]


PAGES: list[Route] = [
    _page("GET", "/", _of_kind(browse.listing, "model"), "Home: the models"),
    _page("GET", "/models", _of_kind(browse.listing, "model"), "The models, with search, filters and order"),
    _page("GET", "/datasets", _of_kind(browse.listing, "dataset"), "The data sets"),
    _page("GET", "/spaces", _of_kind(browse.listing, "space"), "The spaces"),
    _page("GET", "/{name}", browse.namespace, "A person, an organization, or a repo without a namespace"),
    *_of_repo("", repository.card, "A repo: its card and how to use it"),
    *_of_repo("/tree/{rev}", repository.files, "The files of a revision"),
    *_of_repo("/tree/{rev}/{path*}", repository.files, "The files of a folder"),
    *_of_repo("/blob/{rev}/{path*}", repository.file, "One file: its text, its tensors, or where to get it"),
    *_of_repo("/commits/{rev}", repository.commits, "The history of a revision"),
    *_of_repo("/commit/{rev}", repository.commit, "Leads to the files of a commit"),
    *_of_repo("/discussions/{number}", repository.pull_request, "Leads to the files of a pull request"),
    *_form_of_repo("/like", account.like, "Like a repo, or take the like back"),
    *_of_repo("/storage", storage.page, "What the repo's files cost the hub, and on what they stand"),
    *_of_repo("/storage/{rev}", storage.page, "The same at a revision"),
    _page("GET", "/login", account.sign_in_page, "The sign-in form"),
    _page("POST", "/login", account.sign_in, "Sign in by password", body="json"),
    _page("GET", "/login/link/{secret}", account.link_page, "Asks before a one-time link is used up"),
    _page("POST", "/login/link", account.sign_in_by_link, "Sign in by a one-time link", body="json"),
    _page("POST", "/logout", account.sign_out, "Sign out", body="json"),
    _page("GET", "/settings/tokens", account.tokens_page, "One's access tokens", needs="signed-in"),
    _page("POST", "/settings/tokens", account.create_token, "Make an access token", needs="signed-in", body="json"),
    _page(
        "POST",
        "/settings/tokens/revoke",
        account.revoke_token,
        "Revoke an access token",
        needs="signed-in",
        body="json",
    ),
    _page("GET", "/settings/deleted", account.deleted_page, "One's recently deleted repos", needs="signed-in"),
    _page("POST", "/settings/deleted/undelete", account.undelete, "Bring back a repo", needs="signed-in", body="json"),
    _page("GET", "/settings/store", storage.admin, "How the store stands; for administrators", needs="signed-in"),
    _page("GET", "/new", account.new_repo_page, "The form for a new repo", needs="signed-in"),
    _page("POST", "/new", account.create_repo, "Make a repo", needs="signed-in", body="json"),
    _page("GET", "/docs", documents.get, "The documentation"),
    _page("GET", "/docs/{path*}", documents.get, "A page of the documentation"),
    _page("GET", "/observatory", _observed("index"), "The Observatory: its claims, questions and data"),
    _page("GET", "/observatory/claims", _observed("claims"), "Every public claim with its computed verdict"),
    _page(
        "GET", "/observatory/questions/{question}", _observed("one_question"), "A question: choices, chart, table, SQL"
    ),
    _page("GET", "/observatory/charts/{look}/{file}", _observed("picture"), "A question's chart as SVG or Vega-Lite"),
    Route("GET", "/static/{file}", assets.get, "A stylesheet, script or image of the pages", auth="open"),
]
