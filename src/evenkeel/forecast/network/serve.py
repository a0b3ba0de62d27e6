"""Running a trained network: ONNX Runtime in, quantiles out."""

from __future__ import annotations

import numpy as np
import onnxruntime

from evenkeel.domain.arrays import F32
from evenkeel.forecast.features import Features

ROWS_AT_ONCE = 16_384


class Session:
    """One network. `run` gives raw quantiles (N, K, Q): they may cross and be negative."""

    def __init__(self, model: bytes) -> None:
        self.model = model
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        # The same sums in the same order on every machine; callers run several sessions at once.
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )
        self._wants = [wanted.name for wanted in self._session.get_inputs()]

    def __reduce__(self) -> tuple[type[Session], tuple[bytes]]:
        return Session, (self.model,)

    def run(self, features: Features) -> F32:
        n = len(features.scale)
        parts = [np.empty((0, *features.candidates.shape[1::2]), dtype=np.float32)]
        for first in range(0, n, ROWS_AT_ONCE):
            some = slice(first, first + ROWS_AT_ONCE)
            inputs = {name: getattr(features, name)[some] for name in self._wants}
            parts.append(self._session.run(None, inputs)[0])
        return np.concatenate(parts)
