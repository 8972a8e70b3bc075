"""Programming environments for tests, in the sandbox for trusted programs."""

import json

import gymnasium as gym

TRUSTED = {"sandbox": "process", "allow_unsafe": True}
DOUBLE = {
    "prompt": "Write double(x), which doubles a number.",
    "tests": ["assert double(1) == 2", "assert double(5) == 10", "assert double(-3) == -6", "assert double(0) == 0"],
    "solution": "def double(x):\n    return 2 * x\n",
}


def make(env_id="llmgym/Code-v0", **kwargs):
    return gym.make(env_id, view="text", **{**TRUSTED, **kwargs})


def dataset(tmp_path, *rows):
    path = tmp_path / "problems.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def made_of(tmp_path, *rows, **kwargs):
    return make(dataset=dataset(tmp_path, *rows), test_dataset=dataset(tmp_path, *rows), **kwargs)


def fenced(code):
    return f"Here it is.\n```python\n{code}\n```"


def play(env, *answers, **options):
    env.reset(seed=0, options=options or {"split": "test"})
    steps = [env.step(answer) for answer in answers]
    return steps[-1]
