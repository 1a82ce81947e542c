"""Names of tensors: what different tools call the same one. A table of facts, and refuses to know values and files.

The common form is close to GGUF's: `blk.3.attn_q.weight`. Sources: `tensor_mapping.py` of the gguf package for GGUF's
names; the modules of transformers for Hugging Face's (Llama, Mistral, Qwen2, Qwen3, Gemma, Phi, GPT-2, GPT-NeoX, BERT).
"""

from __future__ import annotations

import functools
import re

NAME_CHARS_MAX = 256  # of a name that is understood; longer ones are compared as they are

# Wrappers that say nothing about the tensor: training code leaves them around whole models.
_WRAPPERS = re.compile(
    r"^(?:(?:base_model|model|module|_orig_mod|transformer|language_model|gpt_neox|bert|roberta|backbone|network)\.)+"
)
_INNER = re.compile(r"\.(?:base_layer|_orig_mod|_fsdp_wrapped_module)(?=\.)")
_LAYER = re.compile(r"(?:^|.*?\.)(?:layers|layer|h|blk|blocks|block)\.(\d{1,5})\.(.+)\Z")
_ENDING = re.compile(r"(.*)\.(weight|bias)\Z")
_SIDE = re.compile(r"(?:^|\.)(vision\w*|visual|audio\w*|decoder|enc|dec|mm|v|a)\.")

_IN_LAYER = {
    # Llama, Mistral, Qwen, Gemma, Phi
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.dense": "attn_output",
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "mlp.fc1": "ffn_up",
    "mlp.fc2": "ffn_down",
    "mlp.gate": "ffn_gate_inp",
    "block_sparse_moe.gate": "ffn_gate_inp",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "pre_feedforward_layernorm": "pre_ffw_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
    # GPT-2 and GPT-NeoX
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
    "ln_1": "attn_norm",
    "ln_2": "ffn_norm",
    "attention.query_key_value": "attn_qkv",
    "attention.dense": "attn_output",
    "mlp.dense_h_to_4h": "ffn_up",
    "mlp.dense_4h_to_h": "ffn_down",
    # BERT and its like
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.layernorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.layernorm": "layer_output_norm",
}
_OUTSIDE = {
    "embed_tokens": "token_embd",
    "wte": "token_embd",
    "embed_in": "token_embd",
    "embeddings.word_embeddings": "token_embd",
    "word_embeddings": "token_embd",
    "wpe": "position_embd",
    "embeddings.position_embeddings": "position_embd",
    "embeddings.token_type_embeddings": "token_types",
    "embeddings.layernorm": "token_embd_norm",
    "lm_head": "output",
    "embed_out": "output",
    "norm": "output_norm",
    "ln_f": "output_norm",
    "final_layer_norm": "output_norm",
    "final_layernorm": "output_norm",
}
EMBEDDING = "token_embd.weight"
OUTPUT = "output.weight"


@functools.lru_cache(maxsize=65_536)
def common_name(name: str) -> str:
    """`model.layers.3.self_attn.q_proj.weight`, `blk.3.attn_q.weight` -> `blk.3.attn_q.weight`. Any text is allowed.

    A name that no table has keeps its own words, without wrappers around it.
    """
    if len(name) > NAME_CHARS_MAX:
        return name
    text = _INNER.sub("", _WRAPPERS.sub("", name))
    ending = _ENDING.match(text)
    body, last = (ending[1], f".{ending[2]}") if ending else (text, "")
    if _SIDE.match(body):  # a tower of its own: its layers are not the language model's
        return text
    layer = _LAYER.match(body)
    if layer:
        inside = layer[2]
        return f"blk.{int(layer[1])}.{_IN_LAYER.get(inside.lower(), inside)}{last}"
    return f"{_OUTSIDE.get(body.lower(), body)}{last}"


@functools.lru_cache(maxsize=65_536)
def layer_and_kind(name: str) -> tuple[int | None, str]:
    """(3, "attn_q") of `model.layers.3.self_attn.q_proj.weight`; (None, "token_embd") of an embedding.

    The kind of a bias ends in `.bias`, for it is another tensor than the weight.
    """
    text = common_name(name)
    layer = re.match(r"blk\.(\d{1,5})\.(.+)\Z", text)
    number, rest = (int(layer[1]), layer[2]) if layer else (None, text)
    return number, rest.removesuffix(".weight")
