"""Learning from tokens that are exactly so many updates old: which corrections hold at a learning rate nearly too high.

    python benchmarks/stale_updates.py

learns to answer in 2 to 4 tokens, from nothing, without threads, samplers or environments: a policy of two layers,
groups of 8 samples, AdamW at 2e-3. The batch of each step is sampled with the weights of 0, 1, 2 or 4 updates ago, kept
for that. It prints a line of figures for each run, then one JSON line, and writes benchmarks/results/stale_updates.md.
"""

import argparse
import copy
import json
import statistics
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmgym.learning.correction import bounded_weights

NUM_PROMPTS, GROUP_SIZE, MAX_ACTIONS, NUM_IDS, END = 8, 8, 8, 107, 1
Weigh = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From ratios (B, A), advantages (B, A) and mask (B, A) to weights, 0 where a token is rejected."""


def bounded(action: str, low: float, high: float) -> Weigh:
    """As `learner.correction` does it."""

    def weigh(ratio_BA: Tensor, advantages_BA: Tensor, mask_BA: Tensor) -> Tensor:
        return bounded_weights(ratio_BA, mask_BA, action=action, low=low, high=high, advantages_BA=advantages_BA)

    return weigh


def geometric_mask(ratio_BA: Tensor, advantages_BA: Tensor, mask_BA: Tensor) -> Tensor:  # noqa: ARG001
    """Truncated at 2; trajectories whose geometric mean is not within 0.9 to 1.1 are rejected."""
    mean_B = ((ratio_BA.log() * mask_BA).sum(1) / mask_BA.sum(1).clamp(min=1)).exp()[:, None]
    return torch.where((mean_B < 0.9) | (mean_B > 1.1), 0.0, ratio_BA.clamp(max=2))


def second_moment(ratio_BA: Tensor, advantages_BA: Tensor, mask_BA: Tensor) -> Tensor:
    """Of the tokens that would be pushed farther, the farthest are rejected until mean squared log ratio is 0.04.

    Source: M2PO, arXiv:2510.01161.
    """
    is_farther_BA = mask_BA & (((advantages_BA > 0) & (ratio_BA > 1)) | ((advantages_BA < 0) & (ratio_BA < 1)))
    square_BA = ratio_BA.log() ** 2
    square = square_BA[is_farther_BA].sort().values
    kept = square[square.cumsum(0) / torch.arange(1, len(square) + 1) <= 0.04]
    farthest = kept[-1] if len(kept) else -1.0
    return torch.where(is_farther_BA & (square_BA > farthest), 0.0, ratio_BA)


CORRECTIONS: Mapping[str, tuple[Weigh, float]] = {
    "none": (lambda ratio_BA, *_: torch.ones_like(ratio_BA), 1.0),
    "truncate at 2": (bounded("truncate", 0.0, 2.0), 1.0),
    "truncate at 2, gradient norm 0.3": (bounded("truncate", 0.0, 2.0), 0.3),
    "mask 0.5 to 2": (bounded("mask", 0.5, 2.0), 1.0),
    "mask geometric mean 0.9 to 1.1": (geometric_mask, 1.0),
    "second moment 0.04": (second_moment, 1.0),
    "clip 0.5 to 1.5": (bounded("clip", 0.5, 1.5), 1.0),
    "clip 0.8 to 1.2": (bounded("clip", 0.8, 1.2), 1.0),
}
"""By what the table calls them, with the norm that gradients are clipped to."""
RUNS = [
    (0, "truncate at 2"),  # of the newest weights, all of whose weights are 1
    *[(1, name) for name in ("truncate at 2", "clip 0.8 to 1.2")],
    *[(2, name) for name in CORRECTIONS],
    *[(4, name) for name in ("truncate at 2", "clip 0.8 to 1.2")],
]


class TinyPolicy(nn.Module):
    """Two Llama blocks of width 64, with a tied head and a key-value cache."""

    def __init__(self, width: int = 64, heads: int = 2, size: int = 32, inner: int = 168, layers: int = 2) -> None:
        super().__init__()
        self.heads, self.size, self.layers = heads, size, layers

        def matrix(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape) * 0.02)

        def gains() -> nn.ParameterList:
            return nn.ParameterList([nn.Parameter(torch.ones(width)) for _ in range(layers)])

        self.embedding, self.last_gain = matrix(NUM_IDS, width), nn.Parameter(torch.ones(width))
        angles = torch.outer(torch.arange(16).float(), 10000 ** (-torch.arange(0, size, 2).float() / size)).repeat(1, 2)
        self.cos, self.sin = angles.cos(), angles.sin()
        self.gains, self.inner_gains = gains(), gains()
        self.qkv = nn.ParameterList([matrix(3 * heads * size, width) for _ in range(layers)])
        self.out = nn.ParameterList([matrix(width, heads * size) for _ in range(layers)])
        self.up = nn.ParameterList([matrix(2 * inner, width) for _ in range(layers)])
        self.down = nn.ParameterList([matrix(width, inner) for _ in range(layers)])

    def forward(self, ids_BT: Tensor, cache: dict[int, tuple[Tensor, Tensor]] | None = None, start: int = 0) -> Tensor:
        """Final hidden states, (B, T, width); with a cache, `ids_BT` begins at position `start`."""
        num_rows, length = ids_BT.shape
        cos, sin = self.cos[start : start + length], self.sin[start : start + length]
        half = self.size // 2

        def turned(x: Tensor) -> Tensor:
            return x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin

        x = F.embedding(ids_BT, self.embedding)
        for layer in range(self.layers):
            qkv = F.linear(F.rms_norm(x, x.shape[-1:], self.gains[layer], 1e-6), self.qkv[layer])
            q, k, v = qkv.view(num_rows, length, 3, self.heads, self.size).permute(2, 0, 3, 1, 4)
            q, k = turned(q), turned(k)
            if cache is not None:
                if start:
                    k, v = torch.cat([cache[layer][0], k], 2), torch.cat([cache[layer][1], v], 2)
                cache[layer] = (k, v)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=start == 0)
            x = x + F.linear(y.transpose(1, 2).reshape(num_rows, length, -1), self.out[layer])
            gate, up = F.linear(F.rms_norm(x, x.shape[-1:], self.inner_gains[layer], 1e-6), self.up[layer]).chunk(2, -1)
            x = x + F.linear(F.silu(gate) * up, self.down[layer])
        return F.rms_norm(x, x.shape[-1:], self.last_gain, 1e-6)


def prompts(step: int, seed: int) -> Tensor:
    """Each a number of two digits between role tokens, int64[B, 5], prompt-major."""
    numbers = np.random.default_rng([seed, step]).permutation(np.arange(10, 100))[:NUM_PROMPTS]
    return torch.tensor([[4, 7 + n // 10, 7 + n % 10, 1, 5] for n in numbers]).repeat_interleave(GROUP_SIZE, 0)


@torch.no_grad()
def sample(policy: TinyPolicy, prompt_BT: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """Answers with their log-probabilities and rewards: 1 for two to four tokens before the end token."""
    is_open_B = torch.ones(len(prompt_BT), dtype=torch.bool)
    logprobs, actions, masks = [], [], []
    cache: dict[int, tuple[Tensor, Tensor]] = {}
    ids_BT, start = prompt_BT, 0
    for _ in range(MAX_ACTIONS):
        logprobs_BV = F.linear(policy(ids_BT, cache, start)[:, -1], policy.embedding).log_softmax(-1)
        action_B = torch.multinomial(logprobs_BV.exp(), 1, generator=generator)[:, 0]
        logprobs.append(logprobs_BV.gather(1, action_B[:, None])[:, 0])
        actions.append(action_B)
        masks.append(is_open_B)
        start, ids_BT, is_open_B = start + ids_BT.shape[1], action_B[:, None], is_open_B & (action_B != END)
        if not is_open_B.any():
            break
    mask_BA, actions_BA = torch.stack(masks, 1), torch.stack(actions, 1)
    length_B = mask_BA.sum(1) - 1
    return {
        "ids_BT": torch.cat([prompt_BT, actions_BA], 1),
        "actions_BA": actions_BA,
        "mask_BA": mask_BA,
        "sampling_logprobs_BA": torch.where(mask_BA, torch.stack(logprobs, 1), 0.0),
        "reward_B": ((~is_open_B) & (length_B >= 2) & (length_B <= 4)).float(),
    }


def run(age: int, correction: str, seed: int, *, steps: int, learning_rate: float) -> dict[str, float]:
    weigh, max_norm = CORRECTIONS[correction]
    torch.manual_seed(seed)
    policy = TinyPolicy()
    older = copy.deepcopy(policy)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=learning_rate, weight_decay=0.0)
    generator = torch.Generator().manual_seed(seed)
    past = deque([copy.deepcopy(policy.state_dict())], maxlen=age + 1)
    success, divergence = [], []
    for step in range(steps):
        older.load_state_dict(past[0])
        batch = sample(older, prompts(step, seed), generator)
        mask_BA, reward_PG = batch["mask_BA"], batch["reward_B"].view(NUM_PROMPTS, GROUP_SIZE)
        std_P = reward_PG.std(1, keepdim=True)
        advantage_PG = (reward_PG - reward_PG.mean(1, keepdim=True)) / (std_P + 1e-6)
        advantages_BA = torch.where(std_P > 0, advantage_PG, 0.0).flatten()[:, None].expand(mask_BA.shape)
        logits_BAV = F.linear(policy(batch["ids_BT"])[:, 4:-1], policy.embedding)
        logprobs_BA = logits_BAV.log_softmax(-1).gather(2, batch["actions_BA"][:, :, None])[:, :, 0]
        logprobs_BA = torch.where(mask_BA, logprobs_BA, 0.0)
        log_ratio_BA = (logprobs_BA - batch["sampling_logprobs_BA"]).detach()
        divergence.append(float((torch.expm1(log_ratio_BA) - log_ratio_BA)[mask_BA].mean()))
        success.append(float(reward_PG.mean()))
        if (advantages_BA != 0).any():
            weights_BA = weigh(log_ratio_BA.exp(), advantages_BA, mask_BA)
            loss_BA = -weights_BA * advantages_BA * logprobs_BA
            optimizer.zero_grad()
            (torch.where(mask_BA, loss_BA, 0.0).sum() / mask_BA.sum()).backward()  # type: ignore[no-untyped-call]
            if nn.utils.clip_grad_norm_(policy.parameters(), max_norm) > 0:
                optimizer.step()
        past.append({name: tensor.clone() for name, tensor in policy.state_dict().items()})
    return {"last": round(statistics.mean(success[-20:]), 3), "kl_max": round(max(divergence), 3)}


def table(rows: Mapping[str, list[dict[str, float]]], header: str) -> str:
    lines = [header, "| updates old | correction | mean | of each seed | largest KL, median |", "|---|---|---|---|---|"]
    for name, found in rows.items():
        age, correction = name.split(", ", 1)
        last = [row["last"] for row in found]
        divergence = statistics.median(row["kl_max"] for row in found)
        each = " ".join(f"{value:.2f}" for value in last)
        lines.append(f"| {age} | {correction} | {statistics.mean(last):.3f} | {each} | {divergence:.2f} |")
    return "\n".join([*lines, ""])


HEADER = """# Learning from old tokens

`{command}`, CPU, torch {torch}.

Success in training, the mean of the last 20 of {steps} steps of 64 samples, for each of {seeds} seeds, at a constant
learning rate of {learning_rate:g}; and the largest KL(sampler || learner) of a step, in nats a token. Tokens that are 0
updates old have weight 1 whatever is done to it.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    settings = {"steps": arguments.steps, "learning_rate": arguments.learning_rate}
    rows: dict[str, list[dict[str, float]]] = {f"{age}, {name}": [] for age, name in RUNS}
    for age, name in RUNS:
        for seed in range(arguments.seeds):
            rows[f"{age}, {name}"].append(run(age, name, seed, **settings))
            print(age, name, seed, rows[f"{age}, {name}"][-1], flush=True)
    header = HEADER.format(
        command="python benchmarks/stale_updates.py", torch=torch.__version__, seeds=arguments.seeds, **settings
    )
    arguments.results.mkdir(parents=True, exist_ok=True)
    (arguments.results / "stale_updates.md").write_text(table(rows, header))
    print(json.dumps({"benchmark": "stale_updates", **settings, "seeds": arguments.seeds, "runs": rows}))


if __name__ == "__main__":
    main()
