"""What samplers on Ray are told and in which order, tried in one process."""

import asyncio
from importlib.util import find_spec

import pytest
import torch
from support.models import tiny_model

from llmgym.learning.model import ModelWeights
from llmgym.sampling import ScriptedSampler
from llmgym.sampling.ray_losses import ActorLost


@pytest.fixture(autouse=True)
def _with_ray(require):
    require("ray", find_spec("ray"), "it is not installed")


class Adapter:
    """As the learner's."""

    is_adapter = True

    def __init__(self, value):
        self.value, self.adapter_config = value, {"r": 2, "target_modules": {"q_proj"}}

    def __iter__(self):
        yield "layer.lora_A.weight", torch.full((2, 4), self.value)
        yield "layer.lora_B.weight", torch.full((4, 2), self.value)


class AdapterSampler(ScriptedSampler):
    """Keeps what it was given."""

    takes_adapters = True

    def __init__(self, module, **settings):
        super().__init__(lambda *_: [1])
        self.updates = []

    async def update_weights(self, source, *, version):
        weights = {name: tensor.unique().tolist() for name, tensor in source}
        self.updates.append((version, getattr(source, "adapter_config", None), source.is_adapter and weights))


class OneHostCluster:
    """A `RayCluster` in this process: what is put is itself, and calls are answered at once, or when they are let."""

    def __init__(self, config, *, weights_bytes=0):
        self.config, self.puts, self.hosts, self.is_slow = config, [], [], False
        self.is_connected = True

    def put(self, value):
        self.puts.append(value)
        return value

    def get(self, value):
        return value

    def start(self, cls, bundle, name, index, args):
        self.hosts.append(HostMember(self, cls(), name, index, args))
        return self.hosts[-1]


class HostMember:
    """A `Member` whose actor is a host in this process."""

    def __init__(self, cluster, host, name, index, args):
        self.cluster, self.host, self.name, self.index = cluster, host, name, index
        self.started, self._owed = None, [("start", args)]

    def begin(self, method, *args):
        self._owed.append((method, args))

    def has_started(self):
        if self.cluster.is_slow:
            return False
        while self._owed:
            method, args = self._owed.pop(0)
            answer = asyncio.run(getattr(self.host, method)(*args))
            self.started = self.started or answer
        return True

    async def call(self, method, *args):
        return await getattr(self.host, method)(*args)

    def kill(self):
        pass


def test_an_adapter_travels_alone_and_one_that_comes_late_gets_the_base_and_the_newest(monkeypatch):
    from llmgym.sampling import ray_samplers

    monkeypatch.setattr(ray_samplers, "RayCluster", OneHostCluster)
    samplers = ray_samplers.RaySamplers(None, sampler=AdapterSampler, settings=None)
    cluster = samplers.cluster

    assert samplers.takes_adapters
    asyncio.run(samplers.update_weights(ModelWeights(tiny_model()), version=0))
    num_of_base = len(cluster.puts)
    asyncio.run(samplers.update_weights(Adapter(1.0), version=1))
    cluster.is_slow = True
    samplers.fleet.replace(samplers.fleet.members[0], ActorLost("A test killed it."))  # on its way: nobody waits for it
    asyncio.run(samplers.update_weights(Adapter(2.0), version=2))
    cluster.is_slow = False
    samplers.fleet.wait()

    first, second = (member.host._sampler.updates for member in cluster.hosts)
    config, names = {"r": 2, "target_modules": ["q_proj"]}, ("layer.lora_A.weight", "layer.lora_B.weight")
    assert sum(chunk.num_bytes for chunk in cluster.puts[num_of_base:]) == 2 * 16 * 4
    assert first == [(0, None, False), (1, config, {name: [1.0] for name in names})]
    assert second == [*first, (2, config, {name: [2.0] for name in names})]
