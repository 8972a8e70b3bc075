"""A Ray cluster of several nodes, on one machine: what is lost with a node, and what a new one brings."""

import asyncio
import logging
import time
from collections import Counter
from dataclasses import replace
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
import torch
from support.ray_play import LIMITS, SlowSampler, VersionSampler

from llmgym.errors import SamplerError
from llmgym.rollout import Collector, EnvPool, plan_groups
from llmgym.sampling import SamplingParams

pytestmark = pytest.mark.slow

STORE = {"object_store_memory": 80 * 2**20}
HEALTH = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 300,
    "health_check_timeout_ms": 20000,
    "health_check_failure_threshold": 3,
}
"""By default Ray takes a quarter of a minute to notice that a node is gone."""


@pytest.fixture(scope="module")
def cluster(require):
    require("ray", find_spec("ray"), "it is not installed")
    from llmgym.sampling import ray_cluster  # noqa: F401  first, as it says what Ray may print

    patch = pytest.MonkeyPatch()
    for name in ("RAY_worker_niceness", "RAY_prestart_worker_first_driver", "RAY_USAGE_STATS_ENABLED"):
        patch.setenv(name, "0")
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "temp_dir": "/tmp/r7nodes", "_system_config": HEALTH, **STORE}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    yield cluster
    cluster.shutdown()
    patch.undo()


@pytest.fixture
def nodes(cluster):
    """Adds nodes, which are gone in the end; `remove` takes one from the cluster as a loss of power does."""
    added = []

    def add(**resources):
        added.append(cluster.add_node(**STORE, **resources))
        return added[-1]

    def remove(node):
        added.remove(node)
        cluster.remove_node(node, allow_graceful=False)

    yield SimpleNamespace(add=add, remove=remove)
    for node in added:
        remove(node)


@pytest.fixture
def on_cluster(cluster):
    """Makes samplers on it."""
    import ray

    from llmgym.rollout.ray_sampler import RaySampler

    made = []

    def make(**settings):
        made.append(RaySampler(None, sampler=VersionSampler, address=cluster.address, **settings))
        return made[-1]

    yield make
    for sampler in made:
        sampler.shut_down()
    ray.shutdown()


def pools():
    return [EnvPool("llmgym/Calculator-v0", env_kwargs={"limits": LIMITS})]


def planned(num_tasks):
    tasks = Collector(pools(), SlowSampler(None)).tasks("train").first(num_tasks)
    return plan_groups(tasks, group_size=4, seed=(7,))


def said(trajectories):
    return [[segment.token_ids.tolist() for segment in trajectory.segments] for trajectory in trajectories]


def versions(trajectories):
    """Of all sampled tokens."""
    segments = [segment for trajectory in trajectories for segment in trajectory.segments]
    return {int(version) for segment in segments for version in segment.weight_version[segment.action_mask]}


class Weights:
    """A source whose every number is its version."""

    def __init__(self, version, *, is_adapter=False):
        self.version, self.is_adapter = version, is_adapter
        self.adapter_config = {"r": 4}

    def __iter__(self):
        yield "weight", torch.full((100,), float(self.version))


async def update(sampler, version, **kwargs):
    await asyncio.wait_for(sampler.update_weights(Weights(version, **kwargs), version=version), 300)


def test_what_ran_at_a_node_that_is_lost_runs_again_on_those_that_are_left(nodes, on_cluster, capsys):
    import ray

    lost, kept = nodes.add(num_cpus=2), nodes.add(num_cpus=2)
    sampler = on_cluster(
        num_samplers=2, num_env_workers=2, sampler_cpus=0.5, env_worker_cpus=0.5, placement="SPREAD",
        settings={"latency_s": 0.1}, max_batch=8,
    )  # fmt: skip
    collector, plans, heard = sampler.make_collector(pools(), concurrency=8), planned(10), []

    async def run():
        await update(sampler, 3)
        running = asyncio.ensure_future(collector.run(plans, SamplingParams(), on_episode=heard.append))
        while len(heard) < 2:
            await asyncio.sleep(0.05)
        nodes.remove(lost)
        return await asyncio.wait_for(running, 300)

    trajectories = asyncio.run(run())
    sampler.fleet.wait()
    collector._workers.wait()

    assert Counter(map(id, heard)) == Counter(map(id, trajectories))
    assert said(trajectories) == said(asyncio.run(Collector(pools(), SlowSampler(None)).run(plans, SamplingParams())))
    assert versions(trajectories) == {3}
    assert (sampler.num_lost >= 1, collector.num_lost >= 1, collector.num_replayed >= 1) == (True, True, True)
    members = [*sampler.fleet.members, *collector._workers.members]
    where = [m.actor.__ray_call__.remote(lambda _: ray.get_runtime_context().get_node_id()) for m in members]
    assert set(ray.get(where)) == {kept.node_id}
    assert "raylet" not in capsys.readouterr().out
    collector.close()


def test_without_room_for_what_was_lost_the_rest_goes_on_until_a_node_is_added(nodes, on_cluster, caplog, monkeypatch):
    import ray

    monkeypatch.setattr("llmgym.sampling.ray_fleet._PATIENCE_S", 0.5)
    kept, lost = nodes.add(num_cpus=1, num_gpus=1), nodes.add(num_cpus=1, num_gpus=1)
    sampler = on_cluster(num_samplers=2, num_env_workers=0, sampler_gpus=1, sampler_cpus=0.5, max_batch=8)
    collector, plans = sampler.make_collector(pools(), concurrency=8), planned(3)

    def run(num_times=1):
        return [t for _ in range(num_times) for t in asyncio.run(collector.run(plans, SamplingParams()))]

    async def change():
        await update(sampler, 1)
        await update(sampler, 2, is_adapter=True)

    sampler.fleet.wait()
    asyncio.run(change())
    nodes.remove(lost)
    while sampler.num_lost == 0 or not sampler.cluster.lack():
        assert versions(run()) == {2}
        asyncio.run(asyncio.sleep(0.2))
    asyncio.run(update(sampler, 4, is_adapter=True))
    time.sleep(0.6)
    with caplog.at_level(logging.WARNING):
        assert versions(run(2)) == {4}
    assert "1 of 2 actors have no node to run on: they need 0.5 CPU, 1 GPU" in caplog.text

    added = nodes.add(num_cpus=1, num_gpus=1)
    sampler.fleet.wait()
    asyncio.run(update(sampler, 5, is_adapter=True))
    assert versions(run()) == {5}
    told = {m.index: asyncio.run(m.call("figures"))[1] for m in sampler.fleet.started()}
    assert [counts["num_full"] for counts in told.values()] == [1, 1]
    assert all(counts["num_adapters"] in (2, 3) for counts in told.values())

    nodes.remove(kept)
    nodes.remove(added)
    while sum(node["Alive"] for node in ray.nodes()) > 1:
        time.sleep(0.1)
    sampler.cluster.config = replace(sampler.config, start_timeout_s=3)
    with pytest.raises(SamplerError, match=r"(?s)No sampler was ready.*need 1 CPU, 2 GPU.*the 1 nodes.*Add"):
        run(50)


def test_a_trajectory_that_was_not_fetched_before_its_node_was_lost_is_a_lost_actors(cluster, nodes):
    import ray

    from llmgym.sampling.ray_cluster import ActorLost, Member, RayActor

    class Worker(RayActor):
        async def play(self):
            return bytes(2**20)

    node = nodes.add(num_cpus=1)
    ray.init(cluster.address, log_to_driver=False)
    actor = ray.remote(Worker).options(num_cpus=1).remote([])
    answer = actor.play.remote()
    ray.wait([answer], fetch_local=False)
    nodes.remove(node)

    member = Member(0, "environment worker 1", SimpleNamespace(play=SimpleNamespace(remote=lambda: answer)), None, 60)
    with pytest.raises(ActorLost, match="environment worker 1 was lost"):
        asyncio.run(member.call("play"))
    ray.shutdown()
