"""A database of the former version is brought along with what is in it."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from tests.batches import a_score, a_vm

from evenkeel.adapters.store.engine import open_engine
from evenkeel.adapters.store.migrate import alembic_config
from evenkeel.adapters.store.store import SqlStore
from evenkeel.domain.ids import HostId
from evenkeel.records import VmRecord


def test_pairs_of_the_first_schema_survive(tmp_path: Path) -> None:
    url, score = f"sqlite:///{tmp_path}/c.db", a_score("web1", "batch7")
    engine = open_engine(url)
    row = (*("h1", "id-web1", "id-batch7", "cpu"), score.score, score.probability, score.severity)
    with engine.connect() as connection:
        connection.execution_options(evenkeel_writes=True)
        with connection.begin():
            command.upgrade(alembic_config(connection), "0001")
            connection.exec_driver_sql(
                "INSERT INTO pair VALUES (?, ?, ?, ?, ?, ?, ?, ?, 60.0, 12, 5.0, 1.0)",
                (*row, score.confidence),
            )
    engine.dispose()
    store = SqlStore(url)
    here = HostId("h1")
    with store.write() as session:
        session.inventory.put_vms([VmRecord(a_vm("web1"), here, here, here)])
    with store.read() as session:
        (record,) = session.inventory.pairs()
        indices = session.connection.exec_driver_sql("PRAGMA index_list(pair)").all()
    assert (record.host, record.score) == (here, score)
    assert {"pair_by_score", "pair_by_victim", "pair_by_aggressor"} <= {row[1] for row in indices}
    store.close()
