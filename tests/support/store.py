"""Playing `llmgym/Store-v0` by hand: tasks, turns and agents."""

import json
import re
from functools import cache

import numpy as np
from llmgym.envs.store import StoreEnv

from llmgym import AssistantMessage, ToolCall

STYLES = ("patient", "terse", "changing")


def store(intent, style="patient", index=0, **settings):
    """An environment, a task of the intent, and its scenario."""
    task = _task(intent, index)
    return StoreEnv(intents=intent, style=style, **settings), task, task.metadata["scenario"]


@cache
def _task(intent, index):
    return StoreEnv(intents=intent).tasks("train")[index]


def turn(said):
    """A message that says a text or makes a call."""
    if isinstance(said, ToolCall):
        return AssistantMessage(content="", tool_calls=(said,))
    return AssistantMessage(content=said)


def play(env, task, turns, seed=0):
    """The score of an episode in which the agent takes these turns; None where it did not end."""
    env.reset(task, np.random.default_rng(seed))
    for said in turns:
        response = env.step(turn(said))
        if response.terminated:
            return response.score
    return None


def call(name, **arguments):
    return ToolCall(name, arguments)


def replaced(turns, index, *others):
    """The turns with others in the place of one."""
    turns = list(turns)
    index %= len(turns)
    return [*turns[:index], *others, *turns[index + 1 :]]


def places(turns, name):
    """Where a tool is called."""
    return [index for index, said in enumerate(turns) if isinstance(said, ToolCall) and said.name == name]


class Desk:
    """An agent that knows nothing: it talks and calls, and remembers the answer."""

    def __init__(self, env, task, seed=0):
        self.env, self.score, self.customer_id = env, None, None
        self.heard = env.reset(task, np.random.default_rng(seed)).messages[-1].content

    def take(self, said):
        """What came back; "" after the end."""
        if self.score is None:
            response = self.env.step(turn(said))
            self.score = response.score if response.terminated else None
            self.heard = "\n".join(message.content for message in response.messages)
            return self.heard
        return ""

    def identify(self):
        """The id of the customer, found as the rules say; None for a stranger."""
        email = re.search(r"\S+@\S+\w", self.take("What is your e-mail address, please?"))
        found = self.take(call("find_customer_by_email", email=email[0])) if email else "error"
        if "customer_id" not in found:
            name = re.search(r"My name is (\w+) (\w+)", self.take("What is your name, please?"))
            zip_code = re.search(r"\d{5}", self.take("And your ZIP code?"))
            if name is None or zip_code is None:
                return None
            who = {"first_name": name[1], "last_name": name[2], "zip": zip_code[0]}
            found = self.take(call("find_customer_by_name_and_zip", **who))
        self.customer_id = json.loads(found)["customer_id"] if "customer_id" in found else None
        return self.customer_id

    def orders(self):
        """Numbers of the orders that the customer names or describes when asked."""
        said = self.take("What can I do for you?") + self.take("Which order is it about?")
        named = re.findall(r"\bS\d{5}\b", said)
        return list(dict.fromkeys(named)) if named or not self.customer_id else self._described(said)

    def _described(self, said):
        profile, found = json.loads(self.take(call("get_customer", customer_id=self.customer_id))), []
        for order_id in profile["order_ids"]:
            items = json.loads(self.take(call("get_order", order_id=order_id)))["items"]
            names = " and ".join(sorted(f"the {item['name']}" for item in items))
            found += [order_id] if f"order with {names}." in said else []
        return found

    def read_everything(self, customer_id):
        """All that the reading tools show about a customer and the products."""
        profile = self.take(call("get_customer", customer_id=customer_id))
        texts = [profile]
        texts += [self.take(call("get_order", order_id=name)) for name in re.findall(r"\bS\d{5}\b", profile)]
        products = re.findall(r"\bP\d{5}\b", self.take(call("search_products", text="")))
        return texts + [self.take(call("get_product", product_id=name)) for name in products]
