"""What data scientists' libraries do with a hub: transformers, sentence-transformers, datasets, and the gguf reader.

Run by test_libs.py inside the `libs` environment; MODEL and GGUF name the repositories that `hf upload` has filled,
MODEL_DIR and GGUF_FILE the files they were filled from. A step compares what came from the hub with what lies on disk.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import datasets
import gguf
import numpy as np
import torch
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from sentence_transformers import SentenceTransformer
from stepping import Steps, Traffic, leave, say, sha256
from transformers import AutoConfig, AutoModel, AutoTokenizer

step = Steps()
api = HfApi()
MODEL, GGUF = os.environ["MODEL"], os.environ["GGUF"]
MODEL_DIR, GGUF_FILE = Path(os.environ["MODEL_DIR"]), Path(os.environ["GGUF_FILE"])
WORK = Path(os.environ["WORK_DIR"])
SENTENCES = ["Water lifts the mill.", "The mill is driven by the stream.", "Stocks fell on Monday."]
ROWS = {"text": [f"row {number} ü" for number in range(500)], "label": [number % 3 for number in range(500)]}


def embed(tokenizer: Any, model: Any) -> Any:
    """Return the mean-pooled embedding of the sentences."""
    batch = tokenizer(SENTENCES, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = model(**batch).last_hidden_state
    return hidden.mean(dim=1)


@step
def the_real_model_came_over_whole() -> None:
    where = Path(snapshot_download(MODEL))
    files = [path for path in MODEL_DIR.rglob("*") if path.is_file()]
    assert files, MODEL_DIR
    for file in files:
        assert sha256(where / file.relative_to(MODEL_DIR)) == sha256(file), file


@step
def the_hub_read_its_header() -> None:
    info = api.model_info(
        MODEL, expand=["safetensors", "config", "tags", "pipeline_tag", "library_name", "transformersInfo"]
    )
    assert info.safetensors is not None and info.safetensors.total > 22_000_000, info
    assert info.config is not None and info.config["model_type"] == "bert", info
    assert info.library_name == "sentence-transformers" or "sentence-transformers" in info.tags, info


@step
def transformers_loads_it() -> None:
    torch.manual_seed(0)
    assert AutoConfig.from_pretrained(MODEL).model_type == "bert"
    there = embed(AutoTokenizer.from_pretrained(MODEL), AutoModel.from_pretrained(MODEL).eval())
    here = embed(AutoTokenizer.from_pretrained(MODEL_DIR), AutoModel.from_pretrained(MODEL_DIR).eval())
    assert torch.equal(there, here)
    pinned = AutoConfig.from_pretrained(MODEL, revision=api.model_info(MODEL).sha)
    assert pinned.hidden_size == 384


@step
def sentence_transformers_loads_it() -> None:
    there = SentenceTransformer(MODEL, device="cpu").encode(SENTENCES)
    here = SentenceTransformer(str(MODEL_DIR), device="cpu").encode(SENTENCES)
    assert np.array_equal(there, here)
    near, far = float(there[0] @ there[1]), float(there[0] @ there[2])
    assert near > far + 0.2, (near, far)


@step
def transformers_pushes_to_the_hub() -> None:
    config = AutoConfig.from_pretrained(
        MODEL_DIR, num_hidden_layers=1, vocab_size=200, hidden_size=48, intermediate_size=64
    )
    model = AutoModel.from_config(config)
    model.push_to_hub("alice/pushed-model")
    AutoTokenizer.from_pretrained(MODEL_DIR).push_to_hub("alice/pushed-model")
    back = AutoModel.from_pretrained("alice/pushed-model")
    for name, tensor in model.state_dict().items():
        assert torch.equal(back.state_dict()[name], tensor), name


@step
def the_gguf_header_is_read() -> None:
    path = hf_hub_download(GGUF, GGUF_FILE.name)
    assert sha256(path) == sha256(GGUF_FILE)
    reader = gguf.GGUFReader(path)
    assert reader.fields["general.architecture"].contents() == "llama", list(reader.fields)
    assert len(reader.tensors) == len(gguf.GGUFReader(GGUF_FILE).tensors) > 100
    info = api.model_info(GGUF, expand=["gguf"])
    assert info.gguf is not None and info.gguf["architecture"] == "llama", info


@step
def datasets_loads_parquet() -> None:
    api.create_repo("alice/parquet-set", repo_type="dataset")
    table = datasets.Dataset.from_dict(ROWS)
    (WORK / "parquet" / "data").mkdir(parents=True)
    table.select(range(400)).to_parquet(WORK / "parquet" / "data" / "train-00000-of-00001.parquet")
    table.select(range(400, 500)).to_parquet(WORK / "parquet" / "data" / "test-00000-of-00001.parquet")
    api.upload_folder(folder_path=WORK / "parquet", repo_id="alice/parquet-set", repo_type="dataset")
    loaded = datasets.load_dataset("alice/parquet-set")
    assert loaded["train"].num_rows == 400 and loaded["test"].num_rows == 100, loaded
    assert loaded["train"]["text"][:3] == ROWS["text"][:3]
    assert loaded["test"]["label"][:] == ROWS["label"][400:]


@step
def datasets_streams_parquet() -> None:
    rows = list(datasets.load_dataset("alice/parquet-set", split="test", streaming=True))
    assert [row["text"] for row in rows] == ROWS["text"][400:]


@step
def datasets_loads_json_lines() -> None:
    api.create_repo("alice/jsonl-set", repo_type="dataset", private=True)
    lines = "".join(
        json.dumps({"text": t, "label": n}) + "\n" for t, n in zip(ROWS["text"], ROWS["label"], strict=True)
    )
    api.upload_file(
        path_or_fileobj=lines.encode(), path_in_repo="train.jsonl", repo_id="alice/jsonl-set", repo_type="dataset"
    )
    loaded = datasets.load_dataset("alice/jsonl-set", split="train")
    assert loaded.to_dict() == ROWS
    assert loaded.features["label"].dtype == "int64"


@step
def datasets_pushes_to_the_hub() -> None:
    table = datasets.Dataset.from_dict(ROWS)
    with Traffic() as traffic:
        table.push_to_hub("alice/pushed-set", private=True, num_shards=2)
    say(f"{len(traffic.lines)} messages")
    datasets.DatasetDict({"validation": table.select(range(10))}).push_to_hub("alice/pushed-set", "small")
    assert datasets.load_dataset("alice/pushed-set", split="train").to_dict() == ROWS
    assert datasets.load_dataset("alice/pushed-set", "small", split="validation").num_rows == 10
    assert sorted(datasets.get_dataset_config_names("alice/pushed-set")) == ["default", "small"]


if __name__ == "__main__":
    leave(step.run(sys.argv[1:]))
