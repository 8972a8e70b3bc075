"""How chat templates write turns is found by trying, and what they write is read as other people's parsers read it."""

from functools import cache, partial
from importlib.util import find_spec

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.chat_families import FAMILIES, TOOLS, backend_of, template_of, text_at_once

from llmgym import Message, ToolCall
from llmgym.errors import ConfigError
from llmgym.messages import AssistantMessage, ByteTokenizer, TurnStyle, chat_for, load_tokenizer, turn_style

USER = [Message("user", "and now?")]
ADDED = ["<tool_call>", "</tool_call>", "<think>", "</think>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"]
"""Tokens of their own that are no control tokens, as in Qwen's tokenizers."""

STYLES = {
    "qwen2.5": TurnStyle("hermes"),
    "qwen3": TurnStyle("hermes", thinks=True),
    "qwen3-2507": TurnStyle("hermes"),
    "qwen3.5": TurnStyle("qwen_xml", thinks=True),
    "qwen3.5-nothink": TurnStyle("qwen_xml", thinks=True),
    "qwen3.6": TurnStyle("qwen_xml", thinks=True),
    "qwen3.8": TurnStyle("qwen_xml", thinks=True),
    "llama3": TurnStyle(),
    "llama3.1": TurnStyle("llama_json"),
    "llama3.2": TurnStyle("llama_json"),
    "gemma": TurnStyle(),
    "gemma3": TurnStyle(),
    "gemma4": TurnStyle("gemma"),
    "phi3": TurnStyle(),
    "phi3.5": TurnStyle(),
    "deepseek-r1": TurnStyle("deepseek", thinks=True),  # it refuses calls as transformers 5.23 gives them
    "deepseek-v3": TurnStyle("deepseek", thinks=True),
    "gpt-oss": TurnStyle("harmony"),
    "glm4.5": TurnStyle("glm", thinks=True),
    "smolvlm": TurnStyle(),
    "lfm2": TurnStyle(),
    "lfm2-v2": TurnStyle("lfm"),
    "lfm2.5": TurnStyle("lfm", thinks=True),
    "nemotron3-nano": TurnStyle("qwen_xml", thinks=True),
    "nemotron3-ultra": TurnStyle("qwen_xml", thinks=True),
    "cohere": TurnStyle(),
    "cohere2": TurnStyle(),
    "mistral-v3": TurnStyle("mistral_list"),
    "mistral-v7": TurnStyle("mistral_list"),
    "mistral-v11": TurnStyle("mistral"),
    "mistral-v13": TurnStyle("mistral"),
    "chatml": TurnStyle(),
    "llmgym": TurnStyle(),
}
CALLING = [name for name, style in STYLES.items() if style.form and FAMILIES[name].calls]

MISTRAL = """{% for m in messages %}{% if m.role == 'user' %}[INST]{{ m.content }}[/INST]{% elif m.tool_calls %}\
CALLS</s>{% else %}{{ m.content }}</s>{% endif %}{% endfor %}"""
OLD_CALLS = """[TOOL_CALLS] [{% for c in m.tool_calls %}{"name": "{{ c.function.name }}", "arguments": \
{{ c.function.arguments | tojson }}, "id": "{{ c.id }}"}{% endfor %}]"""
NEW_CALLS = (
    "{% for c in m.tool_calls %}[TOOL_CALLS]{{ c.function.name }}[ARGS]{{ c.function.arguments | tojson }}{% endfor %}"
)
PYTHON_CALLS = (
    "[{% for c in m.tool_calls %}{{ c.function.name }}(query='{{ c.function.arguments.query }}', count=3){% endfor %}]"
)


@pytest.fixture(scope="session")
def backend(trained_bpe):
    @cache
    def make(name):
        made = backend_of(FAMILIES[name], trained_bpe)
        made.add_tokens([text for text in ADDED if text in template_of(FAMILIES[name])])
        return made

    return make


@pytest.fixture(scope="session")
def tokenizer_of(backend):
    return cache(lambda name: load_tokenizer(backend(name)))


# -- the style of a template -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STYLES)
def test_the_style_of_each_template_is_found(tokenizer_of, name):
    assert turn_style(tokenizer_of(name)) == STYLES[name]


def test_what_was_found_out_about_a_template_is_not_tried_again(backend, monkeypatch):
    tokenizer = load_tokenizer(backend("qwen3"))
    style, chat = turn_style(tokenizer), chat_for(tokenizer)

    monkeypatch.setattr(tokenizer.backend, "apply_chat_template", None)

    assert turn_style(tokenizer) is style
    assert chat_for(tokenizer) is not chat  # it knows what was said in one conversation
    assert turn_style(tokenizer, {"enable_thinking": False}) == TurnStyle()


def test_a_tokenizer_that_no_answer_can_be_kept_for_is_tried_each_time(backend):
    class Unhashable(type(load_tokenizer(backend("qwen3")))):
        __hash__ = None

    tokenizer = Unhashable(backend("qwen3"))

    assert turn_style(tokenizer) == turn_style(tokenizer) == STYLES["qwen3"]


def test_every_family_has_its_style_here():
    assert STYLES.keys() == FAMILIES.keys()


@pytest.mark.parametrize(
    ("calls", "form"), [(OLD_CALLS, "mistral_list"), (NEW_CALLS, "mistral"), (PYTHON_CALLS, "llama_python")]
)
def test_the_forms_of_templates_that_no_package_carries_are_found_too(trained_bpe, calls, form):
    made = trained_bpe(MISTRAL.replace("CALLS", calls), "none", ["</s>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[ARGS]"])
    made.eos_token = "</s>"

    assert turn_style(load_tokenizer(made)) == TurnStyle(form)


def test_a_template_with_calls_of_a_strange_form_needs_one_to_be_named(trained_bpe):
    strange = "{% for c in m.tool_calls %}!{{ c.function.name }}!{{ c.function.arguments.query }}!{% endfor %}"
    tokenizer = load_tokenizer(trained_bpe(MISTRAL.replace("CALLS", strange), "none", ["</s>", "[INST]", "[/INST]"]))
    style = turn_style(tokenizer)

    with pytest.raises(ConfigError, match=r"!find!red fox!.*none of the known forms.*'hermes', 'qwen_xml'"):
        style.parser("auto", "auto", TOOLS, tokenizer)
    assert style.parser("hermes", "auto", TOOLS, tokenizer).form == "hermes"
    assert style.parser("auto", "auto", [], tokenizer).parse(tokenizer.encode("4")).content == "4"


@pytest.mark.parametrize(("required", "form"), [(["text"], "tag"), ([], "hermes"), (["text", "limit"], "hermes")])
def test_without_a_template_the_form_is_one_that_fits_the_tools(required, form):
    function = TOOLS[0]["function"]
    tools = [{"function": {**function, "parameters": {**function["parameters"], "required": required}}}]

    assert TurnStyle().parser("auto", "auto", tools, ByteTokenizer()).form == form


# -- what templates write is read --------------------------------------------------------------------------------

SAFE = st.text(st.characters(exclude_categories=["Cs", "Zs", "Cc"], exclude_characters="<>|'\"\\`\uff5c▁"), max_size=12)
arguments = st.fixed_dictionaries(
    {"text": SAFE},
    optional={"limit": st.integers(-(10**20), 10**20), "more": st.lists(SAFE | st.booleans(), max_size=2)},
)


@st.composite
def turns(draw, family):
    calls = draw(st.lists(arguments, min_size=1, max_size=family.calls))
    content = "" if family.only_calls else draw(SAFE.filter(lambda text: text != "null"))  # which LFM's leave out
    return AssistantMessage(
        content=content,
        reasoning=draw(SAFE) if family.thinks and not content else "",
        tool_calls=tuple(ToolCall("search", each, id=f"call0000{index}") for index, each in enumerate(calls)),
    )


def sampled(data, tokenizer, name):
    """A turn, and its ids as a policy would sample them that writes just what the template writes."""
    family, backend = FAMILIES[name], tokenizer.backend
    turn = data.draw(turns(family))
    prompt = text_at_once(backend, family, USER, tools=TOOLS, add_generation_prompt=True)
    closed = text_at_once(backend, family, [*USER, turn], tools=TOOLS)
    if prompt.rstrip().endswith("<think>") and not closed.startswith(prompt):
        prompt = prompt.rpartition("<think>")[0]
        said = closed.removeprefix(prompt).removeprefix("<think>")
        said = said if "</think>" in said else f"</think>{said}"
    else:
        said = closed.removeprefix(prompt)
    assume(closed.startswith(prompt))  # a prompt without reasoning has no turn with some
    end = (family.ends.split() or [family.eos])[-1]
    ids = backend(said.rpartition(end)[0] or said, add_special_tokens=False)["input_ids"]
    prompt_ids = tokenizer.encode_protected(
        text_at_once(backend, family, USER, tools=TOOLS, add_generation_prompt=True)
    )
    return turn, (*ids, backend.convert_tokens_to_ids(end)), prompt_ids


def calls_of(message):
    return [(call.name, dict(call.arguments)) for call in message.tool_calls]


@settings(max_examples=20)
@given(st.data())
@pytest.mark.parametrize("name", CALLING)
def test_the_calls_that_a_template_writes_are_read(tokenizer_of, name, data):
    tokenizer = tokenizer_of(name)
    turn, ids, prompt_ids = sampled(data, tokenizer, name)
    parser = turn_style(tokenizer).parser("auto", "auto", TOOLS, tokenizer)

    message = parser.read([*prompt_ids, *ids], len(prompt_ids))

    assert calls_of(message) == calls_of(turn)
    assert (message.content.strip(), message.malformed_calls) == (turn.content.strip(), ())
    assert message.reasoning.strip() == turn.reasoning.strip()
    assert (message.text, message.token_ids) == (tokenizer.decode_turn(ids[:-1]), ids)


@settings(max_examples=20)
@given(st.data())
@pytest.mark.parametrize("name", CALLING)
def test_in_what_is_written_for_a_call_the_marks_are_control_tokens(tokenizer_of, name, data):
    tokenizer = tokenizer_of(name)
    parser = turn_style(tokenizer).parser("auto", "auto", TOOLS, tokenizer)
    call = ToolCall("search", data.draw(arguments))

    text = parser.write(call)
    ids = parser.encode(text)

    assert calls_of(parser.parse(ids)) == [(call.name, dict(call.arguments))]
    controls = [control for control in tokenizer.control_texts.values() if control in text]
    assert sorted(controls) == sorted(
        {tokenizer.control_texts[token] for token in ids if token in tokenizer.control_texts}
    )


@settings(max_examples=15)
@given(st.data())
@pytest.mark.parametrize(
    "name", [name for name in CALLING if STYLES[name].form not in ("harmony", "lfm", "mistral", "mistral_list")]
)
def test_a_call_is_written_to_the_letter_as_the_template_writes_it(tokenizer_of, name, data):
    # gpt-oss samples another head than its template writes, Mistral writes ids, and LFM's templates escape nothing.
    tokenizer = tokenizer_of(name)
    turn, ids, _ = sampled(data, tokenizer, name)
    parser = turn_style(tokenizer).parser("auto", "auto", TOOLS, tokenizer)

    text = parser.write(turn.tool_calls[0]).removesuffix("<|tool_response>")

    assert text.removesuffix("<\uff5ctool▁calls▁end\uff5c>") in tokenizer.decode_turn(ids)


# -- and as the parsers of another package read it ---------------------------------------------------------------


def tokens(backend, **texts):
    return {name: backend.convert_tokens_to_ids(text) for name, text in texts.items()}


def renderers_parser(name, tokenizer, is_thinking):
    """What the package renderers has for this form: from ids to its verdict."""
    from renderers import parsing

    backend, stops, style = tokenizer.backend, set(tokenizer.end_ids), STYLES[name]
    calls = tokens(backend, tool_call_id="<tool_call>", tool_call_end_id="</tool_call>")
    thinks = tokens(backend, think_id="<think>", think_end_id="</think>")
    match style.form:
        case "hermes":
            end = thinks["think_end_id"] if style.thinks else None
            return partial(parsing.parse_qwen3, backend, stop_ids=stops, reasoning_end_id=end, **calls)
        case "qwen_xml":
            more = {"tools": TOOLS, "prefilled_thinking": is_thinking}
            return partial(parsing.parse_qwen35, backend, stop_ids=stops, **calls, **thinks, **more)
        case "glm":
            marks = {"arg_key": "<arg_key>", "arg_key_end": "</arg_key>", "arg_value": "<arg_value>"}
            marks |= {"arg_value_end": "</arg_value>"}
            ids = {f"{mark}_id": backend.convert_tokens_to_ids(text) for mark, text in marks.items()}
            return partial(parsing.parse_glm, backend, stop_ids=stops, tools=TOOLS, **calls, **thinks, **ids)
        case "deepseek":
            marks = ("tool_calls_begin", "tool_calls_end", "tool_call_begin", "tool_call_end", "tool_sep")
            texts = {f"{mark}_id": f"<\uff5c{mark.replace('_', chr(0x2581))}\uff5c>" for mark in marks}
            return partial(
                parsing.parse_deepseek_v3,
                backend,
                stop_ids=stops,
                prefilled_thinking=is_thinking,
                **tokens(backend, **texts),
            )
        case "harmony":
            marks = ("return", "call", "start", "end", "channel", "message", "constrain")
            texts = {f"{mark}_id": f"<|{mark}|>" for mark in marks}
            return partial(parsing.parse_gpt_oss, backend, **tokens(backend, **texts))
        case "llama_json":
            return partial(parsing.parse_llama_3, backend, stop_ids=stops)


COMPARED = [
    name for name in CALLING if STYLES[name].form in ("hermes", "qwen_xml", "glm", "deepseek", "harmony", "llama_json")
]


@settings(max_examples=15)
@given(st.data())
@pytest.mark.parametrize("name", COMPARED)
def test_well_formed_turns_are_read_as_the_package_renderers_reads_them(tokenizer_of, require, name, data):
    require("renderers", find_spec("renderers"), "it is not installed")
    tokenizer = tokenizer_of(name)
    parser = turn_style(tokenizer).parser("auto", "auto", TOOLS, tokenizer)
    _, ids, prompt_ids = sampled(data, tokenizer, name)
    theirs = renderers_parser(name, tokenizer, parser.opens_thinking(prompt_ids, len(prompt_ids)))

    ours = parser.read([*prompt_ids, *ids], len(prompt_ids))
    # The head of gpt-oss's first message begins in the prompt.
    head = tokenizer.encode_protected("<|start|>assistant") if name == "gpt-oss" else []
    other = theirs(token_ids=[*head, *ids])

    assert calls_of(ours) == [(call.name, call.arguments) for call in other.tool_calls]
    assert ours.content.strip() == other.content.strip()
    assert ours.reasoning.strip() == (other.reasoning_content or "").strip()
