"""The "use this model" texts: how each tool loads this very repo from this very hub.

Pure text. Knows no HTTP; is told what the catalog knows. Repo names are safe by `names.name`; file names are hostile
and are percent-encoded in URLs and shell-quoted elsewhere.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from headwater.front.pages.present import Snippet, path_text
from headwater.ground.names import RepoId


@dataclass(frozen=True, slots=True)
class Usage:
    """What decides which snippets fit. `sample` is a path worth fetching by itself; `gguf` the GGUF file, if any."""

    rid: RepoId
    public_url: str
    library: str = ""
    pipeline: str = ""
    tags: frozenset[str] = frozenset()
    sample: str = ""
    gguf: str = ""
    needs_token: bool = False


def endpoint(public_url: str) -> str:
    return f"export HF_ENDPOINT={shlex.quote(public_url)}"


def snippets(usage: Usage) -> tuple[Snippet, ...]:
    """Those that fit, the most telling first; `hf`, git and curl fit every repo."""
    made: list[Snippet] = []
    if usage.rid.type == "model":
        made += _for_model(usage)
    elif usage.rid.type == "dataset":
        made.append(_datasets(usage))
    return (*made, _hf(usage), _git(usage), _curl(usage))


def _for_model(usage: Usage) -> list[Snippet]:
    known = {usage.library, *usage.tags}
    made: list[Snippet] = []
    if "sentence-transformers" in known:
        made.append(_sentence_transformers(usage))
    if "peft" in known:
        made.append(_peft(usage))
    if "timm" in known:
        made.append(_timm(usage))
    if "diffusers" in known:
        made.append(_diffusers(usage))
    if "transformers" in known:
        made.append(_transformers(usage))
    if usage.gguf:
        made.append(_llama_cpp(usage))
    return made


def _sentence_transformers(usage: Usage) -> Snippet:
    code = (
        "from sentence_transformers import SentenceTransformer\n\n"
        f'model = SentenceTransformer("{usage.rid}")\n'
        'embeddings = model.encode(["Water finds its way."])'
    )
    return Snippet("Sentence Transformers", "python", code, "pip install sentence-transformers")


def _transformers(usage: Usage) -> Snippet:
    if usage.pipeline and usage.library in ("transformers", ""):
        code = f'from transformers import pipeline\n\npipe = pipeline("{_tag(usage.pipeline)}", model="{usage.rid}")'
    else:
        code = (
            "from transformers import AutoModel, AutoTokenizer\n\n"
            f'tokenizer = AutoTokenizer.from_pretrained("{usage.rid}")\n'
            f'model = AutoModel.from_pretrained("{usage.rid}")'
        )
    return Snippet("Transformers", "python", code, "pip install transformers torch")


def _tag(text: str) -> str:
    """A pipeline tag comes from a card, which anybody may write: only what a tag can be goes into code."""
    return "".join(letter for letter in text if letter.isalnum() or letter in "-_")[:60]


def _diffusers(usage: Usage) -> Snippet:
    code = f'from diffusers import DiffusionPipeline\n\npipe = DiffusionPipeline.from_pretrained("{usage.rid}")'
    return Snippet("Diffusers", "python", code, "pip install diffusers")


def _peft(usage: Usage) -> Snippet:
    kind = "AutoPeftModelForCausalLM" if usage.pipeline == "text-generation" else "AutoPeftModel"
    code = f'from peft import {kind}\n\nmodel = {kind}.from_pretrained("{usage.rid}")'
    return Snippet("PEFT", "python", code, "pip install peft transformers torch")


def _timm(usage: Usage) -> Snippet:
    code = f'import timm\n\nmodel = timm.create_model("hf-hub:{usage.rid}", pretrained=True)'
    return Snippet("timm", "python", code, "pip install timm")


def _datasets(usage: Usage) -> Snippet:
    code = f'from datasets import load_dataset\n\ndataset = load_dataset("{usage.rid}")'
    return Snippet("Datasets", "python", code, "pip install datasets")


def _llama_cpp(usage: Usage) -> Snippet:
    name = shlex.quote(usage.gguf)
    local = shlex.quote(f"./{usage.gguf}")
    return Snippet("llama.cpp", "shell", f"hf download {usage.rid} {name} --local-dir .\nllama-cli -m {local}")


def _hf(usage: Usage) -> Snippet:
    kind = "" if usage.rid.type == "model" else f" --repo-type {usage.rid.type}"
    return Snippet("hf", "shell", f"hf download {usage.rid}{kind}", "pip install -U huggingface_hub")


def _git(usage: Usage) -> Snippet:
    return Snippet("git", "shell", f"git lfs install\ngit clone {usage.public_url}{usage.rid.url_path}")


def _curl(usage: Usage) -> Snippet:
    token = ' -H "Authorization: Bearer $HF_TOKEN"' if usage.needs_token else ""
    sample = path_text(usage.sample or "README.md")
    return Snippet(
        "curl",
        "shell",
        f"curl -L -O -C -{token} \\\n  {usage.public_url}{usage.rid.url_path}/resolve/main/{sample}",
        "One file, resumed where it stopped",
    )
