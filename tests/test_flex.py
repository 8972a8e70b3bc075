"""flex_attention over packed segments: which blocks it is told of, and where it is not used."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.models import tiny_model

from llmgym.errors import ConfigError
from llmgym.learning import Policy, flex, packed_attention
from llmgym.learning.compute import ComputeConfig
from llmgym.learning.packed_attention import way_to_pack

CPU = torch.device("cpu")
SHAPES = frozenset({(4, 2, 16, 16)})


@pytest.fixture(autouse=True)
def forget():
    flex.why_not_flex.cache_clear()
    yield
    flex.why_not_flex.cache_clear()


def listed(counts, columns):
    table = np.zeros((counts.shape[-1], columns.shape[-1]), dtype=bool)
    for row, (count, order) in enumerate(zip(counts[0, 0], columns[0, 0], strict=True)):
        table[row, order[:count]] = True
    return table


sizes = st.integers(1, 400)


@settings(max_examples=40)
@given(st.lists(st.tuples(sizes, st.lists(sizes, max_size=4)), min_size=1, max_size=3), st.data())
def test_blocks_that_are_left_out_have_nothing_to_see_and_blocks_without_a_mask_everything(prompts, data):
    pairs = data.draw(st.permutations([(index, rest) for index, (_, rests) in enumerate(prompts) for rest in rests]))
    prompt_of_rest, rests = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    attention = flex.FlexAttention(np.array([size for size, _ in prompts]), rests, prompt_of_rest, CPU)

    mask, place = attention._mask, torch.arange(attention.length)
    blocks = mask.mask_mod(place, place, place[:, None], place).view(-1, 128, attention.length // 128, 128)
    some, every = blocks.any(3).any(1).numpy(), blocks.all(3).all(1).numpy()
    masked, free = listed(mask.kv_num_blocks, mask.kv_indices), listed(mask.full_kv_num_blocks, mask.full_kv_indices)

    assert not (some & ~(masked | free)).any()
    assert not (free & ~every).any()
    assert not (masked & free).any()
    assert bool(blocks.any(3).any(2).all())  # a token that sees nothing would be divided by zero


def test_long_prompts_leave_most_blocks_of_a_row_out():
    attention = flex.FlexAttention(np.array([1280, 1280]), np.full(16, 128), np.arange(16) // 8, CPU)

    assert attention.length == 36 * 128
    assert int(attention._mask.full_kv_num_blocks.sum()) == 2 * 45 + 16 * 10  # below the diagonal of prompts; rests
    assert int(attention._mask.kv_num_blocks.sum()) == 36


def test_on_the_cpu_tables_are_used_and_flex_attention_is_refused_with_the_reason():
    policy = Policy(tiny_model())

    assert policy.packing == "tables"
    with pytest.raises(ConfigError, match=r"does not support backward on CPU.*\"tables\""):
        policy.use(ComputeConfig(attention="flex"))


ON_A_GPU = SimpleNamespace(device=torch.device("cuda"), dtype=torch.bfloat16)


def test_on_a_gpu_flex_attention_is_used_where_it_runs(monkeypatch):
    monkeypatch.setattr(packed_attention, "why_not_flex", lambda *shape: None)

    assert way_to_pack(SHAPES, "auto", ON_A_GPU) == "flex"
    assert way_to_pack(SHAPES, "tables", ON_A_GPU) == "tables"
    assert way_to_pack(SHAPES, "padded", ON_A_GPU) is way_to_pack(None, "auto", ON_A_GPU) is None


def test_on_a_gpu_on_which_flex_attention_does_not_run_tables_are_used_and_people_are_told_why(monkeypatch):
    monkeypatch.setattr(packed_attention, "why_not_flex", lambda *shape: "no compiler")

    with pytest.warns(UserWarning, match="in tables.*no compiler"):
        assert way_to_pack(SHAPES, "auto", ON_A_GPU) == "tables"


def test_a_kernel_that_shows_too_much_is_not_used(monkeypatch):
    def shows_all(query, key, value, *, block_mask, scale, enable_gqa):
        return torch.nn.functional.scaled_dot_product_attention(query, key, value, scale=scale, enable_gqa=enable_gqa)

    monkeypatch.setattr(flex.flex, "flex_attention", shows_all)

    assert "off by" in flex.why_not_flex(4, 2, 16, 16, torch.float32, CPU)


def test_a_model_that_cannot_be_packed_is_refused_where_packing_is_asked_for():
    policy = Policy(tiny_model())
    policy.attention_shapes = None

    with pytest.raises(ConfigError, match="not of the plain kind"):
        policy.use(ComputeConfig(attention="tables"))


@pytest.mark.parametrize("way", ["tables", "flex"])
def test_a_compiled_model_is_not_packed(way):
    with pytest.raises(ConfigError, match="runs padded"):
        ComputeConfig(compile=True, attention=way)


COMPILED = """
import numpy as np, torch
from llmgym.learning import flex

attention = flex.FlexAttention(np.array([700, 300, 3]), np.full(4, 200), np.array([0, 2, 0, 1]), torch.device("cpu"))
given = [torch.randn(1, attention.length, heads, 16).transpose(1, 2) for heads in (4, 2, 2)]
with torch.no_grad():
    found = flex._compiled()(*given, block_mask=attention._mask, scale=0.3, enable_gqa=True)
place = torch.arange(attention.length)
mask = attention._mask.mask_mod(place, place, place[:, None], place)
expected = torch.nn.functional.scaled_dot_product_attention(*given, mask, scale=0.3, enable_gqa=True)
torch.testing.assert_close(found, expected)
"""


@pytest.mark.slow
def test_compiled_as_on_a_gpu_it_gives_the_outputs_of_the_definition(require):
    require("compiler", shutil.which(os.environ.get("CXX", "g++")), "there is no g++, and CXX names none")
    ended = subprocess.run(
        [sys.executable, "-c", COMPILED], cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False
    )  # forward only, which is all that the compiler does for CPUs, in a process of its own

    assert ended.returncode == 0, ended.stderr[-2000:]
