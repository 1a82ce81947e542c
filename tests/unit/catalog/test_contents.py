"""What a repo's files say of it."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.catalog import contents
from headwater.catalog.contents import Config, Weights

from .conftest import File, a_gguf, a_safetensors


def seen(*paths: str, **data: bytes) -> contents.Contents:
    return contents.survey(File(path, b"", None) for path in paths).contents()


@pytest.mark.parametrize(
    ("paths", "config", "library"),
    [
        (["modules.json", "config.json", "model.safetensors"], Config(model_type="bert"), "sentence-transformers"),
        (["model_index.json", "unet/diffusion_pytorch_model.safetensors"], Config(), "diffusers"),
        (["adapter_config.json", "adapter_model.safetensors"], Config(), "peft"),
        (["config.json", "pytorch_model-00001-of-00002.bin"], Config(architectures=("BertModel",)), "transformers"),
        (["config.json", "model.safetensors"], Config(), None),
        (["config.json"], Config(model_type="bert"), None),
        (["m.Q8_0.gguf"], Config(), "gguf"),
        (["sub/dir/m.gguf"], Config(), "gguf"),
        (["meta.json", "config.cfg"], Config(), "spacy"),
        (["model.onnx"], Config(), "onnx"),
        (["README.md"], Config(), None),
    ],
)
def test_the_library_is_told_by_the_files_it_writes(paths, config, library) -> None:
    assert contents.library(seen(*paths), config) == library


def test_formats_are_told_by_names() -> None:
    paths = ["tf_model.h5", "flax_model.msgpack", "a.mlpackage/Data/x", "runs/events.out.tfevents.1", "o/model.onnx"]
    assert seen(*paths).formats == {"tf", "jax", "coreml", "tensorboard", "onnx"}
    assert seen("data/a.csv.gz", "b.jsonl", "dataset_infos.json").data_formats == {"csv", "json"}
    assert seen("dataset_infos.json", "folder.safetensors/x").formats == set()


@pytest.mark.parametrize(
    ("config", "task"),
    [
        (Config(architectures=("LlamaForCausalLM",)), "text-generation"),
        (Config(architectures=("WhisperForConditionalGeneration",)), "automatic-speech-recognition"),
        (Config(architectures=("Qwen2VLForConditionalGeneration",), sees_images=True), "image-text-to-text"),
        (Config(architectures=("T5ForConditionalGeneration",)), "text2text-generation"),
        (Config(architectures=("BertModel",)), "feature-extraction"),
        (Config(architectures=("Strange",)), None),
        (Config(), None),
    ],
)
def test_the_task_is_told_by_the_architecture(config, task) -> None:
    assert contents.task("transformers", config) == task
    assert contents.task("sentence-transformers", config) == "sentence-similarity"


def test_config_json_gives_what_the_hub_shows() -> None:
    raw = {"architectures": ["A", 5], "model_type": "a", "quantization_config": {"quant_method": "awq"}, "more": 1}
    found = contents.config(json.dumps(raw).encode())
    assert found == Config(("A",), "a", "awq", sees_images=False)
    assert json.loads(found.as_json() or "") == {
        "architectures": ["A"], "model_type": "a", "quantization_config": {"quant_method": "awq"},
    }  # fmt: skip


@pytest.mark.parametrize(
    "raw", [None, b"", b"[]", b"{", b"\xff", b'{"a":' * 10_000, b" " * (contents.CONFIG_BYTES_MAX + 1)]
)
def test_any_other_config_json_is_an_empty_one(raw) -> None:
    assert contents.config(raw) == Config()
    assert Config().as_json() is None


def weighed(files: dict[str, bytes], before: Weights | None = None) -> Weights:
    listed = contents.survey(File(path, data, "0" * 64) for path, data in files.items())
    return contents.weights(listed.contents(), lambda path: lambda start, stop: files[path][start:stop], before)


def total(weights: Weights) -> int | None:
    return None if weights.safetensors is None else json.loads(weights.safetensors)["total"]


def test_one_file_one_series_and_one_index_are_each_a_model() -> None:
    one, two = a_safetensors(w=("F32", [1])), a_safetensors(w=("I8", [2]))
    assert total(weighed({"anything.safetensors": one})) == 1
    assert total(weighed({"model.safetensors": one, "other.safetensors": two})) == 1
    assert total(weighed({"adapter_model.safetensors": one, "x.safetensors": two})) == 1
    series = {"m-00001-of-00002.safetensors": one, "m-00002-of-00002.safetensors": two}
    assert total(weighed(series)) == 3
    assert (
        total(weighed(series | {"m.safetensors.index.json": b'{"weight_map": {"w": "m-00001-of-00002.safetensors"}}'}))
        == 1
    )


def test_what_is_incomplete_or_ambiguous_has_no_total() -> None:
    one = a_safetensors(w=("F32", [1]))
    assert total(weighed({"a.safetensors": one, "b.safetensors": one})) is None
    assert total(weighed({"m-00001-of-00002.safetensors": one, "m-00003-of-00003.safetensors": one})) is None
    assert total(weighed({"unet/model.safetensors": one})) is None
    assert total(weighed({"m-00001-of-00002.safetensors": one, "m-00002-of-00002.safetensors": b"damaged"})) is None


def test_a_split_gguf_is_summed_and_projectors_are_left_out() -> None:
    parts = {f"q/m-0000{n}-of-00002.gguf": a_gguf(elements=32 * n) for n in (1, 2)}
    found = weighed({**parts, "a-mmproj.gguf": a_gguf(elements=320)})
    assert json.loads(found.gguf or "")["total"] == 96
    assert found.parameters == 96
    assert weighed({"a-mmproj.gguf": a_gguf()}).gguf is None
    assert weighed({"q/m-00001-of-00002.gguf": a_gguf()}).gguf is None


def test_known_weights_are_given_back_unread() -> None:
    files = {"model.safetensors": a_safetensors(w=("F32", [1]))}
    first = weighed(files)
    assert weighed({"model.safetensors": b"not read, since its name is the same"}, first) is first


def test_the_survey_takes_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "ROOT_FILES_MAX", 10)
    monkeypatch.setattr(contents, "WEIGHTS_MAX", 5)
    monkeypatch.setattr(contents, "FILES_SEEN_MAX", 1000)
    endless = (File(f"f{number}.safetensors{end}", b"x") for number in itertools.count() for end in ("", ".index.json"))
    tally = contents.survey(endless)
    found = tally.contents()
    assert (len(found.root), len(found.weights), found.regular_bytes) == (10, 5, 1000)
    assert not tally.is_whole
    folder = File("models.gguf", b"", None, "directory")
    assert contents.survey([folder]).contents().formats == set()


def test_a_revision_of_more_files_than_are_seen_has_no_whole_tally(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "FILES_SEEN_MAX", 2)
    files = [File(f"{number}", b"x") for number in range(3)]
    assert contents.survey(files[:2]).is_whole
    assert not contents.survey(files).is_whole
    grown = contents.survey(files[:2])
    grown.add(files[2])
    assert not grown.is_whole


def test_files_whose_names_are_shown_alike_have_no_whole_tally() -> None:
    assert not contents.survey([File("\ufffd.gguf", b"a"), File("\ufffd.gguf", b"b")]).is_whole


def test_a_readme_is_seen_behind_any_number_of_files() -> None:
    assert "README.md" in seen(*(f"{number:05}.txt" for number in range(21_000)), "README.md").root


PATHS = ("README.md", "config.json", "a.safetensors", "b/a.safetensors", "m.gguf", "x.csv", "b/x.csv.gz", "p.onnx",
         "a.safetensors.index.json", "b/README.md", "plain")  # fmt: skip
REVISIONS = st.dictionaries(
    st.sampled_from(PATHS),
    st.builds(
        lambda data, lfs, kind: (data, "0" * 64 if lfs else None, kind),
        st.binary(max_size=3), st.booleans(), st.sampled_from(["file", "file", "file", "symlink", "directory"]),
    ),
)  # fmt: skip


@given(st.lists(REVISIONS, min_size=1, max_size=5))
def test_a_tally_brought_up_to_a_revision_is_the_one_read_from_it(revisions: list[dict[str, Any]]) -> None:
    tally, before = contents.survey(()), {}
    for revision in revisions:
        after = {path: File(path, *facts) for path, facts in revision.items()}
        for path in before.keys() | after.keys():
            if before.get(path) != after.get(path):
                if path in before:
                    tally.remove(before[path])
                if path in after:
                    tally.add(after[path])
        before = after
        fresh = contents.survey(after.values())
        assert (tally.contents(), tally.weight, tally.is_whole) == (fresh.contents(), fresh.weight, True)


def test_special_tokens_are_told_however_they_are_written() -> None:
    written = {
        "mask_token": {"__type": "AddedToken", "content": "<mask>", "lstrip": True}, "bos_token": "<s>",
        "pad_token": None, "eos_token": ["</s>"], "unk_token": "\x00", "sep_token": "x" * 1000, "chat_template": "{{x}}",
    }  # fmt: skip
    told = contents.config(b'{"model_type": "bert"}', json.dumps(written).encode())
    assert told.tokens == (("bos_token", "<s>"), ("mask_token", "<mask>"))
    assert json.loads(told.as_json() or "") == {
        "model_type": "bert",
        "tokenizer_config": {"bos_token": "<s>", "mask_token": "<mask>"},
    }
    for broken in (b"", b"[]", b"{", b"\xff", b'{"mask_token": 1}'):
        assert contents.config(None, broken) == Config()
