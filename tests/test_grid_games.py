"""Sokoban and the frozen lake: levels, moves and what is paid."""

from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llmgym.envs.games import FrozenLakeEnv, SokobanEnv
from llmgym.envs.games.moves import DIRECTIONS, read_moves, write_moves
from llmgym.envs.games.sokoban_level import dead_cells, level_from_text

import llmgym
from llmgym.errors import ConfigError
from llmgym.messages import AssistantMessage

GAMES = (SokobanEnv, FrozenLakeEnv)
moves = st.lists(st.sampled_from(list(DIRECTIONS)), max_size=8)


def play(env, task, turns, seed=0):
    env.reset(task, np.random.default_rng(seed))
    responses = []
    for turn in turns:
        responses.append(env.step(AssistantMessage(content=turn)))
        if responses[-1].terminated:
            break
    return responses


def earned(responses):
    return sum(response.score.reward for response in responses)


def fewest_pushes(level):
    """By trying every move from every state, with pushes counted."""
    best = {(level.boxes, level.player): 0}
    layer = [level]
    for num_pushes in range(100):
        later = []
        for state in layer:  # grows by moves without a push
            if state.is_solved:
                return num_pushes
            for after in map(state.moved, DIRECTIONS):
                if (after.boxes, after.player) not in best:
                    pushed = after.boxes != state.boxes
                    if not pushed:
                        best[after.boxes, after.player] = num_pushes
                    (later if pushed else layer).append(after)
        layer = [state for state in later if (state.boxes, state.player) not in best]
        best.update({(state.boxes, state.player): num_pushes + 1 for state in layer})
    return None


def pushes_of(level, turns):
    """Of moves that solve the level."""
    levels = [level]
    for direction in " ".join(turns).split():
        levels.append(levels[-1].moved(direction))
    assert levels[-1].is_solved
    return sum(before.boxes != after.boxes for before, after in pairwise(levels))


@given(moves, st.integers(1, 9))
def test_moves_that_were_written_are_read(directions, max_moves):
    turns = write_moves(directions, max_moves=max_moves)

    assert [move for turn in turns for move in read_moves(turn, max_moves=max_moves)] == directions


@pytest.mark.parametrize("said", ["up left", "UP, Left", "u l", "first right?\n\nup,left\n\n"])
def test_moves_stand_in_the_last_line(said):
    assert read_moves(said, max_moves=2) == ["up", "left"]


@pytest.mark.parametrize(
    ("said", "problem"), [("", "say where"), ("up north", "'north' is no move"), ("up up up", "3 moves"), ("\n", "say")]
)
def test_what_is_no_move_is_answered_with_what_is_wrong_and_moves_nothing(said, problem):
    for make in GAMES:
        env = make(moves_per_turn=2)
        responses = play(env, env.tasks("train")[0], [said])

        assert problem in responses[0].messages[0].content
        assert (responses[0].score.reward, responses[0].terminated) == (0.0, False)


@pytest.mark.parametrize("make", GAMES)
@pytest.mark.parametrize("split", ["train", "test"])
def test_reference_moves_earn_one(make, split):
    env = make()
    for task in env.tasks(split).first(15):
        responses = play(env, task, env.solve(task))

        assert responses[-1].terminated
        assert earned(responses) == pytest.approx(1.0)


@pytest.mark.parametrize("kwargs", [{}, {"size": 6, "boxes": 1, "min_pushes": 3}])
def test_the_pushes_of_a_level_are_the_fewest_and_within_the_settings(kwargs):
    env = SokobanEnv(**kwargs)
    for task in env.tasks("train").first(8):
        level = level_from_text(task.prompt)

        assert level.to_text() == task.prompt
        assert level.num_on_goals == 0
        assert task.metadata["num_pushes"] == fewest_pushes(level) == pushes_of(level, env.solve(task))
        assert env.min_pushes <= task.metadata["num_pushes"] <= env.max_pushes


@settings(max_examples=50)
@given(st.integers(0, 30), st.lists(moves.map(" ".join), max_size=20))
def test_whatever_is_pushed_the_turns_sum_to_what_the_last_level_is_worth(index, turns):
    env = SokobanEnv(size=6, boxes=2, min_pushes=3, shaping=0.4)
    task = env.tasks("train")[index]

    responses = play(env, task, turns)

    level = level_from_text(task.prompt)
    for direction in " ".join(turns).split():
        level = level if level.is_solved else level.moved(direction)
    assert earned(responses) == pytest.approx(1.0 if level.is_solved else 0.4 * level.num_on_goals / 2)


LEVEL = "#######\n#@$.--#\n#-----#\n#-$--.#\n#-----#\n#-----#\n#######"


def test_moving_a_box_on_and_off_a_goal_earns_nothing():
    env = SokobanEnv()
    task = llmgym.Task(key="", prompt=LEVEL)

    responses = play(env, task, ["right", "right"])

    assert [response.score.reward for response in responses] == [pytest.approx(0.1), pytest.approx(-0.1)]
    assert responses[0].messages[0].content.split("\n")[1] == "#-@*--#"


@pytest.mark.parametrize("end_on_deadlock", [True, False])
def test_a_box_in_a_corner_ends_the_task_where_that_is_asked_for(end_on_deadlock):
    env = SokobanEnv(end_on_deadlock=end_on_deadlock)

    on_a_goal, beside_it, in_the_corner = play(
        env, llmgym.Task(key="", prompt=LEVEL), ["right", "down up", "right right"]
    )

    assert [r.terminated for r in (on_a_goal, beside_it, in_the_corner)] == [False, False, end_on_deadlock]
    assert in_the_corner.messages[0].content.split("\n")[1] == "#--.@$#"


def test_a_box_on_a_dead_cell_can_be_brought_to_no_goal():
    level = level_from_text(SokobanEnv(size=6, boxes=1, min_pushes=2).tasks("train")[0].prompt)
    dead = dead_cells(level)

    assert dead
    for cell, player in product(dead, dead | level.goals):
        assert cell == player or fewest_pushes(replace(level, boxes=frozenset({cell}), player=player)) is None


def fewest_moves(text):
    """By Bellman's equation, swept until nothing changes."""
    rows = text.split("\n")
    cells = {(r, c): sign for r, row in enumerate(rows) for c, sign in enumerate(row) if sign != "O"}
    far = {cell: 0 if sign == "G" else 10**6 for cell, sign in cells.items()}
    for _ in cells:
        far = {
            (r, c): min(far[r, c], *(far.get((r + dr, c + dc), 10**6) + 1 for dr, dc in DIRECTIONS.values()))
            for r, c in cells
        }
    return next(far[cell] for cell, sign in cells.items() if sign == "@")


def test_maps_have_a_safe_way_of_the_length_that_is_asked_for():
    env = FrozenLakeEnv(min_moves=6)
    for task in env.tasks("train").first(10):
        num_moves = sum(len(turn.split()) for turn in env.solve(task))

        assert num_moves == task.metadata["num_moves"] == fewest_moves(task.prompt) >= 6


@settings(max_examples=50)
@given(st.integers(0, 30), st.lists(moves.map(lambda m: " ".join(m[:4])), max_size=16), st.booleans())
def test_walking_to_and_fro_on_the_ice_earns_no_more_than_coming_near_once(index, turns, slippery):
    env = FrozenLakeEnv(shaping=0.5, slippery=slippery)
    task = env.tasks("train")[index]

    responses = play(env, task, turns)

    rewards = [response.score.reward for response in responses]
    assert all(reward >= 0 for reward in rewards)
    assert sum(rewards) == pytest.approx(1.0) or sum(rewards) <= 0.5 * (1 - 1 / task.metadata["num_moves"]) + 1e-9


LAKE = llmgym.Task(key="", prompt="@.O\n..G\n...")


def test_a_hole_ends_the_walk_and_the_rest_of_its_moves():
    env = FrozenLakeEnv(shaping=0.0)

    (response,) = play(env, LAKE, ["right right down down"])

    assert (response.terminated, response.score.reward) == (True, 0.0)
    assert response.messages[0].content == "..X\n..G\n..."


def test_nothing_is_beyond_the_border_of_the_lake():
    (response,) = play(FrozenLakeEnv(), LAKE, ["up left"])

    assert response.messages[0].content == LAKE.prompt


def test_slippery_ice_goes_to_either_side_as_often_as_ahead_and_repeats_with_the_seed():
    env = FrozenLakeEnv(slippery=True)
    task = llmgym.Task(key="", prompt="...\n.@.\n..G")

    ends = [play(env, task, ["up"], seed=seed)[0].messages[0].content for seed in range(300)]

    assert ends == [play(env, task, ["up"], seed=seed)[0].messages[0].content for seed in range(300)]
    counts = [ends.count(text) for text in (".@.\n...\n..G", "...\n@..\n..G", "...\n..@\n..G")]
    assert sum(counts) == 300
    assert min(counts) > 70
    assert env.solve(task) is None


@pytest.mark.parametrize("make", GAMES)
def test_random_constant_and_passive_walkers_earn_next_to_nothing(make):
    env, rng = make(), np.random.default_rng(0)
    tasks = env.tasks("train").first(40)

    def mean(turn):
        return np.mean([earned(play(env, task, [turn() for _ in range(16)])) for task in tasks])

    assert mean(lambda: " ".join(rng.choice(list(DIRECTIONS), env.moves_per_turn))) < 0.1
    assert mean(lambda: "down right") < 0.1
    assert mean(lambda: "") == 0.0


@pytest.mark.parametrize("kwargs", [{}, {"moves_per_turn": 1}, {"size": 10, "moves_per_turn": 2}])
@pytest.mark.parametrize("make", GAMES)
def test_the_budget_of_turns_leaves_room_for_the_reference(make, kwargs):
    env = make(**kwargs)

    for task in env.tasks("train").first(6):
        assert len(env.solve(task)) <= env.default_limits.turns


@pytest.mark.parametrize("kwargs", [{"size": 2}, {"moves_per_turn": 0}, {"shaping": 1.5}, {"size": 6.0}])
@pytest.mark.parametrize("make", GAMES)
def test_settings_of_games_out_of_range_are_refused(make, kwargs):
    with pytest.raises(ConfigError, match=next(iter(kwargs))):
        make(**kwargs)


@pytest.mark.parametrize(
    "env", [SokobanEnv(size=5, boxes=4, min_pushes=50, max_pushes=50), FrozenLakeEnv(size=3, min_moves=9)]
)
def test_settings_that_allow_no_level_are_reported(env):
    with pytest.raises(ConfigError, match="found"):
        env.tasks("train")[0]
