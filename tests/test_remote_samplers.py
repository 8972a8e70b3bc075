"""What samplers in other processes are made of, tried in one process."""

import asyncio
import pickle
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from support.models import tiny_model

import llmgym
from llmgym.errors import ConfigError, SamplerError
from llmgym.learning.model import ModelWeights
from llmgym.rollout import EnvPool
from llmgym.sampling import SamplingParams, ScriptedSampler
from llmgym.sampling.ray_config import RayConfig
from llmgym.sampling.ray_losses import ActorLost, loss, reason
from llmgym.sampling.remote_session import RemoteSampler
from llmgym.sampling.shared_weights import PackedWeights, WeightUpdate, all_weights, packed, rebuilt, skeleton
from llmgym.sampling.torch_sampler import TorchSampler

PARAMS = SamplingParams(max_new_tokens=6)


@pytest.fixture(autouse=True)
def _with_ray(require):
    require("ray", find_spec("ray"), "it is not installed")


class Host:
    """A `SamplerHost` in this process, called as one in another."""

    def __init__(self, factory, module=None, **settings):
        from llmgym.sampling.sampler_host import HostSpec, SamplerHost

        self.host = SamplerHost()
        self._chunks = all_weights(module).chunks if module is not None else []
        self._spec = HostSpec(
            factory=factory,
            settings=settings,
            skeleton=skeleton(module) if module is not None else None,
            moves_model=False,
            num_first_chunks=len(self._chunks),
        )

    async def start(self):
        await self.host.start(self._spec, *self._chunks)
        return self

    async def call(self, method, *args):
        return await getattr(self.host, method)(*args)

    def cast(self, method, *args):
        self._cast = asyncio.ensure_future(getattr(self.host, method)(*args))


class FakeMember:
    """Where a wire finds its host."""

    name = "sampler 1"

    def __init__(self, address):
        self._address, self.loss = address, asyncio.Event()

    async def call(self, method, *args):
        if method != "address":
            await self.loss.wait()
            raise ActorLost("The sampler 1 was lost: out of memory.")
        return self._address


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.001)


def at(host):
    sampler = RemoteSampler("worker 1", sees_text=False)
    sampler.host.set(host)
    return sampler


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("chunk_bytes", [1, 10**9])
def test_weights_come_through_chunks_to_the_last_bit(dtype, chunk_bytes):
    module = tiny_model().to(dtype)

    came = dict(PackedWeights(list(packed(ModelWeights(module), chunk_bytes=chunk_bytes))))

    assert came.keys() == dict(ModelWeights(module)).keys()
    assert all(torch.equal(came[name], tensor) for name, tensor in ModelWeights(module))


def test_tied_weights_are_packed_once_and_come_under_both_names():
    (chunk,) = packed(ModelWeights(tiny_model(tie_word_embeddings=True)))

    assert ("model.embed_tokens.weight", "lm_head.weight") in chunk.names
    assert "lm_head.weight" in PackedWeights([chunk]).shapes()


@pytest.mark.parametrize("is_tied", [False, True])
def test_a_model_is_rebuilt_from_its_skeleton_and_its_weights(is_tied):
    module = tiny_model(tie_word_embeddings=is_tied).eval()
    ids = torch.arange(8)[None]

    bones = skeleton(module)
    other = rebuilt(bones, all_weights(module))

    assert torch.equal(other(ids).logits, module(ids).logits)
    assert (other.lm_head.weight is other.model.embed_tokens.weight) == is_tied
    assert other.lm_head.weight.data_ptr() != module.lm_head.weight.data_ptr()
    assert len(bones) < 4 * sum(parameter.numel() for parameter in module.parameters()) + 20_000


def test_a_session_at_a_host_says_what_one_at_the_sampler_itself_says():
    module = tiny_model()

    async def turns(sampler):
        async with sampler.session(seed=3) as session:
            first = await session.sample([1, 2], PARAMS)
            fork = session.fork()
            prompt = [1, 2, *first.token_ids, 4]
            return [list((await each.sample(prompt, PARAMS)).token_ids) for each in (session, fork)]

    async def both():
        host = await Host(TorchSampler, module).start()
        return await turns(at(host)), await turns(TorchSampler(module))

    remote, local = asyncio.run(both())
    assert remote == local


def test_a_session_that_ends_gives_its_place_back_and_what_it_was_sampling_up():
    async def play():
        host = await Host(TorchSampler, tiny_model()).start()
        async with at(host).session(seed=3) as session:
            sampling = asyncio.ensure_future(session.sample([1, 2], SamplingParams(max_new_tokens=60)))
            await until(lambda: host.host._sampler.num_sampled_tokens)
            session.fork()
            await asyncio.sleep(0)
            sampling.cancel()
        await until(lambda: not host.host._held)
        return host.host._held

    assert asyncio.run(play()) == {}


def test_weights_and_their_version_reach_the_sampler_of_a_host():
    module, other = tiny_model(0), tiny_model(1)

    async def play():
        host = await Host(TorchSampler, module).start()
        update = WeightUpdate(version=7, adapter_config=None, num_chunks=1)
        await host.call("tell", [update], [], *packed(ModelWeights(other)))
        async with at(host).session(seed=3) as session:
            return await session.sample([1, 2], PARAMS)

    completion = asyncio.run(play())
    assert completion.weight_version.tolist() == [7] * 6
    assert list(completion.token_ids) == _sampled(other)


def _sampled(module):
    async def play():
        async with TorchSampler(module).session(seed=3) as session:
            return list((await session.sample([1, 2], PARAMS)).token_ids)

    return asyncio.run(play())


def scripted_host():
    def policy(prompt_ids, params, rng):
        if len(prompt_ids) > 3:
            raise SamplerError("three are enough")
        return [*prompt_ids, 9]

    return Host(lambda module: ScriptedSampler(policy))


def test_a_wire_carries_answers_and_errors_of_the_host():
    from llmgym.sampling.session_wire import Wire

    async def play():
        host = await scripted_host().start()
        wire = await Wire.to(FakeMember(await host.call("address")))
        async with at(wire).session(seed=3) as session:
            answers = await session.sample([1, 2], PARAMS)
            with pytest.raises(SamplerError, match="three are enough"):
                await session.sample([1, 2, 3, 4], PARAMS)
        await until(lambda: not host.host._held)
        wire.close()
        return answers, host.host._held

    completion, held = asyncio.run(play())
    assert (completion.token_ids, held) == ((1, 2, 9), {})


@pytest.mark.parametrize(
    ("timeout_s", "message"), [(60.0, "sampler 1 was lost: out of memory"), (0.0, "lost: its connection is closed")]
)
def test_whoever_waits_at_a_wire_hears_when_the_host_is_gone_and_why_where_ray_knows(monkeypatch, timeout_s, message):
    from llmgym.sampling.session_wire import Wire, WireServer

    monkeypatch.setattr("llmgym.sampling.session_wire._CAUSE_TIMEOUT_S", timeout_s)

    async def play():
        is_asked = asyncio.Event()

        async def sample():
            is_asked.set()
            await asyncio.Event().wait()

        server = WireServer({"sample": sample})
        member = FakeMember(await server.open("127.0.0.1"))
        wire = await Wire.to(member)
        waiting = asyncio.ensure_future(wire.call("sample"))
        await is_asked.wait()
        for task in asyncio.all_tasks():  # what the end of the host's process does to its sockets
            if "_serve" in repr(task):
                task.cancel()
        while not wire._writer.is_closing():
            await asyncio.sleep(0.01)
        late = asyncio.ensure_future(wire.call("sample"))
        if timeout_s:
            member.loss.set()
        for call in (waiting, late, wire.call("sample")):
            with pytest.raises(ActorLost, match=message):
                await asyncio.wait_for(call, 60)

    asyncio.run(play())


class UnreadableError(Exception):
    """Its pickle cannot be read: it is made of two things, and keeps one."""

    def __init__(self, one, other):
        super().__init__(f"{one} and {other}")


def test_an_error_that_only_its_own_process_can_make_arrives_at_a_wire_as_what_it_says():
    from llmgym.sampling.session_wire import Wire, WireServer

    async def fail():
        raise UnreadableError("this", "that")

    async def play():
        wire = await Wire.to(FakeMember(await WireServer({"fail": fail}).open("127.0.0.1")))
        with pytest.raises(SamplerError, match="this and that"):
            await asyncio.wait_for(wire.call("fail"), 60)
        wire.close()

    asyncio.run(play())


def test_a_loss_is_told_with_its_cause_and_what_helps_in_place_of_rays_advice():
    from ray.exceptions import NodeDiedError, OutOfDiskError, OutOfMemoryError, RayActorError

    head = "The actor died unexpectedly before finishing this task.\n\tclass_name: A\n\tpid: 1\n"
    died = f"{head}The actor is dead because its worker process has died. Detail: connection error code 2. End of file."
    failed = "The actor died because of an error in its creation task, \x1b[36mA\x1b[39m\n  File\nValueError: bad"
    memory = reason(OutOfMemoryError("1 worker(s) were killed. Memory on the node was 9GB used / 10GB\nTop 10\n[\n"))
    assert memory.startswith("1 worker(s) were killed. Memory on the node was 9GB used / 10GB. Ray ends")
    assert memory.count("rollout.concurrency") > memory.count("Top 10")
    assert "Local disk is full. Ray puts" in reason(OutOfDiskError("Local disk is full"))
    assert "`dmesg`" in reason(RayActorError(error_msg=died))
    assert reason(RayActorError(error_msg=f"{head}Killed by `ray.kill`.\nNever ran.")) == "Killed by `ray.kill`."
    assert (
        reason(RayActorError(error_msg=failed, actor_init_failed=True)) == "It failed as it was made: ValueError: bad."
    )
    assert reason(NodeDiedError("The node is gone")) == "The node is gone."


def test_no_actor_takes_the_place_of_one_that_was_lost_with_ray_on_the_learners_node():
    from ray.exceptions import RayActorError

    died = "The actor is dead because its owner has died. Owner worker exit detail: Owner's node has crashed."

    told = loss("sampler 1", RayActorError(error_msg=died))
    assert "--resume" in str(told)
    assert not isinstance(told, ActorLost)
    assert isinstance(loss("sampler 1", RayActorError(error_msg="The actor died.")), ActorLost)


def test_a_host_unpickles_nothing_of_who_does_not_know_its_secret():
    from llmgym.sampling.session_wire import WireServer

    calls = []

    async def play():
        host_name, port, _ = await WireServer({"sample": calls.append}).open("127.0.0.1")
        reader, writer = await asyncio.open_connection(host_name, port)
        data = pickle.dumps((0, "sample", (1,)))
        writer.write(bytes(32) + len(data).to_bytes(8, "big") + data)
        return await asyncio.wait_for(reader.read(), 60)

    assert (asyncio.run(play()), calls) == (b"", [])


def test_a_pool_comes_out_of_a_pickle_with_environments_of_its_own():
    pool = EnvPool("llmgym/Copy-v0", name="copying", env_kwargs={"text": "hello"})

    other = pickle.loads(pickle.dumps(pool))

    assert (other.env_id, other.name) == (pool.env_id, "copying")
    assert other.example is not pool.example
    assert other.tasks("train")[0].prompt == pool.tasks("train")[0].prompt
    assert isinstance(other.example.tokenizer, llmgym.ByteTokenizer)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_samplers": 0}, "sampler.num_samplers is 0, but it must be at least 1"),
        ({"env_worker_cpus": -1}, "sampler.env_worker_cpus is -1"),
        ({"address": "ray://head:10001"}, "ray job submit"),
    ],
)
def test_a_wrong_setting_is_an_error_that_says_how_to_mend_it(settings, message):
    with pytest.raises(ConfigError, match=message):
        RayConfig(**settings)


def test_a_misspelt_setting_is_an_error_that_names_the_nearest():
    from llmgym.rollout.ray_sampler import RaySampler

    with pytest.raises(ConfigError, match="num_samplers"):
        RaySampler(None, num_sampler=2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_pass_token": 4}, "sampler.settings.max_pass_token is not a setting. Did you mean 'max_pass_tokens'"),
        ({"max_pass_tokens": "many"}, "sampler.settings.max_pass_tokens is 'many'"),
    ],
)
def test_a_wrong_setting_of_the_inner_sampler_is_refused_before_ray_starts(monkeypatch, settings, message):
    from llmgym.sampling import ray_samplers

    monkeypatch.setattr(ray_samplers, "RayCluster", None)
    with pytest.raises(ConfigError, match=message):
        ray_samplers.RaySamplers(None, sampler="torch", settings=settings)


def test_ray_within_ray_is_refused():
    from llmgym.rollout.ray_sampler import RaySampler

    with pytest.raises(ConfigError, match='"ray" itself'):
        RaySampler(None, sampler="ray")


def test_prompts_travel_as_whole_numbers():
    seen = []

    async def play():
        host = await Host(lambda module: ScriptedSampler(lambda prompt, *_: seen.append(list(prompt)) or [1])).start()
        async with at(host).session(seed=0) as session:
            await session.sample(np.array([5, 6]), PARAMS)

    asyncio.run(play())
    assert seen == [[5, 6]]
    assert all(isinstance(token, int) for token in seen[0])
