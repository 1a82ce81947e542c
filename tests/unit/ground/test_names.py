"""Names from outside: what is taken, what is refused, and which of two would be taken for one another."""

from __future__ import annotations

import pytest

from headwater.ground import names
from headwater.ground.errors import Invalid
from headwater.ground.names import RepoId

# --- paths ---


@pytest.mark.parametrize(
    "path",
    [
        "README.md",
        "a/b/c.bin",
        ".gitattributes",
        ".github/workflows/x.yml",
        "gitfile",
        ".gitignore",
        "-leading-dash",
        "with space/and more.txt",
        "modèle/größe.txt",
        "模型.safetensors",
        "👩\u200d🔬.png",  # held together by a joiner that is no direction mark
        "models",
        "console.txt",
        "com10",
        "a:b",
        "..a/b..c",
        "x" * 255,
        "/".join(["d"] * 64),
    ],
)
def test_T47_an_ordinary_path_is_taken_as_it_is(path: str) -> None:
    assert names.file_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "..",
        "../x",
        "a/../b",
        "a/..",
        "./a",
        "a/./b",
        "a//b",
        "a/",
        "a\\b",
        "..\\x",
        "a\0b",
        "a\nb",
        "a\x7fb",
        "a\u202eb",
        "a\u200bb",
        "a\ufeffb",
        "\ue000",
        "\ud800",
        "trailing.",
        "trailing ",
        " leading",
        "a./b",
        "cafe\u0301",  # not composed
        "x" * 256,
        "é" * 128,  # 256 bytes
        "a/" * 600 + "b",
        "/".join(["d"] * 65),
    ],
)
def test_T47_a_path_that_escapes_hides_or_fits_no_file_system_is_refused_with_422(path: str) -> None:
    with pytest.raises(Invalid) as refused:
        names.file_path(path)
    assert refused.value.status == 422


@pytest.mark.parametrize(
    "part",
    [
        ".git",
        ".GIT",
        ".Git",
        "git~1",
        "GIT~2",
        ".g\u200cit",  # HFS+ overlooks the joiner
        "\u2060.git",
        ".git:stream",  # NTFS: a stream of .git
        ".git::$INDEX_ALLOCATION",
        "git~1:x",
        "con",
        "CON",
        "nul.txt",
        "aux.tar.gz",
        "com1",
        "LPT9.log",
        "con .txt",
        "prn:x",
    ],
)
def test_T47_what_a_file_system_takes_for_git_or_a_device_is_refused_at_any_depth(part: str) -> None:
    for path in (part, f"a/{part}", f"{part}/config"):
        with pytest.raises(Invalid) as refused:
            names.file_path(path)
        assert refused.value.status == 422


def test_a_refused_path_is_told_without_its_length() -> None:
    with pytest.raises(Invalid) as refused:
        names.file_path("x" * 100_000)
    assert len(refused.value.text) < 500


# --- names of repos and people ---


@pytest.mark.parametrize("text", ["a", "A1", "gpt2", "all-MiniLM-L6-v2", "a.b_c-d", "x" * 96, "0"])
def test_ordinary_names_are_taken(text: str) -> None:
    assert names.name(text) == text


@pytest.mark.parametrize(
    "text",
    ["", ".", "..", "-a", "_a", ".a", "a-", "a.", "a..b", "a--b", "a.git", "a.lock", "a/b", "a b", "é", "a\n", "\u0430",
     "x" * 97, "a%2fb", "a\0"],
)  # fmt: skip
def test_T42_names_that_clients_or_git_refuse_are_refused(text: str) -> None:
    with pytest.raises(Invalid):
        names.name(text)


@pytest.mark.parametrize("text", ["api", "API", "datasets", "Resolve", "login", "con", "static", "xet", "settings"])
def test_T42_words_that_addresses_need_are_no_namespaces(text: str) -> None:
    assert names.name(text) == text
    with pytest.raises(Invalid, match="reserved"):
        names.new_namespace(text)


@pytest.mark.parametrize("text", ["resolve", "TREE", "raw", "settings", "nul"])
def test_T42_words_that_follow_a_repos_id_are_no_names_of_repos(text: str) -> None:
    with pytest.raises(Invalid, match="reserved"):
        names.new_repo_name(text)


def test_a_repo_id_is_read_with_and_without_a_namespace() -> None:
    assert names.repo_id("model", "ada/x") == RepoId("model", "ada", "x")
    assert names.repo_id("dataset", "gpt2") == RepoId("dataset", None, "gpt2")
    for text in ("a/b/c", "/x", "a/", ""):
        with pytest.raises(Invalid):
            names.repo_id("model", text)


def test_addresses_of_a_repo_depend_on_its_type() -> None:
    rids = [RepoId("model", "ada", "x"), RepoId("dataset", "ada", "x"), RepoId("space", None, "x")]
    assert [rid.url_path for rid in rids] == ["/ada/x", "/datasets/ada/x", "/spaces/x"]
    assert [rid.api_path for rid in rids] == ["/api/models/ada/x", "/api/datasets/ada/x", "/api/spaces/x"]


@pytest.mark.parametrize(("text", "kind"), [("model", "model"), ("models", "model"), ("spaces", "space")])
def test_types_are_read_in_both_numbers(text: str, kind: str) -> None:
    assert names.repo_type(text) == kind


@pytest.mark.parametrize("text", ["", "modelss", "Model", "buckets", "s"])
def test_other_types_are_refused(text: str) -> None:
    with pytest.raises(Invalid):
        names.repo_type(text)


@pytest.mark.parametrize(
    ("one", "other"), [("Falcon", "falcon"), ("a_b", "a-b"), ("a.b", "a-b"), ("a._-b", "a-b"), ("\uff21b", "ab")]
)
def test_T42_look_alikes_have_one_skeleton(one: str, other: str) -> None:
    assert names.skeleton(one) == names.skeleton(other)


# --- hashes and refs ---


@pytest.mark.parametrize("text", ["", "a" * 63, "a" * 65, "A" * 64, "g" * 64, "a" * 64 + "\n"])
def test_a_sha256_is_64_lower_case_hex_digits(text: str) -> None:
    assert names.sha256("a1" * 32) == "a1" * 32
    with pytest.raises(Invalid):
        names.sha256(text)


@pytest.mark.parametrize("text", ["", "a" * 39, "A" * 40, "a" * 40 + "\n"])
def test_a_commit_id_is_40_lower_case_hex_digits(text: str) -> None:
    assert names.commit_id("a1" * 20) == "a1" * 20
    assert not names.is_commit_id(text)
    with pytest.raises(Invalid):
        names.commit_id(text)


@pytest.mark.parametrize("text", ["main", "v1.0", "feature/x", "a-b_c", "größe", "refs", "1", "x@y"])
def test_ref_names_that_git_takes_are_taken(text: str) -> None:
    assert names.ref_part(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "@", "a..b", "a b", "a~1", "a^", "a:b", "a?", "a*", "a[", "a\\b", "/a", "a/", "a//b", ".a", "a/.b", "a.",
     "a.lock", "a.lock/b", "a@{1}", "-a", "a\x7f", "a\n", "a\0", "x" * 256],
)  # fmt: skip
def test_ref_names_that_git_refuses_are_refused(text: str) -> None:
    with pytest.raises(Invalid):
        names.ref_part(text)
