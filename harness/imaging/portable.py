"""Elementary functions, quantiles and a blur that give the same bits on every processor.

numpy's float exp, log, sin, cos and power, libm's, FFTs and BLAS round their last bits by instruction set, and what is
discrete after them (a count, a grey level, a mask) then flips now and then. IEEE 754 fixes the results of +, -, *, /,
sqrt, comparison and conversion alone; everything here is made of these, in a fixed order, in float64. numba compiles
it without `fastmath`, so that LLVM neither reorders sums nor contracts a product and a sum into one rounding, on x86-64
and on arm64 alike.

Accuracy is a few units in the last place of float64, which `tests/imaging/test_portable.py` holds.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10  # their sum is ln 2, 33 + 53 bits
_PI_2 = (1.57079632673412561417e00, 6.07710050630396597660e-11, 2.02226624879595063154e-21)  # pi/2 in three parts
_PI_2_A, _PI_2_B, _PI_2_C = _PI_2
_LOWEST, _HIGHEST = -745.0, 709.0  # beyond them float64 has nothing between 0 and infinity
_POWERS = np.array([math.ldexp(1.0, k) for k in range(-1074, 1024)])  # of two: exact

# Taylor's coefficients, the highest first, as Horner's scheme takes them. 1 / n! rounds in the same way everywhere.
_EXP = tuple(1.0 / math.factorial(n) for n in range(13, -1, -1))
_SIN = tuple((-1) ** n / math.factorial(2 * n + 1) for n in range(8, -1, -1))
_COS = tuple((-1) ** n / math.factorial(2 * n) for n in range(9, -1, -1))
_ATANH = tuple(1.0 / (2 * n + 1) for n in range(11, -1, -1))
_ATAN = tuple((-1) ** n / (2 * n + 1) for n in range(12, -1, -1))


# -------------------------------------------------------------------------------- one number at a time
@njit(cache=True, nogil=True, error_model="numpy", inline="always")  # type: ignore[untyped-decorator]
def _horner(coefficients: tuple[float, ...], x: float) -> float:
    total = coefficients[0]
    for coefficient in coefficients[1:]:
        total = total * x + coefficient
    return total


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def exp(x: float) -> float:
    """e^x, of x between -745 and 709; beyond them the value at that end."""
    x = min(max(x, _LOWEST), _HIGHEST)
    k = math.floor(x / (_LN2_HIGH + _LN2_LOW) + 0.5)
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    # two steps: 2^k alone may be subnormal where the product is not
    half = int(k) // 2
    return _horner(_EXP, r) * _POWERS[half + 1074] * _POWERS[int(k) - half + 1074]  # type: ignore[no-any-return]


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def log(x: float) -> float:
    """Natural logarithm of x > 0."""
    mantissa, exponent = math.frexp(x)
    if mantissa < 0.7071067811865476:
        mantissa, exponent = 2 * mantissa, exponent - 1
    f = (mantissa - 1.0) / (mantissa + 1.0)
    return exponent * _LN2_HIGH + (exponent * _LN2_LOW + 2.0 * f * _horner(_ATANH, f * f))  # type: ignore[no-any-return]


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def power(x: float, y: float) -> float:
    """x^y for x > 0; 0 for x = 0."""
    return exp(y * log(x)) if x > 0 else 0.0


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def sin(x: float) -> float:
    """Sine of x rad, |x| up to 10^5."""
    return _sine(x, 0)  # type: ignore[no-any-return]


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def cos(x: float) -> float:
    """Cosine of x rad, |x| up to 10^5."""
    return _sine(x, 1)  # type: ignore[no-any-return]


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _sine(x: float, quarters: int) -> float:
    """Sine of x rad and of so many right angles more."""
    k = math.floor(x / (_PI_2_A + _PI_2_B) + 0.5)
    r = ((x - k * _PI_2_A) - k * _PI_2_B) - k * _PI_2_C
    quarter = (int(k) + quarters) % 4
    value = r * _horner(_SIN, r * r) if quarter % 2 == 0 else _horner(_COS, r * r)
    return -value if quarter >= 2 else value  # type: ignore[no-any-return]


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def atan2(y: float, x: float) -> float:
    """Angle of the point (x, y) in rad, -pi to pi; 0 for the origin."""
    across, along = abs(y), abs(x)
    largest = max(across, along)
    if largest == 0.0:
        return 0.0
    t = min(across, along) / largest
    angle = 0.0
    if t > 0.4142135623730950:  # tan(pi/8)
        angle, t = 0.7853981633974483, (t - 1.0) / (t + 1.0)
    t = t / (1.0 + math.sqrt(1.0 + t * t))  # half the angle
    angle += 2.0 * t * _horner(_ATAN, t * t)
    if across > along:
        angle = 1.5707963267948966 - angle
    if x < 0.0:
        angle = 3.141592653589793 - angle
    return -angle if y < 0.0 else angle  # type: ignore[no-any-return]


# Wichura's rational approximations of the normal quantile (AS 241, Appl. Statist. 37 (1988)), 16 digits, highest first.
_MIDDLE = (
    (2509.0809287301226727, 33430.575583588128105, 67265.770927008700853, 45921.953931549871457,
     13731.693765509461125, 1971.5909503065514427, 133.14166789178437745, 3.387132872796366608),
    (5226.495278852545925, 28729.085735721942674, 39307.89580009271061, 21213.794301586595867,
     5394.1960214247511077, 687.1870074920579083, 42.313330701600911252, 1.0),
)  # fmt: skip
_SIDES = (
    (7.7454501427834140764e-4, 0.0227238449892691845833, 0.24178072517745061177, 1.27045825245236838258,
     3.64784832476320460504, 5.7694972214606914055, 4.6303378461565452959, 1.42343711074968357734),
    (1.05075007164441684324e-9, 5.475938084995344946e-4, 0.0151986665636164571966, 0.14810397642748007459,
     0.68976733498510000455, 1.6763848301838038494, 2.05319162663775882187, 1.0),
)  # fmt: skip
_TAILS = (
    (2.01033439929228813265e-7, 2.71155556874348757815e-5, 0.0012426609473880784386, 0.026532189526576123093,
     0.29656057182850489123, 1.7848265399172913358, 5.4637849111641143699, 6.6579046435011037772),
    (2.04426310338993978564e-15, 1.4215117583164458887e-7, 1.8463183175100546818e-5, 7.868691311456132591e-4,
     0.0148753612908506148525, 0.13692988092273580531, 0.59983220655588793769, 1.0),
)  # fmt: skip


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def normal_quantile(u: float) -> float:
    """The standard normal value below which a share u of draws lies, 0 < u < 1 (AS 241)."""
    q = u - 0.5
    if abs(q) <= 0.425:
        r = 0.180625 - q * q
        return q * _horner(_MIDDLE[0], r) / _horner(_MIDDLE[1], r)  # type: ignore[no-any-return]
    r = math.sqrt(-log(min(u, 1.0 - u)))
    if r <= 5.0:
        value = _horner(_SIDES[0], r - 1.6) / _horner(_SIDES[1], r - 1.6)
    else:
        value = _horner(_TAILS[0], r - 5.0) / _horner(_TAILS[1], r - 5.0)
    return -value if q < 0.0 else value  # type: ignore[no-any-return]


_FEW = 32.0
"""Expected counts below which the distribution is summed up. From there on the expansion gives another count than the
exact quantile for one draw in 10^4 at most, and then the next one."""


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def poisson_quantile(mean: float, u: float) -> float:
    """The count below or at which a share u of Poisson draws of this mean lies: one uniform number, one count.

    Inversion by summing up where few are expected, else the expansion of Giles (ACM TOMS 42 (2016), eq. 9 and below) in
    the normal quantile. Unlike rejection sampling it takes one number whatever the mean: no draw moves the next.
    """
    if mean < _FEW:
        count, share = 0.0, exp(-mean)
        total = share
        while u > total:
            count += 1.0
            share *= mean / count
            if total + share == total:  # u is nearer to 1 than the rounded sum comes
                break
            total += share
        return count
    w, root = normal_quantile(u), math.sqrt(mean)
    w2 = w * w
    value = mean + root * w + (1.0 / 3.0 + w2 / 6.0)
    value -= w * (1.0 / 36.0 + w2 / 72.0) / root
    value += (-8.0 / 405.0 + w2 * (7.0 / 810.0 + w2 / 270.0)) / mean
    return max(math.floor(value), 0.0)  # type: ignore[no-any-return]


# -------------------------------------------------------------------------------- arrays
@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def exps(x: Floats) -> Floats:
    """`exp` of every element of a vector."""
    found = np.empty_like(x)
    for i in range(x.size):
        found[i] = exp(x[i])
    return found


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def logs(x: Floats) -> Floats:
    """`log` of every element of a vector."""
    found = np.empty_like(x)
    for i in range(len(x)):
        found[i] = log(x[i])
    return found


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def cosines(x: Floats) -> Floats:
    """`cos` of every element of a vector."""
    found = np.empty_like(x)
    for i in range(x.size):
        found[i] = cos(x[i])
    return found


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def sines(x: Floats) -> Floats:
    """`sin` of every element of a vector."""
    found = np.empty_like(x)
    for i in range(x.size):
        found[i] = sin(x[i])
    return found


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def angles(y: Floats, x: Floats) -> Floats:
    """`atan2` of every pair of elements of two vectors."""
    found = np.empty_like(x)
    for i in range(x.size):
        found[i] = atan2(y[i], x[i])
    return found


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def powers(x: Floats, y: float) -> Floats:
    """`power` of every element of a vector."""
    found = np.empty_like(x)
    for i in range(x.size):
        found[i] = power(x[i], y)
    return found


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def normal_quantiles(u: Floats) -> Floats:
    """`normal_quantile` of every element of a vector."""
    found = np.empty_like(u)
    for i in range(u.size):
        found[i] = normal_quantile(u[i])
    return found


# -------------------------------------------------------------------------------- blur
def gaussian_blur(image: NDArray[np.floating], sigma: float, *, border: str = "reflect") -> NDArray[np.float32]:
    """A Gaussian blur of `sigma` pixels, (height, width) to float32 of the same shape; sums are made in float64.

    The kernel reaches 4 sigma. `border` is "reflect" (d c b | a b c d) or "edge" (a a a | a b c d).
    """
    taps = gaussian_weights(sigma)
    reach = len(taps) // 2
    padded = np.pad(np.asarray(image, np.float32), reach, mode="reflect" if border == "reflect" else "edge")
    return _separable(padded, taps)  # type: ignore[no-any-return]


def gaussian_weights(sigma: float) -> Floats:
    """Weights of a Gaussian at whole pixels up to 4 sigma, their sum 1, in order."""
    reach = max(1, round(4 * sigma))
    offsets = np.arange(-reach, reach + 1) / sigma
    weights = exps(-0.5 * offsets * offsets)
    total = 0.0
    for weight in weights:  # numpy's sum has no order that is promised
        total += float(weight)
    return weights / total  # type: ignore[no-any-return]


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _separable(padded: NDArray[np.float32], taps: Floats) -> NDArray[np.float32]:
    """Rows first, then columns, of an image with a border as wide as the kernel's reach."""
    reach = len(taps) // 2
    height, width = padded.shape[0] - 2 * reach, padded.shape[1] - 2 * reach
    along = np.empty((padded.shape[0], width), np.float64)
    for i in range(padded.shape[0]):
        row = along[i]
        row[:] = 0.0
        for k in range(len(taps)):
            weight = taps[k]
            for j in range(width):
                row[j] += weight * padded[i, j + k]
    blurred = np.empty((height, width), np.float32)
    line = np.empty(width, np.float64)
    for i in range(height):
        line[:] = 0.0
        for k in range(len(taps)):
            weight = taps[k]
            for j in range(width):
                line[j] += weight * along[i + k, j]
        for j in range(width):
            blurred[i, j] = line[j]
    return blurred
