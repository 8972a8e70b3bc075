"""vLLM as a sampler: token ids in, token ids and the log-probabilities that they were sampled with out."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from ...errors import ConfigError, SamplerError
from ...messages.tokenizer import Tokenizer, is_missing_folder
from ...settings import from_mapping
from ...threads import in_thread
from ..params import SamplingParams
from ..sampler import Completion, FinishReason, WeightSource
from .engines import EngineDied, Generated
from .model_folder import module_in_folder
from .process import EngineProcess
from .session import VLLMSession
from .settings import VLLMSettings
from .versions import is_for_cpu, require_vllm
from .weights import EngineWeights, choose_transfer, environment_of, same_gpu, shapes_of, vllm_backend


class VLLMSampler:
    """vLLM's engine in a process of its own: continuous batches, and keys and values kept from turn to turn.

    Nothing of vLLM is imported here, so that environment variables, seeds, threads and stdout of this process stay as
    they are, and a script needs no `if __name__ == "__main__"`. An engine that dies is started again with the current
    weights, and what it was sampling is sampled again with the same seeds; `num_restarts` and `num_resampled` count it.

    Args:
        model: a model folder, the id of a model that can be downloaded, or a transformers causal LM, whose weights are
            copied.
        num_tokens: ids from here on are padding of the vocabulary and are never sampled; None: there are none.
        max_batch: rows sampled at once; further ones wait in vLLM.
        tokenizer: of the model, for `llmgym.evaluate`; text is no matter here.
        settings: fields of `VLLMSettings`.

    Raises:
        ConfigError: a setting is wrong, there is no such model, or vLLM is of a version that was not tested.
        MissingExtraError: vLLM is not installed.
        SamplerError: vLLM did not start.
    """

    sees_text = False
    loads_models = True

    def __init__(
        self,
        model: Any,
        *,
        num_tokens: int | None = None,
        max_batch: int = 64,
        tokenizer: Tokenizer | None = None,
        **settings: Any,
    ) -> None:
        if max_batch < 1:
            raise ConfigError(f"max_batch is {max_batch}, but it must be at least 1.")
        self.settings = from_mapping(VLLMSettings, settings, where="sampler")
        self.num_tokens, self.max_batch, self.tokenizer = num_tokens, max_batch, tokenizer
        self.num_prompt_tokens = self.num_cached_tokens = self.num_sampled_tokens = 0
        self.num_restarts = self.num_resampled = 0
        self.takes_adapters = self.settings.lora_rank > 0
        is_module = hasattr(model, "save_pretrained")
        if hasattr(model, "peft_config"):
            raise ConfigError("The model has an adapter on it. Give the base model, and the adapter by update_weights.")
        if not is_module and (not isinstance(model, (str, Path)) or is_missing_folder(model)):
            raise ConfigError(
                f"There is no model {model!r}. Give a folder, the id of a model, or a transformers module."
            )
        self._folder = module_in_folder(model) if is_module else None
        self._is_cpu = is_for_cpu() or not torch.cuda.is_available()
        self._device = next(model.parameters()).device if is_module else torch.device("cpu")
        self._transfer = choose_transfer(
            self.settings.weight_transfer,
            learner_device=self._device,
            engine_is_cpu=self._is_cpu,
            shares_gpu=self.settings.colocated,
            num_workers=self.settings.num_workers,
            num_learners=_num_learners(),
        )
        self._model = str(self._folder.path if self._folder else model)
        self._shapes = shapes_of(model) if is_module else None
        self._weights: EngineWeights | None = None
        self._engine = self._new_engine()
        self._restart: asyncio.Task[None] | None = None
        self._is_paused = self._is_asleep = self._is_closed = False
        self._awake: tuple[str, ...] = ()
        """What of the memory is back already while the sampler is asleep, for an update."""
        self._clock = _Clock()
        self._request_numbers = count()

    # -- the contract ------------------------------------------------------------------------------------------

    @property
    def seconds(self) -> float:
        """Time in which tokens were asked for."""
        return self._clock.seconds

    @property
    def counts(self) -> Mapping[str, int]:
        """What was lost and made good so far, by metric."""
        return {"num_engine_restarts": self.num_restarts, "num_resampled_turns": self.num_resampled}

    @property
    def dtype(self) -> str:
        """Of the weights that vLLM runs, such as "bfloat16"."""
        dtype: str = self._engine.facts["dtype"]
        return dtype

    @asynccontextmanager
    async def session(self, *, seed: int) -> AsyncIterator[VLLMSession]:
        """A place for one episode; its random stream depends on `seed` alone."""
        yield VLLMSession(self, seed)

    async def update_weights(self, source: WeightSource, *, version: int) -> None:
        """Give vLLM the weights of `source`. Turns that are being sampled go on with them.

        Raises:
            ConfigError: they are of an adapter that vLLM cannot run, or vLLM runs the model quantised.
            SamplerError: the weights do not fit the model, or did not get into vLLM.
        """
        self._require_open()
        if (method := self._engine.facts.get("quantization")) is not None:
            raise ConfigError(
                f"vLLM runs this model quantised ({method}), so that it cannot have the learner's weights as they are. "
                "Train with a sampler of the model itself; a quantised one can only be evaluated."
            )
        rank = getattr(source, "adapter_config", {}).get("r", 0) if source.is_adapter else 0
        if rank > (room := self.settings.lora_rank):
            raise ConfigError(
                f"The adapter has rank {rank}, but vLLM was started with lora_rank = {room}. "
                "Set the sampler's lora_rank to the learner's lora.r."
            )
        if self._weights is None:
            self._weights = EngineWeights(
                self._transfer,
                shapes=self._shapes or source.shapes(),
                dtype=self.dtype,
                device=self._device,
                num_workers=self.settings.num_workers,
            )
        if self._is_asleep and "weights" not in self._awake:
            self._awake = ("weights",)
            await self._tell("wake", self._awake)
        engine = await self._standing_engine()
        try:
            await self._weights.update(engine, source, version=version, resume=not self._is_paused)
        except EngineDied:
            await self._replace(engine)  # the new one gets the new weights

    async def pause(self) -> None:
        """Freeze what is running until `resume`."""
        self._is_paused = True
        await self._tell("pause")

    async def resume(self) -> None:
        """Go on after `pause`."""
        self._is_paused = False
        await self._tell("resume")

    async def sleep(self) -> None:
        """Give the accelerator's memory back, where the sampler is `colocated`; else, and on a CPU, just pause.

        Turns that are being sampled go on after `wake`, from where they were.
        """
        await self.pause()
        if self._can_sleep and not self._is_asleep:
            self._is_asleep, self._awake = True, ()
            await self._tell("sleep")

    async def wake(self) -> None:
        """Go on after `sleep`. Its memory must be free: `torch.cuda.empty_cache()` gives back what torch keeps."""
        if self._is_asleep:
            self._is_asleep = False
            await self._tell("wake", ("kv_cache",) if self._awake else None)
        await self.resume()

    async def close(self) -> None:
        """End vLLM's processes, remove their files and abort what is running. Calling it twice is harmless."""
        self._is_closed = True
        self._engine.close()
        if self._weights is not None:
            self._weights.close()
        if self._folder is not None:
            self._folder.remove()

    # -- requests ----------------------------------------------------------------------------------------------

    async def sample(self, prompt_ids: list[int], params: SamplingParams, *, seed: int) -> Completion:
        """Continue `prompt_ids`; from anew where the engine died meanwhile."""
        self._require_open()
        self._check(prompt_ids, params)
        with self._clock:
            while True:
                engine, number = self._engine, next(self._request_numbers)
                adapter = self._weights.adapter if self._weights is not None else None
                try:
                    generated = await engine.generate(str(number), prompt_ids, params, seed=seed, adapter=adapter)
                    break
                except EngineDied:
                    if self._is_closed:
                        return _nothing()
                    self.num_resampled += 1
                    await self._replace(engine)
        self.num_prompt_tokens += len(prompt_ids)
        self.num_cached_tokens += generated.num_cached_tokens
        self.num_sampled_tokens += len(generated.token_ids)
        return _completion(generated)

    def _check(self, prompt_ids: list[int], params: SamplingParams) -> None:
        if not prompt_ids:
            raise SamplerError("The prompt is empty. A model needs at least one token to continue.")
        if params.stop_strings:
            raise SamplerError(
                f"The turn is to end at {params.stop_strings}, but vLLM is asked for tokens here and sees no text. "
                "Leave stop_strings to the environment, which cuts the turn behind them."
            )
        longest, limit = len(prompt_ids) + params.max_new_tokens, self._engine.facts["max_model_len"]
        if longest > limit:
            raise SamplerError(
                f"A prompt of {len(prompt_ids)} tokens and {params.max_new_tokens} new ones are more than the {limit} "
                f"positions that vLLM has. Set Limits.context_tokens to {limit} or less, or raise max_model_len."
            )

    def _require_open(self) -> None:
        if self._is_closed:
            raise SamplerError("The sampler is closed. Make a new one.")

    # -- the engine --------------------------------------------------------------------------------------------

    def _new_engine(self) -> EngineProcess:
        require_vllm()
        settings = self.settings
        engine_args = settings.vllm_args(self._model, max_batch=self.max_batch)
        engine_args["weight_transfer_config"] = {"backend": vllm_backend(self._transfer)}
        engine = EngineProcess(
            settings.engine,
            engine_args,
            num_tokens=self.num_tokens,
            record_kept_tokens=settings.record_kept_tokens,
            environment={
                # Else the first log-probabilities, and any new shape, are compiled with g++, eager or not.
                **({"TORCHDYNAMO_DISABLE": "1"} if self._is_cpu and settings.enforce_eager is not False else {}),
                **environment_of(self._transfer),
                **(same_gpu(self._device, os.environ) if settings.colocated and settings.num_workers == 1 else {}),
                **settings.environment,
            },
            inherited_folder=self._folder.path if self._folder else "",
            start_timeout_s=settings.start_timeout_s,
            silence_timeout_s=settings.silence_timeout_s,
        )
        engine.wait_until_ready()
        return engine

    @property
    def _can_sleep(self) -> bool:
        return self.settings.colocated and not self._engine.facts["is_cpu"]

    async def _standing_engine(self) -> EngineProcess:
        """The engine; where one is being started again, that one, once it is how the sampler wants it.

        Before, it is told of things as they stood, and weights that arrive now would be mixed with those it reads.
        """
        self._require_open()
        if (restart := self._running_restart) is not None:
            await asyncio.shield(restart)
        return self._engine

    async def _tell(self, name: str, *args: Any) -> None:
        engine = await self._standing_engine()
        try:
            await getattr(engine, name)(*args)
        except EngineDied:
            await self._replace(engine)  # the new one is told how things stand

    async def _replace(self, dead: EngineProcess) -> None:
        """Wait until there is another engine than `dead`, which one of those who wait starts.

        Raises:
            SamplerError: it died too often, or the new one did not start.
        """
        if self._engine is not dead:
            return
        if self._running_restart is None:
            self._restart = asyncio.get_running_loop().create_task(self._start_again(dead))
        assert self._restart is not None
        await asyncio.shield(self._restart)

    @property
    def _running_restart(self) -> asyncio.Task[None] | None:
        restart = self._restart
        is_running = restart and not restart.done() and restart.get_loop() is asyncio.get_running_loop()
        return restart if is_running else None

    async def _start_again(self, dead: EngineProcess) -> None:
        dead.close()
        engine, death = None, dead.death
        while engine is None:
            self._require_open()
            self.num_restarts += 1
            if self.num_restarts > self.settings.max_restarts:
                raise SamplerError(
                    f"vLLM died {self.num_restarts} times, and max_restarts is {self.settings.max_restarts}. {death}"
                )
            try:
                engine = await self._another_engine()
            except EngineDied as error:
                death = str(error)
        self._engine = engine

    async def _another_engine(self) -> EngineProcess:
        """An engine that has the weights, and is as paused or asleep as the last one."""
        engine = await in_thread(self._new_engine)
        try:
            self._require_open()
            if self._weights is not None:
                await self._weights.restore(engine, resume=False)
            if self._is_asleep:
                self._awake = ()
                await engine.sleep()
            await (engine.pause() if self._is_paused else engine.resume())
            self._require_open()
        except BaseException:  # nobody else knows of it
            engine.close()
            raise
        return engine


def _num_learners() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


class _Clock:
    """Seconds in which at least one request was under way."""

    def __init__(self) -> None:
        self._seconds, self._since, self._num_open = 0.0, 0.0, 0

    def __enter__(self) -> None:
        if self._num_open == 0:
            self._since = time.perf_counter()
        self._num_open += 1

    def __exit__(self, *_: object) -> None:
        self._num_open -= 1
        if self._num_open == 0:
            self._seconds += time.perf_counter() - self._since

    @property
    def seconds(self) -> float:
        """So far."""
        return self._seconds + (time.perf_counter() - self._since if self._num_open else 0.0)


def _completion(generated: Generated) -> Completion:
    versions = np.zeros(len(generated.token_ids), np.int32)
    for label, start, end in generated.weight_versions:
        versions[start:end] = int(label) if label.isdigit() else 0  # the weights that the engine began with
    reason = FinishReason(generated.finish_reason)
    return Completion(generated.token_ids, generated.logprobs, reason, versions, generated.kept_tokens)


def _nothing() -> Completion:
    """Of a request that was given up."""
    return Completion((), np.zeros(0, np.float32), FinishReason.ABORT, np.zeros(0, np.int32))
