"""Samplers and environments as Ray actors: the same answers as without them, whatever is lost on the way."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter

import pytest
from support.ray_play import LIMITS, KillingSampler, SlowSampler

import llmgym
from llmgym.errors import ConfigError, InfrastructureError
from llmgym.rollout import Collector, EnvPool, plan_groups
from llmgym.sampling import SamplingParams

pytestmark = pytest.mark.slow

ENV = "llmgym/Calculator-v0"
SMALL = {"sampler_cpus": 0.01, "env_worker_cpus": 0.01}
"""So that all actors find place on a Ray that counts two CPUs."""


@pytest.fixture(scope="module")
def ray_folder(require, tmp_path_factory):
    try:
        import ray  # noqa: F401
    except ModuleNotFoundError:
        require("ray", False, "it is not installed")
    return "/tmp/r6ray"


@pytest.fixture(scope="module")
def on_ray(ray_folder):
    """Makes samplers, all on one Ray that stays for all tests."""
    from llmgym.rollout.ray_sampler import RaySampler

    made = []

    def make(module=None, **settings):
        made.append(RaySampler(module, **{"sampler": SlowSampler, **SMALL, **settings}))
        return made[-1]

    keeper = RaySampler(None, sampler=SlowSampler, num_env_workers=0, temp_dir=ray_folder, object_store_mib=128)
    yield make
    for sampler in [*made, keeper]:
        sampler.shut_down()


def pools():
    return [EnvPool(ENV, env_kwargs={"limits": LIMITS})]


def planned(num_tasks, group_size=4):
    tasks = Collector(pools(), SlowSampler(None)).tasks("train").first(num_tasks)
    return plan_groups(tasks, group_size=group_size, seed=(7,))


def said(trajectories):
    """All that two runs of the same plans must share."""
    return [
        (
            trajectory.task_key,
            trajectory.group_id,
            trajectory.sample_index,
            trajectory.reward,
            str(trajectory.stop_reason),
            [segment.token_ids.tolist() for segment in trajectory.segments],
        )
        for trajectory in trajectories
    ]


def run(collector, plans, **kwargs):
    return asyncio.run(collector.run(plans, SamplingParams(), **kwargs))


def kill(member, how):
    """An actor's process, by Ray or by the system."""
    import ray

    if how == "ray":
        ray.kill(member.actor)
    else:
        os.kill(ray.get(member.actor.__ray_call__.remote(lambda actor: os.getpid())), signal.SIGKILL)


def test_episodes_in_workers_equal_those_of_a_collector_of_ones_own(on_ray):
    plans = planned(20)
    sampler = on_ray(num_samplers=2, num_env_workers=2, max_batch=16)
    collector = sampler.make_collector(pools(), concurrency=16)

    heard = []
    trajectories = run(collector, plans, on_episode=heard.append)
    collector.close()

    assert said(trajectories) == said(run(Collector(pools(), SlowSampler(None)), plans))
    assert Counter(map(id, heard)) == Counter(map(id, trajectories))
    assert (collector.num_lost, sampler.num_lost, collector.num_replayed) == (0, 0, 0)


def test_actors_killed_at_random_lose_no_episode_and_repeat_none(on_ray):
    plans = planned(75)
    sampler = on_ray(num_samplers=2, num_env_workers=3, settings={"latency_s": 0.05}, max_losses=30, max_batch=12)
    collector = sampler.make_collector(pools(), concurrency=12)
    rng, killed, heard = random.Random(0), [], []

    async def kill_some():
        while len(killed) < 8:
            await asyncio.sleep(0.3)
            fleet = rng.choice([sampler.fleet, collector._workers])
            member = rng.choice(await fleet.running())
            kill(member, rng.choice(["ray", "system"]))
            killed.append(member.name)

    async def both():
        killing = asyncio.ensure_future(kill_some())
        try:
            return await collector.run(plans, SamplingParams(), on_episode=heard.append)
        finally:
            killing.cancel()

    trajectories = asyncio.run(both())
    collector.close()

    places = Counter((trajectory.task_key, trajectory.group_id, trajectory.sample_index) for trajectory in heard)
    assert places == Counter((plan.task.key, plan.group_id, plan.sample_index) for plan in plans)
    assert said(trajectories) == said(run(Collector(pools(), SlowSampler(None)), plans))
    assert len(killed) >= 5
    assert 1 <= collector.num_lost + sampler.num_lost <= len(killed)
    assert collector.num_replayed >= 1
    assert all(trajectory.is_valid for trajectory in trajectories)


def test_an_episode_that_kills_whatever_plays_it_is_given_up_with_its_name(on_ray):
    sampler = on_ray(sampler=KillingSampler, max_losses=1)
    collector = sampler.make_collector(pools(), concurrency=1)
    plans = planned(1, group_size=1)

    with pytest.raises(InfrastructureError, match=f"{plans[0].task.key!r} was lost 2 times"):
        run(collector, plans)

    collector.close()
    assert sampler.num_lost == 2


def test_a_cancelled_run_leaves_no_episode_behind(on_ray):
    import ray

    sampler = on_ray(settings={"latency_s": 60.0})
    collector = sampler.make_collector(pools(), concurrency=4)

    async def cancelled():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(collector.run(planned(1), SamplingParams()), 2)

    asyncio.run(cancelled())

    (worker,), (host,) = collector._workers.members, sampler.fleet.members
    for actor, attribute in ((worker.actor, "_playing"), (host.actor, "_held")):
        for _ in range(50):
            left = ray.get(actor.__ray_call__.remote(lambda self, name=attribute: len(getattr(self, name))))
            if not left:
                break
            time.sleep(0.1)
        assert left == 0
    collector.close()


def test_a_sampler_that_replaces_a_lost_one_has_the_newest_weights(on_ray):
    from support.models import tiny_model

    from llmgym.learning.model import ModelWeights
    from llmgym.sampling.torch_sampler import TorchSampler

    module = tiny_model()
    sampler = on_ray(module, sampler="torch", num_env_workers=0, num_samplers=2)
    params = SamplingParams(max_new_tokens=8, temperature=0.0)

    async def sample(at, version=None):
        if version is not None:
            await at.update_weights(ModelWeights(module), version=version)
        async with at.session(seed=1) as session:
            return await session.sample([1, 2, 3], params)

    first = asyncio.run(sample(sampler))
    for parameter in module.parameters():
        parameter.data.mul_(-1.5)
    asyncio.run(sample(sampler, version=5))
    for member in list(sampler.fleet.members):
        kill(member, "ray")
        sampler.fleet.replace(member)
    second = asyncio.run(sample(sampler))

    local = asyncio.run(sample(TorchSampler(module)))
    assert second.token_ids == local.token_ids != first.token_ids
    assert second.logprobs == pytest.approx(local.logprobs, abs=1e-5)
    assert set(second.weight_version) == {5}
    assert sampler.num_lost == 2


def test_actors_that_no_node_can_hold_are_an_error_that_says_how_many_are_asked_for(on_ray):
    with pytest.raises(ConfigError, match=r"The actors need 1000\.01 CPU"):
        on_ray(sampler_cpus=1000, start_timeout_s=1)


def test_a_run_trains_with_two_samplers_and_two_workers(ray_folder, tmp_path):
    from llmgym.training.metrics import read_metrics

    result = llmgym.train(
        env="llmgym/Copy-v0",
        agent="grpo",
        sampler={"name": "ray", "num_samplers": 2, "num_env_workers": 2, "temp_dir": ray_folder, **SMALL},
        steps=2,
        rollout={"tasks_per_step": 4, "concurrency": 16},
        evaluation={"num_tasks": 4, "every": 2},
        output=str(tmp_path / "run"),
    )

    rows = list(read_metrics(result.folder / "metrics.jsonl", "train"))
    assert [row["step"] for row in rows] == [1, 2]
    assert all(row["seconds_sampling"] > 0 and row["num_invalid"] == 0 for row in rows)


def test_a_ray_of_our_own_is_gone_after_an_interrupt_and_stdout_is_the_callers(ray_folder):
    script = """
        import asyncio, os, signal, sys, threading
        from support.ray_play import SlowSampler, LIMITS
        from llmgym.rollout import EnvPool, plan_groups
        from llmgym.rollout.ray_sampler import RaySampler
        from llmgym.sampling import SamplingParams

        slow = {"sampler": SlowSampler, "settings": {"latency_s": 60.0}}
        sampler = RaySampler(None, **slow, address="local", temp_dir=sys.argv[1])
        collector = sampler.make_collector([EnvPool("llmgym/Calculator-v0", env_kwargs={"limits": LIMITS})])
        plans = plan_groups(collector.tasks("train").first(2), group_size=1, seed=(0,))
        threading.Timer(2, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            asyncio.run(collector.run(plans, SamplingParams()))
        except KeyboardInterrupt:
            print("interrupted")
        finally:
            collector.close()
            asyncio.run(sampler.close())
            asyncio.run(sampler.close())
        import psutil
        left = [child.cmdline() for child in psutil.Process().children(recursive=True)]
        print(left)
    """
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(__file__)}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), ray_folder],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip

    assert done.stdout.splitlines() == ["interrupted", "[]"], done.stderr
