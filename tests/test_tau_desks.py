"""The tools of tau-bench's desks, and the database that they work on."""

import copy
import pickle
from contextlib import nullcontext
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmgym.envs.tau import TauAirlineEnv, TauRetailEnv
from llmgym.envs.tau.database import Database, state_text
from llmgym.envs.tau.judging import end_state
from llmgym.envs.tau.made_up import MadeUpData
from support.tau import desk_of, play

from llmgym.messages import AssistantMessage
from llmgym.tools import ToolError

every_env = pytest.mark.parametrize("env_type", [TauRetailEnv, TauAirlineEnv])


@pytest.fixture(autouse=True)
def _without_data(monkeypatch):
    monkeypatch.delenv("LLMGYM_DATA_DIR", raising=False)


@pytest.mark.parametrize(
    ("domain", "call", "problem"),
    [
        ("retail", ("find_user_id_by_email", {"email": "nobody@example.com"}), "user not found"),
        ("retail", ("get_order_details", {"order_id": "W1000001"}), "order not found"),
        ("retail", ("get_item_details", {"item_id": "5000000001"}), "item not found"),
        ("retail", ("cancel_pending_order", {"order_id": "#W1000002", "reason": "no longer needed"}), "non-pending"),
        (
            "retail",
            ("return_delivered_order_items", ("#W1000002", ["7000000002"], "gift_card_1004")),
            "method not found",
        ),
        ("retail", ("return_delivered_order_items", ("#W1000006", ["7000000006"], "paypal_1004")), "original one"),
        (
            "retail",
            ("return_delivered_order_items", ("#W1000006", ["7000000006"] * 2, "gift_card_1004")),
            "in the order",
        ),
        ("retail", ("modify_pending_order_items", ("#W1000001", ["7000000001"], [], "credit_card_1001")), "number of"),
        (
            "retail",
            ("modify_pending_order_items", ("#W1000001", ["7000000001"], ["7000000004"], "credit_card_1001")),
            "not found or available",
        ),
        (
            "retail",
            ("modify_pending_order_items", ("#W1000005", ["7000000008"], ["7000000009"], "gift_card_1003")),
            "insufficient",
        ),
        ("retail", ("modify_pending_order_payment", ("#W1000005", "credit_card_1003")), "different"),
        ("retail", ("modify_pending_order_payment", ("#W1000005", "gift_card_1003")), "insufficient"),
        ("airline", ("get_flight_status", ("HAT901", "2024-06-01")), "not found on date"),
        ("airline", ("cancel_reservation", {"reservation_id": "ZZZ999"}), "reservation not found"),
        ("airline", ("update_reservation_baggages", ("BBB222", 2, 1, "certificate_1002")), "certificate"),
        ("airline", ("update_reservation_baggages", ("CCC333", 9, 9, "gift_card_1003")), "not enough"),
        ("airline", ("calculate", {"expression": "1" + "0" * 400}), "too large"),
        ("airline", ("update_reservation_baggages", ("CCC333", 10**400, 0, "gift_card_1003")), "too large"),
        ("airline", ("send_certificate", ("ben_finch_1002", float("nan"))), "too large"),
        ("airline", ("update_reservation_passengers", ("CCC333", [])), "number of passengers"),
    ],
)
def test_a_tool_says_what_is_impossible_and_changes_nothing(domain, call, problem):
    desk = desk_of(domain)
    name, arguments = call

    with pytest.raises(ToolError, match=problem):
        getattr(desk, name)(**arguments) if isinstance(arguments, dict) else getattr(desk, name)(*arguments)

    assert not desk.database.changes()


def test_the_gift_card_pays_the_difference_to_the_cent_and_the_history_keeps_the_sum_as_it_is():
    desk = desk_of("retail")

    order = desk.modify_pending_order_items("#W1000001", ["7000000006"], ["7000000007"], "gift_card_1001")

    assert (order["status"], order["payment_history"][-1]["amount"]) == ("pending (item modified)", 31.5 - 29.99)
    assert desk.get_user_details("ada_lark_1001")["payment_methods"]["gift_card_1001"]["balance"] == 58.49


def test_an_exchange_is_noted_in_sorted_lists_with_a_rounded_difference():
    desk = desk_of("retail")

    order = desk.exchange_delivered_order_items(
        "#W1000002", ["7000000008", "7000000002"], ["7000000009", "7000000001"], "credit_card_1001"
    )

    assert order["exchange_items"] == ["7000000002", "7000000008"]
    assert order["exchange_new_items"] == ["7000000001", "7000000009"]
    assert order["exchange_price_difference"] == 13.7


def test_the_payment_of_an_order_is_changed_once():
    desk = desk_of("retail")
    desk.modify_pending_order_payment("#W1000007", "paypal_1004")

    with pytest.raises(ToolError, match="exactly one payment"):
        desk.modify_pending_order_payment("#W1000007", "gift_card_1004")


def test_the_address_of_an_order_with_changed_items_can_be_changed_in_version_two_only():
    place = ("8 Mill Lane", "", "Tidewell", "ME", "USA", "12009")
    for version, is_allowed in ((1, False), (2, True)):
        desk = desk_of("retail", version)
        desk.modify_pending_order_items("#W1000001", ["7000000006"], ["7000000005"], "credit_card_1001")

        with nullcontext() if is_allowed else pytest.raises(ToolError, match="non-pending"):
            assert desk.modify_pending_order_address("#W1000001", *place)["address"]["zip"] == "12009"


def test_a_booking_uses_its_certificate_up_and_must_be_paid_exactly():
    desk = desk_of("airline")
    booking = MadeUpData("airline").tasks("train")[1].metadata["actions"][-1].arguments
    too_much = [{"payment_id": "certificate_1002", "amount": 100}, {"payment_id": "credit_card_1002", "amount": 51}]

    with pytest.raises(ToolError, match="total price is 150, but paid 151"):
        desk.book_reservation(**{**booking, "payment_methods": too_much})
    desk.book_reservation(**booking)

    assert list(desk.get_user_details("ben_finch_1002")["payment_methods"]) == ["credit_card_1002"]


def test_a_cancelled_reservation_is_paid_back_and_bags_that_were_paid_for_are_not_paid_again():
    desk = desk_of("airline")
    desk.update_reservation_baggages("BBB222", 3, 2, "credit_card_1002")
    desk.update_reservation_baggages("BBB222", 4, 3, "credit_card_1002")

    reservation = desk.cancel_reservation("BBB222")

    assert [payment["amount"] for payment in reservation["payment_history"]] == [155, 100, 50, -155, -100, -50]
    assert reservation["status"] == "cancelled"


def test_a_cancelled_order_is_paid_back_to_the_gift_card_at_once():
    desk = desk_of("retail")

    order = desk.cancel_pending_order("#W1000007", "ordered by mistake")

    assert [payment["transaction_type"] for payment in order["payment_history"]] == ["payment", "refund"]
    assert desk.get_user_details("dov_heron_1004")["payment_methods"]["gift_card_1004"]["balance"] == 34.25


@pytest.mark.parametrize(("version", "prices"), [(1, [9.25, 31.5]), (2, [31.5, 31.5])])
def test_changed_items_take_their_prices_as_the_version_published_it(version, prices):
    desk = desk_of("retail", version)

    order = desk.modify_pending_order_items(
        "#W1000001", ["7000000001", "7000000006"], ["7000000002", "7000000007"], "credit_card_1001"
    )

    assert [item["price"] for item in order["items"]] == prices
    assert order["payment_history"][-1]["amount"] == (9.25 - 8.5) + (31.5 - 29.99)


@pytest.mark.parametrize(("version", "cabin", "num_seats"), [(1, "economy", 6), (2, "business", 5)])
def test_versions_differ_in_the_cabin_after_a_change_and_in_the_seats_after_a_booking(version, cabin, num_seats):
    desk, data = desk_of("airline", version), MadeUpData("airline", version)
    flights = [{"flight_number": "HAT902", "date": "2024-05-22"}]

    reservation = desk.update_reservation_flights("CCC333", "business", flights, "credit_card_1003")
    booked = end_state(data, data.tasks("train")[1].metadata["actions"])

    assert reservation["cabin"] == cabin
    assert reservation["payment_history"][-1] == {"payment_id": "credit_card_1003", "amount": 250}
    assert booked.get("flights", "HAT901")["dates"]["2024-05-22"]["available_seats"]["economy"] == num_seats


def test_no_more_than_three_reservations_and_certificates_can_be_made():
    desk = desk_of("airline")
    booking = MadeUpData("airline").tasks("test")[0].metadata["actions"][-1].arguments

    ids = [desk.book_reservation(**booking)["reservation_id"] for _ in range(3)]
    sent = [desk.send_certificate("ben_finch_1002", 50) for _ in range(3)]

    assert ids == ["HATHAT", "HATHAU", "HATHAV"]
    assert len(set(sent)) == 3
    for once_more in (lambda: desk.book_reservation(**booking), lambda: desk.send_certificate("ben_finch_1002", 50)):
        with pytest.raises(ToolError):
            once_more()


def test_a_stop_lies_between_two_flights_that_fit():
    ((first, second), *others) = desk_of("airline").search_onestop_flight("BOS", "SEA", "2024-05-21")

    assert (first["flight_number"], second["flight_number"], others) == ("HAT903", "HAT904", [])
    assert (first["date"], second["date"], "dates" in first) == ("2024-05-21", "2024-05-21", False)


@pytest.mark.parametrize(("expression", "value"), [("2 * (3 + 4)", "14.0"), ("10 / 3", "3.33")])
def test_the_calculator_rounds_to_two_decimals(expression, value):
    assert desk_of("retail").calculate(expression) == value


@every_env
def test_every_tool_of_both_versions_describes_itself(env_type):
    for version, own in ((1, {"think"}), (2, {"get_item_details", "get_flight_status"})):
        tools = env_type(version=version).tools

        assert len(tools) == {"retail": 16, "airline": 14}[env_type.domain]
        assert len(own & {tool.name for tool in tools}) == 1
        assert all(tool.description for tool in tools)


# -- the database ------------------------------------------------------------------------------------------------

values = st.one_of(st.integers(-2, 2), st.floats(allow_nan=False), st.text(max_size=2), st.lists(st.integers(0, 1)))
edits = st.lists(st.tuples(st.sampled_from(["orders", "users"]), st.sampled_from("abc"), values), max_size=6)


@given(edits)
def test_a_database_is_a_deep_copy_that_costs_nothing(edits):
    snapshot = MadeUpData("retail").snapshot()
    first = {name: next(iter(snapshot.tables[name])) for name in ("orders", "users")}
    before = state_text(snapshot.tables)
    database, copied = Database(snapshot), copy.deepcopy(dict(snapshot.tables))

    for table, name, value in edits:
        database.edit(table, first[table])[name] = value
        copied[table][first[table]][name] = value

    assert database.hash() == sha256(state_text(copied).encode()).hexdigest()
    assert bool(database.changes()) is (state_text(copied) != before)
    assert state_text(snapshot.tables) == before


def test_a_record_that_was_written_as_it_was_is_no_change():
    database = desk_of("retail").database

    database.edit("orders", "#W1000001")["status"] = "pending"

    assert not database.changes()


@given(edits, edits)
def test_databases_are_alike_where_their_hashes_are(some, others):
    one, other = (desk_of("retail").database for _ in range(2))
    for database, changes in ((one, some), (other, others)):
        for table, name, value in changes:
            database.edit(table, next(key for key, _ in database.records(table)))[name] = value

    assert one.is_as(other) is (one.hash() == other.hash())


@every_env
def test_a_fork_goes_its_own_way_over_the_same_records(env_type):
    env = env_type()
    task = env.tasks("train")[0]
    play(env, task, env.solve(task)[:1])

    fork = env.fork()
    for turn in env.solve(task)[1:-1]:
        fork.step(AssistantMessage(content="", tool_calls=(turn,)))

    assert fork.desk.database.changes()
    assert not env.desk.database.changes()
    assert fork.data.snapshot() is env.data.snapshot()
    assert pickle.loads(pickle.dumps(env.data.snapshot())) is env.data.snapshot()
