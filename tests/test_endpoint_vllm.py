"""The endpoint sampler at vLLM's own server, with a tiny model on the CPU."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from support.tiny_vllm import tiny_vllm_model

import llmgym
from llmgym.cli import main
from llmgym.messages import load_tokenizer
from llmgym.sampling import EndpointSampler, FinishReason, SamplingParams

pytestmark = pytest.mark.slow

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "TORCHDYNAMO_DISABLE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
START_S = 600


@pytest.fixture(scope="module")
def folder(require, trained_bpe, tmp_path_factory):
    require("vllm", find_spec("vllm"), "vllm is not installed")
    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = trained_bpe(TEMPLATE)
    tokenizer.save_pretrained(folder)
    tiny_vllm_model(vocab_size=len(tokenizer)).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def url(folder):
    kept = socket.socket()  # without listening, so that nobody but the server, who asks to share it, has the port
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    kept.bind(("127.0.0.1", 0))
    port = kept.getsockname()[1]
    command = f"-m vllm.entrypoints.openai.api_server --model {folder} --served-model-name tiny --dtype float32"
    command += f" --enforce-eager --max-model-len 512 --max-num-seqs 16 --block-size 32 --host 127.0.0.1 --port {port}"
    command += f" --kv-cache-memory-bytes {64 << 20} --logprobs-mode processed_logprobs"
    server = subprocess.Popen(
        [sys.executable, *command.split()],
        env={**os.environ, **ENVIRONMENT},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{port}/v1"
    try:
        deadline = time.monotonic() + START_S
        while not is_up(address):
            assert server.poll() is None, f"vLLM's server ended with {server.returncode}"
            assert time.monotonic() < deadline, "vLLM's server did not start"
            time.sleep(1)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
        kept.close()


def is_up(address):
    try:
        return urllib.request.urlopen(f"{address}/models", timeout=5).status == 200
    except OSError:
        return False


def sampled(sampler, ids, params, seed=3):
    async def sample():
        async with sampler.session(seed=seed) as session:
            return [await session.sample(ids, params) for _ in range(2)]

    return asyncio.run(sample())


@pytest.mark.parametrize(
    ("temperature", "of_distribution"), [(1.0, 1.0), (0.7, 0.7), (0.0, 1.0)], ids=["plain", "cooler", "greedy"]
)
def test_log_probabilities_of_the_servers_ids_are_those_of_our_forward_pass(url, folder, temperature, of_distribution):
    tokenizer = load_tokenizer(folder)
    ids, params = tokenizer.encode("user\n17*7 higher"), SamplingParams(max_new_tokens=24, temperature=temperature)
    first, second = sampled(EndpointSampler(url=url, tokenizer=tokenizer), ids, params)
    again, _ = sampled(EndpointSampler(url=url, tokenizer=tokenizer), ids, params)

    with torch.no_grad():
        logits = tiny_vllm_model(vocab_size=tokenizer.vocab_size)(torch.tensor([[*ids, *first.token_ids]])).logits[0]
    logprobs = torch.log_softmax(logits[len(ids) - 1 : -1] / of_distribution, dim=-1)
    own = logprobs.gather(1, torch.tensor(first.token_ids)[:, None])[:, 0]
    np.testing.assert_allclose(first.logprobs, own.numpy(), atol=1e-5)
    assert first.token_ids == again.token_ids
    assert (first.token_ids == second.token_ids) == (temperature == 0)


def test_a_turn_ends_at_the_environments_tokens_and_strings_which_are_part_of_it(url, folder):
    tokenizer = load_tokenizer(folder)
    sampler, ids = EndpointSampler(url=url, tokenizer=tokenizer), tokenizer.encode("user\n17*7")
    (whole, _) = sampled(sampler, ids, SamplingParams(max_new_tokens=12, temperature=0.0))
    stop_id = whole.token_ids[5]

    (stopped, _) = sampled(sampler, ids, SamplingParams(max_new_tokens=12, temperature=0.0, stop_token_ids=(stop_id,)))

    assert stopped.token_ids == whole.token_ids[: whole.token_ids.index(stop_id) + 1]
    assert (stopped.finish_reason, whole.finish_reason) == (FinishReason.STOP, FinishReason.LENGTH)


def test_episodes_are_played_in_token_ids_and_in_messages(url, folder):
    settings = {"num_tasks": 8, "env_kwargs": {"limits": {"turn_tokens": 12}}}
    in_ids = llmgym.evaluate(url, "llmgym/Copy-v0", tokenizer=folder, **settings)
    in_messages = llmgym.evaluate(url, "llmgym/Copy-v0", **settings)

    assert (in_ids.num_invalid, in_messages.num_invalid) == (0, 0)
    assert all(trajectory.segments[0].sampling_logprobs is not None for trajectory in in_ids.trajectories)
    assert all(trajectory.segments[0].sampling_logprobs is None for trajectory in in_messages.trajectories)


def test_the_command_line_measures_an_endpoint(url, folder, capsys):
    command = f"eval llmgym/Copy-v0 --endpoint {url} --tokenizer {folder} --tasks 4 --json limits.turn_tokens=8"

    assert main(command.split()) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["endpoint"], document["sampled"]["num_tasks"]) == (url, 4)
