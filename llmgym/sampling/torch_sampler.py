"""Sampling in plain PyTorch: any transformers causal LM, batched over running episodes."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import torch
from torch import Tensor

from ..errors import ConfigError, SamplerError
from ..messages.stop_strings import first_stop
from ..messages.tokenizer import Tokenizer
from .cached_model import cached_model
from .next_token import next_tokens
from .sampler import FinishReason, WeightSource
from .sending import sent
from .torch_session import Request, TorchSession

_SHARE_THAT_JOINS = 8
"""Rows go on with another turn when there are one for every so many that run, ..."""
_MAX_STEPS_WAITED = 16
"""... or after so many steps in which one could have joined."""


class TorchSampler:
    """Batched decoding with a key-value cache; finished rows leave, waiting ones join.

    Rows are admitted in the order in which their sessions were opened. Where nothing else runs beside the event
    loop, the same seeds therefore give the same batches and the same tokens.

    Args:
        model: a transformers causal LM, on whatever device; it may be the learner's own, then weights need not be
            copied.
        num_tokens: ids from here on are padding of the vocabulary and are never sampled; None: there are none.
        max_batch: rows sampled at once.
        max_pass_tokens: prompt tokens computed in one forward pass, which bounds its memory.
        tokenizer: makes text of tokens, for `SamplingParams.stop_strings`.

    Raises:
        ConfigError: the model cannot be run exactly with a cache.
    """

    def __init__(
        self,
        model: Any,
        *,
        num_tokens: int | None = None,
        max_batch: int = 64,
        max_pass_tokens: int = 8192,
        tokenizer: Tokenizer | None = None,
    ) -> None:
        for name, value in (("max_batch", max_batch), ("max_pass_tokens", max_pass_tokens)):
            if value < 1:
                raise ConfigError(f"{name} is {value}, but it must be at least 1.")
        self.model = model.eval()
        self._slots = cached_model(self.model, max_batch, max_pass_tokens=max_pass_tokens)
        self.num_tokens, self.max_batch, self.tokenizer = num_tokens, max_batch, tokenizer
        self.version = 0
        self.num_prompt_tokens = self.num_sampled_tokens = 0
        self.seconds = 0.0
        self._holders: list[TorchSession | None] = [None] * max_batch
        self._open: set[Request] = set()
        """All requests without an answer: waiting, running, or in the middle of a step."""
        self._waiting: list[Request] = []
        self._running: list[Request] = []
        self._steps_waited = 0
        self._num_sessions = 0
        self._engine: asyncio.Task[None] | None = None
        self._is_paused = self._is_closed = False

    # -- the contract ------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def session(self, *, seed: int) -> AsyncIterator[TorchSession]:
        """A place for one episode; its random stream depends on `seed` alone."""
        session = self.open(seed)
        try:
            yield session
        finally:
            self.withdraw(session)
            if session.slot is not None:
                self._slots.release(session.slot)
                self._holders[session.slot] = None
                session.slot = None

    @property
    def dtype(self) -> str:
        """Of the weights, such as "float32"."""
        return str(next(self.model.parameters()).dtype).removeprefix("torch.")

    @property
    def takes_adapters(self) -> bool:
        """True where the model has one: the learner's own, as a model of this sampler's alone gets none."""
        return any(".lora_" in name for name, _ in self.model.named_parameters())

    async def update_weights(self, source: WeightSource, *, version: int) -> None:
        """Copy the weights of `source`, unless they are this model's own, and forget what the old ones cached.

        Turns that are being sampled go on with the new weights.

        Raises:
            SamplerError: the source has a weight of a name or shape that this model does not have, such as an adapter.
        """
        own = dict(self.model.state_dict(keep_vars=True))
        places = {tensor.data_ptr() for tensor in own.values()}
        self._forget()
        with torch.no_grad():
            for name, tensor in source:
                if tensor.data_ptr() in places:  # under whatever name: those of an adapter are saved by others
                    continue
                if name not in own or own[name].shape != tensor.shape:
                    known = f"of shape {tuple(own[name].shape)}" if name in own else "not at all"
                    raise SamplerError(
                        f"The weight source has {name!r} of shape {tuple(tensor.shape)}; this model has it {known}. "
                        "Update a sampler with the weights of the same architecture; where the learner has an adapter, "
                        "with those of learner.weight_source(merge=True)."
                    )
                own[name].copy_(tensor)
        self.version = version

    async def pause(self) -> None:
        """Sample no further token until `resume`."""
        self._is_paused = True

    async def resume(self) -> None:
        """Go on after `pause`."""
        self._is_paused = False
        self._start_engine()

    async def sleep(self) -> None:
        """Free the cache."""
        await self.pause()
        self._forget()

    def _forget(self) -> None:
        """Empty the slots; running rows join again with all their tokens.

        The order of rows in the cache begins anew too, on which the last bits of a float depend: what is sampled with
        new weights is the same whether the run has just begun or goes on.
        """
        self._slots.forget()
        for session in self._holders:
            if session is not None:
                session.held_ids = []
        self._waiting, self._running = self._waiting + self._running, []

    async def wake(self) -> None:
        """Go on after `sleep`; caches fill again when they are used."""
        await self.resume()

    async def close(self) -> None:
        """Abort what is running; further requests are errors."""
        self._is_closed = True
        for request in tuple(self._open):
            self._finish(request, FinishReason.ABORT)
        self._waiting, self._running = [], []

    @property
    def sees_text(self) -> bool:
        """True: turns can be asked to end at stop strings."""
        return self.tokenizer is not None

    # -- sessions and requests ---------------------------------------------------------------------------------

    def open(self, seed: int) -> TorchSession:
        """A session without a context manager; its slot is taken over when it idles and others wait."""
        self._num_sessions += 1
        return TorchSession(self, seed, self._num_sessions)

    def submit(self, request: Request) -> None:
        """Queue a request and see that the engine runs."""
        if self._is_closed:
            raise SamplerError("The sampler is closed. Make a new one.")
        if not request.prompt_ids:
            raise SamplerError("The prompt is empty. A model needs at least one token to continue.")
        if request.params.stop_strings and self.tokenizer is None:
            raise SamplerError(
                f"The turn is to end at {request.params.stop_strings}, but this sampler sees no text. "
                "Make it with TorchSampler(..., tokenizer=...), that of its model."
            )
        longest, limit = len(request.prompt_ids) + request.params.max_new_tokens - 1, self._slots.max_length
        if limit is not None and longest > limit:
            raise SamplerError(
                f"A prompt of {len(request.prompt_ids)} tokens and {request.params.max_new_tokens} new ones are more "
                f"than the {limit} positions of the model. Set Limits.context_tokens to {limit} or less."
            )
        self._leave_other_loops()
        self._open.add(request)
        self._waiting.append(request)
        self._start_engine()

    def _start_engine(self) -> None:
        if (self._engine is None or self._engine.done()) and self._waiting + self._running and not self._is_paused:
            self._engine = asyncio.get_running_loop().create_task(self._run())

    def _leave_other_loops(self) -> None:
        """Drop what an event loop left behind that will not run again.

        Raises:
            SamplerError: another event loop is using the sampler.
        """
        loop = asyncio.get_running_loop()
        left = [request for request in self._open if request.future.get_loop() is not loop]
        if any(request.future.get_loop().is_running() for request in left):
            raise SamplerError("Another event loop is using this sampler. Use it from one loop at a time.")
        for request in left:
            self.withdraw(request.session)
            request.session.is_sampling = False
        if self._engine is not None and self._engine.get_loop() is not loop:
            self._engine = None

    def withdraw(self, session: TorchSession) -> None:
        """Take back what the session asked for; its slot stays its own."""
        for requests in (self._waiting, self._running):
            for request in [request for request in requests if request.session is session]:
                requests.remove(request)
                self._finish(request, FinishReason.ABORT)

    def _finish(self, request: Request, reason: FinishReason) -> None:
        self._open.discard(request)
        request.finish(reason)

    # -- the engine --------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            while True:
                await asyncio.sleep(0)  # episodes take their tokens, and ask for more, in between
                if self._is_paused or not (self._waiting or self._running):
                    return
                started = time.perf_counter()
                self._step()
                self.seconds += time.perf_counter() - started
        except BaseException as error:  # whoever waits must hear of any failure, or waits for ever
            failed, self._open = self._open, set()
            self._waiting, self._running = [], []
            for request in failed:
                if not request.future.done():
                    failure = SamplerError(f"The model failed while sampling: {error!r}")
                    failure.__cause__ = error
                    request.future.set_exception(failure)
            if not isinstance(error, Exception):
                raise

    @torch.inference_mode()
    def _step(self) -> None:
        """Let waiting rows join, and sample one token for every row."""
        joining = self._admit()
        if joining or self._running:
            self._advance(joining)

    def _admit(self) -> list[Request]:
        """The requests that join now, each with a slot: its own, a free one, or that of an idle session.

        First prompts share a pass with the rows that run, so they join at once. Turns that go on need a pass of their
        own, which costs nearly as much for a single row as for many, so they join a few at a time.
        """
        if not self._waiting:
            return []
        slots = [slot for slot, holder in enumerate(self._holders) if holder is None]
        slots += [slot for slot, holder in enumerate(self._holders) if holder is not None and not holder.is_sampling]
        num_placed = sum(request.session.slot is not None for request in self._waiting)
        num_first = min(len(self._waiting) - num_placed, len(slots))
        self._steps_waited = self._steps_waited + 1 if num_placed else 0
        are_few = num_placed < max(1, len(self._running) // _SHARE_THAT_JOINS)
        if num_first == 0 and are_few and self._steps_waited <= _MAX_STEPS_WAITED:
            return []
        self._steps_waited = 0
        self._waiting.sort(key=lambda request: request.session.index)
        joining = []
        for request in self._waiting:
            if request.session.slot is None and slots:
                self._place(request.session, slots.pop(0))
            if request.session.slot is not None:
                joining.append(request)
        self._waiting = [request for request in self._waiting if request.session.slot is None]
        return joining

    def _place(self, session: TorchSession, slot: int) -> None:
        evicted = self._holders[slot]
        if evicted is not None:
            evicted.slot = None
        self._holders[slot], session.slot, session.held_ids = session, slot, []

    def _advance(self, joining: list[Request]) -> None:
        """Compute what the slots do not hold yet, equal first prompts once, and sample what comes next."""
        leaders: dict[tuple[int, ...], Request] = {}
        followers: dict[Request, list[Request]] = {}
        computed: list[Request] = []
        for request in joining:
            session, prompt = request.session, request.ids
            # The last token is always computed: its logits are what comes next.
            num_held = min(_common_length(session.held_ids, prompt), len(prompt) - 1)
            num_held = self._slots.reusable(_slot(session), num_held)
            session.held_ids = prompt[:num_held]
            leader = leaders.setdefault(tuple(prompt), request) if num_held == 0 else request
            if leader is request:
                computed.append(request)
            else:
                followers.setdefault(leader, []).append(request)
        new_ids = [request.ids[len(request.session.held_ids) :] for request in computed]
        self.num_prompt_tokens += sum(map(len, new_ids))
        for request in self._running:
            computed.append(request)
            new_ids.append([request.token_ids[-1]])
        logits = self._next_logits(computed, new_ids)

        place = {request: index for index, request in enumerate(computed)}
        for leader, others in followers.items():
            self._slots.copy(_slot(leader.session), [_slot(other.session) for other in others], len(leader.ids))
            place |= dict.fromkeys(others, place[leader])
        for request in joining:
            request.session.held_ids = request.ids
        for request in self._running:
            request.session.held_ids.append(request.token_ids[-1])
        if followers:
            logits = logits[sent([place[request] for request in [*joining, *self._running]], logits.device)]
        requests, self._running = [*joining, *self._running], []
        self._sample_next(requests, logits)

    def _next_logits(self, requests: list[Request], new_ids: list[list[int]]) -> Tensor:
        sessions = [request.session for request in requests]
        num_held = [len(session.held_ids) for session in sessions]
        return self._slots.next_logits([_slot(session) for session in sessions], num_held, new_ids)

    def _sample_next(self, requests: list[Request], logits: Tensor) -> None:
        """Draw the next token of every request; those that are not finished are running from now on."""
        params, uniforms = [request.params for request in requests], [request.next_uniform() for request in requests]
        tokens, logprobs, kept = next_tokens(logits, params, uniforms, num_tokens=self.num_tokens)
        for row, (request, token, logprob) in enumerate(zip(requests, tokens, logprobs, strict=True)):
            request.token_ids.append(token)
            request.logprobs.append(logprob)
            request.versions.append(self.version)
            if kept is not None and not request.params.keeps_all_tokens:
                request.kept.append(kept[row])
            if token in request.params.stop_token_ids or self._holds_stop_string(request):
                self._finish(request, FinishReason.STOP)
            elif len(request.token_ids) >= request.params.max_new_tokens:
                self._finish(request, FinishReason.LENGTH)
            else:
                self._running.append(request)
        self.num_sampled_tokens += len(requests)

    def _holds_stop_string(self, request: Request) -> bool:
        """True where the newest token completed a stop string."""
        stops, ids = request.params.stop_strings, request.token_ids
        if not stops or self.tokenizer is None:
            return False
        return first_stop(ids, len(ids) - 1, stops=stops, prefill="", decode=self.tokenizer.decode) is not None


def _slot(session: TorchSession) -> int:
    assert session.slot is not None
    return session.slot


def _common_length(held: Sequence[int], prompt: Sequence[int]) -> int:
    """How many tokens both begin with."""
    if len(held) <= len(prompt) and list(held) == list(prompt[: len(held)]):
        return len(held)
    return next((index for index, (a, b) in enumerate(zip(held, prompt, strict=False)) if a != b), len(prompt))
