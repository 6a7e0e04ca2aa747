"""MCS and CQI tables of 3GPP TS 38.214 (V17), as printed.

Rows are (Qm, R x 1024): bits a modulation symbol and code rate. Reserved rows are left out. PUSCH
without transform precoding uses the PDSCH's tables (clause 6.1.4.1).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mcs:
    """One row of an MCS table.

    Attributes:
        table: 1, 2 or 3 for Table 5.1.3.1-1 (64QAM), -2 (256QAM) or -3 (64QAM, low spectral efficiency).
        index: I_MCS in that table.
        order: Qm, bits a modulation symbol.
        rate_1024: target code rate times 1024.
    """

    table: int
    index: int
    order: int
    rate_1024: float

    @property
    def rate(self) -> float:
        """Target code rate R."""
        return self.rate_1024 / 1024.0

    @property
    def efficiency(self) -> float:
        """Information bits a modulation symbol, Qm * R."""
        return self.order * self.rate


@dataclass(frozen=True, slots=True)
class Cqi:
    """One row of a CQI table; index 0 (out of range) has none."""

    index: int
    order: int
    rate_1024: float

    @property
    def efficiency(self) -> float:
        return self.order * self.rate_1024 / 1024.0


_MCS_64QAM = (  # Table 5.1.3.1-1
    (2, 120), (2, 157), (2, 193), (2, 251), (2, 308), (2, 379), (2, 449), (2, 526), (2, 602), (2, 679),
    (4, 340), (4, 378), (4, 434), (4, 490), (4, 553), (4, 616), (4, 658),
    (6, 438), (6, 466), (6, 517), (6, 567), (6, 616), (6, 666), (6, 719), (6, 772), (6, 822), (6, 873), (6, 910),
    (6, 948),
)  # fmt: skip
_MCS_256QAM = (  # Table 5.1.3.1-2
    (2, 120), (2, 193), (2, 308), (2, 449), (2, 602),
    (4, 378), (4, 434), (4, 490), (4, 553), (4, 616), (4, 658),
    (6, 466), (6, 517), (6, 567), (6, 616), (6, 666), (6, 719), (6, 772), (6, 822), (6, 873),
    (8, 682.5), (8, 711), (8, 754), (8, 797), (8, 841), (8, 885), (8, 916.5), (8, 948),
)  # fmt: skip
_MCS_LOW_SE = (  # Table 5.1.3.1-3
    (2, 30), (2, 40), (2, 50), (2, 64), (2, 78), (2, 99), (2, 120), (2, 157), (2, 193), (2, 251), (2, 308), (2, 379),
    (2, 449), (2, 526), (2, 602),
    (4, 340), (4, 378), (4, 434), (4, 490), (4, 553), (4, 616),
    (6, 438), (6, 466), (6, 517), (6, 567), (6, 616), (6, 666), (6, 719), (6, 772),
)  # fmt: skip
_CQI_64QAM = (  # Table 5.2.2.1-2
    (2, 78), (2, 120), (2, 193), (2, 308), (2, 449), (2, 602), (4, 378), (4, 490), (4, 616),
    (6, 466), (6, 567), (6, 666), (6, 772), (6, 873), (6, 948),
)  # fmt: skip
_CQI_256QAM = (  # Table 5.2.2.1-3
    (2, 78), (2, 193), (2, 449), (4, 378), (4, 490), (4, 616), (6, 466), (6, 567), (6, 666), (6, 772), (6, 873),
    (8, 711), (8, 797), (8, 885), (8, 948),
)  # fmt: skip
_CQI_LOW_SE = (  # Table 5.2.2.1-4
    (2, 30), (2, 50), (2, 78), (2, 120), (2, 193), (2, 308), (2, 449), (2, 602), (4, 378), (4, 490), (4, 616),
    (6, 466), (6, 567), (6, 666), (6, 772),
)  # fmt: skip

#: MCS tables 1 to 3: TS 38.214 Tables 5.1.3.1-1, -2, -3.
MCS_TABLES: dict[int, tuple[Mcs, ...]] = {
    number: tuple(Mcs(number, index, order, float(rate)) for index, (order, rate) in enumerate(rows))
    for number, rows in ((1, _MCS_64QAM), (2, _MCS_256QAM), (3, _MCS_LOW_SE))
}

#: CQI tables 1 to 3, each made for the MCS table of its number: TS 38.214 Tables 5.2.2.1-2, -3, -4.
CQI_TABLES: dict[int, tuple[Cqi, ...]] = {
    number: tuple(Cqi(index + 1, order, float(rate)) for index, (order, rate) in enumerate(rows))
    for number, rows in ((1, _CQI_64QAM), (2, _CQI_256QAM), (3, _CQI_LOW_SE))
}


def mcs(table: int, index: int) -> Mcs:
    """Row `index` of MCS table `table`.

    Raises:
        ValueError: no such table or row; says which there are.
    """
    if table not in MCS_TABLES:
        raise ValueError(f"MCS tables are 1, 2 and 3 (38.214 Tables 5.1.3.1-1 to -3), got {table!r}")
    rows = MCS_TABLES[table]
    if not 0 <= index < len(rows):
        raise ValueError(f"MCS table {table} has indices 0 to {len(rows) - 1}, got {index!r}")
    return rows[index]
