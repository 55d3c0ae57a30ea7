"""Quantiles of Student's t, in plain floats (scipy is no dependency)."""

from __future__ import annotations

from math import exp, lgamma, log, log1p


def t_quantile(p: float, df: float) -> float:
    """t with P(T <= t) = ``p`` for ``df`` degrees of freedom, to about ten digits; 0 < p < 1, df > 0."""
    if not 0.0 < p < 1.0 or df <= 0.0:
        raise ValueError(f"no quantile of t for p={p}, df={df}")
    if p < 0.5:
        return -t_quantile(1.0 - p, df)
    low, high = 0.0, 1.0
    while t_cdf(high, df) < p:
        low, high = high, 2.0 * high
    for _ in range(80):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if t_cdf(middle, df) < p else (low, middle)
    return 0.5 * (low + high)


def t_cdf(t: float, df: float) -> float:
    """P(T <= ``t``): 1 - I(df / (df + t^2); df / 2, 1 / 2) / 2 for t >= 0."""
    tail = 0.5 * _beta(df / (df + t * t), 0.5 * df, 0.5)
    return 1.0 - tail if t >= 0 else tail


def _beta(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function by its continued fraction (Lentz)."""
    if x <= 0.0 or x >= 1.0:
        return float(x >= 1.0)
    front = exp(a * log(x) + b * log1p(-x) + lgamma(a + b) - lgamma(a) - lgamma(b))
    if x > (a + 1.0) / (a + b + 2.0):
        return 1.0 - front * _fraction(1.0 - x, b, a) / b
    return front * _fraction(x, a, b) / a


def _fraction(x: float, a: float, b: float) -> float:
    tiny = 1e-300
    c, d = 1.0, 1.0 / (1.0 - (a + b) * x / (a + 1.0) or tiny)
    result = d
    for m in range(1, 500):
        even = m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0))
        for term in (even, odd):
            d = 1.0 / (1.0 + term * d or tiny)
            c = 1.0 + term / c or tiny
            result *= c * d
        if abs(c * d - 1.0) < 1e-14:
            break
    return result


__all__ = ["t_cdf", "t_quantile"]
