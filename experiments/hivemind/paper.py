"""What the paper prints (Wang, Zhang, Uchiyama, Matsuda: HiveMind, IEEE JSAC 40(2), 2022), figure by figure.

Figures are curves in a picture: only numbers that the text or a table states are here.
"""

from __future__ import annotations

# Table I: capacity, mean and standard deviation of what is left to the UE, Mbit/s.
TABLE_I: dict[str, tuple[float, float, float]] = {
    "A": (200, 66.49, 19.47),
    "B": (200, 71.89, 19.72),
    "C": (200, 47.06, 8.95),
    "D": (200, 54.03, 11.61),
    "E": (200, 48.59, 9.41),
    "F": (400, 54.05, 12.94),
    "G": (200, 36.03, 8.63),
    "H": (50, 18.12, 4.43),
}
TABLE_I_SUB6: dict[str, tuple[float, float, float]] = {"A & B": (50, 33.94, 8.45), "C": (50, 18.78, 3.66)}

#: Section IV-C3: mean time of one split cost update.
UPDATE_MS = 27.0
#: Section III: what multi-split takes off the mean latency, percent, least and most over the loads.
OFF_CLOUD, OFF_SINGLE = (37.0, 90.0), (32.0, 55.0)
#: Fig. 6, section IV-F: one UE and five MEC hosts, Mbit/s of each hop from the UE on; spikes of more than 500 ms.
FIG6_RATES, FIG6_SPIKE_MS = (4000, 2000, 800, 400, 100), 500.0
#: Fig. 11a, mmWave, ResNet-18: HiveMind at most, cloud only under high load more than.
FIG11_HIVEMIND_MS, FIG11_CLOUD_MS = 79.0, 300.0
#: Fig. 11b, energy of IAB hosts and UE in training: HiveMind less than, cloud only up to.
FIG11_HIVEMIND_J, FIG11_CLOUD_J = 400.0, 890.0
#: Fig. 13: relative efficiency of the two-part CNN over ResNet-18's and VGG11's.
FIG13_OVER_RESNET, FIG13_OVER_VGG = 3.0, 1.8
#: Fig. 14: latency with IAB hosts improved lies below that with core hosts and cloud improved, percent; where the
#: single split and cloud only end, ms.
FIG14_BELOW_CORE, FIG14_BELOW_CLOUD, FIG14_SINGLE_MS, FIG14_CLOUD_MS = 14.5, 47.2, 115.0, 181.0
#: Fig. 15: a hop more and another access gNB cost less than, ms.
FIG15_MORE_MS = 5.0
#: Fig. 16: share of spikes over 100 ms that stay with prediction, percent, at a coherence time of 10 and 50 ms.
FIG16_LEFT = {10: 12.0, 50: 0.0}
#: Fig. 17: prediction pays up to this relative error, percent; beyond 17 % the median latency is, ms.
FIG17_BREAK_EVEN, FIG17_FAR_MS = 13.0, 130.0
#: Fig. 18: linear combination, ms and J; HiveMind's energy below it, percent; the bound, ms.
FIG18_LINEAR, FIG18_LESS, FIG18_BOUND_MS = (75.0, 476.0), 22.9, 120.0
#: Fig. 19: efficiency over the standard split, by load.
FIG19_RNN, FIG19_QMIX = {"low": 1.7, "high": 2.3}, {"high": 1.5}
