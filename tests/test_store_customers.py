"""Who plays the customers of the store: a script, a model, an endpoint."""

import asyncio
import http.server
import json
import pickle
import re
import threading
from contextlib import contextmanager

import numpy as np
import pytest
from llmgym.envs.store import StoreEnv
from support.store import Desk, play, store, turn

import llmgym
from llmgym.errors import EnvironmentFailure, SamplerError
from llmgym.sampling import ScriptedSampler


def test_the_style_is_drawn_from_the_seed_of_the_episode():
    env = StoreEnv()
    task = env.tasks("train")[0]
    openings = [env.reset(task, np.random.default_rng(seed)).messages[-1].content for seed in range(30)]

    assert len(set(openings)) == 3
    assert openings[7] == env.reset(task, np.random.default_rng(7)).messages[-1].content


def test_customers_say_when_asked_what_agents_usually_ask():
    env, task, scenario = store("cancel")
    desk = Desk(env, task)

    assert desk.identify() in scenario.database["customers"]
    assert desk.orders() == [scenario.calls[0].arguments["order_id"]]
    assert "mistake" in (said := desk.take("Why do you want to cancel it?")) or "need it" in said


def test_a_model_plays_the_customer_and_step_waits_without_blocking():
    entered, may_answer = asyncio.Event(), asyncio.Event()

    async def ask(messages):
        entered.set()
        await may_answer.wait()
        return "Bye. ###STOP###"

    async def scene():
        env, task, _ = store("cancel", user=ask)
        env.reset(task, np.random.default_rng(0))
        step = asyncio.ensure_future(env.step(turn("Hello.")))
        await entered.wait()  # the loop goes on while the customer thinks
        assert not step.done()
        may_answer.set()
        return await step

    response = asyncio.run(scene())

    assert (response.terminated, response.score.reward, response.messages[0].content) == (True, 0.0, "Bye.")


def test_a_customer_played_by_a_model_can_be_served():
    env, task, _ = store("cancel", user=lambda messages: answer_of(messages))
    (email,) = re.findall(r"\S+@\S+\w", task.prompt) or [None]

    def answer_of(messages):
        said = messages[-1].content
        if "proceed" in said:
            return "Yes, do it."
        return "Thanks, bye ###STOP###" if "has been cancelled" in said else f"I am {email}; cancel my order."

    assert play(env, task, env.solve(task)).reward == 1.0


@contextmanager
def endpoint(status, content):
    """The address of a server that always gives this answer."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps({"choices": [{"message": {"content": content}}]}).encode())

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()


def test_an_endpoint_plays_the_customer_by_its_address():
    with endpoint(200, "Bye. ###STOP###") as url:
        env = llmgym.TokenEnv(StoreEnv(intents="cancel", user=url, user_model="m"), view="text")
        env.reset(seed=0)
        observation, reward, terminated, _, info = env.step("Hello.")

    assert (observation, reward, terminated) == ("Bye.", 0.0, True)
    assert info["score"].is_valid


def test_an_environment_whose_customer_an_endpoint_plays_can_be_pickled():
    with endpoint(200, "Bye. ###STOP###") as url:
        env = llmgym.TokenEnv(pickle.loads(pickle.dumps(StoreEnv(user=url, user_model="m"))), view="text")
        env.reset(seed=0)

        assert env.step("Hello.")[2]


def test_an_endpoint_that_fails_earns_nothing_and_is_no_wrong_answer():
    with endpoint(400, "") as url:
        env = llmgym.TokenEnv(StoreEnv(intents="cancel", user=url, user_model="m"), view="text")
        env.reset(seed=0)
        with pytest.raises(EnvironmentFailure, match="400"):
            env.step("Hello.")

    assert not env.trajectory().is_valid


@pytest.mark.parametrize("error", [SamplerError("down"), OSError("down")])
def test_a_customer_who_cannot_answer_is_our_failure_and_no_reward(error):
    async def ask(messages):
        raise error

    env = llmgym.TokenEnv(StoreEnv(intents="cancel", user=ask), view="text")
    env.reset(seed=0)

    with pytest.raises(EnvironmentFailure, match="down"):
        env.step("Hello.")
    assert not env.episode.is_valid


def test_a_customer_who_fails_once_spoils_no_other_episode():
    num_asked = 0

    async def ask(messages):
        nonlocal num_asked
        num_asked += 1
        if num_asked == 5:
            raise SamplerError("busy")
        return "Bye. ###STOP###"

    hello = ScriptedSampler(lambda prompt_ids, params, rng: [*b"Hello.", llmgym.ByteTokenizer().eos_id])
    played = llmgym.collect("llmgym/Store-v0", hello, num_tasks=8, env_kwargs={"user": ask})

    assert [each.is_valid for each in played] == [True] * 8
    assert sorted(each.metadata["attempts"] for each in played) == [1] * 7 + [2]
