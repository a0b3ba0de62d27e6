"""Pieces of work as Ray tasks; for whoever is connected to a cluster: the driver, or a task itself.

The only module that imports ray, and only when it is used.
"""

from __future__ import annotations

import pickle
import time
import traceback
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple, TypeVar

from evenkeel.adapters.cluster.likeness import differences, likeness
from evenkeel.domain.errors import ClusterDiffers, ClusterLost

T = TypeVar("T")
R = TypeVar("R")

POLL_S: Final = 0.5
REPORT_EVERY_S: Final = 0.3
MAX_RETRIES: Final = 5
"""A piece whose node or process was lost is done again elsewhere, so often."""
_REPORTS: Final = b"evenkeel-reports"
_newest: tuple[bytes, Any] = (b"", None)


class Answer(NamedTuple):
    """What became of a piece: `ok` and `error` hold a pickle, `differs` and `lost` words."""

    kind: str
    payload: bytes

    def value(self) -> Any:
        """The result. Raises what the piece raised, ClusterDiffers or ClusterLost."""
        if self.kind == "ok":
            return pickle.loads(self.payload)  # noqa: S301  # from our own code on our own cluster
        if self.kind == "error":
            raise pickle.loads(self.payload)  # noqa: S301  as above
        if self.kind == "differs":
            raise ClusterDiffers(self.payload.decode())
        raise ClusterLost(self.payload.decode())


def dump(value: object) -> bytes:
    return pickle.dumps(value, protocol=5)


def connect(address: str) -> None:
    """Join as a driver. Raises whatever Ray raises."""
    import ray

    ray.init(address=address, log_to_driver=False, configure_logging=False)


def run(
    do: bytes,
    items: Iterator[bytes],
    report: Callable[[bytes], None],
    while_waiting: Callable[[], None] = lambda: None,
) -> Iterator[Answer]:
    """Pickles in, answers out, in order; a few more pieces under way than there are processors."""
    import ray

    task = ray.remote(num_cpus=1, max_retries=MAX_RETRIES)(_entry())
    common, here = ray.put(do), dict(likeness())
    running: deque[tuple[bytes, Any]] = deque()
    told: dict[bytes, bytes] = {}
    more = True
    while True:
        room = _room(ray)
        while more and len(running) < room:
            item = next(items, None)
            if item is None:
                more = False
            else:
                key = uuid.uuid4().bytes
                running.append((key, task.remote(here, common, key, item)))
        if not running:
            return
        key, ref = running[0]
        done, _ = ray.wait([ref], timeout=POLL_S)
        _pass_on([key for key, _ in running], told, report)
        if not done:
            while_waiting()
            continue
        running.popleft()
        try:
            answer = Answer(*ray.get(ref))
        except ray.exceptions.RayError as error:
            answer = Answer("lost", f"a piece of work was lost: {_first_line(error)}".encode())
        _forget(key)
        yield answer


def _entry() -> Callable[..., tuple[str, bytes]]:
    """A function that Ray ships by value, so that a node without Evenkeel can say so."""

    def entry(here: Mapping[str, str], common: bytes, key: bytes, item: bytes) -> tuple[str, bytes]:
        import socket

        try:
            from evenkeel.adapters.cluster.tasks import work
        except ImportError as error:
            return "differs", f"node {socket.gethostname()} has another Evenkeel: {error}".encode()
        return work(here, common, key, item)

    return entry


def work(here: Mapping[str, str], common: bytes, key: bytes, item: bytes) -> tuple[str, bytes]:
    """One piece, in a Ray worker. Nothing is unpickled that other code has pickled."""
    global _newest
    strange = differences(here, likeness())
    if strange:
        return "differs", f"a node of the cluster has {strange}".encode()
    try:
        if _newest[0] != common:
            _newest = (common, pickle.loads(common))  # noqa: S301  see above
        return "ok", dump(_newest[1](pickle.loads(item), _Reporter(key)))  # noqa: S301  same
    except Exception as error:
        error.add_note(traceback.format_exc())
        return "error", dump(error)


class _Reporter:
    """What a piece tells goes to the cluster's key-value store, the latest only."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._next_s = 0.0

    def __call__(self, *told: object) -> None:
        from ray.experimental import internal_kv

        now_s = time.monotonic()
        if now_s >= self._next_s:
            self._next_s = now_s + REPORT_EVERY_S
            internal_kv._internal_kv_put(self._key, dump(told), namespace=_REPORTS)


def _pass_on(keys: Iterable[bytes], told: dict[bytes, bytes], report: Any) -> None:
    from ray.experimental import internal_kv

    for key in keys:
        words = internal_kv._internal_kv_get(key, namespace=_REPORTS)
        if words is not None and told.get(key) != words:
            told[key] = words
            report(words)


def _forget(key: bytes) -> None:
    from ray.experimental import internal_kv

    internal_kv._internal_kv_del(key, namespace=_REPORTS)


def _room(ray: Any) -> int:
    """Pieces under way at a time. Raises ClusterLost when nobody could do any."""
    own = ray.get_runtime_context().get_node_id()
    alive = [node for node in ray.nodes() if node["Alive"]]
    if own not in {node["NodeID"] for node in alive}:
        raise ClusterLost("this machine's own Ray node is gone")
    n_cpus = int(sum(node["Resources"].get("CPU", 0) for node in alive))
    if not n_cpus:
        raise ClusterLost("no node of the Ray cluster has a processor to offer")
    return 2 * n_cpus + 1


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _unpickled(report: Any) -> Callable[[bytes], None]:
    return lambda told: report(*pickle.loads(told))  # noqa: S301  what our own tasks told


class Inside:
    """The same workers as seen from a task: its own pieces become tasks of the same cluster."""

    def map(
        self, do: Callable[[T, Callable[..., None]], R], items: Iterable[T], report: Any
    ) -> Iterator[R]:
        pickled = (dump(item) for item in items)
        for answer in run(dump(do), pickled, _unpickled(report)):
            yield answer.value()
