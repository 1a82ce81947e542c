"""What a repo's files say of it."""

from __future__ import annotations

import json

import pytest

from headwater.catalog import contents
from headwater.catalog.contents import Config, Weights

from .conftest import File, a_gguf, a_safetensors


def seen(*paths: str, **data: bytes) -> contents.Contents:
    return contents.survey(File(path, b"", None) for path in paths)


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
    return contents.weights(listed, lambda path: lambda start, stop: files[path][start:stop], before)


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
    endless = (File(f"f{number}.safetensors", b"x") for number in iter(int, 1))
    found = contents.survey(endless)
    assert (len(found.root), len(found.weights), found.regular_bytes) == (1, 5, 1000)
    folder = File("models.gguf", b"", None, "directory")
    assert contents.survey([folder]).formats == set()
