"""Sampling in plain PyTorch: any transformers causal LM with full attention, batched over running episodes."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import ConfigError, SamplerError
from .distribution import draw, processed_logits
from .params import SamplingParams
from .sampler import Completion, FinishReason, KeptTokens, WeightSource
from .slot_cache import SlotModel

_UNIFORMS_AT_ONCE = 64
_SHARE_THAT_JOINS = 8
"""Rows join when there are one for every so many that run, ..."""
_MAX_STEPS_WAITED = 16
"""... or after so many steps in which one could have joined."""


@dataclass(eq=False)
class _Request:
    """A turn that is being sampled."""

    session: "TorchSession"
    prompt_ids: list[int]
    params: SamplingParams
    future: asyncio.Future[Completion]
    rng: np.random.Generator
    uniforms: np.ndarray = field(default_factory=lambda: np.empty(0))
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)
    kept: list[np.ndarray] = field(default_factory=list)

    @property
    def ids(self) -> list[int]:
        """The prompt and what was sampled so far."""
        return self.prompt_ids + self.token_ids

    def next_uniform(self) -> float:
        place = len(self.token_ids) % _UNIFORMS_AT_ONCE
        if place == 0:
            self.uniforms = self.rng.random(_UNIFORMS_AT_ONCE)
        return float(self.uniforms[place])


class TorchSession:
    """One episode's place: a slot of the cache, which is kept between turns while there are enough."""

    def __init__(self, sampler: "TorchSampler", seed: int, index: int) -> None:
        self._sampler, self._seed, self.index = sampler, seed, index
        self.held_ids: list[int] = []
        """The tokens whose keys and values lie in the slot; any, where there is no slot."""
        self.slot: int | None = None
        self.is_sampling = False
        self._num_turns = 0
        self._num_forks = 0

    async def sample(self, prompt_ids: Sequence[int], params: SamplingParams) -> Completion:
        """Continue `prompt_ids`; what the slot holds of it is not computed again.

        Raises:
            SamplerError: the session is sampling already, the sampler is closed, or the model failed.
        """
        if self.is_sampling:
            raise SamplerError("This session is sampling already. Await one turn before the next, or fork it.")
        rng = np.random.default_rng((self._seed, self._num_turns))
        self._num_turns += 1
        future: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self._sampler.submit(_Request(self, list(prompt_ids), params, future, rng))
        self.is_sampling = True
        try:
            return await future
        finally:
            self._sampler.withdraw(self)  # where the wait was given up
            self.is_sampling = False

    def fork(self) -> "TorchSession":
        """A second session with the same tokens; its cache is filled when it first samples."""
        self._num_forks += 1
        seed = int(np.random.SeedSequence((self._seed, self._num_turns, self._num_forks)).generate_state(1)[0])
        return self._sampler.open(seed)


class TorchSampler:
    """Batched decoding with a key-value cache; finished rows leave, waiting ones join.

    Rows are admitted in the order in which their sessions were opened. Where nothing else runs beside the event
    loop, the same seeds therefore give the same batches and the same tokens.

    Args:
        model: a transformers causal LM; it may be the learner's own, then weights need not be copied.
        num_tokens: ids from here on are padding of the vocabulary and are never sampled; None: there are none.
        max_batch: rows sampled at once.

    Raises:
        ConfigError: the model has layers that this sampler does not know.
    """

    def __init__(self, model: Any, *, num_tokens: int | None = None, max_batch: int = 64) -> None:
        if max_batch < 1:
            raise ConfigError(f"max_batch is {max_batch}, but at least 1 row must be sampled at once.")
        self.model = model.eval()
        self._slots = SlotModel(self.model, max_batch)
        self.num_tokens, self.max_batch = num_tokens, max_batch
        self.version = 0
        self.num_prompt_tokens = self.num_sampled_tokens = 0
        self.seconds = 0.0
        self._holders: list[TorchSession | None] = [None] * max_batch
        self._open: set[_Request] = set()
        """All requests without an answer: waiting, running, or in the middle of a step."""
        self._waiting: list[_Request] = []
        self._running: list[_Request] = []
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
                self._holders[session.slot] = None
                session.slot = None

    async def update_weights(self, source: WeightSource, *, version: int) -> None:
        """Copy the weights of `source`, unless they are this model's own, and forget what the old ones cached.

        Turns that are being sampled go on with the new weights.

        Raises:
            SamplerError: the source has a weight of a name or shape that this model does not have.
        """
        own = dict(self.model.state_dict(keep_vars=True))
        self._forget()
        with torch.no_grad():
            for name, tensor in source:
                if name not in own or own[name].shape != tensor.shape:
                    known = f"of shape {tuple(own[name].shape)}" if name in own else "not at all"
                    raise SamplerError(
                        f"The weight source has {name!r} of shape {tuple(tensor.shape)}; this model has it {known}. "
                        "Update a sampler with the weights of the same architecture."
                    )
                if own[name].data_ptr() != tensor.data_ptr():
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
        self._slots.forget()

    def _forget(self) -> None:
        """What the slots hold counts no more; running rows join again with all their tokens."""
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

    # -- sessions and requests ---------------------------------------------------------------------------------

    def open(self, seed: int) -> TorchSession:
        """A session without a context manager; its slot is taken over when it idles and others wait."""
        self._num_sessions += 1
        return TorchSession(self, seed, self._num_sessions)

    def submit(self, request: _Request) -> None:
        """Queue a request and see that the engine runs."""
        if self._is_closed:
            raise SamplerError("The sampler is closed. Make a new one.")
        if not request.prompt_ids:
            raise SamplerError("The prompt is empty. A model needs at least one token to continue.")
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

    def _finish(self, request: _Request, reason: FinishReason) -> None:
        self._open.discard(request)
        if request.future.done() or request.future.get_loop().is_closed():
            return
        request.future.set_result(
            Completion(
                tuple(request.token_ids),
                np.array(request.logprobs, dtype=np.float32),
                reason,
                np.array(request.versions, dtype=np.int32),
                KeptTokens.from_rows(request.kept),
            )
        )

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
        """Let waiting rows join, or sample one token for every running row."""
        joining = self._admit()
        if joining:
            self._prefill(joining)
        elif self._running:
            self._decode()

    def _admit(self) -> list[_Request]:
        """The requests that join now, each with a slot: its own, a free one, or that of an idle session.

        A forward pass for a single row costs nearly as much as one for many, so rows join a few at a time.
        """
        slots = [slot for slot, holder in enumerate(self._holders) if holder is None]
        slots += [slot for slot, holder in enumerate(self._holders) if holder is not None and not holder.is_sampling]
        num_placed = sum(request.session.slot is not None for request in self._waiting)
        num_ready = num_placed + min(len(self._waiting) - num_placed, len(slots))
        self._steps_waited = self._steps_waited + 1 if num_ready else 0
        if num_ready < max(1, len(self._running) // _SHARE_THAT_JOINS) and self._steps_waited <= _MAX_STEPS_WAITED:
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

    def _prefill(self, joining: list[_Request]) -> None:
        """Compute what the slots do not hold yet; equal first prompts are computed once."""
        leaders: dict[tuple[int, ...], _Request] = {}
        followers: list[tuple[_Request, _Request]] = []
        computed: list[_Request] = []
        for request in joining:
            session, prompt = request.session, request.ids
            # The last token is always computed: its logits are what comes next.
            num_held = min(_common_length(session.held_ids, prompt), len(prompt) - 1)
            session.held_ids = prompt[:num_held]
            leader = leaders.setdefault(tuple(prompt), request) if num_held == 0 else request
            if leader is request:
                computed.append(request)
            else:
                followers.append((request, leader))
        computed.sort(key=lambda request: request.session.slot or 0)
        new_ids = [request.ids[len(request.session.held_ids) :] for request in computed]
        logits = self._next_logits(computed, new_ids)
        self.num_prompt_tokens += sum(map(len, new_ids))

        place = {id(request): index for index, request in enumerate(computed)}
        for request, leader in followers:
            assert leader.session.slot is not None
            assert request.session.slot is not None
            self._slots.copy(leader.session.slot, [request.session.slot], len(request.ids))
            place[id(request)] = place[id(leader)]
        for request in joining:
            request.session.held_ids = request.ids
        self._sample_next(joining, logits[[place[id(request)] for request in joining]])

    def _decode(self) -> None:
        self._running.sort(key=lambda request: request.session.slot or 0)
        logits = self._next_logits(self._running, [[request.token_ids[-1]] for request in self._running])
        for request in self._running:
            request.session.held_ids.append(request.token_ids[-1])
        running, self._running = self._running, []
        self._sample_next(running, logits)

    def _next_logits(self, requests: list[_Request], new_ids: list[list[int]]) -> Tensor:
        sessions = [request.session for request in requests]
        num_held = [len(session.held_ids) for session in sessions]
        return self._slots.next_logits([session.slot or 0 for session in sessions], num_held, new_ids)

    def _sample_next(self, requests: list[_Request], logits: Tensor) -> None:
        """Draw the next token of every request; those that are not finished are running from now on."""
        if self.num_tokens is not None:
            logits[:, self.num_tokens :] = -torch.inf
        device, params = logits.device, [request.params for request in requests]
        temperature = torch.tensor([p.temperature for p in params], device=device)
        logits = processed_logits(
            logits,
            temperature,
            torch.tensor([p.top_k for p in params], device=device),
            torch.tensor([p.top_p for p in params], device=device),
        )
        normaliser = logits.logsumexp(-1)
        if not bool(normaliser.isfinite().all()):
            raise SamplerError("the logits are not finite: the weights have diverged, or the temperature is too small")
        uniform = torch.tensor([request.next_uniform() for request in requests], dtype=torch.float64, device=device)
        tokens = draw(logits, temperature, uniform)
        logprobs = logits.gather(-1, tokens[:, None])[:, 0] - normaliser
        for row, (request, token, logprob) in enumerate(zip(requests, tokens.tolist(), logprobs.tolist(), strict=True)):
            request.token_ids.append(token)
            request.logprobs.append(logprob)
            request.versions.append(self.version)
            if not request.params.keeps_all_tokens:
                request.kept.append(logits[row].isfinite().nonzero()[:, 0].cpu().numpy())
            if token in request.params.stop_token_ids:
                self._finish(request, FinishReason.STOP)
            elif len(request.token_ids) >= request.params.max_new_tokens:
                self._finish(request, FinishReason.LENGTH)
            else:
                self._running.append(request)
        self.num_sampled_tokens += len(requests)


def _common_length(held: Sequence[int], prompt: Sequence[int]) -> int:
    """How many tokens both begin with."""
    if len(held) <= len(prompt) and list(held) == list(prompt[: len(held)]):
        return len(held)
    return next((index for index, (a, b) in enumerate(zip(held, prompt, strict=False)) if a != b), len(prompt))
