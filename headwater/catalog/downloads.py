"""Which requests the Hub counts as downloads, by its published rules.

Sources: "Models Download Stats" of the Hub's documentation, and what libraries registered there (`countDownloads` in
huggingface.js, `packages/tasks/src/model-libraries.ts`; read on 2026-11-22): every GET and HEAD of a query file is a
download, whoever asks and however often. Data sets: all files that one client asks for in five minutes are one. Spaces
have no count. A request that says it is part of a download (`X-HF-Download-Counter`) of a model without query files
counts as in a data set: the Hub publishes no rule for it.
"""

from __future__ import annotations

from typing import Literal

from headwater.ground.names import RepoType

Counted = Literal["each", "window", "marked", ""]
"""Each request; those of five minutes together; the same unless a query file is asked for; or not at all."""

USUAL = ("config.json", "config.yaml", "hyperparams.yaml", "params.json", "meta.yaml")
_ALWAYS = (".gguf",)  # tied to no library

# A path is that file, `*.x` every file with that extension, `/*.x` the same at the top, `**/name` that name anywhere,
# `folder/*.x` the extension below a folder.
_BY_LIBRARY = """
3dtopia-xl: model_vae_fp16.pt
acestep: ace_step_transformer/config.json
adapter-transformers: adapter_config.json
anemoi: *.ckpt
asteroid: pytorch_model.bin
audiocraft: state_dict.bin
audioseal: *.pth
aviation-ner: gliner_config.json
bagel-mot: llm_config.json
bboxmaskpose: *.pth
big_vision: *.npz
bionemo: *.ckpt config.json
birder: *.pt
bm25s: params.index.json
boltzgen: boltzgen1_diverse.ckpt
champ: champ/motion_module.pth
chat_tts: asset/GPT.pt
chatterbox: tokenizer.json
clara: *.ckpt config.json
clipscope: *.pt
colipri: *.safetensors
collectorvision: *.onnx
colpali: adapter_config.json
comet: hparams.yaml
cosmos: config.json *.pt
cosyvoice: *.onnx *.pt
cotracker: *.pth
cxr-foundation: precomputed_embeddings/embeddings.npz pax-elixr-b-text/saved_model.pb
depth-anything-v2: *.pth
depth-pro: *.pt
derm-foundation: scin_dataset_precomputed_embeddings.npz saved_model.pb
diff-interpretation-tuning: *.pt
diffree: diffree-step=000010999.ckpt
diffusers: model_index.json modular_model_index.json /*.safetensors /*.ckpt /*.bin
diffusion-single-file: *.safetensors
edsnlp: **/config.cfg
elm: **/slicex_elm_config.json
eupe: *.pt
f5-tts: *.safetensors *.pt
fasttext: *.bin
fixer: pretrained/pretrained_fixer.pkl
flair: pytorch_model.bin
fme: *.tar
gemma.cpp: *.sbs
genmo: vae_stats.json
geometry-crafter: point_map_vae/diffusion_pytorch_model.safetensors
gliner: gliner_config.json
glm-tts: flow/flow.pt
glyph-byt5: checkpoints/byt5_model.pt
granite-library: **/adapter_config.json
grok: ckpt/tensor00000_000 ckpt-0/tensor00000_000
habibi-tts: *.safetensors
hallo: hallo/net.pth
hermes: ckpt/hermes_final.pth
hezar: model_config.yaml embedding/embedding_config.yaml
holomotion: *.onnx
hunyuan-dit: pytorch_model_ema.pt pytorch_model_distill.pt
hunyuan3d-2: **/model_index.json **/config.json **/config.yaml
hy-world-2: *.json
hy-worldplay: *.json
image-matching-models: *.safetensors
imstoucan: embedding_gan.pt Vocoder.pt ToucanTTS.pt
infinite-you: infu_flux_v1.0/sim_stage1/image_proj_model.bin infu_flux_v1.0/aes_stage2/image_proj_model.bin
infinitetalk: *.safetensors
intellifold: *.pt
ising-decoding: *.safetensors
keras: config.json *.keras
kernels: **/_ops.py
kronos: *.pt
lagernvs: *.pt
lightglue: *.pth config.json
litert: *.tflite
litert-lm: *.litertlm *.task
liveportrait: liveportrait/landmark.onnx
lvface: *.pt *.onnx
lyra-2.0: checkpoints/image_encoder/model.pth
magi-1: ckpt/vae/config.json
manas-1: *.pt
mars5-tts: mars5_ar.safetensors
medvae: *.ckpt
merlin: *.pt
mesh-anything: MeshAnything_350m.pth
mini-omni2: model_config.yaml
mitie: **/total_word_feature_extractor.dat
ml-agents: *.onnx
ml-sharp: *.pt
mlc-llm: mlc-chat-config.json
mlx-image: model.safetensors
monkeyocr: Recognition/config.json
moshi: tokenizer-e351c8d8-checkpoint125.safetensors
mtvcraft: vae/3d-vae.pt
nemo: *.nemo model_config.yaml *.json
nv-medtech: *.pt *.safetensors config.json
open-oasis: oasis500m.safetensors
open-sora: Open_Sora_v2.safetensors
open_clip: open_clip_model.safetensors model.safetensors open_clip_pytorch_model.bin pytorch_model.bin
paddlenlp: model_config.json
paddleocr: *.safetensors inference.pdiparams
peft: adapter_config.json
perception-encoder: *.pt
phantom-wan: *.pth
pocket-tts: tts_b6369a24.safetensors
recurrentgemma: tokenizer.model
refiners: model.safetensors
rkllm: *.rkllm
robo-orchard-lab: *.safetensors
sam-3d-body: model_config.yaml
sam-3d-objects: checkpoints/pipeline.yaml
sam2: *.pt
same: ckpt/SAME.pt pretrain/Attnq_pretrained_ckpt.pt
sample-factory: cfg.json
sana: *.pth
sap-rpt-1-oss: *.pt
sapiens: *.pt2 *.pth *.onnx
sapiens2: *.safetensors
seed-story: cvlm_llama2_tokenizer/tokenizer.model
seedvr: *.pth
self-forcing: *.pt
skala: *.fun
sklearn: sklearn_model.joblib
soloaudio: soloaudio_v2.pt
songbloom: *.pt
spacy: *.whl
speechbrain: hyperparams.yaml
ssr-speech: *.pth
stable-audio-tools: model.safetensors
stable-baselines3: *.zip
stanza: models/default.zip
synthefy-migas: model.pt
tencent-song-generation: ckpt/songgeneration_base/model.pt
tensorrt: *.onnx
terratorch: *.pt *.ckpt
tf-keras: saved_model.pb
tic-clip: checkpoints/*.pt
timesfm: checkpoints/checkpoint_1100000/state/checkpoint checkpoints/checkpoint_2150000/state/checkpoint *.ckpt
timm: pytorch_model.bin model.safetensors
tirex: *.ckpt
torchgeo: *.pt *.pth
trellis: *.safetensors
trellis2: *.safetensors
ultralytics: *.pt
uni-3dar: *.pt
unity-sentis: *.sentis
univa: config.json
vfi-mamba: *.pkl
videoprism: *.npz
videox_fun: *.safetensors
vismatch: vismatch.yaml
vui: *.pt
wan2.2: **/config.json
wham: *.ckpt
whisperkit: **/model.mil
yolov10: *.pt *.safetensors
yolov26: *.pt *.safetensors
"""


def _read(table: str) -> dict[str, tuple[str, ...]]:
    rows = (line.partition(": ") for line in table.split("\n") if line)
    return {library: tuple(patterns.split()) for library, _, patterns in rows}


QUERY_FILES = _read(_BY_LIBRARY)
"""Of libraries that registered their own; any other uses USUAL."""


def counted(kind: RepoType, path: str, library: str | None, *, marked: bool) -> Counted:
    """How a GET or HEAD of this file counts. `library`: of the repo, as its card or files say, None if neither does.

    `marked`: the request carried `X-HF-Download-Counter`.
    """
    if kind == "space":
        return ""
    if kind == "dataset":
        return "window"
    if path.endswith(_ALWAYS) or any(_fits(path, one) for one in QUERY_FILES.get((library or "").lower(), USUAL)):
        return "each"
    return "marked" if marked else ""


def _fits(path: str, pattern: str) -> bool:
    folder, star, ending = pattern.partition("*")
    if not star:
        return path == pattern
    if ending.startswith("*/"):
        return path.rsplit("/", 1)[-1] == ending[2:]
    if folder == "/":
        return "/" not in path and path.endswith(ending)
    return path.startswith(folder) and path.endswith(ending)
