"""vLLM's two engines, as the process that hosts them drives them."""

import asyncio
import os
import threading
from collections.abc import Callable, Mapping
from queue import SimpleQueue
from typing import Any

import numpy as np
from vllm import SamplingParams as VLLMParams
from vllm import __version__
from vllm.config import WeightTransferConfig
from vllm.engine.arg_utils import AsyncEngineArgs, EngineArgs
from vllm.exceptions import VLLMClientError
from vllm.lora.request import LoRARequest
from vllm.outputs import RequestOutput
from vllm.platforms import current_platform
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError
from vllm.v1.engine.llm_engine import LLMEngine

from ..params import SamplingParams
from ..sampler import KeptTokens
from .engines import Adapter, Generated

Messages = list[tuple[Any, ...]]
Send = Callable[[Messages], None]

_CPU_DEFAULTS = {"dtype": "float32", "block_size": 32, "enforce_eager": True, "kv_cache_memory_bytes": 1 << 30}
_GPU_DEFAULTS = {"dtype": "bfloat16"}
_SHARE_BESIDE_A_LEARNER = 0.4
_CPU_PASS_TOKENS = 4096
_SECONDS_BETWEEN_LOOKS = 0.1
_NUM_EQUAL = 8


def start_engine(
    kind: str, engine_args: Mapping[str, Any], *, num_tokens: int | None, record_kept_tokens: bool
) -> "tuple[InProcessServer | AsyncServer, dict[str, Any]]":
    """The engine of a kind, ready, and what the sampler wants to know of it.

    Args:
        kind: "in_process", "async" or "auto": the first on a CPU, the second on an accelerator.
        engine_args: of vLLM; what is None takes the value that suits the place.
        num_tokens: ids from here on are never sampled.
        record_kept_tokens: say which tokens top-p and top-k kept.
    """
    is_cpu = current_platform.is_cpu()
    kind = {"auto": "in_process" if is_cpu else "async"}.get(kind, kind)
    args = complete_args(engine_args, kind)
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = str(int(kind == "async"))
    server: InProcessServer | AsyncServer
    server = (InProcessServer if kind == "in_process" else AsyncServer)(args, record_kept_tokens)
    model_config = server.engine.model_config
    if num_tokens is not None and num_tokens < model_config.get_vocab_size():
        server.call("collective_rpc", "mask_padding", {"num_tokens": num_tokens})
    facts = {
        "version": __version__,
        "engine": kind,
        "is_cpu": is_cpu,
        "dtype": str(model_config.dtype).removeprefix("torch."),
        "max_model_len": model_config.max_model_len,
        "vocab_size": model_config.get_vocab_size(),
        "quantization": model_config.quantization,
    }
    return server, facts


def complete_args(engine_args: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The arguments of vLLM's engine, with what suits the place where nothing else is said."""
    given = {name: value for name, value in engine_args.items() if value is not None}
    if "weight_transfer_config" in given:
        given["weight_transfer_config"] = WeightTransferConfig(**given["weight_transfer_config"])
    if kind == "in_process":
        given["async_scheduling"] = (
            False  # else a step is under way while weights change, and its tokens are mislabelled
        )
    if not current_platform.is_cpu():
        share = {"gpu_memory_utilization": _SHARE_BESIDE_A_LEARNER} if given.get("enable_sleep_mode") else {}
        return {**_GPU_DEFAULTS, **share, **given}
    args: dict[str, Any] = {**_CPU_DEFAULTS, **given}
    args.pop("enable_sleep_mode", None)  # there is none
    if args.setdefault("enable_chunked_prefill", False) is False and "max_num_batched_tokens" not in args:
        # A prompt that is computed in parts draws a token behind each part, and draws it back but behind the last;
        # generators of a CPU cannot do that: vLLM 0.32 ends with "CPU Generator does not use offset".
        longest = EngineArgs(**args).create_model_config().max_model_len
        args["max_num_batched_tokens"] = max(longest, _CPU_PASS_TOKENS)
    return args


class InProcessServer:
    """The engine core in this process: no copy and no queue between a step and its tokens."""

    def __init__(self, args: Mapping[str, Any], record_kept_tokens: bool) -> None:
        self.engine = LLMEngine.from_engine_args(EngineArgs(**args))
        self._words = Words(record_kept_tokens, self.engine.model_config.get_vocab_size())
        self._is_paused = False

    def serve(self, inbox: SimpleQueue[Messages], send: Send) -> None:
        """Never returns."""
        while True:
            replies: Messages = []
            is_idle = self._is_paused or not self.engine.has_unfinished_requests()
            while is_idle or not inbox.empty():
                for message in inbox.get():
                    replies += self._handle(message)
                is_idle = False
            if not self._is_paused and self.engine.has_unfinished_requests():
                for output in self.engine.step():
                    if output.finished:
                        assert isinstance(output, RequestOutput)
                        replies.append(("generated", output.request_id, generated_of(output)))
            if replies:
                send(replies)

    def _handle(self, message: tuple[Any, ...]) -> Messages:
        match message:
            case "generate", request_id, prompt_ids, params, seed, adapter:
                try:
                    self.engine.add_request(
                        request_id,
                        {"prompt_token_ids": prompt_ids},
                        self._words.params(params, seed),
                        lora_request=lora_request(adapter),
                    )
                except (VLLMClientError, ValueError) as error:
                    return [("failed", request_id, str(error))]
                return []
            case "abort", request_id:
                self.engine.abort_request([request_id])
                return []
            case "call", number, name, *args:
                try:
                    return [("returned", number, self.call(name, *args))]
                except Exception as error:  # whatever the engine raises is the caller's to hear
                    return [("raised", number, f"{type(error).__name__}: {error}")]
        raise AssertionError(message)

    def call(self, name: str, *args: Any) -> Any:
        """What the engine answers."""
        engine = self.engine
        match name, *args:
            case ("ping",):
                pass  # that it comes to this is the sign of life
            case ("pause",):
                self._is_paused = True
            case ("resume",):
                self._is_paused = False
            case "collective_rpc", method, kwargs:
                return engine.collective_rpc(method, kwargs=kwargs)
            case ("num_unfinished",):
                return engine.get_num_unfinished_requests()
            case "set_weight_version", label:
                engine.set_weight_version(label)
            case ("reset_prefix_cache",):
                return engine.reset_prefix_cache(reset_running_requests=True)
            case "add_adapter", adapter:
                return engine.add_lora(lora_request(adapter, is_new=True))
            case ("sleep",):
                engine.reset_prefix_cache(reset_running_requests=True)
                engine.sleep(1, "keep")
            case "wake", tags:
                engine.wake_up(tags)
            case _:
                raise AssertionError(name, args)
        return None


class AsyncServer:
    """vLLM's asynchronous engine, whose core and workers are processes of their own."""

    def __init__(self, args: Mapping[str, Any], record_kept_tokens: bool) -> None:
        self._loop = asyncio.new_event_loop()
        self.engine = self._loop.run_until_complete(self._make(args))
        self._words = Words(record_kept_tokens, self.engine.model_config.get_vocab_size())
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._calls: set[asyncio.Task[None]] = set()

    async def _make(self, args: Mapping[str, Any]) -> AsyncLLM:
        return AsyncLLM.from_engine_args(AsyncEngineArgs(**args))

    def call(self, name: str, *args: Any) -> Any:
        """What the engine answers, before it serves."""
        return self._loop.run_until_complete(self._call(name, *args))

    def serve(self, inbox: SimpleQueue[Messages], send: Send) -> None:
        """Raises EngineDeadError when a process of the engine has ended; else it never returns."""
        asyncio.set_event_loop(self._loop)

        def forward() -> None:
            while True:
                messages = inbox.get()
                self._loop.call_soon_threadsafe(handle, messages)

        def handle(messages: Messages) -> None:
            for message in messages:
                self._handle(message, outbox)

        outbox = Outbox(self._loop, send)
        threading.Thread(target=forward, daemon=True).start()
        self._loop.run_until_complete(self._until_death())

    async def _until_death(self) -> None:
        while not self.engine.errored:
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
        raise EngineDeadError

    def _handle(self, message: tuple[Any, ...], outbox: "Outbox") -> None:
        match message:
            case "generate", request_id, prompt_ids, params, seed, adapter:
                work = self._generate(request_id, prompt_ids, params, seed, adapter, outbox)
                self._tasks[request_id] = self._loop.create_task(work)
            case "abort", request_id:
                if request_id in self._tasks:
                    self._tasks[request_id].cancel()
            case "call", number, name, *args:
                task = self._loop.create_task(self._answer(number, name, args, outbox))
                self._calls.add(task)
                task.add_done_callback(self._calls.discard)

    async def _generate(
        self,
        request_id: str,
        prompt_ids: list[int],
        params: SamplingParams,
        seed: int,
        adapter: Adapter | None,
        outbox: "Outbox",
    ) -> None:
        try:
            outputs = self.engine.generate(
                {"prompt_token_ids": prompt_ids},
                self._words.params(params, seed),
                request_id,
                lora_request=lora_request(adapter),
            )
            async for output in outputs:
                outbox.put(("generated", request_id, generated_of(output)))
        except EngineDeadError:
            return  # all requests are lost, which `serve` tells
        except Exception as error:  # whatever the engine raises is the caller's to hear
            outbox.put(("failed", request_id, str(error.__cause__ or error)))
        finally:
            self._tasks.pop(request_id, None)

    async def _answer(self, number: int, name: str, args: list[Any], outbox: "Outbox") -> None:
        try:
            outbox.put(("returned", number, await self._call(name, *args)))
        except EngineDeadError:
            return
        except Exception as error:  # as above
            outbox.put(("raised", number, f"{type(error).__name__}: {error}"))

    async def _call(self, name: str, *args: Any) -> Any:
        engine = self.engine
        match name, *args:
            case ("ping",):
                await engine.is_sleeping()  # which goes to the engine's core and back
            case ("pause",):
                await engine.pause_generation(mode="keep", clear_cache=False)
            case ("resume",):
                await engine.resume_generation()
            case "collective_rpc", method, kwargs:
                return await engine.collective_rpc(method, kwargs=kwargs)
            case ("num_unfinished",):
                return engine.get_num_unfinished_requests()
            case "set_weight_version", label:
                await engine.update_weight_version(label)
            case ("reset_prefix_cache",):
                return await engine.reset_prefix_cache(reset_running_requests=True)
            case "add_adapter", adapter:
                return await engine.add_lora(lora_request(adapter, is_new=True))
            case ("sleep",):
                await engine.reset_prefix_cache(reset_running_requests=True)
                await engine.sleep(1, "keep")
            case "wake", tags:
                await engine.wake_up(tags)
            case _:
                raise AssertionError(name, args)
        return None


class Outbox:
    """Gathers what one turn of the event loop has to say into one frame."""

    def __init__(self, loop: asyncio.AbstractEventLoop, send: Send) -> None:
        self._loop, self._send = loop, send
        self._messages: Messages = []

    def put(self, message: tuple[Any, ...]) -> None:
        """Send a message, soon."""
        if not self._messages:
            self._loop.call_soon(self._flush)
        self._messages.append(message)

    def _flush(self) -> None:
        messages, self._messages = self._messages, []
        self._send(messages)


class Words:
    """Our sampling parameters in vLLM's words."""

    def __init__(self, record_kept_tokens: bool, vocab_size: int) -> None:
        self._record_kept_tokens, self._vocab_size = record_kept_tokens, vocab_size

    def params(self, params: SamplingParams, seed: int) -> VLLMParams:
        """Of one request. The model's own end token is no matter: a turn ends where it was asked to."""
        return VLLMParams(
            temperature=params.temperature,
            top_p=params.top_p,
            top_k=params.top_k,
            max_tokens=params.max_new_tokens,
            stop_token_ids=list(params.stop_token_ids),
            seed=seed,
            logprobs=self.num_logprobs(params),
            flat_logprobs=True,
            ignore_eos=True,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
            skip_clone=True,
        )

    def num_logprobs(self, params: SamplingParams) -> int:
        """How many log-probabilities beside the sampled token's hold all that top-p and top-k keep; -1: all.

        vLLM's own record of what they kept, `return_sampling_mask`, wants a top-k with every request and says the same.
        """
        if params.keeps_all_tokens or params.temperature == 0 or not self._record_kept_tokens:
            return 0
        # Tokens that are as likely as the last one are kept, too; in bfloat16 there are such.
        return min(params.top_k + _NUM_EQUAL, self._vocab_size) if params.top_k > 0 else -1


def lora_request(adapter: Adapter | None, *, is_new: bool = False) -> LoRARequest | None:
    """The adapter in vLLM's words."""
    if adapter is None:
        return None
    return LoRARequest(adapter.name, adapter.number, adapter.path, load_inplace=is_new)


def generated_of(output: RequestOutput) -> Generated:
    """vLLM's answer in our words."""
    completion = output.outputs[0]
    token_ids, flat = tuple(completion.token_ids), completion.logprobs
    num_cached = output.num_cached_tokens or 0
    spans = tuple((span.version, span.start, span.end) for span in completion.weight_versions or ())
    reason = completion.finish_reason or "abort"
    if not token_ids or flat is None:
        return Generated((), np.zeros(0, np.float32), reason, (), None, num_cached)
    starts, ends = flat.start_indices, flat.end_indices
    if len(flat.logprobs) == len(token_ids):
        return Generated(token_ids, np.array(flat.logprobs, np.float32), reason, spans, None, num_cached)
    # The sampled token comes first, then the likeliest ones, those that were cut away at minus infinity.
    logprobs, ids = np.array(flat.logprobs, np.float32), np.array(flat.token_ids, np.int32)
    rows = [np.unique(ids[i:j][np.isfinite(logprobs[i:j])]) for i, j in zip(starts, ends, strict=True)]
    return Generated(token_ids, logprobs[starts], reason, spans, KeptTokens.from_rows(rows), num_cached)
