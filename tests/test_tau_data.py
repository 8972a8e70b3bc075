"""Where the data of tau-bench comes from: a folder, a checkout; and what the public data gives."""

import json
from hashlib import sha256

import numpy as np
import pytest
from llmgym.envs.tau import TauAirlineEnv, TauRetailEnv
from llmgym.envs.tau.convert import convert_v1, convert_v2, main
from llmgym.envs.tau.data import PublicData
from llmgym.envs.tau.database import state_text
from llmgym.envs.tau.judging import end_state
from llmgym.envs.tau.made_up import MadeUpData
from support.tau import play, reward_of

from llmgym.errors import DataError, DataNotFoundError

ENVS = {"retail": TauRetailEnv, "airline": TauAirlineEnv}
every_env = pytest.mark.parametrize("env_type", ENVS.values())


@every_env
def test_missing_data_says_how_to_get_it(env_type, tmp_path, monkeypatch):
    monkeypatch.setenv("LLMGYM_DATA_DIR", str(tmp_path))

    with pytest.raises(DataNotFoundError, match=r"tau/v1.*git clone .*tau-bench.*llmgym\.envs\.tau\.convert"):
        env_type()


@pytest.fixture
def checkout(tmp_path):
    """Files in the form of the repository, with the made-up shop in them."""
    tables = {domain: MadeUpData(domain).snapshot().tables for domain in ENVS}
    row = 'Task(annotator="", user_id="ada", instruction="Can" "cel.", outputs=["1"], actions=[{}])'
    action = 'Action(name="cancel_pending_order", kwargs={"order_id": "#W1000001", "reason": "no longer needed"})'
    function = '"name": "calculate", "description": ("Sums." " Up."), "parameters": {"type": "object"}'
    tool = f'class T:\n    def get_info():\n        return {{"function": {{{function}}}}}\n'
    for domain, splits in (("retail", ("train", "dev", "test")), ("airline", ("test",))):
        folder = tmp_path / "tau_bench" / "envs" / domain
        (folder / "data").mkdir(parents=True)
        (folder / "tools").mkdir()
        for name, records in tables[domain].items():
            (folder / "data" / f"{name}.json").write_text(json.dumps(records))
        (folder / "wiki.md").write_text("# Rules")
        (folder / "tools" / "calculate.py").write_text(tool)
        for split in splits:
            text = f"from x import Task\n\nTASKS = [{row.format(action)}, {row.format('')}]\n"
            (folder / f"tasks_{split}.py").write_text(text)
    return tmp_path


def test_a_checkout_is_converted_without_running_it(checkout, tmp_path):
    convert_v1(checkout, tmp_path / "tau")

    env = TauRetailEnv(data_dir=str(tmp_path), rule="official")
    task = env.tasks("train").get("v1-train-0")

    assert (task.prompt, task.answer, len(env.tasks("dev"))) == ("Cancel.", "1", 2)
    assert env.reset(task, np.random.default_rng(0)).messages[0].content == "# Rules"
    assert next(tool.description for tool in env.tools if tool.name == "calculate") == "Sums. Up."
    assert reward_of(play(env, task, env.solve(task))) == 1.0


def test_what_is_no_literal_in_a_checkout_is_not_read(checkout, tmp_path):
    path = checkout / "tau_bench" / "envs" / "retail" / "tasks_dev.py"
    path.write_text("TASKS = [Task(instruction=open('secret').read())]\n")

    with pytest.raises(DataError, match=r"tasks_dev\.py, line 1"):
        convert_v1(checkout, tmp_path / "tau")


def test_version_two_is_copied_from_its_checkout(tmp_path, capsys):
    for domain in ENVS:
        folder = tmp_path / "data" / "tau2" / "domains" / domain
        folder.mkdir(parents=True)
        (folder / "db.json").write_text(json.dumps(MadeUpData(domain).snapshot().tables))
        (folder / "policy.md").write_text("# Rules")
        (folder / "split_tasks.json").write_text('{"train": ["0"], "test": ["1", "2"], "base": ["0", "1", "2"]}')
        told = {
            "known_info": "You are Ada.",
            "reason_for_call": "Cancel.",
            "task_instructions": "",
            "unknown_info": None,
        }
        criteria = {"actions": [], "communicate_info": ["5"], "nl_assertions": None, "reward_basis": ["DB"]}
        rows = [{"id": i, "user_scenario": {"instructions": told}, "evaluation_criteria": criteria} for i in "01"]
        judged = {"nl_assertions": ["Be kind."], "reward_basis": ["DB", "NL_ASSERTION"]}
        rows.append({**rows[1], "id": "2", "evaluation_criteria": {**criteria, **judged}})
        (folder / "tasks.json").write_text(json.dumps(rows))

    main([str(tmp_path / "tau"), "--v2", str(tmp_path)])

    (task,) = TauAirlineEnv(data_dir=str(tmp_path), version=2).tasks("test")  # the judged one is left out
    assert (task.key, task.prompt, task.answer) == ("v2-1", "You are Ada. Cancel.", "5")
    assert capsys.readouterr().out == f"wrote {tmp_path / 'tau'}/v2\n"


def test_a_checkout_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataNotFoundError, match=r"tau2.*Name the folder of a whole checkout"):
        convert_v2(tmp_path, tmp_path / "tau")


def test_a_damaged_row_is_named_with_its_file_and_line(tmp_path):
    (tmp_path / "v1").mkdir()
    (tmp_path / "v1" / "retail_tasks_test.jsonl").write_text('{"index": 0}\n')

    with pytest.raises(DataError, match=r"retail_tasks_test\.jsonl, line 1"):
        PublicData(tmp_path, "retail", 1).tasks("test")


# -- the public data ---------------------------------------------------------------------------------------------


def public(folder, domain, version=1):
    return PublicData(folder / "tau", domain, version)


@pytest.mark.parametrize(
    ("domain", "version", "split", "num_tasks", "digest"),
    [
        ("retail", 1, "train", 500, "84bc5225787019d4"),
        ("retail", 1, "dev", 20, "f39525b4faf3f497"),
        ("retail", 1, "test", 115, "1510887f5f928b2f"),
        ("airline", 1, "test", 50, "d09fff4d34f80a8d"),
        ("retail", 2, "train", 74, "01eeb9d607912c0c"),
        ("retail", 2, "test", 40, "810563b0562e29fd"),
    ],
)
def test_the_reference_end_states_are_the_published_ones(data_folder, domain, version, split, num_tasks, digest):
    """The digests were taken when every task's whole database had the hash that the benchmark's own rules give."""
    data, hashed = public(data_folder, domain, version), sha256()

    for task in data.tasks(split):
        changes = sorted(end_state(data, task.metadata["actions"]).changes().items())
        hashed.update(state_text([[*place, record] for place, record in changes]).encode())

    assert (len(data.tasks(split)), hashed.hexdigest()[:16]) == (num_tasks, digest)


@pytest.mark.parametrize(
    ("domain", "before", "after"),
    [("retail", "5a4b2cb59f4d12de", "5ed21c65cf9e8d0c"), ("airline", "4587e6b48ad2b2c4", "a825bc534ee4abad")],
)
def test_the_hash_of_a_whole_database_is_the_published_one(data_folder, domain, before, after):
    data = public(data_folder, domain)

    hashes = [end_state(data, actions).hash() for actions in ((), data.tasks("test")[0].metadata["actions"])]

    assert [each[:16] for each in hashes] == [before, after]


@pytest.mark.parametrize(
    ("env_type", "num_unchanged", "num_checkable"), [(TauRetailEnv, 11, 115 - 7), (TauAirlineEnv, 20, 50 - 19)]
)
def test_as_many_test_tasks_ask_for_no_change_as_was_published(data_folder, env_type, num_unchanged, num_checkable):
    env = env_type(data_dir=str(data_folder))
    ends = [end_state(env.data, task.metadata["actions"]) for task in env.data.tasks("test")]

    assert sum(not end.changes() for end in ends) == num_unchanged
    assert len(env.tasks("test")) == num_checkable


def test_four_reference_actions_that_should_change_a_test_order_fail_as_was_published(data_folder):
    env, failed = TauRetailEnv(data_dir=str(data_folder), rule="official"), []

    for task in env.tasks("test"):
        *turns, _ = env.solve(task)
        for turn, response in zip(turns, play(env, task, turns), strict=True):
            if response.num_tool_errors and not turn.name.startswith(("get", "find")):
                failed.append((task.key, turn.name))

    assert failed == [
        ("v1-test-12", "return_delivered_order_items"),
        ("v1-test-13", "return_delivered_order_items"),
        ("v1-test-64", "exchange_delivered_order_items"),
        ("v1-test-106", "exchange_delivered_order_items"),
    ]


def test_the_official_rule_pays_who_says_nothing_in_26_of_165_tasks_and_ours_in_none(data_folder):
    num_paid = {"official": 0.0, "strict": 0.0}

    for rule in num_paid:
        for env_type in ENVS.values():
            env = env_type(data_dir=str(data_folder), rule=rule)
            num_paid[rule] += sum(reward_of(play(env, task, [""] * 3)) for task in env.tasks("test"))

    assert num_paid == {"official": 26.0, "strict": 0.0}


@pytest.mark.parametrize("rule", ["strict", "official"])
@pytest.mark.parametrize(
    ("env_type", "version", "split"),
    [(TauRetailEnv, 1, "dev"), (TauRetailEnv, 1, "test"), (TauAirlineEnv, 1, "test"), (TauRetailEnv, 2, "test")],
)
def test_the_reference_turns_of_public_tasks_earn_the_full_reward(data_folder, env_type, version, split, rule):
    env = env_type(data_dir=str(data_folder), version=version, rule=rule, assertions="ignore")

    unsolved = [task.key for task in env.tasks(split) if reward_of(play(env, task, env.solve(task))) != 1.0]

    assert unsolved == []


@pytest.mark.parametrize(("assertions", "num_tasks"), [("skip", 74), ("ignore", 114)])
def test_tasks_with_assertions_for_a_judge_are_left_out_unless_these_are_ignored(data_folder, assertions, num_tasks):
    env = TauRetailEnv(data_dir=str(data_folder), version=2, rule="official", assertions=assertions)

    assert sum(len(env.tasks(split)) for split in ("train", "test")) == num_tasks


def test_the_airline_tasks_of_version_two_are_read_and_a_missing_database_is_named(data_folder, tmp_path):
    data, without = public(data_folder, "airline", 2), PublicData(tmp_path, "airline", 2)

    assert [len(data.tasks(split)) for split in ("train", "test")] == [30, 20]
    with pytest.raises(DataNotFoundError, match=r"v2/airline/db\.json"):
        without.snapshot()


@every_env
def test_the_published_descriptions_of_tools_are_what_the_policy_reads(data_folder, env_type):
    env = env_type(data_dir=str(data_folder))

    published = json.loads((data_folder / "tau" / "v1" / f"{env.domain}_tool_schemas.json").read_text())

    assert {tool.name: tool.schema for tool in env.tools} == {each["function"]["name"]: each for each in published}
