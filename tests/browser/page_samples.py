"""Sample values for every page, plain and hostile: what the tests render and what the gallery shows.

`python tests/browser/page_samples.py` serves them all on a local port, to look at while changing a template.
"""

from __future__ import annotations

import http.server
import sys
from collections.abc import Callable
from dataclasses import replace

from headwater.front.pages import render
from headwater.front.pages.present import (
    CardPage,
    Choice,
    CommitLine,
    CommitsPage,
    DeletedPage,
    DeletedRow,
    DocsPage,
    ErrorPage,
    Facet,
    FilePage,
    FileRow,
    FilesPage,
    LinkPage,
    ListPage,
    NewRepoPage,
    Pager,
    ProfilePage,
    RepoHead,
    RepoRow,
    Revisions,
    SignInPage,
    Site,
    TensorRow,
    TensorSummary,
    TensorTable,
    TokenRow,
    TokensPage,
    Viewer,
    by_day,
    shares,
)
from headwater.front.pages.snippets import Usage, snippets
from headwater.ground.names import RepoId

NOW_MS = 1_795_000_000_000
DAY_MS = 86_400_000
NOBODY = Viewer()
ADA = Viewer(name="ada", csrf="c5rf")
EVIL = "<script>alert(1)</script>\"'&"
LONG = "a-name-that-goes-on-and-on-" + "without-an-end-" * 4
RTL = "شلال-الماء-النموذج"


def site(viewer: Viewer = NOBODY, base_path: str = "", here: str = "/") -> Site:
    return Site(f"http://127.0.0.1:8411{base_path}", base_path, viewer, NOW_MS, "0.1.0", here)


def model(full: str) -> RepoId:
    namespace, name = full.split("/")
    return RepoId("model", namespace, name)


def row(full: str, days: float, **more: object) -> RepoRow:
    return RepoRow(model(full), NOW_MS - int(days * DAY_MS), **more)  # type: ignore[arg-type]


ROWS = (
    row(
        "sentence-transformers/all-MiniLM-L6-v2",
        2,
        pipeline="sentence-similarity",
        library="sentence-transformers",
        licence="apache-2.0",
        parameters=22_713_728,
        downloads=142_881,
        likes=412,
    ),
    row(
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        5,
        pipeline="text-generation",
        library="transformers",
        licence="apache-2.0",
        parameters=134_515_008,
        downloads=98_210,
        likes=288,
    ),
    row(
        "river-lab/delta-8b",
        0.2,
        pipeline="text-generation",
        library="transformers",
        licence="mit",
        parameters=8_030_261_248,
        downloads=12_004,
        likes=97,
        private=True,
    ),
    row(
        "Qwen/Qwen3-0.6B-GGUF",
        11,
        pipeline="text-generation",
        library="gguf",
        licence="apache-2.0",
        parameters=596_049_920,
        downloads=8_311,
        likes=54,
    ),
    row(
        "meta-llama/Llama-3.2-1B",
        40,
        pipeline="text-generation",
        library="transformers",
        licence="llama3.2",
        parameters=1_235_814_400,
        downloads=7_404,
        likes=203,
        gated="manual",
    ),
    row(
        "stabilityai/stable-diffusion-xl-base-1.0",
        300,
        pipeline="text-to-image",
        library="diffusers",
        licence="openrail++",
        downloads=5_120,
        likes=77,
    ),
    row(
        "ada/whisper-small-mimir",
        61,
        pipeline="automatic-speech-recognition",
        library="transformers",
        licence="mit",
        parameters=241_734_912,
        downloads=440,
        likes=9,
    ),
    row("ada/adapter-notes", 1, downloads=3, likes=0),
    row(
        "openai/clip-vit-base-patch32",
        700,
        pipeline="zero-shot-image-classification",
        library="transformers",
        parameters=151_277_313,
        downloads=31,
        likes=2,
    ),
)
HOSTILE_ROWS = (
    row(f"{LONG[:60]}/{LONG[:96]}", 1, pipeline=EVIL, library=EVIL * 3, licence=RTL, downloads=10**13, likes=10**9, parameters=10**14),
    *ROWS[:2],
)  # fmt: skip
FACETS = (
    Facet("Task", (
        Choice("Text generation", "/models?pipeline_tag=text-generation", False, 61),
        Choice("Sentence similarity", "/models?pipeline_tag=sentence-similarity", False, 24),
        Choice("Text to image", "/models?pipeline_tag=text-to-image", False, 12),
        Choice("Automatic speech recognition", "/models?pipeline_tag=asr", False, 7),
    )),
    Facet("Library", (
        Choice("transformers", "/models", True, 88),
        Choice("sentence-transformers", "/models?library=st", False, 24),
        Choice("diffusers", "/models?library=d", False, 12),
        Choice("gguf", "/models?library=g", False, 9),
    ), chosen="transformers", clear="/models"),
    Facet("Licence", (Choice("apache-2.0", "/models?license=a", False, 73), Choice("mit", "/models?license=m", False, 31), Choice("llama3.2", "/models?license=l", False, 4))),
)  # fmt: skip
SORTS = tuple(
    Choice(label, f"/models?sort={label.lower()}", label == "Trending")
    for label in ("Trending", "Downloads", "Likes", "Created", "Updated")
)
MINILM = model("sentence-transformers/all-MiniLM-L6-v2")


def tag(text: str) -> Choice:
    return Choice(text, "/models?other=" + text.replace("<", "%3C").replace('"', "%22"))


HEAD = RepoHead(
    MINILM, "main", tags=tuple(map(tag, ("Sentence similarity", "sentence-transformers", "safetensors", "bert", "en", "apache-2.0"))),
    more_tags=tuple(map(tag, ("onnx", "dataset:s2orc", "arxiv:1904.06472", "feature-extraction"))), likes=412, downloads=142_881, may_write=True,
)  # fmt: skip
HOSTILE_HEAD = RepoHead(
    model(f"{LONG[:60]}/{LONG[:96]}"), "refs/pr/1", private=True, gated="auto", tags=(tag(EVIL), tag(RTL * 6), tag("x" * 200)), likes=10**9, downloads=10**12
)  # fmt: skip
CARD = """
<h1>all-MiniLM-L6-v2</h1>
<p>This is a sentence-embedding model: it maps sentences and paragraphs to a <strong>384-dimensional</strong> dense vector space, for
clustering or semantic search. See <a href="/docs">the documentation</a>.</p>
<h2>Usage</h2>
<p>Install <code>sentence-transformers</code>, then:</p>
<pre><code>from sentence_transformers import SentenceTransformer

sentences = ["This is an example sentence", "Each sentence is converted"]
model = SentenceTransformer("sentence-transformers/all-MiniLM-L6-v2")
embeddings = model.encode(sentences)  # a long comment so that this line has to scroll on a telephone
</code></pre>
<h2>Training data</h2>
<table><thead><tr><th>Dataset</th><th>Paper</th><th>Pairs</th></tr></thead><tbody>
<tr><td>Reddit comments (2015-2018)</td><td>paper</td><td>726,484,430</td></tr>
<tr><td>S2ORC citation pairs (abstracts)</td><td>paper</td><td>116,288,806</td></tr>
<tr><td>WikiAnswers duplicate questions</td><td>paper</td><td>77,427,422</td></tr></tbody></table>
<blockquote><p>Input longer than 256 word pieces is truncated.</p></blockquote>
<ul><li>Fine-tuned in a self-supervised way</li><li>Evaluated on STS<ul><li>with cosine similarity</li></ul></li></ul>
"""
SUMMARY = TensorSummary(
    "Safetensors", 22_713_728, shares({"F32": 22_713_216, "I64": 512}), files=(Choice("model.safetensors", f"{MINILM.url_path}/blob/main/model.safetensors"),)
)  # fmt: skip
GGUF_SUMMARY = TensorSummary(
    "GGUF", 134_515_008, shares({"Q4_K": 80_000_000, "Q6_K": 30_000_000, "Q5_0": 14_000_000, "Q8_0": 8_000_000, "F32": 2_000_000, "F16": 500_000, "BF16": 15_008}),
    rows=(("Architecture", "llama"), ("Context length", "8,192"), ("Quantization", "Q4_K_M")),
)  # fmt: skip
FACTS = (
    ("Licence", "apache-2.0", "/models?license=apache-2.0"), ("Base model", "nreimers/MiniLM-L6-H384-uncased", "/nreimers/MiniLM-L6-H384-uncased"),
    ("Size", "91.6 MB", ""), ("Updated", "2 days ago", ""), ("Created", "3 March 2025", ""), ("Commit", "c9745ed1d9f2", "/x"),
)  # fmt: skip
USAGE = Usage(
    MINILM,
    "http://127.0.0.1:8411",
    "sentence-transformers",
    "sentence-similarity",
    frozenset({"transformers"}),
    "model.safetensors",
)
COMMIT = "c9745ed1d9f207416be6d2e6f8de32d1f16199bf"


def commit(title: str, days: float, author: str = "ada", message: str = "") -> CommitLine:
    return CommitLine(
        COMMIT,
        title,
        NOW_MS - int(days * DAY_MS),
        author,
        message,
        f"{MINILM.url_path}/tree/{COMMIT}",
    )


REVISIONS = Revisions(
    "main", "branch", (Choice("main", f"{MINILM.url_path}/tree/main", True), Choice("onnx-export", "/x")), (Choice("v1.0", "/x"), Choice("v2.0-a-very-long-tag-name-that-does-not-fit-anywhere", "/x")),
    (Choice("refs/pr/1", "/x"),), COMMIT,
)  # fmt: skip
CRUMBS = (
    Choice("all-MiniLM-L6-v2", f"{MINILM.url_path}/tree/main"),
    Choice("onnx", f"{MINILM.url_path}/tree/main/onnx"),
    Choice("model.safetensors", ""),
)


def file(
    name: str, size: int, storage: str = "", kind: str = "file", days: float = 30, title: str = "Add weights"
) -> FileRow:
    return FileRow(name, kind, f"/x/{len(name)}", size, storage, "/x" if kind == "file" else "", commit(title, days))  # type: ignore[arg-type]


FILES = (
    file("1_Pooling", 0, kind="directory", days=900, title="Add pooling layer"),
    file("onnx", 0, kind="directory", days=62, title="Add exported onnx model 'model_qint8_avx512_vnni.onnx'"),
    file(".gitattributes", 1230, days=900, title="initial commit"),
    file("README.md", 10_454, days=2, title="Say what the training data were, and where they came from"),
    file("config.json", 612, days=900),
    file("model.safetensors", 90_868_376, "Xet", days=400, title="Add model.safetensors"),
    file("pytorch_model.bin", 90_888_945, "LFS", days=900),
    file("tokenizer.json", 466_247, days=900),
    file("train_script.py", 13_156, days=900),
    file("vocab.txt", 231_508, days=900),
)
HOSTILE_FILES = (
    file(EVIL + ".bin", 1, "LFS", title=EVIL),
    file(RTL + ".json", 10**15, "Xet", title=RTL * 9),
    file("x" * 250, 0, title="y" * 500),
    file("link", 0, kind="symlink"),
    file("module", 0, kind="submodule"),
)
TENSORS = (
    TensorRow("embeddings.word_embeddings.weight", "F32", (30522, 384), 46_881_792, 10_352),
    TensorRow("embeddings.position_embeddings.weight", "F32", (512, 384), 786_432, 46_892_144),
    *(
        TensorRow(
            f"encoder.layer.{layer}.{part}",
            "F32",
            (384, 384) if part.endswith("weight") else (384,),
            589_824,
            47_000_000 + layer * 1_000_000,
        )
        for layer in range(6)
        for part in (
            "attention.self.query.weight",
            "attention.self.query.bias",
            "attention.output.dense.weight",
            "output.LayerNorm.bias",
        )
    ),
    TensorRow("embeddings.position_ids", "I64", (1, 512), 4096, 90_000_000),
)
TABLE = TensorTable(SUMMARY, TENSORS, len(TENSORS), len(TENSORS), metadata=(("format", "pt"),), header_bytes=10_344)
HOSTILE_TABLE = TensorTable(
    GGUF_SUMMARY,
    (TensorRow(EVIL * 9, "Q4_K", (1,) * 40, 2**62, 2**62), TensorRow("z" * 400, "F32", (), 4, 0)),
    90_000,
    120,
    query=EVIL,
    metadata=((EVIL, EVIL * 40), ("tokenizer.ggml.tokens", "[49152 of string]"), ("k" * 300, "v" * 3000)),
    pager=Pager("", "/x?after=2", "1 to 2 of 120"),
)
CONFIG = (
    *'{\n  "architectures": [\n    "BertModel"\n  ],\n  "hidden_size": 384,\n  "initializer_range": 0.02'.split("\n"),
    '  "note": "</code><script>alert(1)</script>",',
    '  "long": "' + "x" * 400,
    "}",
)
COMMITS = by_day(
    (
        commit("Say what the training data were, and where they came from", 0.1),
        commit("Merge refs/pr/4", 0.4, "grace", "Adds an ONNX export for CPUs with VNNI.\n\nCo-authored-by: Ada"),
        commit("Add model.safetensors", 40),
        commit("initial commit", 40.1),
    )
)
DELETED = (
    DeletedRow(12, RepoId("model", "ada", "tiny"), False, NOW_MS - 3_600_000, NOW_MS + 7 * DAY_MS - 3_600_000, "tiny"),
    DeletedRow(9, RepoId("dataset", "river-lab", "gauges"), True, NOW_MS - 3 * DAY_MS, NOW_MS + 4 * DAY_MS, "gauges"),
    DeletedRow(3, RepoId("space", "ada", LONG), True, NOW_MS - 6 * DAY_MS, NOW_MS + DAY_MS, LONG),
)
TOKENS = (
    TokenRow(1, "laptop", "write", "x9Qa", NOW_MS - 40 * DAY_MS, NOW_MS - DAY_MS // 20, None),
    TokenRow(2, "ci runner", "read", "Zk2p", NOW_MS - 9 * DAY_MS, None, NOW_MS + 21 * DAY_MS),
    TokenRow(3, EVIL + "n" * 60, "read", "0000", NOW_MS - 90 * DAY_MS, None, NOW_MS - DAY_MS, expired=True),
)
DOCS = (
    ("", (Choice("Welcome", "/docs", True),)),
    (
        "Tutorial",
        (Choice("From nothing to a published model", "/docs/tutorial"), Choice("Git and LFS", "/docs/git")),
    ),
    ("Reference", (Choice("Settings", "/docs/reference/settings"), Choice("Errors", "/docs/reference/errors"))),
)

PAGES: dict[str, Callable[[Site], str]] = {
    "home": lambda s: render.render_list(s, ListPage("model", ROWS, "", (("sort", "trending"),), SORTS, FACETS, 142, Pager("", "/models?p=2", "1 to 30 of 142"), clear="/models")),
    "home-hostile": lambda s: render.render_list(s, ListPage("model", HOSTILE_ROWS, EVIL, (), SORTS, (replace(FACETS[0], options=(Choice(EVIL * 4, "/x", True, 10**12),)),), 10**7)),
    "home-new": lambda s: render.render_list(s, ListPage("model", (), new_hub=True)),
    "home-nothing": lambda s: render.render_list(s, ListPage("dataset", (), "qwertz", (), SORTS, (), 0, clear="/datasets")),
    "card": lambda s: render.render_card(s, CardPage(HEAD, CARD, snippets(USAGE), FACTS, SUMMARY)),
    "card-gguf": lambda s: render.render_card(s, CardPage(replace(HEAD, gated="auto"), None, snippets(replace(USAGE, library="gguf", tags=frozenset(), gguf="smol.Q4_K_M.gguf")), FACTS, GGUF_SUMMARY)),
    "card-empty": lambda s: render.render_card(s, CardPage(replace(HEAD, private=True, tags=(), more_tags=()), None, (), (), empty=True)),
    "card-hostile": lambda s: render.render_card(s, CardPage(HOSTILE_HEAD, "<p>" + "w" * 500 + "</p>", snippets(replace(USAGE, rid=HOSTILE_HEAD.rid, gguf=EVIL, sample=EVIL, needs_token=True)), ((EVIL, EVIL, "/x"),), GGUF_SUMMARY, EVIL)),
    "files": lambda s: render.render_files(s, FilesPage(HEAD, REVISIONS, CRUMBS[:2], FILES, f"{MINILM.url_path}/tree/main", commit("Say what the training data were, and where they came from", 2), "/x")),
    "files-hostile": lambda s: render.render_files(s, FilesPage(HOSTILE_HEAD, replace(REVISIONS, label="b" * 200), tuple(Choice(EVIL + "d" * 90, "/x") for _ in range(6)), HOSTILE_FILES, "/x", replace(commit(EVIL * 9, 2), author=RTL), "/x", Pager("/x", "/x", "201 to 400"))),
    "file-text": lambda s: render.render_file(s, FilePage(HEAD, REVISIONS, (*CRUMBS[:2], Choice("config.json", "")), "config.json", 612, "", COMMIT, "", "/x", "/x", commit("Add weights", 900), CONFIG)),
    "file-tensors": lambda s: render.render_file(s, FilePage(HEAD, REVISIONS, CRUMBS, "model.safetensors", 90_868_376, "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db", COMMIT, "Xet", "/x", "", commit("Add model.safetensors", 400), tensors=TABLE)),
    "file-hostile": lambda s: render.render_file(s, FilePage(HOSTILE_HEAD, REVISIONS, CRUMBS, EVIL, 2**60, "0" * 64, COMMIT, "LFS", "/x", "/x", commit(EVIL, 400), tensors=HOSTILE_TABLE, problem=EVIL)),
    "file-binary": lambda s: render.render_file(s, FilePage(HEAD, REVISIONS, CRUMBS, "pytorch_model.bin", 90_888_945, "0" * 64, COMMIT, "LFS", "/x", "", None, note="Not shown: 90.9 MB of binary data.")),
    "commits": lambda s: render.render_commits(s, CommitsPage(HEAD, REVISIONS, COMMITS, Pager("", "/x", ""))),
    "commits-hostile": lambda s: render.render_commits(s, CommitsPage(HOSTILE_HEAD, REVISIONS, by_day((commit(EVIL * 20, 1, RTL, EVIL * 30), commit("", 1), commit("m" * 400, 2))))),
    "signin": lambda s: render.render_signin(s, SignInPage("/new")),
    "signin-wrong": lambda s: render.render_signin(s, SignInPage(EVIL, "That name and password do not go together.", EVIL)),
    "link": lambda s: render.render_link(s, LinkPage("t0k3n")),
    "link-used": lambda s: render.render_link(s, LinkPage("", "This link was used already, or its time is over. Ask for a new one.")),
    "new": lambda s: render.render_new_repo(s, NewRepoPage((("ada", "public"), ("river-lab", "private"), (LONG[:96], "public")), LONG[:96])),
    "new-wrong": lambda s: render.render_new_repo(s, NewRepoPage((("ada", "private"),), "ada", "dataset", EVIL, "private", EVIL)),
    "tokens": lambda s: render.render_tokens(s, TokensPage(TOKENS)),
    "tokens-made": lambda s: render.render_tokens(s, TokensPage(TOKENS, "hf_QwErTzUiOpAsDfGhJkLyXcVbNm12345678", "laptop")),
    "tokens-none": lambda s: render.render_tokens(s, TokensPage((), problem="name: you have a token of this name already")),
    "deleted": lambda s: render.render_deleted(s, DeletedPage(DELETED, "A model repository called ada/tiny already exists; name another one to bring this repo back to")),
    "deleted-none": lambda s: render.render_deleted(s, DeletedPage((), EVIL)),
    "profile": lambda s: render.render_profile(s, ProfilePage("ada", "Ada Lovelace", "user", (("model", ROWS[6:8], "/models?author=ada"), ("dataset", (), "")), since_ms=NOW_MS - 300 * DAY_MS, own=True)),
    "profile-org": lambda s: render.render_profile(s, ProfilePage("river-lab", EVIL, "org", (("model", ROWS[2:4], ""),), (("ada", "admin"), (LONG[:60], "read")))),
    "profile-empty": lambda s: render.render_profile(s, ProfilePage("grace", "", "user", (("model", (), ""),))),
    "error-404": lambda s: render.render_error(s, ErrorPage(404, "Not here", "There is no such repo, or none that you may see.", "req-1", True)),
    "error-500": lambda s: render.render_error(s, ErrorPage(500, "Something broke here", EVIL, "0f3a9c")),
    "docs": lambda s: render.render_docs(s, DocsPage("Welcome", CARD, DOCS)),
}  # fmt: skip
SIGNED_IN = {
    name
    for name in PAGES
    if name.startswith(("new", "tokens", "deleted", "card-empty", "profile", "file-tensors", "home-new"))
}


def page(name: str, base_path: str = "") -> str:
    return PAGES[name](site(ADA if name in SIGNED_IN else NOBODY, base_path, "/x?y=1"))


class Gallery(http.server.BaseHTTPRequestHandler):
    """The sample pages with the headers of the real ones; anything else is 404."""

    base_path = ""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].removeprefix(self.base_path)
        static = render.static_file(path.removeprefix(render.STATIC_PREFIX)) if path.startswith("/static/") else None
        if static is not None:
            self._send({"Content-Type": static.media_type}, static.body)
        elif path.strip("/") in PAGES:
            self._send(render.PAGE_HEADERS, page(path.strip("/"), self.base_path).encode())
        else:
            self.send_error(404)

    def _send(self, headers: dict[str, str], body: bytes) -> None:
        self.send_response(200)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Quiet."""


if __name__ == "__main__":
    with http.server.ThreadingHTTPServer(("127.0.0.1", int((sys.argv[1:] or ["8499"])[0])), Gallery) as server:
        print(f"http://127.0.0.1:{server.server_address[1]}/home", *PAGES)
        server.serve_forever()
