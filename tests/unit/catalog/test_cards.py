"""Cards: what a README.md says, T51 (hostile front matter), and the tags and messages derived from it."""

from __future__ import annotations

import json
import time
import tracemalloc
from typing import Any

import pytest
import yaml

from headwater.catalog import cards
from headwater.ground.names import RepoType

MIB = 1 << 20


def front(text: str) -> dict[str, Any]:
    card = cards.read(f"---\n{text}\n---\nbody")
    assert card.problems == ()
    assert json.loads(json.dumps(card.front, allow_nan=False)) == card.front
    return card.front


def refusal(text: str) -> str:
    """What is wrong with front matter so wrong that nothing of it is used; the body is there all the same."""
    card = cards.read(f"---\n{text}\n---\nbody")
    assert (card.front, card.body) == ({}, "body")
    (problem,) = card.problems
    assert problem.level == "error"
    return problem.text


def test_a_card_is_split_into_front_matter_and_body() -> None:
    card = cards.read("---\nlicense: mit\ntags:\n- a\n---\n# Title\n---\nrest\n")
    assert card == cards.Card({"license": "mit", "tags": ["a"]}, "# Title\n---\nrest\n", ())


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbf---\nlicense: mit\n---\nbody",
        "---\r\nlicense: mit\r\n---\r\nbody",
        "---\rlicense: mit\r---\rbody",
        "\n\n---\nlicense: mit\n---\nbody",
        "--- \nlicense: mit\n---\t\nbody",
    ],
)
def test_front_matter_is_found_whatever_the_line_ends_and_marks(text: bytes | str) -> None:
    assert cards.read(text) == cards.Card({"license": "mit"}, "body", ())


@pytest.mark.parametrize(
    "text", ["", "# Title", "---\nlicense: mit\n", "---", "----\na: b\n----\n", "x\n---\na: b\n---\n"]
)
def test_a_card_without_front_matter_is_all_body_and_a_warning(text: str) -> None:
    assert cards.read(text) == cards.Card({}, text, (cards.Problem("warning", cards.NO_FRONT_MATTER),))


@pytest.mark.parametrize("inside", ["", "\n", "# only a comment", "~", "{}"])
def test_empty_front_matter_is_a_warning(inside: str) -> None:
    card = cards.read(f"---\n{inside}\n---\nbody")
    assert card == cards.Card({}, "body", (cards.Problem("warning", cards.NO_FRONT_MATTER),))


def test_words_mean_what_they_mean_on_the_hub() -> None:
    assert front("language: no\na: yes\nb: on\nc: true\nd: ~\ne: 012\nf: 1.5\ng: 0x1F\nh: 1:30\ni: '5'\nj: !!str 6") == {
        "language": "no", "a": "yes", "b": "on", "c": True, "d": None, "e": 12, "f": 1.5, "g": 31, "h": "1:30", "i": "5",
        "j": "6",
    }  # fmt: skip


def test_T51_dates_stay_text() -> None:
    assert front("a: 2024-01-01\nb: 2024-01-01T00:00:00Z\nc: !!timestamp 2024-01-01\n2024-01-02: d") == {
        "a": "2024-01-01",
        "b": "2024-01-01T00:00:00Z",
        "c": "2024-01-01",
        "2024-01-02": "d",
    }


def test_T51_numbers_that_json_cannot_carry_stay_text() -> None:
    huge = "9" * 5000
    assert front(f"a: .inf\nb: .nan\nc: 1e999\nd: {huge}\ne: 9223372036854775808\nf: -9223372036854775808") == {
        "a": ".inf", "b": ".nan", "c": "1e999", "d": huge, "e": "9223372036854775808", "f": -9223372036854775808,
    }  # fmt: skip


def test_T51_keys_that_are_not_text_become_text() -> None:
    assert front("1: a\ntrue: b\n~: c\n? [x, 1]\n: d\n? {}\n: e") == {
        "1": "a", "true": "b", "~": "c", '["x",1]': "d", "{}": "e",
    }  # fmt: skip


def test_T51_of_duplicate_keys_the_last_counts_and_a_warning_names_them() -> None:
    card = cards.read("---\na: 1\nb: {x: 1, x: 2}\na: 3\n---\n")
    assert card.front == {"a": 3, "b": {"x": 2}}
    assert [problem.level for problem in card.problems] == ["warning", "warning"]
    assert "'x' is there twice" in card.problems[0].text
    assert "'a' is there twice" in card.problems[1].text


def test_T51_aliases_within_bounds_and_merge_keys_work() -> None:
    assert front("a: &x {k: 1}\nb: *x\nc: {<<: *x, l: 2}\nd: {<<: [*x, {m: 4}], k: 3}") == {
        "a": {"k": 1}, "b": {"k": 1}, "c": {"k": 1, "l": 2}, "d": {"k": 3, "m": 4},
    }  # fmt: skip


def test_T51_alias_bombs_are_refused() -> None:
    laughs = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n"
    laughs += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30))
    assert "aliases counted as often as they are used" in refusal(laughs)
    merges = "a0: &a0 {k: v}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 30))
    assert "aliases counted as often as they are used" in refusal(merges)
    assert "over 1048576 characters" in refusal(f"a: &a {'x' * 10_000}\nb: [{'*a, ' * 1000}]")


def test_T51_a_recursive_alias_is_refused() -> None:
    assert "alias *a has no anchor before it" in refusal("a: &a [*a]")


@pytest.mark.parametrize(
    "tag",
    ["!!python/object/apply:os.system [id]", "!!python/name:os.system", "!!python/tuple [1]", "!!binary aGk=", "!!set {a}",
     "!mine 1", "!<tag:yaml.org,2002:python/object/new:os.popen> [id]"],
)  # fmt: skip
def test_T51_python_and_other_tags_are_refused(tag: str) -> None:
    assert "is not allowed" in refusal(f"a: {tag}")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a: " + "[" * 100_000, "nests deeper than 32"),
        ("\n".join(" " * n + "a:" for n in range(100)), "nests deeper than 32"),
        ("a: [" + "b, " * 20_000 + "]", "over 20000 values"),
        ("a: '" + "é" * 131_072 + "'", "over the limit of 262144 bytes"),
        ("%TAG ! tag:x\n" * 15_000, "directives are not read"),
        ("a: 1\n...\n--- \nb: 2".replace("--- ", "--- !!map"), "more than one YAML document"),
        ("- a\n- b", "must be a mapping of fields to values, not a list"),
        ("just text", "must be a mapping of fields to values, not a single value"),
        ("a: [1", "not YAML"),
        ("a: b: c", "not YAML: mapping values are not allowed in this context (line 2, column 5)"),
        ("a: \x00", "not YAML"),
        ("a: \x1b", "not YAML"),
        ("a: \t- b\n\t- c", "not YAML"),
        ("a: *nowhere", "alias *nowhere has no anchor before it"),
        ("a: {<<: 5}", "'<<' must be given a mapping"),
    ],
    ids=range(15),
)
def test_T51_front_matter_beyond_the_bounds_is_refused(text: str, part: str) -> None:
    assert part in refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "---\n" + "a: b\n" * 2_000_000 + "---\n",
        "---\n" + "a" * 10_000_000,
        "---\na: b\n---\n" + "x" * 10_000_000,
        "---\na: b\n---\n" + "---\n" * 2_500_000,
        "\n" * 10_000_000,
        "---\n" + "- " * 5_000_000,
        "---\n" + "--- \t" * 2_000_000,
        "---\na: " + "[" * 250_000 + "\n---\n",
        "---\na: " + "{" * 250_000 + "\n---\n",
        "---\n" + "? " * 120_000 + "\n---\n",
        "---\n" + "- " * 120_000 + "\n---\n",
        "---\n" + "&a " * 80_000 + "\n---\n",
        "---\n" + "!a " * 80_000 + "\n---\n",
        "---\n" + "a:\n" * 80_000 + "\n---\n",
        "---\n'" + "\\\n" * 120_000 + "'\n---\n",
        "---\n" + "# c\n" * 60_000 + "\n---\n",
        "---\n" + "\n".join(f"{n}: {n}" for n in range(9_000)) + "\n---\n",
    ],
    ids=range(17),
)
def test_T51_ten_megabytes_of_anything_take_less_than_a_second(text: str) -> None:
    before = time.process_time()
    card = cards.read(text)
    cards.validate(text, "model")
    cards.tags(card.front, "model", card.body)
    assert time.process_time() - before < 1


def test_T51_memory_stays_at_a_few_times_the_card() -> None:
    text = b"---\n" + b"a: b\n" * 2_000_000 + b"---\nbody"
    tracemalloc.start()
    try:
        cards.read(text)
        assert tracemalloc.get_traced_memory()[1] < 40 * MIB
    finally:
        tracemalloc.stop()


def test_T51_a_card_that_is_not_utf_8_is_read_with_a_warning() -> None:
    card = cards.read(b"---\nlicense: mit\n---\ncaf\xe9")
    assert card == cards.Card(
        {"license": "mit"}, "caf\ufffd", (cards.Problem("warning", "the card is not UTF-8 (byte 24)"),)
    )


def test_T51_half_surrogate_pairs_do_not_come_back_out() -> None:
    card = cards.read("---\na: x\ud800\n---\n\udfff")
    assert (card.front, card.body) == ({"a": "x?"}, "?")


def test_the_parser_in_python_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    text = '---\na: [1, no, 2024-01-01, "\\ud800"]\n---\n'
    monkeypatch.setattr(cards, "_LOADER", yaml.SafeLoader)
    assert cards.read(text).front == {"a": [1, "no", "2024-01-01", "?"]}


def test_a_model_card_gives_the_hubs_tags() -> None:
    found = front(
        "library_name: transformers\npipeline_tag: text-generation\nlicense: apache-2.0\nlanguage: [en, no]\n"
        "tags: [chat, chat, 2024, true, {a: b}]\ndatasets: [squad, org/set]\nbase_model: org/base\n"
    )
    assert cards.tags(found, "model", "see https://arxiv.org/abs/1706.03762v7 and arxiv.org/pdf/1706.03762.pdf") == [
        "transformers", "text-generation", "chat", "2024", "en", "no", "dataset:squad", "dataset:org/set",
        "base_model:org/base", "base_model:finetune:org/base", "arxiv:1706.03762", "license:apache-2.0",
    ]  # fmt: skip


def test_a_dataset_card_gives_the_hubs_tags() -> None:
    found = front(
        "task_categories: [question-answering]\nsize_categories: 10K<n<100K\nlanguage: [en]\nlicense: [mit, cc0-1.0]\n"
        "tags: [medical]\npipeline_tag: not-for-datasets"
    )
    assert cards.tags(found, "dataset") == [
        "task_categories:question-answering", "size_categories:10K<n<100K", "language:en", "medical",
        "license:mit", "license:cc0-1.0",
    ]  # fmt: skip


def test_a_space_is_tagged_with_its_sdk() -> None:
    assert cards.tags(front("sdk: gradio\nlicense: mit"), "space") == ["gradio", "license:mit"]


@pytest.mark.parametrize(
    ("fields", "relation"),
    [
        ("tags: [lora]", None),
        ("base_model: a/b", "finetune"),
        ("base_model: a/b\nbase_model_relation: quantized", "quantized"),
        ("base_model: [a/b, c/d]\nbase_model_relation: adapter", "adapter"),
        ("base_model: [a/b, c/d]", "merge"),
        ("base_model: [a/b, a/b]", "finetune"),
        ("base_model: a/b\nlibrary_name: peft", "adapter"),
        ("base_model: a/b\ntags: [GGUF]", "quantized"),
        ("base_model: a/b\nbase_model_relation: [quantized]", "finetune"),
    ],
)
def test_the_relation_to_the_base_model_is_as_declared_or_inferred(fields: str, relation: str | None) -> None:
    found = front(fields)
    assert cards.base_model_relation(found) == relation
    tags = cards.tags(found, "model")
    assert (f"base_model:{relation}:a/b" in tags) == (relation is not None)


def test_tags_are_bounded_in_number_and_length() -> None:
    found = {"tags": [f"t{number}" for number in range(5000)] + ["x" * 300], "license": "a\nb"}
    assert cards.tags(found, "model") == [f"t{number}" for number in range(1000)]
    assert cards.tags({"tags": ["x" * 300], "license": "a\nb"}, "model") == []


def test_a_card_names_its_task_library_and_licence() -> None:
    card = cards.read("---\npipeline_tag: fill-mask\nlibrary_name: [x]\nlicense: [mit, apache-2.0]\n---\n")
    assert (card.pipeline_tag, card.library_name, card.license) == ("fill-mask", None, "mit")
    assert cards.read("").license is None


def test_a_good_card_is_valid() -> None:
    text = (
        "---\nlicense: mit\ntags: [a]\nlanguage: en\nunknown: {x: 1}\nmodel-index:\n- name: m\n  results:\n"
        "  - task: {type: t}\n    metrics: [{type: acc, value: 0.5}]\n---\n"
    )
    assert cards.validate(text, "model") == ([], [])


def test_no_front_matter_is_only_a_warning() -> None:
    assert cards.validate("# Title", "model") == ([], [cards.NO_FRONT_MATTER])


def test_bad_yaml_is_an_error() -> None:
    errors, warnings = cards.validate("---\na: [\n---\n", "dataset")
    assert warnings == []
    assert len(errors) == 1
    assert errors[0].startswith("front matter is not YAML")


@pytest.mark.parametrize(
    ("kind", "text", "error"),
    [
        ("model", "tags: a", '"tags" must be an array of strings'),
        ("model", "tags: [a, 1]", '"tags" must be an array of strings'),
        ("model", "language: {en: 1}", '"language" must be a string or an array of strings'),
        ("model", "license: [1]", '"license" must be a string or an array of strings'),
        ("model", "pipeline_tag: [a]", '"pipeline_tag" must be a string'),
        ("model", "library_name: 5", '"library_name" must be a string'),
        ("model", "model-index: a", '"model-index" must be an array'),
        ("model", "model-index: [a]", '"model-index[0]" must be an object'),
        ("model", "model-index: [{results: []}]", '"model-index[0].name" must be a string'),
        ("model", "model-index: [{name: a, results: [5]}]", '"model-index[0].results" must be an array of objects'),
        ("model", "model-index: [{name: a}]", '"model-index[0].results" must be an array of objects'),
        ("dataset", "task_categories: 5", '"task_categories" must be a string or an array of strings'),
        ("space", "sdk: 5", '"sdk" must be a string'),
    ],
)
def test_fields_of_the_wrong_type_are_errors(kind: RepoType, text: str, error: str) -> None:
    assert cards.validate(f"---\n{text}\n---\n", kind) == ([error], [])


def test_a_field_of_another_kind_of_repo_is_not_judged() -> None:
    assert cards.validate("---\nsdk: 5\nmodel-index: a\n---\n", "dataset") == ([], [])
