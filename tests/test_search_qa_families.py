"""Every generated question, read again from its text alone, against the table of all facts of its world."""

import importlib.util
import re

import numpy as np
import pytest
from llmgym.envs.search_qa import FAMILIES
from llmgym.envs.search_qa.articles import corpus_of
from llmgym.envs.search_qa.families import _COMPARED
from llmgym.envs.search_qa.generate import generated_task
from llmgym.envs.search_qa.relations import MENTIONS, RELATIONS
from llmgym.envs.search_qa.scoring import normalized
from llmgym.envs.search_qa.world import COUNTS, generate_world

from llmgym.episode import split_of


@pytest.fixture(autouse=True)
def _needs_bm25s(require):
    require("search", importlib.util.find_spec("bm25s"), "bm25s is not installed")


def triples_of(world):
    return [(name, relation, value) for name, facts in world.facts.items() for relation, value in facts.items()]


def values(world, name, relation):
    return {value for subject, told, value in triples_of(world) if (subject, told) == (name, relation)}


def subjects(world, relation, value):
    return {name for name, told, other in triples_of(world) if (told, other) == (relation, value)}


def denoted(world, phrase):
    """Everything that a phrase may stand for."""
    found = set()
    for name, relation in RELATIONS.items():
        match = re.fullmatch(re.escape(relation.asked).replace(r"\{x\}", "(.+)"), phrase)
        for x in denoted(world, match[1]) if match else ():
            found |= values(world, x, name)
    for entity in world.entities.values():
        called = {"town": "the town once called {}", "person": "the person known as {}"}.get(entity.kind, "")
        if phrase in (MENTIONS[entity.kind].format(x=entity.name), called.format(entity.alias)):
            found.add(entity.name)
    if match := re.fullmatch("the (first|last) of the events that took place in (.+)", phrase):
        years = {name: min(values(world, name, "event_year")) for name in subjects(world, "place", match[2])}
        extreme = (min if match[1] == "first" else max)(years.values())
        found |= {name for name, year in years.items() if year == extreme}
    return found


def one(found):
    (only,) = found
    return only


def named(world, text):
    return [one(denoted(world, phrase)) for phrase in re.split(", | or ", text)]


def walked(world, text):
    return denoted(world, re.fullmatch(r"(?:What|Who) is (.+)\?", text)[1])


def comparison(world, text):
    words, listing, question = re.fullmatch(r"Find out which of these (.+?): (.+)\. (W.+)", text).groups()
    entities = named(world, listing)
    kind = world.entities[entities[0]].kind
    relation, place = one(
        (relation, told.index(words))
        for relation, told in _COMPARED.items()
        if words in told and RELATIONS[relation].kind == kind
    )
    numbers = {name: one(values(world, name, relation)) for name in entities}
    extreme = (min, max)[place](numbers.values())
    chosen = one(name for name, number in numbers.items() if number == extreme)
    return walked(world, question.replace("that one", MENTIONS[kind].format(x=chosen)))


def intersection(world, text):
    forms = {
        r"Which person was born in (.+) and employed by (.+)\?": ("birthplace", "employer"),
        r"Which pupil of (.+) was employed by (.+)\?": ("teacher", "employer"),
        r"Which novel by (.+) is set in (.+)\?": ("author", "setting"),
        r"Which town lies on (.+) and has (.+) as its mayor\?": ("river", "mayor"),
        r"Which event took place in (.+) and was led by (.+)\?": ("place", "leader"),
        r"Which company has its headquarters in (.+) and was founded by (.+)\?": ("headquarters", "founder"),
    }
    form, relations = one((f, r) for f, r in forms.items() if re.fullmatch(f, text))
    ends = [one(denoted(world, phrase)) for phrase in re.fullmatch(form, text).groups()]
    first, second = (subjects(world, *pair) for pair in zip(relations, ends, strict=True))
    return first & second


def population_of_river(world, text):
    river = one(denoted(world, re.fullmatch(r"How many inhabitants do the towns on (.+) have altogether\?", text)[1]))
    return {sum(one(values(world, town, "population")) for town in subjects(world, "river", river))}


def most_novels(world, text):
    how, where = re.fullmatch(r"Of the people (employed by|born in) (.+), who wrote the most novels\?", text).groups()
    people = subjects(world, "employer" if how == "employed by" else "birthplace", one(denoted(world, where)))
    counts = {person: len(subjects(world, "author", person)) for person in people}
    return {person for person, count in counts.items() if count == max(counts.values())}


def next_novel(world, text):
    author, when, novel = re.fullmatch(r"Which novel by (.+) was published next (after|before) (.+)\?", text).groups()
    years = {name: one(values(world, name, "work_year")) for name in subjects(world, "author", author)}
    here, sign = years[one(denoted(world, novel))], 1 if when == "after" else -1
    distances = {name: sign * (year - here) for name, year in years.items() if sign * (year - here) > 0}
    return {name for name, distance in distances.items() if distance == min(distances.values())}


def years_between(world, text):
    forms = {r"the birth of (.+)": "birth_year", r"the foundation of (.+)": "town_founded", r"(.+)": "event_year"}

    def year(what):
        found = {
            number
            for form, relation in forms.items()
            if (match := re.fullmatch(form, what))
            for name in denoted(world, match[1])
            for number in values(world, name, relation)
        }
        return one(found)

    spans = re.fullmatch(r"How many years lie between (.+)\?", text)[1]
    halves = [spans.split(" and ", place) for place in range(1, spans.count(" and ") + 1)]
    (first, second) = one(half for half in halves if len(half) == 2)
    return {abs(year(first) - year(second))}


DEFINITIONS = {
    **dict.fromkeys(("lookup", "bridge_two", "bridge_three", "bridge_four", "alias", "last_event"), walked),
    **{
        made.__name__: made
        for made in (comparison, intersection, population_of_river, most_novels, next_novel, years_between)
    },
}


def assert_true_and_found(family, seed):
    split = ("train", "test")[seed % 2]
    task = generated_task(np.random.default_rng(seed), families=[family], top_k=5, split=split)
    world, corpus = generate_world(task.metadata["world"]), corpus_of(task.metadata["world"])

    answer = one(DEFINITIONS[family](world, task.prompt))

    assert task.metadata["answers"] == world.names_of(answer), task.prompt
    assert task.answer == str(answer)
    assert (split_of(task.prompt), task.metadata["world"] % 2) == (split, int(split == "test"))
    seen, found = task.prompt, set()
    for query in task.metadata["queries"]:
        assert set(re.findall(r"[A-Z]\w*", query)) <= set(re.findall(r"\w+", seen)), "it names what nobody could know"
        for document in corpus.search(query, top_k=5):
            seen += f" {document.title} {document.text}"
            found.add(document.title)
    assert set(task.metadata["support"]) <= found
    assert not any(f" {normalized(name)} " in f" {normalized(task.prompt)} " for name in task.metadata["answers"])


@pytest.mark.parametrize("family", FAMILIES)
def test_question_has_one_answer_by_its_text_and_can_be_searched(family):
    for seed in range(4):
        assert_true_and_found(family, seed)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_question_has_one_answer_by_its_text_and_can_be_searched_for_many_seeds(family):
    for seed in range(4, 20):
        assert_true_and_found(family, seed)


@pytest.mark.parametrize("seed", range(5))
def test_articles_tell_every_fact_and_no_other(seed):
    world, corpus = generate_world(seed), corpus_of(seed)
    text_of = {document.title: document.text for document in corpus.documents.values()}

    assert text_of.keys() == world.facts.keys()
    assert len(text_of) == sum(COUNTS.values())
    for name, relation, value in triples_of(world):
        told = [sentence.format(x=name, y=value) for sentence in RELATIONS[relation].told]
        assert sum(sentence in text_of[name] for sentence in told) == 1
    for name, text in text_of.items():
        others = {other for other in world.entities if re.search(rf"\b{re.escape(other)}\b", text)}
        facts = {str(value) for value in world.facts[name].values()}
        assert all(any(other in known for known in {name, *facts}) for other in others), "a part of a name at most"


@pytest.mark.parametrize("seed", range(5))
def test_no_two_things_of_a_world_share_a_name(seed):
    names = [normalized(name) for entity in generate_world(seed).entities.values() for name in entity.names]

    assert len(names) == len(set(names))
    assert sum("upper" in name or "new" in name or "port" in name for name in names) > 3, "similar names lead astray"


def test_a_seed_stands_for_one_world_and_its_articles():
    first = (generate_world(3).facts, [*corpus_of(3).documents.values()])
    generate_world.cache_clear()
    corpus_of.cache_clear()

    assert (generate_world(3).facts, [*corpus_of(3).documents.values()]) == first
    assert generate_world(4).facts != first[0]
