import importlib.util
import sys
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmgym.envs.math import MathVerifier, comparison
from llmgym.envs.math.reading import exact_number

from llmgym.episode import Task
from llmgym.errors import ConfigError
from llmgym.messages import AssistantMessage
from llmgym.scoring import WorkerPool, WorkResult, WorkStatus

rationals = st.fractions(min_value=-(10**9), max_value=10**9, max_denominator=10**4)
integers = st.integers(-(10**30), 10**30)


def score(text, answer, **keywords):
    return MathVerifier(**keywords)(AssistantMessage(text), Task(key="", prompt="", answer=answer))


def is_correct(answer, reference):
    return comparison.compare(answer, reference, timeout_s=4.0).is_correct


WRITINGS = {
    "plain": lambda q: f"{q.numerator}/{q.denominator}",
    "latex": lambda q: rf"\frac{{{q.numerator}}}{{{q.denominator}}}",
    "display": lambda q: rf"$\dfrac{{{q.numerator}}}{{{q.denominator}}}$",
    "sign before": lambda q: rf"{'-' * (q < 0)}\tfrac{{{abs(q.numerator)}}}{{{q.denominator}}}",
    "doubled": lambda q: f"{2 * q.numerator} / {2 * q.denominator}",
    "spaced minus": lambda q: f"{q.numerator}/{q.denominator}".replace("-", "\N{MINUS SIGN}"),
}


@pytest.mark.parametrize("writing", WRITINGS)
@given(rationals)
def test_every_writing_of_a_fraction_is_read_exactly(writing, value):
    assert exact_number(WRITINGS[writing](value)) == value


@given(integers)
def test_integers_are_read_with_and_without_groups(value):
    assert (
        exact_number(str(value))
        == exact_number(f"{value:,}")
        == exact_number(f"{value:,}".replace(",", r"\,"))
        == value
    )


@given(st.integers(-(10**20), 10**20), st.integers(0, 12))
def test_decimals_are_read_exactly(digits, places):
    value = Fraction(digits, 10**places)
    whole, part = divmod(abs(digits), 10**places)
    text = f"{'-' * (digits < 0)}{whole}" + (f".{part:0{places}d}" if places else "")

    assert exact_number(text) == value


@given(rationals, rationals)
def test_two_numbers_are_equal_exactly_when_their_values_are(a, b):
    assert is_correct(str(a), str(b)) == (a == b)


@given(integers, st.integers(1, 10**6))
def test_a_neighbouring_integer_is_never_equal(value, distance):
    assert not is_correct(str(value + distance), str(value))


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("1,000", "1000"), ("$18", "18"), (r"\$18.00", "18"), ("18 cents", "18"), ("5 km", "5"), (r"3\text{ cm}", "3"),
        ("0.25", r"25\%"), ("25%", "0.25"), ("25%", "25"), (r"3\frac{1}{2}", "7/2"), ("3 1/2", "3.5"),
        ("6.02e23", r"6.02 \times 10^{23}"), ("10^{3}", "1000"), ("½", r"\frac{1}{2}"), ("\uff14\uff12", "42"),
        ("42.", "42"),
        ("x = 3", "3"), ("0.333333", "1/3"), ("-.5", r"-\frac12"), ("(1, 2)", r"\left(1,2\right)"), ("3,1,2", "1,2,3"),
        (r"\{4,3\}", r"\{3,4\}"), ("90°", r"90^\circ"), ("Even", r"\text{even}"), ("023", "23"), ("2 and 3", "3, 2"),
        (r"\boxed{42}", "42"), ("9^{9^{9}}", "9^{9^{9}}"),
    ],
)  # fmt: skip
def test_these_are_equal(answer, reference):
    assert is_correct(answer, reference)


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("100000000000000000001", "10^{20}"), ("0.0000004", "0.0000003"), ("300", "3"), ("0.03", "3"), ("25", "0.25"),
        ("1,2", "12"), ("1 2", "12"), ("(1,234)", "1234"), ("(2, 1)", "(1, 2)"), ("(3,4)", "[3,4]"), ("1,2", "1,2,3"),
        ("1, 1, 2", "1, 2, 2"), ("5 or 7", "5"), ("not 12", "12"), ("2x+4=16", "6"), (r"5 \pm 2", "5"),
        ("y = 3", "x = 3"), ("10²", "102"), (r"\emptyset", "0"), ("5 cm", "5 kg"), ("0.333", "1/3"), ("42.0001", "42"),
        ("x", "5"), ("", "0"), ("tea", "eat"), ("1/0", "0"), (r"\frac{3}{2}", r"3\frac{1}{2}"), ("0.33333", "0.333333"),
        ("7" + " " * 5000 + "8", "7"),
    ],
)  # fmt: skip
def test_these_differ(answer, reference):
    assert not is_correct(answer, reference)


@pytest.mark.parametrize("answer", ["1e999999999", "9" * 100_000, "9**9**9**9", "9^9^9^9", "(10^{10})!", "1e-99999999"])
def test_numbers_beyond_all_measure_are_wrong_without_being_evaluated(answer, monkeypatch):
    monkeypatch.setattr(comparison, "shared_pool", lambda: pytest.fail("no worker should see this"))

    assert not is_correct(answer, "7")


@given(st.text(max_size=60))
def test_no_answer_raises(answer):
    assert isinstance(is_correct(answer, "7"), bool)


def test_a_score_explains_itself():
    right, wrong, none = (score(text, "7") for text in (r"\boxed{7.0}", r"\boxed{8}", "seven"))

    assert (right.reward, right.reason, right.extracted, right.expected) == (1.0, "correct", "7.0", "7")
    assert (wrong.reward, wrong.reason, dict(wrong.parts)) == (0.0, "wrong", {"correct": 0.0, "format": 1.0})
    assert (none.reward, none.reason, dict(none.parts)) == (0.0, "no answer", {"correct": 0.0, "format": 0.0})


def test_the_format_reward_is_paid_for_a_wrong_answer_in_the_right_form_only():
    rewards = [score(text, "7", format_reward=0.2).reward for text in (r"\boxed{7}", r"\boxed{8}", "7")]

    assert rewards == [1.0, 0.2, 0.0]


@pytest.mark.parametrize("keywords", [{"answer_format": "boxed"}, {"format_reward": 1.0}, {"timeout_s": 0}])
def test_settings_out_of_range_are_refused(keywords):
    with pytest.raises(ConfigError):
        MathVerifier(**keywords)


def pretend_that_math_verify_is_missing(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda *_: None)
    monkeypatch.setattr(comparison, "find_spec", lambda *_: None)
    monkeypatch.setitem(sys.modules, "math_verify", None)


INTEGRAL = r"\int_0^1 2x \, dx"


def test_without_math_verify_a_reference_that_is_not_understood_is_an_error_not_a_zero(monkeypatch):
    pretend_that_math_verify_is_missing(monkeypatch)

    verdict = score(r"\boxed{1}", INTEGRAL)
    assert (verdict.is_valid, "llmgym[math]" in verdict.reason) == (False, True)


def test_without_math_verify_all_that_llmgym_reads_itself_is_compared(monkeypatch):
    pretend_that_math_verify_is_missing(monkeypatch)

    assert score(r"\boxed{0.5}", r"\frac{1}{2}").reward == 1.0
    assert score(r"\boxed{\sqrt{4}}", "2").reward == 1.0
    assert score(rf"\boxed{{{INTEGRAL}}}", "1").reason.startswith("wrong: not understood")


class ScriptedPool:
    """Stands for the pool; each call ends as the script says."""

    def __init__(self, *results):
        self.results = list(results)

    def run(self, *_args, **_keywords):
        return self.results.pop(0)


def symbolic_verdict(monkeypatch, *results):
    pool = ScriptedPool(*results)
    monkeypatch.setattr(comparison, "shared_pool", lambda: pool)
    monkeypatch.setattr(comparison, "find_spec", lambda *_: object())
    return score(rf"\boxed{{{INTEGRAL}}}", "1")


LOST = WorkResult(WorkStatus.LOST, error="the worker ended with status -9")


def test_an_answer_that_takes_too_long_to_compare_is_refused(monkeypatch):
    verdict = symbolic_verdict(monkeypatch, WorkResult(WorkStatus.OVERRUN, error="used more than 4 s of CPU time"))

    assert (verdict.reward, verdict.is_valid) == (0.0, True)
    assert verdict.reason == "refused: used more than 4 s of CPU time"


def test_a_worker_that_is_lost_once_is_asked_again(monkeypatch):
    assert symbolic_verdict(monkeypatch, LOST, WorkResult(WorkStatus.RETURNED, value=True)).reward == 1.0


def test_a_worker_that_is_lost_twice_is_an_error_not_a_zero(monkeypatch):
    assert not symbolic_verdict(monkeypatch, LOST, LOST).is_valid


RAISED = WorkResult(WorkStatus.RAISED, error="KeyError: 'x'")


def test_a_comparison_that_raises_for_the_reference_alone_too_is_an_error_not_a_zero(monkeypatch):
    verdict = symbolic_verdict(monkeypatch, RAISED, RAISED)

    assert (verdict.is_valid, verdict.reason[:5], "KeyError" in verdict.reason) == (False, "error", True)


def test_a_comparison_that_raises_for_this_answer_only_is_wrong(monkeypatch):
    verdict = symbolic_verdict(monkeypatch, RAISED, WorkResult(WorkStatus.RETURNED, value=True))

    assert (verdict.reward, verdict.reason) == (0.0, "wrong: cannot be compared")


@pytest.fixture
def math_verify(require):
    require("math", importlib.util.find_spec("math_verify"), "math-verify is not installed")


@pytest.mark.usefixtures("math_verify")
@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        (r"1+\sqrt{2}", r"\sqrt{2}+1"), ("(x+1)^2", "x^2+2x+1"), (r"\sqrt{17}", "4.123105625617661"),
        (r"\sqrt{16}", "4"), ("3.14159", r"\pi"),
        (r"\begin{pmatrix}0&1\\1&0\end{pmatrix}", r"\begin{bmatrix} 0 & 1 \\ 1 & 0 \end{bmatrix}"),
        (r"2√3", r"2\sqrt{3}"), (r"\sum_{n=0}^{\infty} \frac{1}{2^n}", "2"), (r"\int_0^1 x\,dx", "1/2"),
        (r"\frac{\pi^2}{6}", r"\sum_{n=1}^{\infty} \frac{1}{n^2}"), (r"\lim_{x \to 0} \frac{\sin x}{x}", "1"),
    ],
)  # fmt: skip
def test_formulas_are_compared_by_their_meaning(answer, reference):
    assert is_correct(answer, reference)


@pytest.mark.usefixtures("math_verify")
@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("3.14", r"\pi"), (r"\sqrt{16}+10^{-7}", "4"),
        (r"1+\frac{1}{\mathrm{e}}", r"1-\frac{1}{\mathrm{e}}"), ("x+1", "t+1"), (r"\frac{1}{51!}", r"\frac{1}{50!}"),
        ("x", "|x|"), ("-2i", "2i"), (r"4\sqrt{2}", "4"), ("x+y-z+2=0", "5x-7y=0"), (r"\pm 3", "3"), ("4<x<6", "5"),
        (r"\sum_{n=0}^{\infty} \frac{1}{2^n}", "3"), (r"\lim_{x \to 0} \frac{\sin x}{x}", "0"),
    ],
)  # fmt: skip
def test_formulas_of_different_meaning_differ(answer, reference):
    assert not is_correct(answer, reference)


@pytest.mark.usefixtures("math_verify")
def test_an_answer_that_keeps_the_symbolic_comparison_busy_is_wrong(monkeypatch):
    with WorkerPool(1) as pool:
        monkeypatch.setattr(comparison, "shared_pool", lambda: pool)
        verdict = score(r"\boxed{\int (x+y+z)^{60} \, dx}", r"x^2+y", timeout_s=0.2)

    assert verdict.reason == "refused: used more than 0.2 s of CPU time"


@pytest.mark.usefixtures("math_verify")
@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("2^{100}", "2^{100}-1"), ("2^{64}-1", "18446744073709551614"), (r"\binom{100}{50}", r"\binom{100}{50}-1"),
        (r"\frac{3^{50}}{2}", r"\frac{3^{50}-1}{2}"), (r"1.26765 \times 10^{30}", "2^{100}-1"),
    ],
)  # fmt: skip
def test_large_whole_numbers_that_differ_by_one_differ(answer, reference):
    assert not is_correct(answer, reference)


@pytest.mark.usefixtures("math_verify")
@pytest.mark.parametrize(("answer", "reference"), [("1 2", "3"), ("7 2", "9"), (r"3 \quad 4", "7"), ("1 1 1", "3")])
def test_numbers_side_by_side_are_not_added_up(answer, reference):
    assert not is_correct(answer, reference)


@pytest.mark.usefixtures("math_verify")
def test_a_box_within_a_box_does_not_hide_what_stands_beside_it():
    assert score(r"\boxed{5 \boxed{72}}", "72").reward == 0
    assert score(r"\boxed{\boxed{\frac{3}{4}}}", "0.75").reward == 1


@pytest.mark.parametrize(
    "answer",
    [r"72\text{ apples}", "72 apples", "72 USD", r"72 \text{ km/h}", "72 km per hour", "72 square meters", "72 sq ft"],
)
def test_what_is_counted_or_measured_may_stand_behind_the_number(answer):
    assert is_correct(answer, "72")


@pytest.mark.parametrize(
    "words",
    ["thousand", "thousands", "quarters", "tenths", "or more", "times", "less", "plus", "feet 6 inches", "this"],
)
def test_words_that_change_a_number_are_no_unit(words):
    assert not is_correct(f"72 {words}", "72")
    assert not is_correct(rf"72\text{{ {words}}}", "72")


def test_things_of_another_kind_are_another_answer():
    assert not is_correct("72 apples", "72 oranges")
    assert not is_correct("72 ft", "72 square feet")


def test_a_fraction_may_be_written_with_the_stroke_of_unicode():
    assert is_correct("3\u20444", "3/4")
