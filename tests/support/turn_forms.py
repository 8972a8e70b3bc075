"""Tools, parsers of every form, and calls as DeepSeek writes them, for tests of turns."""

from llmgym.messages import FORMS, ByteTokenizer, TurnParser

BYTES = ByteTokenizer()


def tool(name, **properties):
    schemas = {key: {"type": kind} if kind else {} for key, kind in properties.items()}
    return {"function": {"name": name, "parameters": {"type": "object", "properties": schemas, "required": []}}}


TOOLS = [tool("search", query="string", limit="integer", all="object", any=None), tool("wait", seconds="number")]
TOOLS += [tool("stop"), tool("a-b.c", x="boolean", names="array", maybe=["integer", "null"])]
FAMILIES = [name for name in FORMS if name != "tag"]
BAR, LOW = "\uff5c", "\u2581"
CALLS_BEGIN, CALLS_END = f"<{BAR}tool{LOW}calls{LOW}begin{BAR}>", f"<{BAR}tool{LOW}calls{LOW}end{BAR}>"
CALL_BEGIN, CALL_END = f"<{BAR}tool{LOW}call{LOW}begin{BAR}>", f"<{BAR}tool{LOW}call{LOW}end{BAR}>"
SEPARATOR = f"<{BAR}tool{LOW}sep{BAR}>"


def parser_of(form, **options):
    return TurnParser(form, TOOLS, BYTES, **options)


PARSERS = {form: parser_of(form) for form in FAMILIES}


def parse(form, text):
    parser = PARSERS[form] if isinstance(form, str) else form
    return parser.parse(BYTES.encode(text))


def read(form, text):
    return [(call.name, dict(call.arguments)) for call in parse(form, text).tool_calls]


def deepseek(*calls):
    texts = (f"{CALL_BEGIN}function{SEPARATOR}{name}\n```json\n{arguments}\n```{CALL_END}" for name, arguments in calls)
    return CALLS_BEGIN + "\n".join(texts) + CALLS_END


def deepseek_v31(*calls):
    texts = (f"{CALL_BEGIN}{name}{SEPARATOR}{arguments}{CALL_END}" for name, arguments in calls)
    return CALLS_BEGIN + "".join(texts) + CALLS_END
