"""The sampler that asks a server, at a small server of the test's own that speaks both forms of the protocol."""

import asyncio
import http.server
import json
import select
import threading
from contextlib import contextmanager

import numpy as np
import pytest

import llmgym
from llmgym.episode import StopReason
from llmgym.errors import ConfigError, SamplerError
from llmgym.messages import ByteTokenizer
from llmgym.registry import SAMPLERS
from llmgym.sampling import EndpointSampler, FinishReason, SamplingParams

BYTES = ByteTokenizer()
PROMPT = BYTES.encode("2+2=")


class Server:
    """Answers with what `complete` and `chat` make of a request's body, and notes what it is asked."""

    def __init__(self, *, complete=None, chat=None, models=("tiny",), context=None):
        self.complete, self.chat, self.models, self.context = complete, chat, models, context
        self.asked, self.keys, self.hung_up, self.probes = [], set(), threading.Event(), 0

    def answer(self, path, body):
        if path == "/v1/models":
            return 200, {"data": [{"id": name, "max_model_len": self.context} for name in self.models]}, {}
        speak = self.complete if path == "/v1/completions" else self.chat
        is_probe = path == "/v1/completions" and "seed" not in body
        self.probes += is_probe
        if not is_probe:
            self.asked.append(body)
        if speak is None:
            return 404, {"error": {"message": f"there is no {path}"}}, {}
        answer = speak(body)
        return answer if isinstance(answer, tuple) else (200, {"choices": [answer]}, {})

    @contextmanager
    def running(self):
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                self.reply(None)

            def do_POST(self):
                self.reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def reply(self, body):
                server.keys.add(self.headers["Authorization"])
                status, data, headers = server.answer(self.path, body)
                if status == 0:  # wait until the other side hangs up
                    if select.select([self.connection], [], [], 20)[0] and not self.connection.recv(1):
                        server.hung_up.set()
                    self.close_connection = True
                    return
                text = json.dumps(data).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": len(text)}.items():
                    self.send_header(name, str(value))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *arguments):
                pass

        listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        listening.daemon_threads = True
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_port}/v1"
        finally:
            listening.shutdown()
            listening.server_close()
            thread.join()


def tokens(ids, reason="stop", logprob=-0.5, prompt=None):
    logprobs = {"token_logprobs": [logprob] * len(ids)}
    return {"text": "", "token_ids": ids, "logprobs": logprobs, "finish_reason": reason, "prompt_token_ids": prompt}


def says(text, reason="stop", **message):
    return {"message": {"role": "assistant", "content": text, **message}, "finish_reason": reason}


def calls(name, **arguments):
    function = {"name": name, "arguments": json.dumps(arguments)}
    return says(None, "tool_calls", tool_calls=[{"id": "its own", "type": "function", "function": function}])


def copied(body):
    """What a perfect policy of Copy-v0 samples."""
    said = BYTES.decode(body["prompt"]) if isinstance(body["prompt"], list) else ""
    return tokens([*BYTES.encode(said.rpartition("Copy: ")[2]), BYTES.eos_id])


async def sampled(sampler, params=None, prompt=PROMPT, seed=0, turns=1):
    async with sampler.session(seed=seed) as session:
        return [await session.sample(prompt, params or SamplingParams(max_new_tokens=8)) for _ in range(turns)]


def sample(sampler, *args, **kwargs):
    return asyncio.run(asyncio.wait_for(sampled(sampler, *args, **kwargs), 20))


def byte_sampler(url, **settings):
    return EndpointSampler(url=url, tokenizer=BYTES, **settings)


# -- token ids ---------------------------------------------------------------------------------------------------------


def test_ids_go_in_and_ids_with_log_probabilities_come_out():
    server = Server(complete=lambda body: tokens([52, 257], logprob=-0.25))
    params = SamplingParams(max_new_tokens=8, temperature=0.5, top_k=5, stop_token_ids=(257,), stop_strings=("\n",))
    with server.running() as url:
        (completion,) = sample(byte_sampler(url), params)

    assert (completion.token_ids, completion.finish_reason) == ((52, 257), FinishReason.STOP)
    np.testing.assert_array_equal(completion.logprobs, np.float32([-0.25, -0.25]))
    assert completion.weight_version.tolist() == [0, 0]
    expected = {"prompt": PROMPT, "max_tokens": 8, "temperature": 0.5, "top_p": 1.0, "top_k": 5, "model": "tiny"}
    expected |= {"stop_token_ids": [257], "stop": ["\n"], "ignore_eos": True, "repetition_penalty": 1.0}
    assert expected.items() <= server.asked[0].items()


@pytest.mark.parametrize(("told", "reason"), [("length", FinishReason.LENGTH), ("abort", FinishReason.ABORT)])
def test_the_servers_reason_to_stop_is_told(told, reason):
    with Server(complete=lambda body: tokens([52], told)).running() as url:
        assert sample(byte_sampler(url))[0].finish_reason is reason


def test_the_seed_of_an_episode_decides_those_of_its_turns():
    server = Server(complete=lambda body: tokens([52]))
    with server.running() as url:
        for seed in (1, 1, 2):
            sample(byte_sampler(url), seed=seed, turns=2)

    first, again, other = ([body["seed"] for body in server.asked[at : at + 2]] for at in (0, 2, 4))
    assert first == again
    assert len({*first, *other}) == 4


def test_an_episode_through_token_ids_keeps_them_and_their_log_probabilities():
    server = Server(complete=copied)
    with server.running() as url:
        result = llmgym.evaluate(byte_sampler(url), "llmgym/Copy-v0", num_tasks=5, temperature=0.0)

    assert result.success.value == 1.0
    segment = result.trajectories[0].segments[0]
    np.testing.assert_array_equal(segment.sampling_logprobs[segment.action_mask], -0.5)
    assert (len(server.asked), server.probes) == (5, 2)


def test_one_sampler_serves_one_event_loop_after_another():
    with Server(complete=copied).running() as url:
        sampler = byte_sampler(url)
        results = [llmgym.evaluate(sampler, "llmgym/Copy-v0", num_tasks=2) for _ in range(2)]

    assert [result.success.value for result in results] == [1.0, 1.0]


def test_a_prompt_that_the_servers_context_cannot_hold_is_explained():
    with (
        Server(complete=lambda body: tokens([52]), context=8).running() as url,
        pytest.raises(SamplerError, match=r"prompt of 4 tokens .* up to 8 .* 8 tokens .* limits.context_tokens"),
    ):
        sample(byte_sampler(url))


def test_the_tokenizer_of_another_model_is_noticed():
    with (
        Server(complete=lambda body: tokens([52], prompt=[1, 2, 3])).running() as url,
        pytest.raises(ConfigError, match="tokenizer that was given is not that of the endpoint"),
    ):
        sample(byte_sampler(url))


# -- chat messages -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("complete", "reason"),
    [(None, "status 404: there is no /v1/completions"), (lambda body: {"text": "4"}, "text alone")],
)
def test_a_server_that_gives_no_token_ids_is_asked_in_messages_and_says_why(complete, reason):
    server = Server(complete=complete, chat=lambda body: says(body["messages"][-1]["content"].removeprefix("Copy: ")))
    with server.running() as url:
        sampler = byte_sampler(url)
        result = llmgym.evaluate(sampler, "llmgym/Copy-v0", num_tasks=3)
        abilities = asyncio.run(sampler.abilities())

    assert result.success.value == 1.0
    assert result.trajectories[0].segments[0].sampling_logprobs is None
    assert not abilities.gives_tokens
    assert reason in abilities.reason


def test_tools_are_offered_and_their_calls_and_answers_told_in_the_protocols_own_form():
    def calculates(body):
        last = body["messages"][-1]
        return says(last["content"]) if last["role"] == "tool" else calls("calculator", expression=last["content"])

    server = Server(chat=calculates)
    with server.running() as url:
        result = llmgym.evaluate(url, "llmgym/Calculator-v0", num_tasks=3)

    assert result.success.value == 1.0
    assert result.summary()["tool_share"] == 1.0
    first, second = (
        next(body for body in server.asked if body["messages"][-1]["role"] == role) for role in ("user", "tool")
    )
    assert [tool["function"]["name"] for tool in first["tools"]] == ["calculator"]
    *_, call, answer = second["messages"]
    assert call["tool_calls"][0]["function"]["name"] == "calculator"
    assert call["tool_calls"][0]["id"] == answer["tool_call_id"] != "its own"


@pytest.mark.parametrize(
    "call", [calls("nothing", x=1), says("", tool_calls=[{"function": {"name": "calculator", "arguments": "{"}}])]
)
def test_a_call_that_cannot_be_read_is_the_models_mistake(call):
    with Server(chat=lambda body: call).running() as url:
        result = llmgym.evaluate(url, "llmgym/Calculator-v0", num_tasks=1)

    assert (result.success.value, result.num_invalid) == (0.0, 0)


def test_an_answer_that_the_server_cut_is_not_scored():
    with Server(
        chat=lambda body: says(body["messages"][-1]["content"].removeprefix("Copy: "), "length")
    ).running() as url:
        (trajectory,) = llmgym.evaluate(url, "llmgym/Copy-v0", num_tasks=1).trajectories

    assert (trajectory.stop_reason, trajectory.reward) == (StopReason.TOKEN_BUDGET, 0.0)


def test_an_answer_cut_before_its_first_word_is_an_episode_too():
    with Server(chat=lambda body: says(None, "length")).running() as url:
        (trajectory,) = llmgym.evaluate(url, "llmgym/Copy-v0", num_tasks=1).trajectories

    assert (trajectory.stop_reason, trajectory.num_actions, trajectory.is_valid) == (StopReason.TOKEN_BUDGET, 0, True)


def test_many_episodes_are_played_at_once():
    together = threading.Barrier(4)

    def waits(body):
        together.wait(timeout=20)
        return says("")

    with Server(chat=waits).running() as url:
        llmgym.evaluate(url, "llmgym/Copy-v0", num_tasks=8, concurrency=4)

    assert not together.broken


def test_an_asynchronous_function_plays_many_episodes_at_once():
    waiting, most = [0], [0]

    async def copies(messages):
        waiting[0] += 1
        most[0] = max(most[0], waiting[0])
        async with asyncio.timeout(60):
            while most[0] < 3:
                await asyncio.sleep(0.001)
        waiting[0] -= 1
        return messages[-1]["content"].removeprefix("Copy: ")

    result = llmgym.evaluate(copies, "llmgym/Copy-v0", num_tasks=6, concurrency=3)

    assert (result.success.value, most[0]) == (1.0, 3)
    assert result.trajectories[0].sampling is None


def test_a_function_that_is_not_asynchronous_may_run_a_loop_of_its_own():
    async def copied(messages):
        return messages[-1]["content"].removeprefix("Copy: ")

    result = llmgym.evaluate(lambda messages: asyncio.run(copied(messages)), "llmgym/Copy-v0", num_tasks=2)

    assert result.success.value == 1.0


# -- failures ----------------------------------------------------------------------------------------------------------


def test_a_busy_server_is_left_alone_for_as_long_as_it_asks(monkeypatch):
    monkeypatch.setattr("llmgym.sampling.endpoint_client.FIRST_WAIT_S", 1000.0)
    left = [(429, {}, {"Retry-After": 0}), (503, {}, {"Retry-After": "0.01"})]
    with Server(complete=lambda body: left.pop() if left and "seed" in body else tokens([52])).running() as url:
        assert sample(byte_sampler(url))[0].token_ids == (52,)

    assert not left


def test_what_the_server_says_is_quoted_and_the_key_is_not(monkeypatch):
    monkeypatch.setenv("ENDPOINT_KEY", "sk-secret")
    server = Server(
        complete=lambda body: (
            tokens([52]) if "seed" not in body else (400, {"error": {"message": "sk-secret may not\nask this"}}, {})
        )
    )
    with server.running() as url, pytest.raises(SamplerError, match=r"status 400: \*\*\* may not ask this") as failure:
        sample(sampler := byte_sampler(url, api_key_env="ENDPOINT_KEY"))

    assert server.keys == {"Bearer sk-secret"}
    assert "sk-secret" not in f"{failure.value!r} {failure.value.__cause__!r} {sampler!r}"


def test_a_key_that_the_server_refuses_does_not_pass_for_a_server_without_token_ids():
    with (
        Server(complete=lambda body: (401, {"message": "no such key"}, {})).running() as url,
        pytest.raises(SamplerError, match="status 401: no such key"),
    ):
        sample(byte_sampler(url))


def test_who_cancels_hangs_up():
    server = Server(complete=lambda body: (0, {}, {}) if "seed" in body else tokens([52]))

    async def cancel(url):
        task = asyncio.create_task(sampled(byte_sampler(url)))
        while not server.asked:
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return task.cancelled()

    with server.running() as url:
        assert asyncio.run(cancel(url))
        assert server.hung_up.wait(timeout=20)


def test_a_server_of_several_models_must_be_told_which():
    with (
        Server(complete=lambda body: tokens([52]), models=("a", "b")).running() as url,
        pytest.raises(ConfigError, match=r"it serves 'a', 'b'\. Name one"),
    ):
        sample(byte_sampler(url))


def test_nothing_is_trained_through_an_endpoint():
    url = "http://localhost:8000/v1"
    with pytest.raises(ConfigError, match="cannot be trained through"):  # and not for want of a url
        SAMPLERS.lookup("endpoint")(object(), num_tokens=5, max_batch=4, tokenizer=BYTES)
    with pytest.raises(ConfigError, match="goes on sampling with its own weights"):
        asyncio.run(EndpointSampler(url=url).update_weights((), version=1))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"url": "localhost:8000"}, "localhost:8000/v1"),
        ({"url": "http://me:secret@localhost/v1"}, "user or password in it"),
        ({"url": "http://localhost/v1", "api_key_env": "NOT_SET_ANYWHERE"}, "NOT_SET_ANYWHERE is to hold"),
        ({"url": "http://localhost/v1", "retries": -1}, "retries is -1"),
        ({"url": "http://localhost/v1", "timeout_s": 0}, "timeout_s is 0"),
    ],
)
def test_an_endpoint_that_cannot_be_asked_is_refused_at_once(settings, words):
    with pytest.raises(ConfigError, match=words) as refusal:
        EndpointSampler(**settings)

    assert "secret" not in str(refusal.value)
