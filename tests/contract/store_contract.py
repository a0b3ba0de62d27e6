"""What every Store must do. Subclasses say how to open one; the tests are the same."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.contract.chronicle_contract import ChronicleContract
from tests.contract.claims_contract import ClaimsContract
from tests.contract.inventory_contract import InventoryContract
from tests.contract.store_history_contract import StoreHistoryContract
from tests.contract.terms_contract import TermsContract
from tests.stored import host_record

from evenkeel.domain.events import Event
from evenkeel.ports_store import Store


class StoreContract(
    InventoryContract, StoreHistoryContract, ChronicleContract, ClaimsContract, TermsContract
):
    def test_what_raises_is_undone_and_the_savepoint_undoes_its_part_alone(
        self, store: Store
    ) -> None:
        with store.write() as session:
            session.inventory.put_host(host_record("h1"))
            with pytest.raises(RuntimeError), session.savepoint():  # noqa: PT012
                session.inventory.put_host(host_record("h2"))
                raise RuntimeError("in the middle")
        with pytest.raises(RuntimeError), store.write() as session:  # noqa: PT012
            session.inventory.put_host(host_record("h3"))
            raise RuntimeError("in the middle")
        with store.read() as session:
            assert [record.host.id for record in session.inventory.hosts()] == ["h1"]

    def test_a_reader_sees_one_state_while_a_writer_commits(self, store: Store) -> None:
        with store.write() as session:
            session.inventory.put_host(host_record("h1"))
        with store.read() as reader:
            assert len(reader.inventory.hosts()) == 1
            with store.write() as session:
                session.inventory.put_host(host_record("h2"))
            assert len(reader.inventory.hosts()) == 1
        with store.read() as reader:
            assert len(reader.inventory.hosts()) == 2

    def test_writers_queue_and_none_is_lost(self, store: Store) -> None:
        inside = threading.Semaphore(1)

        def write(k: int) -> None:
            with store.write() as session:
                assert inside.acquire(blocking=False), "two writers at once"
                session.chronicle.add_events([Event(float(k), "written", "x")])
                inside.release()

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(write, range(40)))
        with store.read() as session:
            assert {e.event.at_s for e in session.chronicle.events()} == set(range(40))
