"""A file is there whole or not at all, whatever the writing ends with."""

from __future__ import annotations

from pathlib import Path

import pytest

from evenkeel.adapters.disk.whole import write_whole


@pytest.mark.parametrize("error", [OSError, ValueError, KeyboardInterrupt])
def test_what_breaks_off_leaves_what_was_there_and_nothing_else(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "file"
    write_whole(path, lambda file: file.write(b"whole"))

    def breaks_off(file) -> None:
        file.write(b"ha")
        raise error

    with pytest.raises(error):
        write_whole(path, breaks_off)
    assert path.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [path]
