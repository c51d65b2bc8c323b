"""How far answers are from each other."""

from __future__ import annotations

import math


def difference(want, got) -> float:
    """Return the largest difference of two answers, absolute up to 1 and relative beyond;
    infinite where they are not of one shape, or have other words in them."""
    if isinstance(want, (list, tuple)) and isinstance(got, (list, tuple)):
        if len(want) != len(got):
            return math.inf
        return max((difference(a, b) for a, b in zip(want, got)), default=0.0)
    if isinstance(want, dict) and isinstance(got, dict):
        if want.keys() != got.keys():
            return math.inf
        return max((difference(want[k], got[k]) for k in want), default=0.0)
    if isinstance(want, (int, float)) and isinstance(got, (int, float)):
        d = abs(want - got) / max(1.0, abs(want))
        return d if d == d else math.inf
    return 0.0 if want == got else math.inf
