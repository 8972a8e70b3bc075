"""The mathematics verifier beside bare math-verify, on labelled cases.

    LLMGYM_TEST_DATA=/path/to/data python benchmarks/math_verifier.py > benchmarks/results/math_verifier.jsonl

One JSON line for each checker and set of cases: accuracy in percent, wrong answers accepted (false positives), right
ones refused (false negatives), exceptions, checks over 5 CPU seconds, whether program text ran, CPU milliseconds of a
check (median, p99, maximum; of this process and its workers) and the share that a worker process saw. The sets are
`math/cases.jsonl` and `math/adversarial.jsonl` in that folder: rows with "gold", "response", "form" ("response", or
"answer" for a bare one) and "expected".

math-verify gets what its own authors give it: the reference in a box, the response as it is, a bare answer in a box.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from llmgym.envs.math import check
from llmgym.envs.math.comparison import compare
from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

OVERRUN_S = 5.0
_MEMORY = 4 * 2**30
_TRACES = ("LLMGYM_PWNED", "LLMGYMPWNED")
_TICKS = os.sysconf("SC_CLK_TCK")
_CONFIG = (LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig())


def by_llmgym(case: dict[str, Any]) -> tuple[bool, str]:
    if case["form"] == "answer":
        verdict = compare(case["response"], case["gold"])
    else:
        verdict = check(case["response"], case["gold"])
    return verdict.is_correct, verdict.stage


def by_math_verify(case: dict[str, Any]) -> tuple[bool, str]:
    response = case["response"]
    if case["form"] == "answer":
        response = rf"The final answer is \boxed{{{response}}}."
    return bool(verify(parse(rf"\boxed{{{case['gold']}}}", _CONFIG), parse(response, _CONFIG))), "math-verify"


CHECKERS: dict[str, Callable[[dict[str, Any]], tuple[bool, str]]] = {"llmgym": by_llmgym, "math-verify": by_math_verify}


def children_cpu_seconds() -> float:
    """CPU time so far of the processes that this one started and that still run."""
    total = 0.0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        if int(fields[1]) == os.getpid():
            total += (int(fields[11]) + int(fields[12])) / _TICKS
    return total


def measure(checker: str, cases: Sequence[dict[str, Any]]) -> dict[str, Any]:
    run = CHECKERS[checker]
    false_positives, false_negatives, times = [], [], []
    num_exceptions = num_by_worker = 0
    for case in cases:
        children = children_cpu_seconds()
        began = time.process_time()
        try:
            is_correct, stage = run(case)
        except Exception:  # whatever a checker raises is what is counted here
            is_correct, stage = False, ""
            num_exceptions += 1
        seconds = time.process_time() - began
        if stage == "math-verify" and checker == "llmgym":
            num_by_worker += 1
            seconds += max(0.0, children_cpu_seconds() - children)
        times.append(seconds)
        if is_correct != case["expected"]:
            (false_positives if is_correct else false_negatives).append(case["id"])
    num_wrong = len(false_positives) + len(false_negatives)
    return {
        "checker": checker,
        "cases": len(cases),
        "accuracy": round(100 * (1 - num_wrong / len(cases)), 2),
        "false_positives": len(false_positives),
        "false_negatives": len(false_negatives),
        "mistaken": false_positives + false_negatives[:20],
        "exceptions": num_exceptions,
        "overruns": sum(seconds > OVERRUN_S for seconds in times),
        "program_text_ran": any(trace in os.environ for trace in _TRACES),
        "cpu_ms": {
            "median": round(1000 * statistics.median(times), 3),
            "p99": round(1000 * statistics.quantiles(times, n=100)[98], 2),
            "max": round(1000 * max(times), 1),
        },
        "share_by_worker": round(num_by_worker / len(cases), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("LLMGYM_TEST_DATA", ".")) / "math")
    parser.add_argument("--checkers", nargs="+", choices=CHECKERS, default=list(CHECKERS))
    arguments = parser.parse_args()
    # math-verify evaluates power towers; without a limit they take the machine's memory.
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    for name in ("cases", "adversarial"):
        cases = [json.loads(line) for line in (arguments.data / f"{name}.jsonl").open(encoding="utf-8")]
        for checker in arguments.checkers:
            CHECKERS[checker](cases[0])  # imports, and a worker's start, are not what is measured
            figures = {"benchmark": "math_verifier", "set": name, **measure(checker, cases)}
            figures["python"], figures["math_verify"] = platform.python_version(), version("math-verify")
            print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
