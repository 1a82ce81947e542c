"""The "use this model" texts name this repo on this hub, and no file name can run a command."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest

from headwater.front.pages.snippets import Usage, snippets
from headwater.ground.names import RepoId

MODEL = Usage(RepoId("model", "ada", "tiny"), "http://hub.example/prefix")


def labels(usage: Usage) -> list[str]:
    return [one.label for one in snippets(usage)]


def code(usage: Usage, label: str) -> str:
    return next(one.code for one in snippets(usage) if one.label == label)


@pytest.mark.parametrize(
    ("library", "label"),
    [
        ("transformers", "Transformers"),
        ("sentence-transformers", "Sentence Transformers"),
        ("diffusers", "Diffusers"),
        ("peft", "PEFT"),
        ("timm", "timm"),
    ],
)
def test_the_library_of_the_card_comes_first(library: str, label: str) -> None:
    usage = replace(MODEL, library=library)
    assert labels(usage) == [label, "hf", "git", "curl"]
    assert 'ada/tiny"' in code(usage, label)
    compile(code(usage, label), "snippet", "exec")


def test_an_adapter_is_loaded_as_what_it_adapts() -> None:
    assert "AutoPeftModelForCausalLM" in code(replace(MODEL, library="peft", pipeline="text-generation"), "PEFT")
    assert "CausalLM" not in code(replace(MODEL, library="peft"), "PEFT")


def test_a_repo_of_no_known_library_can_still_be_fetched() -> None:
    assert labels(MODEL) == ["hf", "git", "curl"]


def test_a_dataset_is_loaded_and_downloaded_as_one() -> None:
    usage = replace(MODEL, rid=RepoId("dataset", "ada", "rivers"))
    assert labels(usage) == ["Datasets", "hf", "git", "curl"]
    assert code(usage, "hf") == "hf download ada/rivers --repo-type dataset"
    assert "http://hub.example/prefix/datasets/ada/rivers" in code(usage, "git")


def test_addresses_are_of_the_public_url_with_its_prefix() -> None:
    assert "git clone http://hub.example/prefix/ada/tiny" in code(MODEL, "git")
    assert "http://hub.example/prefix/ada/tiny/resolve/main/README.md" in code(MODEL, "curl")


def test_hostile_file_names_stay_one_argument() -> None:
    name = "a'; rm -rf ~ #$(reboot).gguf"
    usage = replace(MODEL, gguf=name, sample=name)
    for line in code(usage, "llama.cpp").splitlines():
        assert any(part.endswith(name) for part in shlex.split(line))
    words = shlex.split(code(usage, "curl").replace("\\\n", " "))
    assert words[-1].startswith("http://hub.example/prefix/ada/tiny/resolve/main/a%27%3B%20rm")


def test_a_hostile_pipeline_tag_cannot_leave_its_quotes() -> None:
    made = code(replace(MODEL, library="transformers", pipeline='x", model=__import__("os")'), "Transformers")
    compile(made, "snippet", "exec")
    assert "__import__(" not in made


def test_a_private_repo_asks_curl_for_a_token() -> None:
    assert "Bearer $HF_TOKEN" in code(replace(MODEL, needs_token=True), "curl")
    assert "Bearer" not in code(MODEL, "curl")
