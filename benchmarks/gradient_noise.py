"""How noisy the policy gradient of a recipe is where its RL begins: one JSON line.

The gradient g of a batch of B trajectories is the true one plus noise. The noise scale is the B at which both are
equally long: the trace of the covariance of one trajectory's gradient, over the squared length of the true gradient
(McCandlish et al. 2018, arXiv:1812.06162). Below it, a step mostly goes somewhere else: the cosine between g and the
true gradient is 1 / sqrt(1 + noise scale / B).

python benchmarks/gradient_noise.py RECIPE MODEL [name=value ...]
"""

import argparse
import json
import math

import torch
from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook

from llmgym.cli.runs import recipe_path
from llmgym.episode.waiting import run_to_end
from llmgym.learning import Learner, LearnerConfig, load_with_tokenizer
from llmgym.registry import AGENTS
from llmgym.rollout import Collector, TaskCursor, groups_of, plan_groups
from llmgym.sampling.torch_sampler import TorchSampler
from llmgym.training import load_config

_GROUPS = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("model", help="folder of the policy at which the gradient is taken")
    parser.add_argument("--batches", type=int, default=32, help=f"of {_GROUPS} groups each (default: %(default)s)")
    parser.add_argument("overrides", nargs="*", metavar="name=value", help="settings to change in the recipe")
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    config = load_config(recipe_path(arguments.recipe), arguments.overrides)
    agent = AGENTS.lookup(config.agent["name"])(**{k: v for k, v in config.agent.items() if k != "name"})
    policy, tokenizer = load_with_tokenizer(arguments.model)
    # So small a learning rate leaves the weights as they are.
    learner = Learner(policy, agent, LearnerConfig(learning_rate=1e-30, max_grad_norm=math.inf))
    sampler = TorchSampler(policy.module, num_tokens=policy.num_tokens, max_batch=config.rollout.concurrency)
    collector = Collector(config.env.id, sampler, tokenizer=tokenizer, env_kwargs=config.env.kwargs)
    cursor = TaskCursor(collector.tasks("train"), seed=config.seed)

    num_parameters = sum(p.numel() for p in policy.module.parameters() if p.requires_grad)
    gradients: list[torch.Tensor] = []
    successes: list[bool] = []

    def keep_gradient(optimizer: Optimizer, *_: object) -> None:
        parts = [p.grad.flatten() for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        gradients.append(torch.cat(parts).double())

    async def collect() -> None:
        for index in range(arguments.batches):
            tasks = [cursor.next() for _ in range(_GROUPS)]
            plans = plan_groups(tasks, group_size=agent.rollout.group_size, seed=(config.seed, 1, index))
            trajectories = await collector.run(plans, agent.rollout.sampling)
            successes.extend(trajectory.reward >= 1 for trajectory in trajectories)
            learner.update(list(groups_of(trajectories)))
            if len(gradients) == index:  # no step is made where all groups are of one mind
                gradients.append(torch.zeros(num_parameters, dtype=torch.float64))

    register_optimizer_step_pre_hook(keep_gradient)
    run_to_end(collect())
    collector.close()

    batch_size = _GROUPS * agent.rollout.group_size
    scale = noise_scale(torch.stack(gradients)) * batch_size
    if scale <= 0:
        raise SystemExit(f"{arguments.batches} batches are too few to tell the gradient from its noise: --batches more")
    figures = {
        "benchmark": "gradient_noise",
        "recipe": arguments.recipe,
        "overrides": arguments.overrides,
        "trajectories": batch_size * len(gradients),
        "success": round(sum(successes) / len(successes), 3),
        "noise_scale": round(scale),
        "cosine": {size: round(1 / math.sqrt(1 + scale / size), 2) for size in (64, 128, 256, 512)},
    }
    print(json.dumps(figures))


def noise_scale(gradients_NP: torch.Tensor) -> float:
    """Trace of the covariance over the squared length of the mean, both unbiased, from N gradients."""
    num = len(gradients_NP)
    mean_square = gradients_NP.square().sum(dim=1).mean()
    square_of_mean = (gradients_NP.sum(dim=0).square().sum() / num - mean_square) / (num - 1)
    return float((mean_square - square_of_mean) / square_of_mean)


if __name__ == "__main__":
    main()
