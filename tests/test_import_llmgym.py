"""What `import llmgym` does to a fresh interpreter: next to nothing."""

import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[1]
HEAVY = ["torch", "transformers", "peft", "datasets", "math_verify", "sympy", "pandas", "matplotlib", "docker", "vllm"]


def in_a_fresh_interpreter(code: str) -> str:
    """What `code` prints in an interpreter that runs in the root, where the folder llmgym comes first."""
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_importing_llmgym_starts_nothing_and_writes_nothing():
    events = in_a_fresh_interpreter("""
        import gymnasium, sys
        starting = ("subprocess.", "os.fork", "os.exec", "os.posix_spawn", "os.system", "_thread.", "socket.")
        def watch(event, arguments):
            writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
            if event.startswith(starting) or (writes and ".pyc" not in str(arguments[0])):
                print(event, arguments)
        sys.addaudithook(watch)
        import llmgym
    """)

    assert events == ""


def test_importing_llmgym_configures_no_logging():
    handlers = in_a_fresh_interpreter("""
        import gymnasium, logging
        before = list(logging.getLogger().handlers), logging.getLogger().level, set(logging.root.manager.loggerDict)
        import llmgym
        ours = [name for name in set(logging.root.manager.loggerDict) - before[2] if name.startswith("llmgym")]
        handlers = [handler for name in ours for handler in logging.getLogger(name).handlers]
        print((logging.getLogger().handlers, logging.getLogger().level) == before[:2], handlers)
    """)

    assert handlers.strip() == "True []"


def test_importing_llmgym_costs_at_most_as_much_again_as_importing_gymnasium():
    # Counted in modules, which does not depend on what else the machine is doing.
    gymnasium, llmgym, heavy = in_a_fresh_interpreter(f"""
        import sys
        before = len(sys.modules)
        import gymnasium
        between = len(sys.modules)
        import llmgym
        heavy = [name for name in {HEAVY} if name in sys.modules]
        print(between - before, len(sys.modules) - between, heavy, sep=";")
    """).split(";")

    assert heavy.strip() == "[]"
    assert int(llmgym) <= int(gymnasium)
