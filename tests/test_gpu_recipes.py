"""The recipes for GPUs: each loads, and each runs for a step with a small model of its family and local data."""

import json
import re

import pytest
import torch
from support.chat_families import FAMILIES, backend_of

from llmgym.cli.runs import run_file
from llmgym.cli.shared import recipes
from llmgym.registry import AGENTS
from llmgym.sampling.vllm.settings import VLLMSettings
from llmgym.settings import from_mapping
from llmgym.training import load_config
from llmgym.training.metrics import read_metrics

GPU = {name: path for name, path in recipes().items() if "qwen" in name}


def small_model(folder, trained_bpe, name):
    """A random model of the recipe's family with the family's template, in a folder as the hub would give it."""
    from transformers import AutoConfig, AutoModelForCausalLM

    backend = backend_of(FAMILIES["qwen3" if "qwen3" in name else "qwen2.5"], trained_bpe)
    config = AutoConfig.for_model(
        "qwen3" if "qwen3" in name else "qwen2",
        vocab_size=len(backend) + 3,  # a hub's models are padded, too
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    backend.save_pretrained(folder)
    return folder


def problem_sets(folder):
    """Both public sets with a few problems of our own, by the names of their files."""
    folder.mkdir()
    for split, first in (("train", 0), ("test", 20)):
        numbers = range(first, first + 8)
        for name, row in (
            ("gsm8k", lambda n: {"question": f"Ann has {n} eggs and buys 2.", "answer": f"{n} + 2\n#### {n + 2}"}),
            ("math", lambda n: {"problem": f"What is ${n} + 2$?", "solution": f"It is $\\boxed{{{n + 2}}}$."}),
        ):
            (folder / f"{name}_{split}.jsonl").write_text("\n".join(json.dumps(row(n)) for n in numbers))
    return folder


def with_short_turns(env):
    """An environment as a table of TOML, with all its keywords but budgets of a few tokens."""
    kwargs = {**env.kwargs, "limits": {"turns": 4, "turn_tokens": 8, "episode_tokens": 32, "context_tokens": 2048}}
    return inline({"id": env.id, "name": env.name, "kwargs": kwargs})


def inline(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {inline(entry)}" for key, entry in value.items()) + "}"
    return json.dumps(value)


@pytest.mark.parametrize("name", GPU)
def test_each_setting_exists(name):
    config = load_config(GPU[name])

    from_mapping(VLLMSettings, config.sampler_settings)
    from_mapping(
        AGENTS.lookup(config.agent["name"]).config_class, {k: v for k, v in config.agent.items() if k != "name"}
    )
    learner = config.learner_config(total_steps=config.steps, max_actions=8)
    assert (learner.lora is not None) == name.endswith("-lora")
    if learner.lora is not None:
        assert config.sampler_settings["lora_rank"] == learner.lora.r
    for env in config.environments:
        limits = env.kwargs["limits"]
        assert limits["context_tokens"] <= config.sampler_settings["max_model_len"]


@pytest.mark.parametrize("name", GPU)
def test_each_says_its_command_its_hardware_and_whose_figures_it_tells(name):
    told = re.sub(r"\n# ?", " ", GPU[name].read_text().partition("\n\nsteps")[0])

    assert f"llmgym train {name} " in told
    assert all(word in told for word in ("Hardware:", "Computed, not measured:", "Expected:", "no figure of its own"))


@pytest.mark.slow
@pytest.mark.parametrize("name", GPU)
def test_each_runs_with_a_small_model_of_its_family_from_a_folder(name, trained_bpe, tmp_path):
    config = load_config(GPU[name])
    folder = small_model(tmp_path / "model", trained_bpe, name)
    settings = [f'model.path="{folder}"', "sampler=torch", "steps=1", f'output="{tmp_path / "run"}"', "threads=1"]
    settings += ["rollout.tasks_per_step=2", "agent.group_size=2", "agent.minibatches=1", "evaluation.num_tasks=2"]
    settings += ["learner.microbatch_tokens=2048", "rollout.concurrency=4", "trackers=[]"]
    if config.env is not None:
        settings += [f'env.kwargs.data_dir="{problem_sets(tmp_path / "data")}"']
        settings += ["env.kwargs.limits={turn_tokens=8,episode_tokens=8,context_tokens=1024}"]
    else:
        settings += [f"envs=[{', '.join(map(with_short_turns, config.envs))}]"]

    result = run_file(name, settings)

    assert result.is_complete
    assert (result.after["sampled"].num_invalid, result.after["sampled"].num_samples) == (0, 1)
    (step,) = read_metrics(result.folder / "metrics.jsonl", "train")
    assert step["num_episodes"] >= 4
    assert (result.folder / "model" / ("adapter_config.json" if name.endswith("-lora") else "config.json")).is_file()
