"""The four forms of tests, at every level: right programs pass, and no program passes by its own word."""

import pytest
from support.sandboxes import sandbox  # noqa: F401

from llmgym.execution import (
    Call,
    DataCase,
    DataTests,
    InProcessTests,
    Request,
    RpcTests,
    StdioCase,
    StdioTests,
    VerdictSource,
    form_of_statements,
    grade,
    grade_many,
)

# ruff: noqa: F811  (the fixture is imported)


def run(sandbox, source, **settings):
    return sandbox.run(Request(source=source, **settings))


def test_values_come_back_with_errors_by_name(sandbox):
    source = "def double(x): return x * 2\ndef fail(): raise KeyError('k')\nclass A:\n    def m(self): return 1\n"
    calls = [
        Call(function="double", args=[[1, "a"]]),
        Call(function="double", kwargs={"x": (1.5,)}),
        Call(function="fail"),
        Call(function="missing"),
    ]

    values = run(sandbox, source, calls=calls).values

    assert [value.value for value in values[:2]] == [[1, "a", 1, "a"], (1.5, 1.5)]
    assert [value.error for value in values[2:]] == ["KeyError", "AttributeError"]


def test_values_before_a_crash_are_kept(sandbox):
    source = "import os\ndef f(x):\n    if x == 2: os._exit(0)\n    return x\n"

    grading = grade(
        sandbox,
        DataTests(cases=[DataCase(call=Call(function="f", args=[n]), expected=n) for n in range(4)]),
        source,
    )

    assert [result.is_passed for result in grading.results] == [True, True, False, False]
    assert grading.verdict_source is VerdictSource.HOST


def test_forged_frames_are_claims_of_values_and_no_more(sandbox):
    forged = (
        "import os, struct\n"
        "def f():\n"
        "    for fd in range(3, 10):\n"
        "        for body in (b'T', b'l' + struct.pack('>I', 2) + b's' + struct.pack('>I', 5) + b'value' + b'T'):\n"
        "            try: os.write(fd, struct.pack('>I', len(body)) + body)\n"
        "            except OSError: pass\n"
        "    os._exit(0)\n"
    )

    grading = grade(sandbox, form_of_statements(["assert f() == 5", "assert f() is True"]), forged)

    assert not any(result.is_passed for result in grading.results)


STACK = """
class Empty(Exception): pass
class Stack:
    def __init__(self): self.items = []
    def push(self, item): self.items.append(item)
    def pop(self):
        if not self.items: raise Empty('empty')
        return self.items.pop()
    def __len__(self): return len(self.items)
    def __iter__(self): return iter(self.items)
    def __enter__(self): return self
    def __exit__(self, *a): self.items.clear()
def apply(function, x): return function(x)
def grow(xs, seen): xs.append(len(xs)); seen['n'] = 1
def count():
    n = 0
    while True:
        yield n
        n += 1
"""


def test_tests_see_objects_through_stand_ins(sandbox):
    statements = [
        "import itertools",
        "s = Stack()",
        "s.push(1); s.push([2])",
        "assert len(s) == 2 and list(s) == [1, [2]]",
        "assert isinstance(s, Stack) and not isinstance(3, Stack)",
        "assert s.pop() == [2] and s.pop() == 1",
        "try:\n    s.pop()\nexcept Empty as error:\n    assert 'empty' in str(error)\nelse:\n    raise AssertionError",
        "with Stack() as t:\n    t.push(1)\nassert not t",
        "assert apply(lambda x: x + 1, 4) == 5",
        "xs, seen = [0], {}\ngrow(xs, seen)\nassert xs == [0, 1] and seen == {'n': 1}",
        "assert list(itertools.islice(count(), 3)) == [0, 1, 2]",
        "assert apply(str, 5) == '6'",
    ]

    grading = grade(sandbox, RpcTests(statements=statements), STACK)

    assert [result.is_passed for result in grading.results] == [True] * 8 + [False]
    assert grading.verdict_source is VerdictSource.TESTER


LIARS = """
class Liar:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __lt__(self, other): return True
    __gt__ = __le__ = __ge__ = __lt__
    def __sub__(self, other): return self
    __rsub__ = __add__ = __abs__ = __round__ = lambda self, *a: self
    def __contains__(self, item): return True
    def __hash__(self): return 5
def f(*args): return Liar()
def g(*args): return [Liar()]
def die(*args):
    import os
    os._exit(0)
"""


@pytest.mark.parametrize(
    "statement",
    [
        "x = f(1)\nassert x == 5",
        "x = f(1)\nassert 5 == x",
        "assert not (f(1) != 5), 'ne'",
        "x = f(1)\nassert abs(x - 0.5) < 1e-9",
        "x = f(1)\nassert x > 3",
        "x = f(1)\nassert 3 in x",
        "x = f(1)\nassert x in [1, 2]",
        "x = g(1)\nassert x == [5]",
        "x = f(1)\nassert round(x, 2) == 0.15",
        "x = {5: 1}\nassert x[f(1)] == 1",
        "try:\n    die()\nexcept:\n    pass",
        "try:\n    die()\nexcept BaseException:\n    x = 1",
        "import contextlib\nwith contextlib.suppress(Exception):\n    die()\n",
    ],
)
def test_no_object_passes_by_its_own_word(sandbox, statement):
    plain = grade(sandbox, RpcTests(statements=[statement]), LIARS)

    assert not plain.is_all_passed


def test_objects_may_speak_of_each_other_where_the_task_says_so(sandbox):
    source = (
        "class V:\n"
        "    def __init__(self, x): self.x = x\n"
        "    def __add__(self, o): return V(self.x + o.x)\n"
        "    def __eq__(self, o): return self.x == o.x\n"
        "    def __lt__(self, o): return self.x < o.x\n"
    )
    statements = ["assert V(1) + V(2) == V(3)", "assert V(1) < V(2)", "assert (V(1) + V(2)).x == 3"]

    told = grade(sandbox, RpcTests(statements=statements, compares_objects=True), source)
    untold = grade(sandbox, RpcTests(statements=statements), source)

    assert told.is_all_passed
    assert not any(result.is_passed for result in untold.results)
    assert not grade(sandbox, RpcTests(statements=["assert f() == 5"], compares_objects=True), LIARS).is_all_passed


def test_tests_are_not_within_reach_of_the_program(sandbox):
    if sandbox.level == "process":
        return
    nosy = (
        "import os\n"
        "def f():\n"
        "    found = []\n"
        "    for pid in map(str, range(1, 400)):\n"
        "        for name in ('mem', 'environ', 'maps', 'fd/0', 'root/tmp'):\n"
        "            if int(pid) != os.getpid():\n"
        "                try: found.append(open(f'/proc/{pid}/{name}', 'rb').read(10)); found.append(pid + name)\n"
        "                except OSError: pass\n"
        "    return found\n"
    )

    grading = grade(sandbox, RpcTests(statements=["x = f()\nassert x == [], x"]), nosy)

    assert grading.is_all_passed, grading.results


def test_text_is_compared_without_white_space_at_the_ends_of_lines(sandbox):
    cases = [
        StdioCase(stdin="2\n", stdout="4 \n\n"),
        StdioCase(stdin="3", stdout="9"),
        StdioCase(stdin="4", stdout="8"),
    ]

    grading = grade(sandbox, StdioTests(cases=cases), "print(int(input()) ** 2)")

    assert [result.is_passed for result in grading.results] == [True, True, False]
    assert "'16\\n'" in grading.results[2].reason


def test_numbers_may_differ_where_a_tolerance_is_given(sandbox):
    cases = [StdioCase(stdin="", stdout="x 0.3333\n")]

    tests = StdioTests(cases=cases, tolerance=1e-3)

    assert grade(sandbox, tests, "print('x', 1 / 3)").is_all_passed
    assert not grade(sandbox, tests, "print('y', 1 / 3)").is_all_passed
    assert not grade(sandbox, StdioTests(cases=cases), "print('x', 1 / 3)").is_all_passed


def test_a_checker_decides_on_the_host(sandbox):
    tests = StdioTests(cases=[StdioCase(stdin="7", stdout="")], checker=lambda given, _, wrote: given in wrote)

    assert grade(sandbox, tests, "print('a7b')").is_all_passed
    assert not grade(sandbox, tests, "print('a')").is_all_passed


def test_an_exit_code_beside_the_program_is_marked_as_unsound(sandbox):
    tests = InProcessTests(
        argv=["python3", "check.py"], files={"check.py": b"import solution\nassert solution.f() == 1"}
    )

    assert grade(sandbox, tests, "def f(): return 1").is_all_passed
    assert grade(sandbox, tests, "import os; os._exit(0)").verdict_source is VerdictSource.IN_PROCESS
    assert not grade(sandbox, tests, "def f(): return 2").is_all_passed


def test_many_gradings_keep_their_order(sandbox):
    pairs = [(form_of_statements([f"assert f() == {n % 3}"]), f"def f(): return {n}") for n in range(12)]

    gradings = grade_many(sandbox, pairs)

    assert [grading.is_all_passed for grading in gradings] == [n < 3 for n in range(12)]
