"""What the Prometheus source says when it is not answered as it should be."""

from __future__ import annotations

import httpx2
import pytest

from evenkeel.adapters.metrics.promql import PromqlSource
from evenkeel.domain.errors import MetricsSourceInvalid, MetricsSourceUnavailable
from evenkeel.domain.resources import Resource

MATRIX = {"status": "success", "data": {"resultType": "matrix", "result": []}}


def source(answer: object, status: int = 200) -> PromqlSource:
    def handle(request: httpx2.Request) -> httpx2.Response:
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, str):
            return httpx2.Response(status, text=answer)
        return httpx2.Response(status, json=answer)

    return PromqlSource("http://prometheus", transport=httpx2.MockTransport(handle))


def series(*values: object, **labels: str) -> dict[str, object]:
    result = [{"metric": labels, "values": list(values)}]
    return {"status": "success", "data": {"resultType": "matrix", "result": result}}


@pytest.mark.parametrize(
    ("answer", "status", "error", "said"),
    [
        ("<html>", 200, MetricsSourceInvalid, "does not answer as Prometheus"),
        ("<html>", 502, MetricsSourceUnavailable, "502"),
        ("", 404, MetricsSourceInvalid, "does not answer"),
        ({"status": "error", "error": "too many samples"}, 422, MetricsSourceInvalid, "too many"),
        ({"status": "error", "error": "starting"}, 503, MetricsSourceUnavailable, "starting"),
        ([], 200, MetricsSourceInvalid, "does not answer"),
        ({"status": "success"}, 200, MetricsSourceInvalid, "data"),
        (
            {"status": "success", "data": {"resultType": "vector", "result": []}},
            200,
            MetricsSourceInvalid,
            "another kind",
        ),
        (series([0, "x"], domain="a"), 200, MetricsSourceInvalid, "does not answer"),
        (httpx2.ReadTimeout("late"), 200, MetricsSourceUnavailable, "in time"),
        (httpx2.ConnectError("refused"), 200, MetricsSourceUnavailable, "refused"),
    ],
)
def test_bad_answers_have_a_stable_code(
    answer: object, status: int, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        source(answer, status).panel(Resource.NET, 0, 600)


def test_odd_samples_do_no_harm() -> None:
    answer = series([300, "1.5"], [300, "2"], [450, "9"], [600, "NaN"], [900, "7"], domain="a")
    panel = source(answer).panel(Resource.NET, 0, 900)
    assert panel.ids == ("a",)
    assert panel.values[0, 0] == 2.0
    assert panel.values[0, 2] == 7.0
    assert str(panel.values[0, 1]) == "nan"
    assert source(series([300, "-1"], domain="a")).panel(Resource.NET, 0, 300).values == 0
    assert source(series([300, "1"], other="a")).panel(Resource.NET, 0, 300).ids == ()
    assert source(MATRIX).panel(Resource.CPU, 0, 300).values.shape == (0, 1)
