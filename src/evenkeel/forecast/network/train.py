"""The network and its training. The only module that imports PyTorch.

For each series, target and quantile level the network gives every candidate forecast a weight
(softmax) and adds a correction in units of the series' scale: a mixture of experts (Jacobs et al.
1991) over quantile forecasts. With `recurrent` a GRU (Cho et al. 2014) reads the latest slots and
the hours before them. Loss: pinball at all levels, divided by `scale ** gamma`.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from evenkeel.forecast.base import LEVELS, N_QUANTILES
from evenkeel.forecast.features import N_CANDIDATES, Features
from evenkeel.forecast.network.settings import Training
from evenkeel.forecast.rows import Rows

SEQUENCE_HIDDEN = 48
INPUTS = ("series", "sequence", "target", "candidates", "scale")
"""Fields of `Features`, as the network takes them."""


class BlendNet(nn.Module):
    """Takes `INPUTS`, in the shapes of `Features`; gives raw quantiles (R, K, Q)."""

    def __init__(
        self, n_series: int, n_target: int, hidden: int, dropout: float, recurrent: bool
    ) -> None:
        super().__init__()
        self.register_buffer("series_mean", torch.zeros(n_series))
        self.register_buffer("series_unit", torch.ones(n_series))
        self.register_buffer("target_mean", torch.zeros(n_target))
        self.register_buffer("target_unit", torch.ones(n_target))
        self.gru = nn.GRU(2, SEQUENCE_HIDDEN, batch_first=True) if recurrent else None
        n_in = n_series + (SEQUENCE_HIDDEN if recurrent else 0)
        self.body = nn.Sequential(
            nn.Linear(n_in, hidden),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden // 2),
        )
        self.head = nn.Sequential(
            nn.Linear(hidden // 2 + n_target, hidden),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Dropout(dropout),
        )
        self.gate = nn.Linear(hidden, N_QUANTILES * N_CANDIDATES)
        self.correction = nn.Linear(hidden, N_QUANTILES)
        for layer in (self.gate, self.correction):  # it starts as the mean of the candidates
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def learn_units(self, series: Tensor, target: Tensor) -> None:
        """Of the rows of the first epoch; a single one has no spread."""
        self.series_mean, self.series_unit = series.mean(0), _spread(series) + 1e-3
        every = target.flatten(0, 1)
        self.target_mean, self.target_unit = every.mean(0), _spread(every) + 1e-3

    def forward(
        self, series: Tensor, sequence: Tensor, target: Tensor, candidates: Tensor, scale: Tensor
    ) -> Tensor:
        known = ((series - self.series_mean) / self.series_unit).clamp(-5, 5)
        if self.gru is not None:
            known = torch.cat([known, self.gru(sequence)[1][0]], dim=-1)
        asked = ((target - self.target_mean) / self.target_unit).clamp(-5, 5)
        embedded = self.body(known).unsqueeze(1).expand(-1, asked.shape[1], -1)
        hidden = self.head(torch.cat([embedded, asked], dim=-1))
        weights = self.gate(hidden).unflatten(-1, (N_QUANTILES, N_CANDIDATES)).softmax(-1)
        blended = (weights * candidates.transpose(2, 3)).sum(-1)
        result: Tensor = blended + self.correction(hidden) * scale[:, None, None]
        return result


@contextmanager
def _one_thread() -> Iterator[None]:
    """The order of a sum, and so the last bit, follows the number of threads; and two of them that
    wait for each other on a busy machine take twenty times as long as one (measured).
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@_one_thread()
def train(
    draw: Callable[[int], Rows],
    training: Training,
    recurrent: bool,
    seed: int,
    report: Callable[[float], None],
) -> bytes:
    """Train on `draw(epoch)` and return the network as ONNX. `report` gets the share done."""
    torch.manual_seed(seed)
    net: BlendNet | None = None
    optimiser: torch.optim.Optimizer | None = None
    levels = torch.tensor(LEVELS)
    for epoch, rows in enumerate(_drawn(draw, training.epochs)):
        inputs = _tensors(rows.features)
        truth, known = torch.from_numpy(np.nan_to_num(rows.truth)), ~np.isnan(rows.truth)
        seen, held_back = torch.from_numpy(known).float(), torch.from_numpy(rows.censored).float()
        scale = inputs[-1]
        weight = scale**-training.gamma
        weight = weight / weight.mean()
        unit = (truth * seen * weight[:, None]).mean() + 1e-9
        steps = max(1, len(truth) // training.batch)
        if net is None or optimiser is None:
            net = BlendNet(
                inputs[0].shape[1], inputs[2].shape[2], training.hidden, training.dropout, recurrent
            )
            net.learn_units(inputs[0], inputs[2])
            optimiser = torch.optim.AdamW(
                net.parameters(), training.learning_rate, weight_decay=training.weight_decay
            )
            n_scheduled = training.epochs * steps  # later epochs may have a few rows more, or fewer
            schedule = torch.optim.lr_scheduler.OneCycleLR(
                optimiser, training.learning_rate, total_steps=n_scheduled + 1
            )
        net.train()
        for chosen in torch.randperm(len(truth)).tensor_split(steps):
            error = truth[chosen].unsqueeze(-1) - net(*(part[chosen] for part in inputs))
            loss = torch.maximum(levels * error, (levels - 1) * error)
            # what was held back tells only that the demand was not lower
            loss = loss * (1 - held_back[chosen].unsqueeze(-1) * (error <= 0))
            loss = (loss * (seen[chosen] * weight[chosen, None]).unsqueeze(-1)).mean() / unit
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            if schedule.last_epoch < n_scheduled:
                schedule.step()
        report((epoch + 1) / training.epochs)
    if net is None:
        raise ValueError("training needs at least one epoch")
    return _to_onnx(net.eval(), [part[:2] for part in inputs])


def _drawn(draw: Callable[[int], Rows], n: int) -> Iterator[Rows]:
    """`draw(0)` to `draw(n - 1)`, the next one while the one before is learnt from."""
    with ThreadPoolExecutor(1) as pool:
        coming = [pool.submit(draw, 0)]
        for epoch in range(1, n + 1):
            rows = coming.pop().result()
            if epoch < n:
                coming.append(pool.submit(draw, epoch))
            yield rows


def _spread(values: Tensor) -> Tensor:
    return values.std(0, correction=min(1, len(values) - 1))


def _tensors(features: Features) -> list[Tensor]:
    return [torch.from_numpy(getattr(features, name)) for name in INPUTS]


def _to_onnx(net: BlendNet, example: list[Tensor]) -> bytes:
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of its own future
        torch.onnx.export(
            net,
            tuple(example),
            out,  # type: ignore[arg-type]  # a file-like object is fine at run time
            input_names=list(INPUTS),
            output_names=["quantiles"],
            dynamic_axes={name: {0: "rows"} for name in INPUTS}
            | {"target": {0: "rows", 1: "targets"}, "candidates": {0: "rows", 1: "targets"}},
            dynamo=False,
        )
    return out.getvalue()
