"""The heat of change: which layers and which tensors of a model differ from those of another, and by how much.

Out of two sketches, so for a page it costs nothing to read. Who may see either file is the page's question, not ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headwater.ground.names import Sha256
from headwater.lineage.align import align
from headwater.lineage.names import layer_and_kind
from headwater.lineage.samples import Samples
from headwater.lineage.sketch import common
from headwater.lineage.sketches import Sketches


@dataclass(frozen=True, slots=True)
class Warmth:
    """`layer` is None outside of the layers; `kind` as in GGUF's names (`attn_q`, `ffn_down`, `token_embd`).

    `changed_pct`: per cent of the sampled elements that differ. `rel_step`: the root mean square of the change, as a
    share of that of the base; None where the elements are not numbers that can be compared.
    """

    layer: int | None
    kind: str
    tensor: str
    changed_pct: float
    rel_step: float | None


def heat(sketches: Sketches, sha256: Sha256, base_sha256: Sha256) -> list[Warmth]:
    """A row for each sampled tensor that both have, in order of the layers. Empty where either has no sketch.

    Raises Corrupt for a sketch that can't be read.
    """
    file, base = sketches.of(sha256), sketches.of(base_sha256)
    if file is None or base is None:
        return []
    rows = []
    for pair in align(file, base):
        one, other = file.sketch.tensors[pair.target], base.sketch.tensors[pair.parent]
        shared = common(one, other)
        if shared is not None:
            layer, kind = layer_and_kind(one.name)
            rows.append(Warmth(layer, kind, one.name, *_change(*shared)))
    return sorted(rows, key=lambda row: (row.layer is not None, row.layer or 0, row.kind, row.tensor))


def _change(file: Samples, base: Samples) -> tuple[float, float | None]:
    """(changed_pct, rel_step)"""
    same_form = file.form == base.form
    words = (file.words, base.words) if same_form else (file.canonical(), base.canonical())
    changed = 100 * float((words[0] != words[1]).mean())
    if "bytes" in (file.form.kind, base.form.kind):
        return changed, None
    with np.errstate(all="ignore"):
        now, before = file.numbers().astype(np.float64), base.numbers().astype(np.float64)
        told = np.isfinite(now) & np.isfinite(before)
        size = float(np.sqrt(np.square(before[told]).mean())) if told.any() else 0.0
        step = float(np.sqrt(np.square(now[told] - before[told]).mean())) if told.any() else 0.0
    return changed, step / size if size > 0 and np.isfinite(step / size) else None
