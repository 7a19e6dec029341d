"""Lung densitometry: the emphysema index and the 15th percentile of density, and the bias of both (ideal: 0).

The emphysema index is the share of the lung below -950 HU in %; Perc15 the HU that 15 % of the lung lie below (Gevenois
et al., AJRCCM 154 (1996); Mascalchi et al., J Thorac Dis 9 (2017)). A bias is the image's value minus the
reference's; the values themselves are the image's, whose ideal is the reference's own. Noise raises the index and
lowers Perc15, blur and flattening do the opposite: only the bias of the lung beside them tells a shift of HU from a
change of texture. A slice of 8 bits has steps of 9 HU.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from harness.metrics._images import within
from harness.metrics._metric import HU, ImageMetric, Mask, Unit

_EMPHYSEMA = -950.0  # HU


def _emphysema_index(lung: NDArray[np.float64]) -> float:
    return float(100 * np.count_nonzero(lung < _EMPHYSEMA) / lung.size)


def _perc15(lung: NDArray[np.float64]) -> float:
    return float(np.percentile(lung, 15))


def value(
    image: HU,
    reference: HU,
    mask: Mask,
    *,
    data_range: float,
    pixel_mm: float | None,
    measure: Callable[[NDArray[np.float64]], float],
    bias: bool,
) -> float:
    """`measure` of `image` (h, w) in HU over the lung, bool `mask` (h, w); as a `bias`, less that of `reference`.

    ScoringError for different sizes or an empty mask.
    """
    del data_range, pixel_mm  # every image metric takes them; this one needs neither
    own, ideal = within(image, reference, mask)
    return measure(own) - measure(ideal) if bias else measure(own)


_MEASURES: dict[str, tuple[Callable[[NDArray[np.float64]], float], Unit, str]] = {
    "emphysema_index": (_emphysema_index, "%", "share of the lung below -950 HU"),
    "perc15": (_perc15, "HU", "15th percentile of the lung's HU"),
}

METRICS = {
    f"{name}{suffix}": ImageMetric(
        value=partial(value, measure=measure, bias=bias),
        unit=unit,
        higher_is_better=None,
        regions=("lung",),
        in_hu=True,
        implementation=f"{said}{of}, own code",
    )
    for name, (measure, unit, said) in _MEASURES.items()
    for suffix, bias, of in (("", False, ""), ("_bias", True, ", minus the reference's"))
}
