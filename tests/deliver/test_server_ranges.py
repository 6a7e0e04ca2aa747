import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.deliver.server.ranges import Unsatisfiable, holds_if_range, matches, parse_range

# RFC 9110, 14.1.2: examples of a body of 10,000 bytes.
RFC = [
    ("bytes=0-499", (0, 500)),
    ("bytes=500-999", (500, 1000)),
    ("bytes=-500", (9500, 10000)),
    ("bytes=9500-", (9500, 10000)),
    ("bytes=0-0", (0, 1)),
    ("BYTES=0-0", (0, 1)),
    ("bytes=9999-20000", (9999, 10000)),
    ("bytes=-20000", (0, 10000)),
]


@pytest.mark.parametrize(("header", "expected"), RFC)
def test_examples_of_the_rfc(header, expected):
    assert parse_range(header, 10_000) == expected


@pytest.mark.parametrize(
    "header",
    [None, "", "bytes", "bytes=", "bytes=-", "bytes=5-2", "bytes=0-1,5-6", "bytes=a-b", "items=0-5", "bytes=0-1;q=1",
     "bytes=--1", "bytes=+1-2", "bytes=0x1-2", "bytes=1 - 2", "bytes=" + "9" * 400 + "-", "bytes=٣-٤"],
)  # fmt: skip
def test_what_is_no_single_range_is_the_whole(header):
    assert parse_range(header, 10_000) is None


@pytest.mark.parametrize("header", ["bytes=10000-", "bytes=10000-10001", "bytes=-0", "bytes=99999999999999999999-"])
def test_ranges_without_a_byte_are_refused(header):
    with pytest.raises(Unsatisfiable, match="has no byte of these 10000"):
        parse_range(header, 10_000)
    with pytest.raises(Unsatisfiable):
        parse_range("bytes=0-", 0)


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=40) | st.from_regex(r"bytes=\d{0,6}-\d{0,6}", fullmatch=True), st.integers(0, 500))
def test_every_range_lies_in_the_body(header, nbytes):
    try:
        found = parse_range(header, nbytes)
    except Unsatisfiable:
        return
    if found is not None:
        assert 0 <= found[0] < found[1] <= nbytes


@settings(deadline=None)
@given(st.integers(0, 99), st.integers(0, 99))
def test_a_range_is_the_slice_that_it_names(first, last):
    body = bytes(range(80))
    try:
        found = parse_range(f"bytes={first}-{last}", 80)
    except Unsatisfiable:
        assert first >= 80
        return
    if last < first:
        assert found is None
    else:
        assert body[slice(*found)] == body[first : last + 1]


def test_if_range_takes_this_tag_alone():
    assert holds_if_range(None, "abc")
    assert holds_if_range('"abc"', "abc")
    for other in ('"abd"', 'W/"abc"', "abc", "Wed, 21 Oct 2015 07:28:00 GMT", ""):
        assert not holds_if_range(other, "abc")


@pytest.mark.parametrize("header", ['"abc"', 'W/"abc"', '"x", "abc"', "*", '"x" , W/"abc"', ' "abc" '])
def test_if_none_match_names_the_tag(header):
    assert matches(header, "abc")


@pytest.mark.parametrize("header", [None, "", '"x"', "abc", '"abc', '"a""abc"', "**"])
def test_if_none_match_names_another(header):
    assert not matches(header, "abc")


@settings(deadline=None)
@given(st.text(max_size=60))
def test_if_none_match_takes_any_text(header):
    assert matches(header, "abc") in (True, False)
