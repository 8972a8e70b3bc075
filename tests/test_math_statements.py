"""The answer that a text states without a box."""

import pytest
from llmgym.envs.math import Outcome, check
from llmgym.envs.math.extraction import extract


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The final answer is 42.", "42"), ("**Final Answer**: $42$", "42"), ("### Final Answer\n42", "42"),
        ("Final answer:\n\n$$42$$", "42"), ("... #### 1,234", "1234"), ("Thus $x=5$.", "5"),
        ("The solutions are x = 2 and x = 3.", "2,3"), ("So the answer is (B).", "B"), ("Answer: Yes", "yes"),
        ("The area is 12π.", r"12\pi"), ("2+2=4", "4"), ("It costs $1,234.50.", "1234.5"), ("It is 25%.", r"25\%"),
        (r"\[ x = \frac{3}{2} \]", "1.5"), ("The interval is $[0, 1)$.", "[0,1)"),
        ("The answer is even.", r"\text{even}"),
        ("Answer: 42 (since 6*7=42)", "42"), ("So, Tom has 12 apples left.", "12"), ("Tom has 12 apples.", "12"),
        ("64 + 67 = **131**", "131"),
        ("The answer is 7, I hope it is correct.", "7"), ("The answer is $24$. I hope it is correct.", "24"),
        ("The largest $n$ is 34.", "34"), ("She earns $18 every day.", "18"), ("<think>5</think>The answer is 7.", "7"),
    ],
)  # fmt: skip
def test_a_stated_answer_is_found(text, answer):
    assert check(text, answer).is_correct


@pytest.mark.parametrize(
    "text",
    [
        "The answer is not 42.", "The answer isn't 42.", "The answer is 5 or 42.", "The answer is either 41 or 42.",
        "I think it is 42, but it may be 43.", "Is it 42?", "42 43 44", "1, 2, 42", "The answer is at least 42.",
        "The answer is 42 million.", "It is somewhere between 40 and 42.", "Perhaps 42.", "42 is wrong",
        "Answer: 42\nAnswer: 43", "<think>The answer is 42.</think> I gave up.", "<think>The answer is 42",
        r"\boxed{41} or maybe \boxed{42}", r"\boxed{41} Alternatively, \boxed{42}", r"\boxed{41}, \boxed{42}",
        "\\boxed{41}\n\\boxed{42}", "The answer could be 42.", r"so it is \boxed{42", r"\boxed{41}/\boxed{42}",
        r"\boxed{41} \\ \boxed{42}", r"\boxed{41} vs \boxed{42}", r"$x=\boxed{41}$ or $x=\boxed{42}$",
        r"\boxed{41}, or even \boxed{42}", r"\boxed{} The answer is 42.",
    ],
)  # fmt: skip
def test_an_answer_that_is_denied_hedged_listed_or_hidden_is_not_stated(text):
    assert not check(text, "42").is_correct


def test_the_strict_format_looks_at_boxes_alone():
    assert check("The answer is 42.", "42", answer_format="box").outcome is Outcome.NO_ANSWER
    assert check(r"The answer is \boxed{42}.", "42", answer_format="box").is_correct


def test_what_stands_behind_an_empty_box_is_no_answer():
    assert extract(r"\boxed{} 42", "any") is None


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"\boxed{1} papers and \boxed{2} bins", "1, 2"),
        (r"$y = \boxed{1} \) and \( x = \boxed{2}$", "1, 2"),
        (r"first \boxed{1}, then \boxed{2}", "2"), (r"\fbox{1} and \boxed{2}", "2"),
        (r"\boxed{1}. Then \boxed{2}", "2"),
        (r"first attempt \boxed{wrong}, final \boxed{42}", "42"), (r"\boxed{1} no no no no \boxed{2}", "2"),
    ],
)  # fmt: skip
def test_boxes_of_one_closing_phrase_are_one_list(text, answer):
    assert extract(text, "box") == answer


@pytest.mark.parametrize(
    "piece",
    ["answer is ", "$", "\\(", "a. ", "**", ". ", "= ", "1,", "1 ", "#### ", "\\[ x \\] ", "\\text{", "answer  "],
)
def test_long_hostile_prose_comes_to_an_end(piece):
    assert not check(piece * 100_000, "7").is_correct
