"""Peak memory and time of token log-probabilities with their gradient, beside `log_softmax` over all logits.

"tiles" computes logits again in the backward pass; "in_forward" makes the gradient while they are there, as for agents
whose loss is known token by token.

    python benchmarks/head_logprobs.py >> benchmarks/results/head_logprobs.jsonl

[8, 512] tokens, a vocabulary of 151,936, hidden sizes 64 and 896, float32, one thread, gradients of hidden states and
of the head's weight. Memory is the extra peak of a process (VmHWM) above what it held with weights and states, one
process for each method; time is CPU time of both methods in turn in one process, medians. Long rows, [1, 8k] and
[1, 32k], have a frozen head, so that no gradient grows with the vocabulary. Takes about 8 GiB, and ten minutes of
CPU time.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from llmgym.learning.head_logprobs import head_logprobs

VOCABULARY = 151_936


def all_logits(head: torch.nn.Linear, states: Tensor, targets: Tensor) -> Tensor:
    return head(states).log_softmax(dim=-1).gather(-1, targets[:, None]).squeeze(-1)


def tiles(head: torch.nn.Linear, states: Tensor, targets: Tensor) -> Tensor:
    return head_logprobs(head, states, targets, temperature=1.0)[0]


def in_forward(head: torch.nn.Linear, states: Tensor, targets: Tensor) -> Tensor:
    num_tokens = len(targets)
    gradient = gradient_of_loss(num_tokens)
    return head_logprobs(head, states, targets, temperature=1.0, loss_gradient=lambda tokens, _: gradient[tokens])[0]


def gradient_of_loss(num_tokens: int) -> Tensor:
    """What a loss passes back."""
    return torch.randn(num_tokens, generator=torch.Generator().manual_seed(0)) / num_tokens


METHODS: dict[str, Callable[[torch.nn.Linear, Tensor, Tensor], Tensor]] = {
    "all_logits": all_logits,
    "tiles": tiles,
    "in_forward": in_forward,
}

OURS = ("tiles", "in_forward")


def problem(num_tokens: int, hidden_size: int, vocabulary: int) -> tuple[torch.nn.Linear, Tensor, Tensor, Tensor]:
    """A head, hidden states, targets, and the gradient that a loss passes back."""
    torch.manual_seed(0)
    head = torch.nn.Linear(hidden_size, vocabulary, bias=False)
    states = torch.randn(num_tokens, hidden_size, requires_grad=True)
    return head, states, torch.randint(vocabulary, (num_tokens,)), gradient_of_loss(num_tokens)


def run(method: str, head: torch.nn.Linear, states: Tensor, targets: Tensor, weights: Tensor) -> float:
    """CPU seconds; gradients are left in `head` and `states`."""
    head.weight.grad = states.grad = None
    started = time.process_time()
    METHODS[method](head, states, targets).backward(weights)
    return time.process_time() - started


def memory_mib(name: str) -> float:
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith(name)).split()[1]) / 1024


def measure_memory(method: str, num_tokens: int, hidden_size: int, vocabulary: int, *, is_frozen: bool) -> float:
    """Extra peak in MiB, of this process: call it in a fresh one."""
    run(method, *problem(64, 8, 4096))  # libraries take their own memory at first use
    head, *rest = problem(num_tokens, hidden_size, vocabulary)
    head.requires_grad_(not is_frozen)
    before = memory_mib("VmRSS")
    run(method, head, *rest)
    return memory_mib("VmHWM") - before


def measure_time(num_tokens: int, hidden_size: int, repeats: int) -> dict[str, float]:
    given = problem(num_tokens, hidden_size, VOCABULARY)
    head, states = given[:2]
    seconds: dict[str, list[float]] = {method: [] for method in METHODS}
    gradients = {}
    for _ in range(repeats):
        for method in METHODS:
            seconds[method].append(run(method, *given))
            gradients[method] = (states.grad, head.weight.grad)
    medians = {method: statistics.median(values) for method, values in seconds.items()}
    figures = {f"cpu_seconds_{method}": round(value, 2) for method, value in medians.items()}
    for method in OURS:
        ratios = [b / a for a, b in zip(seconds["all_logits"], seconds[method], strict=True)]
        gaps = [
            float((one - other).abs().max() / one.abs().max())
            for one, other in zip(gradients["all_logits"], gradients[method], strict=True)
            if one is not None and other is not None
        ]
        figures |= {
            f"time_ratio_{method}": round(statistics.median(ratios), 3),
            f"time_ratio_{method}_least": round(min(ratios), 3),
            f"time_ratio_{method}_most": round(max(ratios), 3),
            f"largest_gradient_gap_{method}": max(gaps),
        }
    return figures


def in_fresh_process(*arguments: object) -> float:
    """What this script prints when it is called with these."""
    command = [sys.executable, __file__, *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=8 * 512)
    parser.add_argument("--hidden-sizes", type=int, nargs="+", default=[64, 896])
    parser.add_argument("--long-rows", type=int, nargs="*", default=[8192, 32768])
    parser.add_argument("--memory-of", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.memory_of:
        method, *numbers = options.memory_of
        num_tokens, hidden_size, vocabulary, is_frozen = map(int, numbers)
        print(measure_memory(method, num_tokens, hidden_size, vocabulary, is_frozen=bool(is_frozen)))
        return

    record: dict[str, object] = {"benchmark": "head_logprobs", "tokens": options.tokens, "vocabulary": VOCABULARY}
    for size in options.hidden_sizes:
        mib = {m: in_fresh_process("--memory-of", m, options.tokens, size, VOCABULARY, 0) for m in METHODS}
        record[f"hidden_size_{size}"] = {
            **{f"memory_ratio_{method}": round(mib[method] / mib["all_logits"], 4) for method in OURS},
            **{f"extra_peak_mib_{method}": round(value) for method, value in mib.items()},
            "weight_gradient_mib": round(VOCABULARY * size * 4 / 2**20),
            **measure_time(options.tokens, size, options.repeats),
        }
    record["long_rows_extra_peak_mib"] = {
        str(length): {
            str(vocabulary): round(in_fresh_process("--memory-of", "tiles", length, 64, vocabulary, 1))
            for vocabulary in (VOCABULARY // 8, VOCABULARY)
        }
        for length in options.long_rows
    }
    machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "torch": torch.__version__}
    print(json.dumps({**record, "repeats": options.repeats, "threads": 1, **machine}))


if __name__ == "__main__":
    main()
