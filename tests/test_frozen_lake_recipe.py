"""The recipe of many turns: its budgets leave room for every way to the goal, and turns alternate with maps."""

from llmgym.cli.runs import recipe_path
from llmgym.episode.register import make_token_env
from llmgym.messages import load_tokenizer
from llmgym.rollout import demonstrate
from llmgym.training import load_config
from llmgym.training.tiny_model import build_character_tokenizer


def test_the_recipes_limits_leave_room_for_every_way_to_the_goal() -> None:
    config = load_config(recipe_path("frozen-lake")).environments[0]
    env = make_token_env(config.id, **config.kwargs, tokenizer=load_tokenizer(build_character_tokenizer()))
    tasks = [env.message_env.tasks("train")[index] for index in range(200)]

    demonstrations = [demonstrate(env, task, env.solve(task) or (), seed=0) for task in tasks]

    assert {trajectory.reward for trajectory in demonstrations} == {1.0}
    assert {len(trajectory.segments) for trajectory in demonstrations} == {1}
    assert max(len(trajectory.turns) for trajectory in demonstrations) > 1


def test_the_recipe_masks_what_the_lake_answers() -> None:
    config = load_config(recipe_path("frozen-lake")).environments[0]
    tokenizer = load_tokenizer(build_character_tokenizer())
    env = make_token_env(config.id, **config.kwargs, tokenizer=tokenizer)
    tasks = (env.message_env.tasks("train")[index] for index in range(200))
    task = next(task for task in tasks if len(env.solve(task) or ()) == 2)

    (segment,) = demonstrate(env, task, env.solve(task) or (), seed=0).segments

    assert tokenizer.decode(segment.token_ids[segment.action_mask]) == "".join(env.solve(task) or ())
    assert "@" in tokenizer.decode(segment.token_ids[~segment.action_mask])
