"""What answers mean, type by type: the type of the reference decides."""

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmgym.envs.math import Outcome, check, comparison
from llmgym.envs.math.comparison import compare, problem_of_reference
from llmgym.envs.math.reading import read


def are_equal(answer, reference):
    return compare(answer, reference).is_correct


EQUAL = {
    "expressions": [
        ("(x-1)(x+1)", "x^2-1"), (r"\frac{1}{\sqrt{2}}", r"\frac{\sqrt{2}}{2}"), (r"\sqrt{1/n}", r"1/\sqrt{n}"),
        (r"2\cos^2 x-1", r"\cos 2x"), (r"\log_2 8", "3"), (r"e^{i\pi}", "-1"), (r"\sum_{k=1}^n k", r"\frac{n(n+1)}{2}"),
        ("n!/(k!(n-k)!)", r"\binom{n}{k}"), ("sqrt(3)/2", r"\frac{\sqrt{3}}{2}"), ("1/2x", r"\frac{x}{2}"),
        (r"{10 \choose 3}", "120"), (r"|x-1|", "|1-x|"), (r"\sqrt{x^2}", "|x|"), ("2n \\pi", r"2\pi n"),
        (r"0.1\overline{6}", "1/6"), (r"17 \bmod 5", "2"), (r"\tan^2 y+1", r"\sec^2 y"), (r"e^{\ln x}", "x"),
    ],
    "decimals": [
        ("3.14159", r"\pi"), ("0.666667", "2/3"), ("3.1415926535", r"\pi"), ("4^20", "1.09951162778E+12"),
        ("2500", r"2.5 \times 10^3"), ("2.5e3", "2500"),
    ],
    "sets and intervals": [
        ("x>3", r"(3,\infty)"), ("3<x", r"(3, \infty)"), (r"(-\infty,-1]\cup[1,\infty)", r"x\ge 1 \text{ or } x\le -1"),
        (r"\{x : x > 3\}", "x>3"), (r"\{x \in \mathbb{R} \mid x \neq 3\}", r"\mathbb{R} \setminus \{3\}"),
        (r"1\le x\le 3", "[1,3]"), (r"\varnothing", r"\emptyset"), (r"\text{all real numbers}", r"(-\infty,\infty)"),
        (r"\{(1,2),(3,4)\}", "(3,4),(1,2)"), (r"(0,1]\cup(1,2)", "(0,2)\\cup\\{1\\}"),
    ],
    "lists": [
        (r"\pm\sqrt{2}", r"\sqrt{2},-\sqrt{2}"), (r"x=2 \text{ or } x=3", "2,3"), ("n=1, 2, 3", "n = 3, 2, 1"),
        (r"a_{37} = 19, \quad a_3 = 2", "a_3 = 2, a_{37} = 19"), ("B, A", r"\text{A,B}"),
    ],
    "relations": [
        (r"P(\text{heads})=0.5", "1/2"), ("|AB| = 5", "5"), ("x^2-1=(x-1)(x+1)", "(x-1)(x+1)"),
        ("2x-y+1=0", "y=2x+1"), (r"-x > -1", "x < 1"), ("x^2+y^2=25", "x^2+y^2-25=0"), ("f'(x)=2x", "2x"),
        ("AB = 5", "5"), (r"3+4 = 7", "7"), (r"\frac{2}{\sqrt3} \approx 1.1547", r"\frac{2\sqrt{3}}{3}"),
        (r"a=1,\quadb=2", "a=1, b=2"), (r"x \equiv 3 \pmod{5}", r"x\equiv 3 \pmod 5"),
    ],
    "layout": [
        (r"{5 \over 6}", "5/6"), (r"\color{red}{42}", "42"), (r"\textcolor{red}{42}", "42"), (r"\underline{42}", "42"),
        (r"{\bf 42}", "42"), (r"\large 42", "42"), (r"x^\prime", "x'"), ("6.02 x 10^23", r"6.02\times10^{23}"),
        (r"\begin{pmatrix}1\\[2pt]5\end{pmatrix}", r"\begin{pmatrix}1\\5\end{pmatrix}"),
    ],
    "matrices, ratios, times, numerals": [
        ("2:30 p.m.", r"2{:}30\text{ PM}"), ("14:30", "2:30 PM"), ("12:30 AM", "0:30"), ("9 a.m.", "9:00 AM"),
        (r"14{:}05", "14:05"), ("5∶3", "5:3"),  # noqa: RUF001
        (r"1011_{\text{two}}", "1011_2"), ("52_{(8)}", "52_8"), ("12_{10}", "12"),
        (r"\left(\begin{array}{cc}1&2\\3&4\end{array}\right)", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}"),
        (r"\frac12\begin{pmatrix}2\\4\end{pmatrix}", r"\begin{bmatrix}1\\2\end{bmatrix}"),
        (r"\langle 1,2\rangle", "(1,2)"),
        ("14:6:2", "7:3:1"), ("12:30 PM", r"12\!:\!30 \text{ p.m.}"), ("1011_{2}", "1011_2"), ("N = 52_8", "52_8"),
    ],
    "units": [
        ("5 m/s^2", "5"), ("5 m/s", r"5\text{ m/s}"), ("5 m^2", r"5\text{ m}^2"), ("60 mph", "60 miles per hour"),
        (r"60\,\frac{\text{km}}{\text{h}}", "60 km/h"), (r"70^\circ\text{F}", "70"), ("30 min", "30 minutes"),
        ("20 years old", "20"), ("5 red balls", "5"), ("4 different ways", "4"), ("3 people", "3"),
        ("3 tickets sold", "3"), ("$-5", "-5"), (r"60^\circ", r"\frac{\pi}{3}"), (r"\text{seven}", "7"),
        ("100 million", "10^8"), (r"\$2.5 \text{ million}", "2500000"), ("5 thousand people", "5000"),
        ("Option C", "C"), ("C", r"\textbf{(C)}\ 42"),
        (r"5\,\text{m/s}", "5 m/s"), ("5 m", "5"), (r"12\text{ cm}^2", "12"), (r"17\text{ right triangles}", "17"),
        (r"\frac{\pi}{4}\text{ radians}", r"\frac{\pi}{4}"), ("5", r"\text{five}"), ("€50", "50"), ("(C) 42", "C"),
    ],
}  # fmt: skip

DIFFERENT = {
    "expressions": [
        ("x^3", "x^2"), ("(-1)^n", "1"), (r"\cos(\pi n)", "1"), (r"\lfloor n/2\rfloor", "n/2"), ("a_1", "a"),
        (r"\log_{10} x", r"\ln x"), ("AB", "BA"), (r"1+10^{-60}", "1"), (r"\sqrt2+10^{-50}", r"\sqrt2"),
        ("1+e^{-500}", "1"), ("e^{-500}", "0"), ("1/0", r"\infty"), (r"0/0", "0"), ("-x", "x"), ("5n", "5"),
        ("x+3", "|x+3|"), ("t+3", "|t+3|"), ("y+10", "|y+10|"), ("n+3", r"\sqrt{(n+3)^2}"), (r"\min(x,99)", "x"),
        (r"\lfloor x\rfloor", "x"), (r"\lceil t\rceil", "t"),
    ],
    "decimals": [
        ("1.41422", r"\sqrt2"), ("3.14160", r"\pi"), ("3.1415", r"\pi"), ("1.00000", "1.000001"), ("22/7", r"\pi"),
        ("1.09951162778E+12", "4^20"),
    ],
    "sets and intervals": [
        (r"x\ge3", "x>3"), (r"(-\infty,3]", r"(-\infty,3)"), ("t>3", "x>3"), ("0", r"\emptyset"),
        (r"\{0\}", r"\emptyset"),
        (r"(0,1)\cup(1,2)", "(0,2)"), (r"\{1,2,3\}", "(1,2,3)"),
    ],
    "lists": [
        ("x=2, x=3", "2"), (r"5 \text{ or } 6", "5"), (r"5\pm 1", "4"), ("1,1,2", "1,2,2"),
        (r"\{1,2,\{3\}\}", "1,2,3"), ("y=2, x=3", "x=2, y=3"),
    ],
    "relations": [
        ("2x+4=16", "x=6"), ("x=2", "x^2=4"), ("x+y<1", "x+y>1"), ("5 = 5 = 6", "6"), ("x^2+1=x^2+2", "x^2+1"),
        (r"x \ne 5", "5"),
        (r"7 \approx 100", "7"),
    ],
    "matrices, ratios, times, numerals": [
        (r"\begin{pmatrix}1&2\end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"), ("1:15", "2:30"), ("11", "1011_2"),
        ("12:30 AM", "12:30 PM"), ("52_7", "52_8"),
    ],
    "units": [
        ("3 m", r"3\text{ cm}"), ("3 g", r"3\text{ kg}"), ("3 L", r"3\text{ m}"), ("5 m/s", "5 m"),
        ("5 m", r"5\text{ m}^2"),
        (r"5\text{ squared}", "5"), (r"5\text{ cubed}", "5"), ("300%%", "3"), ("2500%%", "25"), ("3 million", "3"),
        ("2s", r"2\text{ m}"), (r"\frac{\pi}{4}", r"60^\circ"), ("2:30 PM", "2:30 AM"), ("14:31", "2:30 PM"),
        ("5 red balls and 6 blue balls", "5"), ("Option C", "D"), ("Option C or D", "C"),
    ],
    "words": [
        (r"\text{not even}", r"\text{even}"), (r"\text{even and odd}", r"\text{even}"), ("7 is wrong", "7"),
        (r"7\text{ is not the answer}", "7"), ("between 6 and 8", "7"), ("at least 7", "7"), ("5 million", "5"),
        (r"\$5", r"5\text{ cents}"), ("(C) 42 or (D) 43", "C"), ("(C) is wrong", "C"), ("7 seven 7", "7"),
    ],
    "broken text": [
        ("7+", "7"), ("(7", "7"), ("7)", "7"), (r"\frac{7}", "7"), (r"7 \cdot", "7"), ("^7", "7"), ("7*", "7"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("kind", EQUAL)
def test_answers_of_equal_meaning_are_equal(kind):
    assert [pair for pair in EQUAL[kind] if not are_equal(*pair)] == []


@pytest.mark.parametrize("kind", DIFFERENT)
def test_answers_of_another_meaning_differ(kind):
    assert [pair for pair in DIFFERENT[kind] if are_equal(*pair)] == []


HOSTILE = [
    "9^{9^{9^{9}}}", "((9^9)^9)^9", "(10^{10})!", "100000!", r"\binom{10^9}{10^8}", "x^{10^{10}}", r"e^{e^{e^{e^{e}}}}",
    r"\sum_{k=1}^{10^9} k!", r"\sin(10^{10^{5}})", r"\lfloor 10^{10^9}\pi \rfloor", "9" * 30_000, "1e999999",
    "1" + "!" * 500,
    "(" * 3000 + "1" + ")" * 3000, "-" * 3000 + "1", r"\frac{" * 3000, r"\sqrt{" * 500 + "2" + "}" * 500, "x" * 3000,
    "1" + "+1" * 1900, "^".join(["2"] * 700), "{" * 3000, "|" * 3000, r"\pm" * 500 + "1", "1," * 1900 + "1",
    r"\{" + ",".join(map(str, range(900))) + r"\}", "x_" * 1500, r"\text{" * 700 + "a" + "}" * 700, "°" * 3000,
    r"\begin{pmatrix}" + r"1&" * 900 + r"1\end{pmatrix}", "=".join(["1"] * 900), "1" + "/1" * 900, r"\overline{" * 900,
    r"\sum_{a=1}^{2000}\sum_{b=1}^{2000}\sum_{c=1}^{2000} abc", r"\prod_{a=1}^{2000}\sum_{b=1}^{2000} ab",
    r"\sum_{a=1}^{200}\sum_{b=1}^{200}\sum_{c=1}^{200} \sin(1/(abc))", "+".join([r"\sum_{a=1}^{1990} (a+1000)!"] * 80),
    r"\{" + ",".join(rf"\sqrt{{{number}}}+x" for number in range(180)) + r"\}",
]  # fmt: skip


@pytest.mark.parametrize("reference", ["7", "x^2+1", r"\sqrt{2}", "(1,2)", "1,2,3", r"\text{even}", "x>3"])
@pytest.mark.parametrize("answer", HOSTILE, ids=range(len(HOSTILE)))
def test_no_hostile_answer_is_right_or_reaches_a_worker(answer, reference, monkeypatch):
    monkeypatch.setattr(comparison, "shared_pool", lambda: pytest.fail("no worker should see this"))

    assert compare(answer, reference).outcome in (Outcome.WRONG, Outcome.REFUSED)


@pytest.mark.parametrize("answer", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_answer_equals_itself_all_the_same(answer):
    assert are_equal(answer, answer)


signs = r"12.,x+-*/^_(){}[]|\$ &=<>!%'"


@given(st.text(alphabet=signs + "πé²½√≤", max_size=40), st.sampled_from(["2", "x", "(1,2)", "1,2"]))
def test_no_text_raises_whatever_it_is(text, reference):
    assert compare(text, reference).outcome is not Outcome.ERROR


@given(st.text(alphabet=signs, min_size=1, max_size=40))
def test_every_text_equals_itself(text):
    assert not text.strip() or compare(text, text).outcome is Outcome.CORRECT


def test_numbers_beyond_the_digits_that_python_prints_are_compared():
    digits = "7" * 6000

    assert are_equal(f"{digits}.0", digits)
    assert not are_equal(f"{digits}.0", f"{digits[:-1]}8")
    assert are_equal(f"{int('1' * 4000):,}", "1" * 4000)
    assert are_equal("0." + "1" * 5000, "1/9")


def test_a_bug_of_ours_is_an_error_and_not_a_wrong_answer(monkeypatch):
    def broken(*_):
        raise KeyError("oops")

    monkeypatch.setattr(comparison.rules, "equal", broken)

    verdict = compare("5", "6")
    assert (verdict.outcome, "oops" in verdict.detail) == (Outcome.ERROR, True)


def test_an_empty_reference_is_unusable_and_an_empty_answer_is_none():
    assert compare("7", " ").outcome is Outcome.UNUSABLE_REFERENCE
    assert compare(" ", "7").outcome is check("no idea.", "7", answer_format="box").outcome is Outcome.NO_ANSWER


def test_an_unread_reference_is_named_with_its_reason():
    assert problem_of_reference(r"\frac{1}{2}") is None
    assert "int" in problem_of_reference(r"\int_0^1 f")


def test_readings_are_plain_values():
    reading = read(r"\left(\frac{1}{2}, 3\right]").reading

    assert reading == copy.deepcopy(reading) == pickle.loads(pickle.dumps(reading))
