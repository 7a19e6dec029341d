"""A small test set of noise and lesions alone, with further slices: what is in it is known exactly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.base.slices import read_grey, write_grey
from harness.dataset.cases import Case, Dataset, FurtherSlice
from harness.imaging.lesion import Lesion, Site, roi_half
from harness.imaging.regions import Code

SIZE, PATIENTS, PLANES = 160, 4, 2
LESIONS = (Lesion(diameter_mm=2, contrast_hu=150), Lesion(diameter_mm=4, contrast_hu=80))
LUNG, NOISE = 100.0, 6.0  # grey levels
HU_PER_GREY = 10.0
Image = NDArray[np.uint8]


def disk(diameter: float) -> NDArray[np.float64]:
    """A lesion of contrast 1 and this diameter in pixels, with a soft edge, as large as a region of interest."""
    offsets = np.arange(2 * roi_half(SIZE) + 1) - roi_half(SIZE)
    return np.clip(diameter / 2 + 0.5 - np.hypot(offsets[:, None], offsets), 0, 1)


def sites_of_plane() -> tuple[Site, ...]:
    step = 2 * roi_half(SIZE) + 2
    places = [(row, column) for row in range(step, SIZE - step, step) for column in range(step, SIZE - step, step)]
    return tuple(
        Site(row=row, column=column, condition=index % len(LESIONS)) for index, (row, column) in enumerate(places)
    )


def anatomy(*, lesions: bool) -> NDArray[np.float64]:
    """Flat lung in grey levels, with or without a lesion at every site."""
    image, half = np.full((SIZE, SIZE), LUNG), roi_half(SIZE)
    for site in sites_of_plane() if lesions else ():
        lesion = LESIONS[site.condition]
        square = np.s_[site.row - half : site.row + half + 1, site.column - half : site.column + half + 1]
        image[square] += lesion.contrast_hu / HU_PER_GREY * disk(lesion.diameter_mm)
    return image


def grey(image: NDArray[np.float64]) -> Image:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def make_set(folder: Path, *, scans: int = 4, patients: int = PATIENTS) -> Dataset:
    """Planes of pixels of 1 mm in HU_PER_GREY, all of them lung, with lesions and `scans` low-dose scans of each."""
    cases, further = [], []
    truth, regions = folder / "truth.png", folder / "regions.png"
    write_grey(truth, grey(anatomy(lesions=False)))
    write_grey(regions, np.full((SIZE, SIZE), Code.LUNG, np.uint8))
    rng = np.random.default_rng(5)

    def scan(name: str, *, lesions: bool = False) -> str:
        path = folder / "lq" / f"{name}.png"
        write_grey(path, grey(anatomy(lesions=lesions) + rng.normal(0, NOISE, (SIZE, SIZE))))
        return str(path)

    for patient in range(patients):
        for plane in range(PLANES):
            name = f"p{patient + 1}-s{plane + 1}"
            case = Case(
                name=name,
                patient=f"p{patient + 1}",
                pixel_mm=1.0,
                lq=scan(name),
                gt=str(truth),
                truth=str(truth),
                regions=str(regions),
            )
            cases.append(case)
            with_lesions = f"{name}-lesions"
            further.append(
                FurtherSlice(
                    name=with_lesions, lq=scan(with_lesions, lesions=True), pixel_mm=1.0, of=name, kind="lesions"
                )
            )
            for number in range(1, scans):
                again = f"{name}-again-{number}"
                further.append(FurtherSlice(name=again, lq=scan(again), pixel_mm=1.0, of=name, kind="again"))
    return Dataset(
        cases=tuple(cases),
        further=tuple(further),
        window_hu=(0.0, 255 * HU_PER_GREY),
        digest="d",
        lesions=LESIONS,
        sites={case.name: sites_of_plane() for case in cases},
    )


def denoised(dataset: Dataset, folder: Path, denoise: Callable[[Image], Image]) -> dict[str, Path]:
    """What a denoiser makes of every slice that it is shown."""
    outputs = {one.name: folder / f"{one.name}.png" for one in dataset.shown}
    for one in dataset.shown:
        write_grey(outputs[one.name], denoise(read_grey(Path(one.lq))))
    return outputs


def inputs(dataset: Dataset) -> Mapping[str, Path]:
    """The noisy slices as outputs."""
    return {one.name: Path(one.lq) for one in dataset.shown}
