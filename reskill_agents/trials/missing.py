"""The brake of invariant 4: no acceptance while the candidate loses significantly more outcomes."""

from __future__ import annotations

from math import exp, lgamma

SIGNIFICANT = 0.05


def missing_p_value(episodes: tuple[int, int], missing: tuple[int, int]) -> float:
    """One-sided exact (Fisher) P(at least so many of the missing outcomes fall on the candidate | no difference).

    Args:
        episodes: rollouts (incumbent, candidate), the missing ones included.
        missing: rollouts without outcome (incumbent, candidate).
    """
    lost, total = sum(missing), sum(episodes)
    if not missing[1]:
        return 1.0
    log_all = _log_choose(total, lost)
    p = 0.0
    for k in range(missing[1], min(lost, episodes[1]) + 1):
        if lost - k <= episodes[0]:
            p += exp(_log_choose(episodes[1], k) + _log_choose(episodes[0], lost - k) - log_all)
    return min(p, 1.0)


def _log_choose(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)
