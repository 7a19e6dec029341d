"""Model observers: how well can a known lesion be told from its absence at a known place?

Both take the same sites in two sets of images, without and with a lesion, and give the detectability index d': the
distance of the two means of the decision variable in its standard deviations. `hotelling` knows the noise and undoes
every linear filter, so it sees only what was lost; `eye` does not, and sees what a reader gains from less noise.
docs/observer.md has the formulas and how they were tested.
"""

from harness.observer.rois import cut_rois

__all__ = ["cut_rois"]
