"""All figures of one predictor on one data set, batch after batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.evaluation.points import PointTally
from training.evaluation.protocols import (
    INTERACTING,
    MCP_SCALED,
    HandBatch,
    Protocol,
    Result,
    Tally,
    Truth,
    mean_of_means,
)


@dataclass(frozen=True)
class Accuracy:
    """What a card or passport says: `mcp-scaled` over the images with both hands; nan where nothing was measured."""

    dataset: str
    protocol: str
    mpjpe_mm: float
    mpvpe_mm: float
    mrrpe_mm: float
    presence_accuracy: float  # share of the hands of which it is known
    n_images: int
    n_interacting: int


class Scores:
    """One predictor's figures by several protocols, and in the picture, batch after batch."""

    def __init__(self, protocols: Sequence[Protocol] = (MCP_SCALED,)) -> None:
        self.n_images = 0
        self.n_interacting = 0
        self._presence = np.zeros(2)  # right, known
        self._tallies = {protocol: Tally(protocol) for protocol in (*protocols, MCP_SCALED)}
        self.points = PointTally()

    def add(self, predicted: HandBatch, truth: Truth) -> None:
        """Count the images of a batch."""
        self.n_images += len(truth.hand_type)
        self.n_interacting += int((truth.hand_type == INTERACTING).sum())
        known = truth.presence_known
        self._presence += [((predicted.present == truth.present) & known).sum(), known.sum()]
        self.points.add(predicted, truth)
        for tally in self._tallies.values():
            tally.add(predicted, truth)

    def result(self, protocol: Protocol) -> Result:
        """Figures of a protocol that was asked for."""
        return self._tallies[protocol].result()

    def accuracy(self, dataset: str) -> Accuracy:
        """Figures by the protocol of cards and passports."""
        result = self.result(MCP_SCALED)
        return Accuracy(
            dataset=dataset,
            protocol=MCP_SCALED.name,
            mpjpe_mm=result.mpjpe_mm.interacting,
            mpvpe_mm=result.mpvpe_mm.interacting,
            mrrpe_mm=result.mrrpe_mm,
            presence_accuracy=mean_of_means(*self._presence),
            n_images=self.n_images,
            n_interacting=self.n_interacting,
        )
