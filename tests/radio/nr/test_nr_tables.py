"""MCS and CQI tables against 38.214: sums over the printed tables, anchors, and what must hold between them."""

from __future__ import annotations

import itertools

import pytest

from airloom.radio.nr.tables import CQI_TABLES, MCS_TABLES, mcs


def test_tables_have_as_many_rows_as_38_214() -> None:
    assert {number: len(rows) for number, rows in MCS_TABLES.items()} == {1: 29, 2: 28, 3: 29}
    assert {number: len(rows) for number, rows in CQI_TABLES.items()} == {1: 15, 2: 15, 3: 15}


# (table, index, Qm, R x 1024, spectral efficiency as printed), 38.214 Tables 5.1.3.1-1 to -3
@pytest.mark.parametrize(
    ("table", "index", "order", "rate", "efficiency"),
    [
        (1, 0, 2, 120, 0.2344), (1, 4, 2, 308, 0.6016), (1, 9, 2, 679, 1.3262), (1, 10, 4, 340, 1.3281),
        (1, 13, 4, 490, 1.9141), (1, 16, 4, 658, 2.5703), (1, 17, 6, 438, 2.5664), (1, 28, 6, 948, 5.5547),
        (2, 5, 4, 378, 1.4766), (2, 11, 6, 466, 2.7305), (2, 20, 8, 682.5, 5.3320), (2, 27, 8, 948, 7.4063),
        (3, 0, 2, 30, 0.0586), (3, 14, 2, 602, 1.1758), (3, 21, 6, 438, 2.5664), (3, 28, 6, 772, 4.5234),
    ],
)  # fmt: skip
def test_mcs_rows_match_38_214(table: int, index: int, order: int, rate: float, efficiency: float) -> None:
    row = mcs(table, index)
    assert (row.table, row.index, row.order, row.rate_1024) == (table, index, order, rate)
    assert row.efficiency == pytest.approx(efficiency, abs=6e-5)


# Efficiencies of the CQI tables as printed, 38.214 Tables 5.2.2.1-2 to -4
@pytest.mark.parametrize(
    ("table", "efficiencies"),
    [
        (1, (0.1523, 0.2344, 0.3770, 0.6016, 0.8770, 1.1758, 1.4766, 1.9141, 2.4063, 2.7305, 3.3223, 3.9023, 4.5234,
             5.1152, 5.5547)),
        (2, (0.1523, 0.3770, 0.8770, 1.4766, 1.9141, 2.4063, 2.7305, 3.3223, 3.9023, 4.5234, 5.1152, 5.5547, 6.2266,
             6.9141, 7.4063)),
        (3, (0.0586, 0.0977, 0.1523, 0.2344, 0.3770, 0.6016, 0.8770, 1.1758, 1.4766, 1.9141, 2.4063, 2.7305, 3.3223,
             3.9023, 4.5234)),
    ],
)  # fmt: skip
def test_cqi_efficiencies_match_38_214(table: int, efficiencies: tuple[float, ...]) -> None:
    assert [row.efficiency for row in CQI_TABLES[table]] == pytest.approx(list(efficiencies), abs=6e-5)
    assert [row.index for row in CQI_TABLES[table]] == list(range(1, 16))


def test_efficiency_rises_with_the_index_but_where_the_standard_changes_modulation() -> None:
    falls = [
        (number, row.index)
        for number, rows in MCS_TABLES.items()
        for before, row in itertools.pairwise(rows)
        if row.efficiency < before.efficiency
    ]
    assert falls == [(1, 17)]


@pytest.mark.parametrize(("table", "index"), [(0, 0), (4, 0), (1, 29), (2, 28), (1, -1)])
def test_rows_that_do_not_exist_are_refused(table: int, index: int) -> None:
    with pytest.raises(ValueError, match="MCS table"):
        mcs(table, index)
