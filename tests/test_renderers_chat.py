"""Renderers of the package `renderers` in place of a chat template: two writings of each family that must agree."""

from functools import cache

import pytest
from support.chat_families import FAMILIES, TOOLS, backend_of, canonical_turn

from llmgym import FiniteTasks, InitialMessages, MessageEnv, Task, TokenEnv
from llmgym.episode import EnvResponse
from llmgym.errors import ConfigError, TokenizerError
from llmgym.messages import AssistantMessage, ByteTokenizer, Message, ToolCall, chat_for, load_tokenizer
from llmgym.scoring import Score

RENDERERS = {
    "qwen3": "qwen3",
    "qwen3.5": "qwen3.5",
    "qwen3.6": "qwen3.6",
    "qwen3.8": "qwen3.8",
    "llama3.1": "llama-3",
    "glm4.5": "glm-4.5",
    "nemotron3-nano": "nemotron-3",
    "nemotron3-ultra": "nemotron-3-ultra",
}
# What the models' own tokenizers have beside what the templates need.
MARKS = "<tool_call> </tool_call> <tool_response> </tool_response> <think> </think> <arg_key> </arg_key> <arg_value> "
MARKS += "</arg_value> /nothink"
CONTROLS = "<|vision_start|> <|vision_end|> <|image_pad|> <|video_pad|> <|endoftext|> <|end_of_text|> "
CONTROLS += "<|image> <image|> <|image|> <|audio|> <|video|> <video|>"

FIRST = [Message("system", "be é brief"), Message("user", " hi\nthere ")]
CALL = ToolCall("search", {"text": "cats", "limit": 3}, id="call_0_0")
RESULT = [Message("tool", "found\n", name="search", tool_call_id="call_0_0")]
THOUGHT = AssistantMessage(content="fine", reasoning="hm")
TURNS = {
    "answer": (AssistantMessage(content="fine"), [Message("user", "and now?")]),
    "thought": (THOUGHT, [Message("user", "and now?")]),
    "call": (AssistantMessage(content="", tool_calls=(CALL,)), RESULT),
    "thought and call": (AssistantMessage(content="", reasoning="hm", tool_calls=(CALL,)), RESULT),
}
# An empty thought before a call is dropped by Qwen 3's template once another turn follows: only the bridge keeps it.
# GLM's bridge begins a new segment whenever a user speaks, thought or none.
DIFFER = {("qwen3", "call"), ("glm4.5", "answer")}


@pytest.fixture(scope="session")
def tokenizer_of(trained_bpe):
    @cache
    def load(name):
        backend = backend_of(FAMILIES[name], trained_bpe)
        backend.add_tokens(MARKS.split())
        backend.add_special_tokens({"extra_special_tokens": CONTROLS.split()}, replace_extra_special_tokens=False)
        return load_tokenizer(backend)

    return load


@pytest.mark.parametrize("name", RENDERERS)
def test_a_renderer_and_the_template_write_the_same_conversation(tokenizer_of, name):
    tokenizer = tokenizer_of(name)
    renderer, template = chat_for(tokenizer, form=f"renderers:{RENDERERS[name]}"), chat_for(tokenizer)
    talk = [*FIRST, THOUGHT, Message("user", "find"), TURNS["call"][0], *RESULT]

    for length in (2, 4, 6):
        assert renderer.render(talk[:length], tools=TOOLS) == template.render(talk[:length], tools=TOOLS)


@pytest.mark.parametrize("kind", TURNS)
@pytest.mark.parametrize("name", RENDERERS)
def test_a_bridge_and_our_extension_append_the_same(tokenizer_of, name, kind):
    tokenizer, family, (turn, answers) = tokenizer_of(name), FAMILIES[name], TURNS[kind]
    renderer, template = chat_for(tokenizer, form=f"renderers:{RENDERERS[name]}"), chat_for(tokenizer)
    sampled = canonical_turn(tokenizer, family, FIRST, turn, tools=TOOLS, add_generation_prompt=True)
    if sampled is None or (turn.reasoning and not family.thinks):
        return
    ids, history = [*template.render(FIRST, tools=TOOLS), *sampled.token_ids], [*FIRST, sampled]

    suffixes = [chat.extend(ids, answers, history=history, tools=TOOLS) for chat in (renderer, template)]

    if (name, kind) in DIFFER:
        assert None in suffixes
        assert suffixes != [None, None]
    else:
        assert suffixes[0] == suffixes[1]


@pytest.mark.parametrize("name", RENDERERS)
def test_control_text_in_contents_stays_text_in_a_renderer_too(tokenizer_of, name):
    tokenizer = tokenizer_of(name)
    chat = chat_for(tokenizer, form=f"renderers:{RENDERERS[name]}")
    controls = [token for token in tokenizer.control_texts.values() if token != tokenizer.backend.bos_token]

    def num_controls(content):
        ids = chat.render([Message("system", content), Message("user", content)])
        return sum(token in tokenizer.control_texts for token in ids)

    assert num_controls("x" + " ".join(controls)) == num_controls("x")


class Asks(MessageEnv):
    """Asks twice."""

    def tasks(self, _):
        return FiniteTasks([Task(key="task", prompt="go")])

    def reset(self, task, _):
        self.num_turns = 0
        return InitialMessages((Message("user", task.prompt),))

    def step(self, _):
        self.num_turns += 1
        return EnvResponse(messages=(Message("user", "on"),), score=Score(reward=1), terminated=self.num_turns == 2)


def test_an_environment_takes_a_renderer_by_name(tokenizer_of):
    tokenizer = tokenizer_of("llama3.1")
    trajectories = []
    for chat in ("template", "renderers:llama-3"):
        env = TokenEnv(Asks(), tokenizer=tokenizer, view="text", chat=chat)
        env.reset(seed=0)
        env.step("yes")
        env.step("no")
        trajectories.append(env.trajectory())

    ids = [[segment.token_ids.tolist() for segment in trajectory.segments] for trajectory in trajectories]
    assert ids[0] == ids[1]
    assert len(ids[0]) == 1


def test_what_no_renderer_could_do_exactly_is_refused(tokenizer_of):
    with pytest.raises(ConfigError, match="must be 'template'"):
        chat_for(tokenizer_of("qwen3"), form="rendered")
    with pytest.raises(TokenizerError, match="has no control tokens"):
        chat_for(ByteTokenizer(), form="renderers:qwen3")
    with pytest.raises(TokenizerError, match="cannot be made for"):
        chat_for(tokenizer_of("qwen3"), form="renderers:glm-4.5")
    with pytest.raises(TokenizerError, match="writes control tokens as text"):
        chat_for(tokenizer_of("gemma4"), form="renderers:gemma4")
