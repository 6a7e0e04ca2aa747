"""Every request has exactly one outcome, and there is room for so many."""

import math
import threading

import pytest

from airloom.core.messages import Parcel
from airloom.deployment.book import Book
from airloom.errors import Cancelled, DeadlineExceeded, DeploymentError, Overloaded


@pytest.fixture
def withdrawn():
    return []


@pytest.fixture
def book(withdrawn):
    return Book(2, lambda parcel: "value", withdrawn.append)


def test_the_first_outcome_counts_and_makes_room(book):
    first, second = book.open(block=False), book.open(block=False)
    with pytest.raises(Overloaded, match="2 requests"):
        book.open(block=False)
    book.end(first.number, Parcel(), missing=0.5)
    book.end(first.number, DeadlineExceeded("late"))
    assert (first.result(0), first.missing) == ("value", 0.5)
    assert book.open(block=False).number == 2
    book.end(second.number, DeadlineExceeded("late"))
    with pytest.raises(DeadlineExceeded):
        second.result(0)
    stats = book.stats({})
    assert stats.outcomes == {"result": 1, "DeadlineExceeded": 1}
    assert (stats.incomplete, stats.in_flight) == (1, 1)
    assert stats.p50_s == stats.p95_s == first.took_s


def test_a_book_that_nobody_wrote_in(book):
    stats = book.stats({"ue": None})
    assert math.isnan(stats.p50_s)
    assert (stats.outcomes, stats.per_s, stats.in_flight, stats.hosts) == ({}, 0.0, 0, {"ue": None})


def test_cancelling_asks_for_the_request_to_be_withdrawn_while_it_is_under_way(book, withdrawn):
    request = book.open(block=False)
    assert request.cancel()
    assert withdrawn == [request.number]
    assert request.number in book
    book.end(request.number, Cancelled("withdrawn"))
    assert request.number not in book
    assert not request.cancel()


def test_who_waits_for_room_while_the_book_is_closed_is_refused(book):
    flying, errors = [book.open(block=True), book.open(block=True)], []

    def wait():
        try:
            book.open(block=True)
        except DeploymentError as error:
            errors.append(str(error))

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert book.close()
    book.cancel_all()
    waiting.join(5)
    assert errors == ["the deployment was closed"]
    assert [type(request.exception(0)) for request in flying] == [Cancelled, Cancelled]
    assert not book.close()
    with pytest.raises(DeploymentError, match="closed"):
        book.open(block=False)


def test_results_say_what_was_missing_and_what_they_should_be_worth() -> None:
    book = Book(4, lambda parcel: parcel, lambda number: None)
    whole, half, unknown = (book.open(block=False) for _ in range(3))
    book.end(whole.number, Parcel(), 0.0, 0.9)
    book.end(half.number, Parcel(), 0.5, 0.8)
    book.end(unknown.number, Parcel())
    assert (half.missing, half.predicted_accuracy, unknown.predicted_accuracy) == (0.5, 0.8, None)
    stats = book.stats({})
    assert (stats.incomplete, stats.missing_max) == (1, 0.5)
    assert stats.missing_mean == pytest.approx(0.5 / 3)
    assert stats.predicted_accuracy == pytest.approx(0.85)
    assert stats.predicted_least == 0.8
