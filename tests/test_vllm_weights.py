"""The learner's weights on their way into vLLM: against a stand-in for the engine, and against the real one."""

import asyncio
import gc
import json
import math
import os
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from support.tiny_vllm import tiny_vllm_model

from llmgym.errors import ConfigError, SamplerError
from llmgym.learning.model import ModelWeights
from llmgym.sampling.vllm import adapter_transfer
from llmgym.sampling.vllm.engines import EngineDied
from llmgym.sampling.vllm.shared_memory import num_bytes_of, plan_places
from llmgym.sampling.vllm.weights import EngineWeights, choose_transfer, same_gpu, shapes_of


class StandIn:
    """Records what an engine is asked, and reads weights as vLLM's worker does."""

    def __init__(self, *, failing=None, error=None):
        self.calls, self.weights, self.adapter = [], {}, None
        self._failing, self._error = failing, error or SamplerError("vLLM refused: no room")

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)

        async def call(*args, **kwargs):
            self.calls.append(name)
            if name == self._failing:
                raise self._error
            if hasattr(self, f"_{name}"):
                getattr(self, f"_{name}")(*args, **kwargs)

        return call

    def close(self):
        self.calls.append("close")

    def _init_weight_transfer(self, info):
        self._memory = torch.from_file(info["path"], shared=True, size=info["num_bytes"], dtype=torch.uint8)

    def _update_weights(self, info):
        for name, dtype, shape, start in info["entries"]:
            end = start + num_bytes_of(dtype, shape)
            self.weights[name] = self._memory[start:end].view(getattr(torch, dtype)).view(shape).clone()

    def _finish_weight_update(self, version):
        self.version = version

    def _add_adapter(self, adapter):
        self.adapter = load_file(Path(adapter.path, "adapter_model.safetensors"))
        self.config = json.loads(Path(adapter.path, "adapter_config.json").read_text())

    def _set_weight_version(self, version):
        self.version = version


class Source:
    """Weights from a table."""

    def __init__(self, tensors, *, adapter_config=None):
        self.tensors, self.is_adapter, self.adapter_config = tensors, adapter_config is not None, adapter_config

    def shapes(self):
        return {name: (str(t.dtype).removeprefix("torch."), tuple(t.shape)) for name, t in self.tensors.items()}

    def __iter__(self):
        return iter(self.tensors.items())


def source_of(seed=0, **changes):
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        "embed.weight": torch.randn(7, 4, generator=generator),
        "norm.weight": torch.randn(4, generator=generator),
        "lm_head.weight": torch.randn(7, 4, generator=generator),
    }
    return Source({name: tensor for name, tensor in {**tensors, **changes}.items() if tensor is not None})


def weights_for(source=None, dtype="float32"):
    shapes = (source or source_of()).shapes()
    return EngineWeights("memory", shapes=shapes, dtype=dtype, device=torch.device("cpu"))


def run(call):
    return asyncio.run(call)


@pytest.fixture
def leftovers(tmp_path, monkeypatch):
    """Gives whatever a failed update could leave: files that are memory, temporary ones, and open descriptors.

    The files are in folders of the test's own, as other processes of the machine may update engines, too.
    """
    folders = [tmp_path / "memory", tmp_path / "temporary"]
    for folder in folders:
        folder.mkdir()
    monkeypatch.setattr(adapter_transfer, "_MEMORY", folders[0])
    monkeypatch.setattr(tempfile, "tempdir", str(folders[1]))

    def found():
        gc.collect()  # event loops that earlier tests left
        return [path for folder in folders for path in folder.iterdir()], len(os.listdir("/proc/self/fd"))

    return found


def test_an_update_pauses_loads_forgets_the_cache_and_goes_on_in_this_order():
    engine = StandIn()

    run(weights_for().update(engine, source_of(), version=3))

    assert engine.calls == [
        *("pause", "init_weight_transfer", "start_weight_update", "update_weights", "finish_weight_update"),
        *("reset_prefix_cache", "resume"),
    ]
    assert engine.version == 3


def test_the_engine_reads_the_bits_that_the_source_has_at_each_update():
    engine, weights = StandIn(), weights_for()

    for version in (1, 2):
        source = source_of(seed=version)
        run(weights.update(engine, source, version=version))

        assert all(torch.equal(engine.weights[name], tensor) for name, tensor in source)
    assert engine.calls.count("init_weight_transfer") == 1


def test_matrices_are_sent_in_the_engines_data_type_and_vectors_as_they_are():
    engine, source = StandIn(), source_of()

    run(weights_for(dtype="bfloat16").update(engine, source, version=1))

    assert torch.equal(engine.weights["embed.weight"], source.tensors["embed.weight"].bfloat16())
    assert torch.equal(engine.weights["norm.weight"], source.tensors["norm.weight"])


@given(
    st.lists(st.tuples(st.sampled_from(["float32", "bfloat16", "int64"]), st.lists(st.integers(1, 9), max_size=3))),
    st.sampled_from(["float32", "bfloat16"]),
)
def test_places_in_the_shared_memory_are_aligned_and_never_overlap(weights, dtype):
    places = plan_places({str(i): (own, tuple(shape)) for i, (own, shape) in enumerate(weights)}, dtype)

    ends = [0, *(start + num_bytes_of(sent, shape) for _, sent, shape, start in places)]
    assert all(start >= end and start % 64 == 0 for (_, _, _, start), end in zip(places, ends, strict=False))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"lm_head.weight": None}, "'lm_head.weight' is missing"),
        ({"extra": torch.zeros(2)}, "'extra' is not of this model"),
        ({"norm.weight": torch.zeros(5)}, r"'norm.weight' is of shape \(5,\) where the engine's is \(4,\)"),
        ({"norm.weight": torch.zeros(4, dtype=torch.int64)}, "'norm.weight' is of int64"),
    ],
)
def test_weights_of_another_model_are_refused_before_the_engine_is_touched(changes, complaint):
    engine = StandIn()

    with pytest.raises(SamplerError, match=complaint):
        run(weights_for().update(engine, source_of(**changes), version=1))

    assert engine.calls == []


def test_a_tied_head_is_expected_under_its_own_name():
    model = tiny_vllm_model(tied=True)

    assert "lm_head.weight" in shapes_of(model)
    assert shapes_of(model) == ModelWeights(model).shapes()


@pytest.mark.parametrize(
    "failing", ["init_weight_transfer", "update_weights", "finish_weight_update", "reset_prefix_cache"]
)
def test_an_engine_with_half_an_update_is_closed_and_never_resumed(failing):
    engine = StandIn(failing=failing)

    with pytest.raises(SamplerError, match="mixture of old and new"):
        run(weights_for().update(engine, source_of(), version=1))

    assert engine.calls[-2:] == [failing, "close"]


def test_where_a_gpu_does_not_hand_weights_on_the_way_that_needs_none_is_named():
    source = source_of()
    weights = EngineWeights("ipc", shapes=source.shapes(), dtype="float32", device=torch.device("cpu"))

    with pytest.raises(SamplerError, match='set weight_transfer to "memory"'):
        run(weights.update(StandIn(), source, version=1))


def test_nothing_is_left_behind_where_the_update_fails(leftovers):
    before = leftovers()
    weights, adapters = weights_for(), weights_for()

    for updating, source in ((weights, source_of()), (adapters, adapter_of())):
        with pytest.raises(SamplerError):
            run(
                updating.update(
                    StandIn(failing="update_weights" if updating is weights else "add_adapter"), source, version=1
                )
            )
        updating.close()

    assert leftovers() == before


def test_an_engine_is_closed_too_where_the_one_who_waits_is_cancelled():
    engine = StandIn(failing="update_weights", error=asyncio.CancelledError())

    with pytest.raises(asyncio.CancelledError):
        run(weights_for().update(engine, source_of(), version=1))

    assert engine.calls[-1] == "close"


def test_a_new_engine_gets_what_the_dead_one_had_though_the_learner_has_moved_on():
    source, weights, new = source_of(), weights_for(), StandIn()
    run(weights.update(StandIn(), source, version=5))
    expected = {name: tensor.clone() for name, tensor in source}

    for tensor in source.tensors.values():
        tensor.add_(1)
    run(weights.restore(new))

    assert new.version == 5
    assert all(torch.equal(new.weights[name], tensor) for name, tensor in expected.items())


def test_an_engine_that_dies_during_an_update_leaves_the_new_weights_for_the_next():
    weights, new = weights_for(), StandIn()

    with pytest.raises(EngineDied):
        run(weights.update(StandIn(failing="update_weights", error=EngineDied("gone")), source_of(seed=1), version=1))
    run(weights.restore(new))

    assert new.version == 1
    assert torch.equal(new.weights["embed.weight"], source_of(seed=1).tensors["embed.weight"])


def test_an_engine_that_was_paused_before_stays_paused():
    engine = StandIn()

    run(weights_for().update(engine, source_of(), version=1, resume=False))

    assert "resume" not in engine.calls


def test_an_engine_started_before_any_update_keeps_its_own_weights():
    engine = StandIn()

    run(weights_for().restore(engine))

    assert engine.calls == []


@pytest.mark.parametrize(
    ("learner", "engine_is_cpu", "shares_gpu", "expected"),
    [
        ("cpu", True, False, "memory"),
        ("cpu", False, True, "memory"),
        ("cuda", True, True, "memory"),
        ("cuda", False, False, "memory"),
        ("cuda", False, True, "ipc"),
    ],
)
def test_auto_stays_on_the_gpu_where_learner_and_engine_share_one(learner, engine_is_cpu, shares_gpu, expected):
    settings = {"learner_device": torch.device(learner), "engine_is_cpu": engine_is_cpu, "shares_gpu": shares_gpu}

    assert choose_transfer("auto", **settings) == expected
    assert choose_transfer("memory", **settings) == "memory"


@pytest.mark.parametrize("several", ["num_workers", "num_learners"])
def test_handles_of_one_gpu_are_not_given_to_an_engine_of_several_nor_by_several_learners(several):
    settings = {"learner_device": torch.device("cuda", 0), "engine_is_cpu": False, "shares_gpu": True, several: 2}

    assert choose_transfer("auto", **settings) == "memory"
    with pytest.raises(ConfigError, match="within one GPU"):
        choose_transfer("ipc", **settings)


def test_a_colocated_engine_is_not_sent_weights_from_another_gpu():
    settings = {"learner_device": torch.device("cuda", 0), "engine_is_cpu": False}

    assert choose_transfer("nccl", shares_gpu=False, **settings) == "nccl"
    with pytest.raises(ConfigError, match="the sampler is colocated"):
        choose_transfer("nccl", shares_gpu=True, **settings)


@pytest.mark.parametrize(
    ("device", "visible", "expected"),
    [("cuda:0", "2,3", None), ("cpu", "2,3", None), ("cuda:1", "2, 3", "3"), ("cuda:1", "", "1")],
)
def test_a_colocated_engine_sees_the_learners_gpu_only(device, visible, expected):
    told = same_gpu(torch.device(device), {"CUDA_VISIBLE_DEVICES": visible} if visible else {})

    assert told.get("CUDA_VISIBLE_DEVICES") == expected


@pytest.mark.parametrize(
    ("transfer", "complaint"), [("nccl", "which goes from GPU to GPU"), ("nvlink", 'must be "auto", "memory"')]
)
def test_a_way_that_is_not_there_is_refused(transfer, complaint):
    with pytest.raises(ConfigError, match=complaint):
        choose_transfer(transfer, learner_device=torch.device("cpu"), engine_is_cpu=True, shares_gpu=False)


# -- adapters


def adapter_of(seed=0, **changes):
    generator = torch.Generator().manual_seed(seed)
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight"
    pair = {name.format("A"): torch.randn(2, 8, generator=generator), name.format("B"): torch.randn(8, 2)}
    return Source({**pair, **changes}, adapter_config={"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"]})


def test_an_adapter_is_loaded_from_a_folder_that_is_gone_afterwards_and_then_named_by_requests(leftovers):
    engine, weights, before = StandIn(), weights_for(), leftovers()
    assert weights.adapter is None

    run(weights.update(engine, adapter_of(), version=4))

    assert engine.calls == ["pause", "add_adapter", "set_weight_version", "reset_prefix_cache", "resume"]
    assert (engine.version, engine.config["r"], weights.adapter.number) == (4, 2, 1)
    assert all(torch.equal(engine.adapter[name], tensor) for name, tensor in adapter_of() if "lora_A" in name)
    assert leftovers() == before


def test_no_request_names_an_adapter_that_the_engine_has_not_loaded_yet():
    weights = weights_for()

    with pytest.raises(SamplerError):
        run(weights.update(StandIn(failing="add_adapter"), adapter_of(), version=1))

    assert weights.adapter is None


def test_a_new_engine_gets_the_weights_below_the_adapter_too():
    weights, new = weights_for(), StandIn()
    run(weights.update(StandIn(), source_of(seed=3), version=0))
    run(weights.update(StandIn(), adapter_of(), version=1))

    run(weights.restore(new))

    assert torch.equal(new.weights["embed.weight"], source_of(seed=3).tensors["embed.weight"])
    assert new.calls.index("finish_weight_update") < new.calls.index("add_adapter")
    assert (new.version, weights.adapter.number) == (1, 1)


def test_full_weights_take_the_place_of_an_adapter():
    engine, weights = StandIn(), weights_for()
    run(weights.update(engine, adapter_of(), version=1))

    run(weights.update(engine, source_of(), version=2))

    assert weights.adapter is None


@pytest.mark.parametrize("name", ["base_model.model.lm_head.modules_to_save.weight", "a.lora_magnitude_vector"])
def test_an_adapter_that_vllm_cannot_run_is_refused_before_the_engine_is_touched(name):
    engine = StandIn()

    with pytest.raises(ConfigError, match="pairs of lora_A and lora_B only"):
        run(weights_for().update(engine, adapter_of(**{name: torch.zeros(2)}), version=1))

    assert engine.calls == []


def test_the_cost_of_an_update_counts_the_bytes_that_were_sent():
    engine, weights = StandIn(), weights_for()

    run(weights.update(engine, source_of(), version=1))

    sent = sum(math.prod(tensor.shape) * 4 for tensor in source_of().tensors.values())
    assert sent <= weights.cost.num_bytes <= sent + 3 * 64
    assert 0 < weights.cost.pause_seconds <= weights.cost.seconds
