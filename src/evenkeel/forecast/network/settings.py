"""How a network is trained; chosen by measurement (see docs/designs/0008-forecasting.md)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Training:
    """`rows_per_epoch` series-origins are drawn afresh for each epoch.

    The loss of a row is divided by its scale to the power `gamma`: 0 is WQL itself, in which a few
    large VMs decide everything; 1 takes all VMs alike.
    """

    epochs: int = 12
    rows_per_epoch: int = 200_000
    batch: int = 512
    hidden: int = 192
    dropout: float = 0.08
    learning_rate: float = 2e-3
    weight_decay: float = 1e-3
    gamma: float = 0.15
