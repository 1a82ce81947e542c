"""The tables of element types."""

from __future__ import annotations

import pytest

from headwater.tensors.dtypes import GGML_TYPES, SAFETENSORS_BITS, elements


def test_a_scalar_has_one_element_and_an_empty_dimension_none() -> None:
    assert elements(()) == 1
    assert elements((3, 0, 5)) == 0
    assert elements((2, 3)) == 6


def test_all_types_of_safetensors_0_8_are_known() -> None:
    assert len(SAFETENSORS_BITS) == 22


@pytest.mark.parametrize(
    ("name", "bits_per_weight"),
    [("Q4_0", 4.5), ("Q8_0", 8.5), ("Q2_K", 2.625), ("Q3_K", 3.4375), ("Q4_K", 4.5), ("Q5_K", 5.5), ("Q6_K", 6.5625),
     ("IQ1_S", 1.5625), ("IQ1_M", 1.75), ("IQ2_XXS", 2.0625), ("IQ2_XS", 2.3125), ("IQ3_XXS", 3.0625),
     ("IQ4_XS", 4.25), ("TQ1_0", 1.6875), ("TQ2_0", 2.0625), ("MXFP4", 4.25), ("BF16", 16)],
)  # fmt: skip
def test_quantized_types_have_the_published_bits_per_weight(name: str, bits_per_weight: float) -> None:
    layout = next(layout for layout in GGML_TYPES.values() if layout.name == name)
    assert bits_per_weight == layout.block_bytes * 8 / layout.block_elements
