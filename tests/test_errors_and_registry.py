"""The tree of errors, and the registries of agents, samplers, sandboxes and trackers."""

import builtins
import inspect
import re
from collections import OrderedDict
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from llmgym import errors, registry
from llmgym.errors import LLMGymError, MissingExtraError, RegistrationError, UnknownAgentError, UnknownNameError
from llmgym.registry import AGENTS, SAMPLERS, SANDBOXES, TRACKERS, Registry, load_object

ERRORS = [error for _, error in inspect.getmembers(errors, inspect.isclass)]


@pytest.fixture
def agents() -> Registry:
    """A registry of its own, which no installed package announces anything for."""
    return Registry("agent", group="llmgym.tests.nothing", unknown=UnknownAgentError)


def announce(monkeypatch, *names_and_values):
    points = EntryPoints(EntryPoint(name, value, "some.group") for name, value in names_and_values)
    monkeypatch.setattr(registry, "entry_points", lambda *, group: points.select(group=group))


@pytest.mark.parametrize("error", ERRORS)
def test_every_error_is_in_the_tree_that_the_module_draws(error):
    drawn = re.search(rf"^ *[│├└─ ]*{error.__name__}\b(?: +\((\w+)\))?", errors.__doc__, re.MULTILINE)

    assert issubclass(error, LLMGymError)
    assert drawn, f"{error.__name__} is not drawn"
    if drawn[1]:
        assert issubclass(error, getattr(builtins, drawn[1]))


def test_the_drawn_tree_shows_no_error_that_does_not_exist():
    drawn = re.findall(r"(?:[├└]── |^ +)(\w+)", errors.__doc__, re.MULTILINE)

    assert sorted(drawn) == sorted(error.__name__ for error in ERRORS)


def test_what_was_registered_is_found_and_imported(agents):
    agents.register("ordered", "collections:OrderedDict")
    agents.register("itself", dict)

    assert agents.lookup("ordered") is OrderedDict
    assert agents.lookup("itself") is dict
    assert agents.names() == ("itself", "ordered")


def test_registering_the_same_entry_twice_is_harmless(agents):
    agents.register("ordered", "collections:OrderedDict")
    agents.register("ordered", "collections:OrderedDict")

    assert agents.lookup("ordered") is OrderedDict


def test_another_entry_under_a_taken_name_is_an_error_and_changes_nothing(agents):
    agents.register("ordered", "collections:OrderedDict")

    with pytest.raises(RegistrationError, match=r"'ordered' already stands for .*OrderedDict.*Counter"):
        agents.register("ordered", "collections:Counter")

    assert agents.lookup("ordered") is OrderedDict


def test_an_unknown_name_is_answered_with_the_closest_one(agents):
    agents.register("grpo", "collections:OrderedDict")

    with pytest.raises(UnknownAgentError, match=r"No agent is registered as 'gpro'. Did you mean 'grpo'\?"):
        agents.lookup("gpro")


def test_an_unknown_name_that_resembles_nothing_is_answered_with_all_names(agents):
    agents.register("grpo", "collections:OrderedDict")
    agents.register("sft", "collections:Counter")

    with pytest.raises(UnknownAgentError, match="There are: 'grpo', 'sft'"):
        agents.lookup("completely different")


def test_an_empty_registry_says_that_there_is_none(agents):
    with pytest.raises(UnknownAgentError, match="There are: none"):
        agents.lookup("grpo")


def test_installed_packages_announce_entries_by_entry_point(agents, monkeypatch):
    agents.group = "some.group"
    announce(monkeypatch, ("ordered", "collections:OrderedDict"))

    assert agents.lookup("ordered") is OrderedDict
    with pytest.raises(RegistrationError, match="already stands for"):
        agents.register("ordered", "collections:Counter")


def test_two_packages_that_announce_one_name_are_an_error_and_not_a_silent_choice(agents, monkeypatch):
    agents.group = "some.group"
    announce(monkeypatch, ("ordered", "collections:OrderedDict"), ("ordered", "collections:Counter"))

    for _ in range(2):
        with pytest.raises(RegistrationError, match="Two installed packages announce the agent 'ordered'"):
            agents.lookup("ordered")


@pytest.mark.parametrize("path", ["collections", ":Name", "collections:", "collections.OrderedDict", "", "..x:Name"])
def test_what_is_not_an_entry_point_is_refused_with_the_form_to_write(path):
    with pytest.raises(RegistrationError, match=r'Write it as "package.module:Name"'):
        load_object(path)


def test_an_entry_point_to_a_name_that_is_not_there_says_which():
    with pytest.raises(RegistrationError, match="'collections' has no 'Nothing'"):
        load_object("collections:Nothing")


def test_an_entry_point_to_a_module_that_is_not_there_says_which():
    with pytest.raises(RegistrationError, match=r"no module 'collections\.nowhere'"):
        load_object("collections.nowhere:Name")


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("import missing_part", ModuleNotFoundError),
        ("object().nothing", AttributeError),
        ("raise ModuleNotFoundError(name='torch')", MissingExtraError),
    ],
)
def test_a_plug_in_that_breaks_while_it_is_imported_is_not_called_unregistered(tmp_path, monkeypatch, source, error):
    name = f"broken_{error.__name__.lower()}"
    (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(error) as caught:
        load_object(f"{name}:Agent")

    assert not isinstance(caught.value, RegistrationError)


@pytest.mark.parametrize("names", [AGENTS, SAMPLERS, SANDBOXES, TRACKERS])
def test_each_registry_has_its_own_error_for_an_unknown_name(names):
    with pytest.raises(UnknownNameError, match=f"No {names.kind} is registered as 'no such name'") as caught:
        names.lookup("no such name")

    assert names.kind in type(caught.value).__name__.lower()
