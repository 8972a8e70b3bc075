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
from importlib.util import find_spec

import pytest
from support.ray_play import LIMITS, KillingSampler, SlowSampler, ToldSampler

import llmgym
from llmgym.errors import ConfigError, InfrastructureError
from llmgym.rollout import Collector, EnvPool, plan_groups
from llmgym.sampling import SamplingParams
from llmgym.sampling.ray_losses import ActorLost

pytestmark = pytest.mark.slow

ENV = "llmgym/Calculator-v0"
SMALL = {"sampler_cpus": 0.01, "env_worker_cpus": 0.01}
"""So that all actors find place on a Ray that counts two CPUs."""


@pytest.fixture(scope="module")
def ray_folder(require, tmp_path_factory):
    require("ray", find_spec("ray"), "it is not installed")
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
    plans = planned(20)
    sampler = on_ray(num_samplers=2, num_env_workers=3, settings={"latency_s": 0.05}, max_losses=30, max_batch=12)
    collector = sampler.make_collector(pools(), concurrency=12)
    rng, killed, heard = random.Random(0), [], []

    async def kill_some():
        while len(killed) < 5:
            await asyncio.sleep(0.01)
            if len(heard) < 10 * len(killed) + 5:
                continue
            fleet = rng.choice([sampler.fleet, collector._workers])
            alive = [member for member in await fleet.running() if member not in killed]  # it may not know yet
            if alive:
                killed.append(rng.choice(alive))
                kill(killed[-1], rng.choice(["ray", "system"]))

    async def rounds():
        """As many as it takes until all are killed: on a slow machine a member is often not running yet."""
        killing, played = asyncio.ensure_future(kill_some()), []
        try:
            while not killing.done():
                played.append(await collector.run(plans, SamplingParams(), on_episode=heard.append))
            await killing
        finally:
            killing.cancel()
        return played

    played = asyncio.run(rounds())
    collector.close()

    places = Counter((trajectory.task_key, trajectory.group_id, trajectory.sample_index) for trajectory in heard)
    assert places == Counter([(plan.task.key, plan.group_id, plan.sample_index) for plan in plans] * len(played))
    undisturbed = said(run(Collector(pools(), SlowSampler(None)), plans))
    assert all(said(trajectories) == undisturbed for trajectories in played)
    assert 1 <= collector.num_lost + sampler.num_lost <= len(killed) == 5
    assert collector.num_replayed >= 1
    assert all(trajectory.is_valid for trajectory in heard)


def test_an_episode_that_kills_whatever_plays_it_is_given_up_with_its_name_and_what_ray_says(on_ray, caplog):
    sampler = on_ray(sampler=KillingSampler, max_losses=1)
    collector = sampler.make_collector(pools(), concurrency=1)
    plans = planned(1, group_size=1)

    with pytest.raises(InfrastructureError, match=f"{plans[0].task.key!r} was lost 2 times.*without a word"):
        run(collector, plans)

    collector.close()
    assert caplog.text.count("was lost: Its process ended without a word: `dmesg` on its node") == 2
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
        for _ in range(600):
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
        sampler.fleet.replace(member, ActorLost("A test killed it."))
    second = asyncio.run(sample(sampler))

    local = asyncio.run(sample(TorchSampler(module)))
    assert second.token_ids == local.token_ids != first.token_ids
    assert second.logprobs == pytest.approx(local.logprobs, abs=1e-5)
    assert set(second.weight_version) == {5}
    assert sampler.num_lost == 2


def test_a_sampler_that_replaces_a_lost_one_is_as_paused_and_asleep_as_its_fellows(on_ray):
    sampler = on_ray(sampler=ToldSampler, num_env_workers=0)

    async def told(*commands):
        for command in commands:
            await getattr(sampler, command)()
        (member,) = sampler.fleet.members
        kill(member, "ray")
        sampler.fleet.replace(member, ActorLost("A test killed it."))
        sampler.fleet.wait()
        await sampler.measure()
        return dict(sampler.counts)

    assert asyncio.run(told("pause", "sleep")) == {"num_lost_samplers": 1, "num_pauses": 1, "num_sleeps": 1}
    assert asyncio.run(told("resume", "wake")) == {"num_lost_samplers": 2, "num_pauses": 1, "num_sleeps": 1}


@pytest.mark.parametrize("hangs", ["worker", "sampler"])
def test_an_actor_that_hangs_is_replaced_as_one_that_is_gone(on_ray, hangs):
    import ray

    plans = planned(4)
    sampler = on_ray(settings={"latency_s": 0.3}, hang_timeout_s=6.0)
    collector = sampler.make_collector(pools(), concurrency=4)
    (member,) = sampler.fleet.members if hangs == "sampler" else collector._workers.members
    pid = ray.get(member.actor.__ray_call__.remote(lambda actor: os.getpid()))

    async def both():
        running = asyncio.ensure_future(collector.run(plans, SamplingParams()))
        await asyncio.sleep(0.5)
        os.kill(pid, signal.SIGSTOP)
        return await asyncio.wait_for(running, 300)

    trajectories = asyncio.run(both())
    collector.close()

    assert said(trajectories) == said(run(Collector(pools(), SlowSampler(None)), plans))
    lost, others = collector.num_lost, sampler.num_lost
    if hangs == "sampler":
        lost, others = others, lost
    assert lost >= 1  # a machine may be so slow that what replaces it seems to hang, too
    assert others == 0
    assert collector.num_replayed >= 1


def test_without_workers_the_episodes_of_a_lost_sampler_are_played_again_too(on_ray):
    plans = planned(10)
    sampler = on_ray(settings={"latency_s": 0.1}, num_env_workers=0, num_samplers=2)
    collector = sampler.make_collector(pools(), concurrency=8)
    sampler.fleet.wait()

    async def both():
        running = asyncio.ensure_future(collector.run(plans, SamplingParams()))
        await asyncio.sleep(0.3)
        kill(sampler.fleet.members[0], "system")
        return await running

    trajectories = asyncio.run(both())

    assert said(trajectories) == said(run(Collector(pools(), SlowSampler(None)), plans))
    assert collector.counts["num_lost_samplers"] == 1
    assert collector.counts["num_replayed_episodes"] >= 1


@pytest.mark.parametrize("waiting", [{}, {"waits_for_nodes": True, "start_timeout_s": 0.1}])
def test_actors_that_no_node_can_hold_are_an_error_that_says_how_many_are_asked_for(on_ray, waiting):
    with pytest.raises(ConfigError, match=r"The actors need 1000\.01 CPU.*waits_for_nodes"):
        on_ray(sampler_cpus=1000, **waiting)


@pytest.mark.parametrize(
    ("mode", "num_samplers", "num_env_workers"), [("synchronous", 2, 1), ("one-step-off", 1, 1), ("asynchronous", 2, 0)]
)
def test_a_run_trains_in_every_mode_with_workers_and_without(on_ray, tmp_path, mode, num_samplers, num_env_workers):
    from llmgym.training.metrics import read_metrics

    result = llmgym.train(
        env="llmgym/Copy-v0",
        agent="grpo",
        sampler={"name": "ray", "num_samplers": num_samplers, "num_env_workers": num_env_workers, **SMALL},
        steps=2,
        rollout={"tasks_per_step": 4, "concurrency": 16},
        evaluation={"num_tasks": 4, "every": 2},
        training={"mode": mode},
        trackers=[],
        output=str(tmp_path / "run"),
    )

    rows = list(read_metrics(result.folder / "metrics.jsonl", "train"))
    assert [row["step"] for row in rows] == [1, 2]
    assert all(row["num_invalid"] == row["num_lost_samplers"] == row["num_replayed_episodes"] == 0 for row in rows)
    assert sum(row["seconds_sampling"] for row in rows) > 0


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
        env=environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip

    assert done.stdout.splitlines() == ["interrupted", "[]"], done.stderr
