"""Write walk_5g.txt: a made-up 5G rate, one value a second, with the outages of mmWave behind a corner.

Shaped like recordings of mmWave on foot: hundreds of Mbit/s in sight of the cell, tens behind corners, nothing for
a second or two now and then. It is drawn from a seed and is no measurement.
"""

import random
from pathlib import Path

draws = random.Random(7)
rate, rows = 300.0, []
for second in range(120):
    corner = 35 <= second < 50 or 85 <= second < 95
    goal = 40.0 if corner else 350.0
    rate += 0.5 * (goal - rate) + draws.gauss(0.0, 0.15 * goal)
    outage = corner and draws.random() < 0.15
    rows.append(f"{second} {0.0 if outage else max(rate, 5.0):.1f}")
Path(__file__).with_suffix(".txt").write_text("# second Mbit/s, made by walk_5g.py\n" + "\n".join(rows) + "\n")
