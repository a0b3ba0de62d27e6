"""Every forecaster by the name that `--models` takes. A new one gets one line in `CATALOGUE`.

Models that need heavy libraries are imported when they are made, not here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from evenkeel.domain.errors import ConfigInvalid
from evenkeel.domain.panel import DAY_S
from evenkeel.forecast.base import Forecaster
from evenkeel.forecast.statistical.baseline import Baseline, Rule
from evenkeel.forecast.statistical.rules import last_diff, last_value, seasonal_naive, trailing
from evenkeel.forecast.workers import IN_TURN, Report, Workers, ignore

HOUR_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Entry:
    """`make` gets whom to tell (in words) how far a fit has come, and who may do parts of it.

    `is_baseline`: an opponent, not ours. `always`: it runs beside whatever is measured.
    """

    make: Callable[[Report, Workers], Forecaster]
    is_baseline: bool = False
    always: bool = False


def _opponent(name: str, rule: Rule) -> Entry:
    return Entry(lambda *_: Baseline(name, rule), is_baseline=True, always=True)


def _ets(*_: object) -> Forecaster:
    from evenkeel.forecast.statistical.classical import ets

    return Baseline("ets", ets)


def _theta(*_: object) -> Forecaster:
    from evenkeel.forecast.statistical.classical import theta

    return Baseline("theta", theta)


def _empirical(*_: object) -> Forecaster:
    from evenkeel.forecast.empirical import Empirical

    return Empirical()


def _auto(report: Report, workers: Workers) -> Forecaster:
    from evenkeel.forecast.auto import AutoForecaster

    return AutoForecaster(report=report, workers=workers)


def _network(report: Report, recurrent: bool) -> Forecaster:
    from evenkeel.forecast.network.forecaster import NetworkForecaster

    return NetworkForecaster(recurrent, report=report)


def _boosted(report: Report, _: Workers) -> Forecaster:
    from evenkeel.forecast.boosted import BoostedForecaster

    return BoostedForecaster(report=report)


CATALOGUE: Final[dict[str, Entry]] = {
    "auto": Entry(_auto),
    "blend": Entry(lambda report, _: _network(report, recurrent=False)),
    "recurrent": Entry(lambda report, _: _network(report, recurrent=True)),
    "boosted": Entry(_boosted),
    "empirical": Entry(_empirical),
    "last-value": _opponent("last-value", last_value),
    "last-diff": _opponent("last-diff", partial(last_diff, 7 * DAY_S)),
    "trailing-1h": _opponent("trailing-1h", partial(trailing, HOUR_S)),
    "trailing-12h": _opponent("trailing-12h", partial(trailing, 12 * HOUR_S)),
    "trailing-1d": _opponent("trailing-1d", partial(trailing, DAY_S)),
    "trailing-7d": _opponent("trailing-7d", partial(trailing, 7 * DAY_S)),
    "seasonal-naive": _opponent("seasonal-naive", seasonal_naive),
    "ets": Entry(_ets, is_baseline=True),
    "theta": Entry(_theta, is_baseline=True),
}


def forecaster(name: str, report: Report = ignore, workers: Workers = IN_TURN) -> Forecaster:
    """Raises ConfigInvalid for a name that is not in the catalogue, or when its library lacks."""
    if name not in CATALOGUE:
        raise ConfigInvalid(
            f"there is no model {name!r}", hint=f"There are: {', '.join(CATALOGUE)}."
        )
    try:
        return CATALOGUE[name].make(report, workers)
    except ModuleNotFoundError as error:
        raise ConfigInvalid(
            f"model {name!r} needs the Python package {error.name}",
            hint="pip install 'evenkeel[ml]' to train; 'evenkeel[forecast]' is enough to serve.",
        ) from error
