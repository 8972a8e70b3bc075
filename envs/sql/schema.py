"""What the generated databases have in common, and what each of them calls it.

Every database is about people, things, groups of things in a tree, and events that bring a person and a thing together.
A `Schema` holds the names of tables and columns, and the words in which questions are asked.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Nouns:
    """A table, and what one and many of its rows are called."""

    table: str
    one: str
    many: str


@dataclass(frozen=True, kw_only=True)
class Schema:
    """Names of one kind of database. All but the nouns and `definition` are names of columns, unless they say so."""

    name: str
    person: Nouns
    thing: Nouns
    group: Nouns
    event: Nouns

    person_id: str
    person_name: str
    city: str
    since: str
    sponsor: str
    """The person who brought this one, or NULL."""

    thing_id: str
    title: str
    price: str
    thing_group: str

    group_id: str
    group_name: str
    parent: str
    """The group that this one is part of, or NULL."""

    event_id: str
    event_person: str
    event_thing: str
    day: str
    amount: str
    status: str

    statuses: tuple[str, ...]
    """Values of `status`, the most frequent first."""
    group_names: tuple[str, ...]
    nouns: tuple[str, ...]
    """Of which titles are made."""
    definition: str
    """The CREATE statements, with comments that say what is not plain."""

    @property
    def events_people(self) -> str:
        """Events `e` joined with their people `p`."""
        return f"{self.event.table} e JOIN {self.person.table} p ON p.{self.person_id} = e.{self.event_person}"

    @property
    def events_things(self) -> str:
        """Events `e` joined with their things `t`."""
        return f"{self.event.table} e JOIN {self.thing.table} t ON t.{self.thing_id} = e.{self.event_thing}"

    @property
    def things_groups(self) -> str:
        """Things `t` joined with their groups `g`."""
        return f"{self.thing.table} t JOIN {self.group.table} g ON g.{self.group_id} = t.{self.thing_group}"
