"""The simulation of rollouts against what must hold for any machine."""

import importlib.util
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "simulate_rollouts.py"


def load():
    spec = importlib.util.spec_from_file_location("simulate_rollouts", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


sim = load()
seconds = st.floats(0, 5)
turns = st.lists(st.tuples(st.integers(1, 50), seconds), min_size=1, max_size=3)


@st.composite
def plays(draw, slope=seconds):
    """Episodes of some whole batches, a machine, and the batch."""
    batch, updates = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    shapes = draw(st.lists(turns, min_size=batch * updates, max_size=batch * updates))
    episodes = [sim.Episode(*map(tuple, zip(*shape, strict=True))) for shape in shapes]
    machine = sim.Machine(
        workers=draw(st.integers(1, 3)),
        places=draw(st.integers(1, 4)),
        decode_s=draw(st.floats(0.1, 2)),
        decode_s_an_episode=draw(slope),
        learn_s=draw(seconds),
        handover_s=draw(seconds),
    )
    return episodes, machine, batch


@given(plays(), st.sampled_from(sim.MODES), st.integers(0, 3))
def test_efficiency_is_never_above_1_and_a_run_repeats(play, mode, max_staleness):
    episodes, machine, batch = play

    first, again = (sim.simulate(episodes, machine, mode, batch=batch, max_staleness=max_staleness) for _ in range(2))

    assert 0 < first["efficiency"] <= 1 + 1e-9
    assert first == again


@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 3), st.sampled_from(sim.MODES))
def test_equal_episodes_without_waits_use_all_of_the_machine(workers, places, updates, mode):
    machine = sim.Machine(workers=workers, places=places, decode_s=0.5, decode_s_an_episode=0.25)
    batch = workers * places
    episodes = [sim.Episode((7, 7), (0.0, 0.0))] * (batch * updates)

    assert sim.simulate(episodes, machine, mode, batch=batch)["efficiency"] == pytest.approx(1)


@given(plays(slope=st.just(0.0)), st.integers(1, 3))
def test_who_waits_for_less_is_done_no_later(play, max_staleness):
    episodes, machine, batch = play

    synchronous, one_off, asynchronous = (
        sim.simulate(episodes, machine, mode, batch=batch, max_staleness=max_staleness)["seconds"] for mode in sim.MODES
    )

    assert asynchronous <= one_off * (1 + 1e-9) <= synchronous * (1 + 1e-9) ** 2


@given(plays())
def test_asynchronous_without_staleness_is_synchronous(play):
    episodes, machine, batch = play

    assert sim.simulate(episodes, machine, "asynchronous", batch=batch, max_staleness=0) == sim.simulate(
        episodes, machine, "synchronous", batch=batch
    )


@given(plays())
def test_one_place_takes_the_sum_of_everything(play):
    episodes, machine, batch = play
    alone = sim.Machine(**{**vars(machine), "workers": 1, "places": 1})

    found = sim.simulate(episodes, alone, "synchronous", batch=batch)["seconds"]

    # An answer to the last turn ends the episode, and nobody waits for it.
    sampled = sum(sum(episode.tokens) * alone.step_s(1) + sum(episode.waits_s[:-1]) for episode in episodes)
    assert found == pytest.approx(sampled + len(episodes) // batch * (alone.learn_s + alone.handover_s))


def test_a_part_of_a_batch_is_refused():
    with pytest.raises(ValueError, match="no batches of 2"):
        sim.simulate([sim.Episode((1,), (0.0,))], sim.Machine(workers=1, places=1, decode_s=1), "synchronous", batch=2)
