"""The API under test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.controller_app import Api, open_api


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    api = open_api(tmp_path, max_body_mib=0.0625)
    with api.client:
        yield api
