"""Catalog and tables: create, change, take over, commit. Each table's main branch is its compare-and-set."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn

from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.exceptions import CommitFailedException, NoSuchTableError, ServerError, ServiceUnavailableError
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table, TableProperties
from pyiceberg.table.snapshots import Snapshot, ancestors_of
from sqlalchemy.exc import OperationalError

from broker_events.runtime.process.errors import Fenced, OperatorActionRequired, PipelineError, RestartRequired
from broker_events.runtime.settings import Settings
from broker_events.sinks.lake.iceberg.schema import by_day, by_offset, table_schema
from broker_events.sinks.lake.ledger import Ledger, LedgerDamaged
from broker_events.sinks.lake.tables import LakeTable

log = logging.getLogger(__name__)
logging.getLogger("pyiceberg").setLevel(logging.WARNING)

RETRIES: Final = TableProperties.COMMIT_NUM_RETRIES
_ATTEMPTS: Final = 20
_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 2.0

# With retries, PyIceberg would commit over the commit of another owner: rows twice.
PROPERTIES: Final = {
    RETRIES: "0",
    TableProperties.MANIFEST_MERGE_ENABLED: "true",
    TableProperties.METADATA_DELETE_AFTER_COMMIT_ENABLED: "true",
    TableProperties.METADATA_PREVIOUS_VERSIONS_MAX: "20",
    "write.parquet.compression-codec": "zstd",
    "write.distribution-mode": "none",
    "format-version": "2",
}


_DOWN: Final[tuple[type[Exception], ...]] = (
    OSError,  # also those of requests
    ServerError,
    ServiceUnavailableError,
    OperationalError,
)


class CatalogDown(Exception):
    """Catalog or storage don't answer, and nothing was sent that changes the table. Try again."""


@contextmanager
def _answering(what: str) -> Iterator[None]:
    """Turn the errors of a service that doesn't answer into CatalogDown."""
    try:
        yield
    except _DOWN as error:
        raise CatalogDown(f"{what}: {_words(error)}") from error


class CommitUnknown(RestartRequired):
    """The catalog did not say whether a commit has landed. Nothing is deleted; a new start reads the truth."""


class Lake:
    """The configured catalog, and the namespace of the topic prefix."""

    def __init__(self, settings: Settings) -> None:
        """Open the catalog. Raises OperatorActionRequired if PyIceberg refuses its properties."""
        self.namespace = settings.topic_prefix.replace(".", "_").replace("-", "_")
        properties = {name: secret.get_secret_value() for name, secret in settings.lake_catalog_properties.items()}
        warehouse = settings.lake_warehouse
        if settings.lake_is_folder:
            folder = Path(warehouse).resolve()
            folder.mkdir(parents=True, exist_ok=True)
            warehouse = str(folder)
            if settings.lake_catalog == "sql":
                properties.setdefault("uri", f"sqlite:///{folder / 'catalog.db'}")
        problem = ""
        try:
            with _answering(f"the {settings.lake_catalog} catalog"):
                self.catalog: Catalog = load_catalog(
                    "lake", **{"type": settings.lake_catalog, "warehouse": warehouse, **properties}
                )
        except (ValueError, TypeError) as error:
            problem = f"PIPELINE_LAKE_CATALOG_PROPERTIES: {type(error).__name__}"
            if "uri" not in properties and settings.lake_catalog != "glue":
                problem += f": the {settings.lake_catalog} catalog needs the property uri"
        if problem:  # here: the context of an error that is raised above would hold the values
            raise OperatorActionRequired(problem)

    def apply(self, table: LakeTable, topic: str) -> list[str]:
        """Create or change the table as its contract says; return what was done, in words.

        `topic`: Kafka name. Raises OperatorActionRequired if a column would need another type.
        """
        done = []
        self.catalog.create_namespace_if_not_exists(self.namespace)
        wanted = table_schema(table.kind, table.contract.schema)
        try:
            handle = self.catalog.load_table(self._name(table.name))
        except NoSuchTableError:
            handle = self.catalog.create_table(
                self._name(table.name),
                wanted,
                partition_spec=by_day(wanted),
                sort_order=by_offset(wanted),
                properties=PROPERTIES | _described(table, topic),
            )
            done.append("created")
        added = add_columns(handle, table, table.contract.schema)
        done += [f"added column {name}" for name in added]
        target = PROPERTIES | _described(table, topic)
        target.pop("format-version")
        changed = {name: value for name, value in target.items() if handle.properties.get(name) != value}
        if changed:
            with handle.transaction() as transaction:
                transaction.set_properties(changed)
            done += [f"set {name}" for name in changed]
        return done

    def table(self, name: str) -> LakeStore:
        """Return a table. Raises OperatorActionRequired if it doesn't exist."""
        try:
            with _answering(f"{self.namespace}.{name}"):
                return LakeStore(self.catalog.load_table(self._name(name)))
        except NoSuchTableError:
            raise OperatorActionRequired(
                f"the lake has no table {self.namespace}.{name} (create it with: broker-events lake apply)"
            ) from None

    def _name(self, table: str) -> tuple[str, str]:
        return self.namespace, table


def _described(table: LakeTable, topic: str) -> dict[str, str]:
    return {
        "comment": table.contract.description,
        "owner": table.contract.owner,
        "broker-events.contract": table.contract.name,
        "broker-events.source-topic": topic,
        "broker-events.promise": "each record of the topic exactly once; append only; check: broker-events lake verify",
    }


def add_columns(handle: Table, table: LakeTable, avro: Any | None) -> list[str]:  # noqa: ANN401 (parsed JSON)
    """Add the columns that the Avro schema has and the table lacks; return their names.

    Raises OperatorActionRequired for a column of another type.
    """
    before = set(handle.schema().column_names)
    wanted = table_schema(table.kind, avro)
    if set(wanted.column_names) <= before:
        return []
    try:
        with handle.update_schema() as update:
            update.union_by_name(wanted)
    except ValueError as error:
        raise OperatorActionRequired(f"{table.name}: {error}") from None
    return sorted(set(handle.schema().column_names) - before)


class LakeStore:
    """One table as this process last read it."""

    def __init__(self, table: Table) -> None:
        self.handle = table

    @property
    def name(self) -> str:
        return ".".join(self.handle.name())

    def reload(self) -> None:
        """Read the table's metadata again. Raises CatalogDown."""
        with _answering(self.name):
            self.handle.refresh()

    def ledger(self) -> Ledger | None:
        """Return the ledger, None for a table that no worker has owned.

        Raises OperatorActionRequired with both numbers if the table was rolled back or its rows changed by others.
        """
        if self.handle.properties.get(RETRIES) != "0":
            raise OperatorActionRequired(
                f"{self.name}: the property {RETRIES} is {self.handle.properties.get(RETRIES)}, must be 0: library "
                "retries would commit rows twice. Set it with: broker-events lake apply"
            )
        try:
            ledger = Ledger.of(self.handle.properties)
            newest = next((found for s in self._branch() if (found := Ledger.of(_summary(s))) is not None), None)
        except LedgerDamaged as error:
            raise OperatorActionRequired(
                f"{self.name}: {error}. See docs/how-to/runbook.md, A lake table was rolled back"
            ) from None
        if ledger is None:
            return None
        if newest is not None and newest.offsets != ledger.offsets:
            raise OperatorActionRequired(
                f"{self.name}: its properties say that offsets up to {dict(ledger.offsets)} are in it, the newest "
                f"snapshot on main says {dict(newest.offsets)}: the table was rolled back or written by another "
                "program. See docs/how-to/runbook.md, A lake table was rolled back"
            )
        head = self.handle.current_snapshot()
        rows = None if head is None else _summary(head).get("total-records")
        if rows is not None and int(rows) != sum(ledger.rows.values()):
            raise OperatorActionRequired(
                f"{self.name}: it has {rows} rows, its ledger says {sum(ledger.rows.values())}: another program added "
                "or removed rows. See docs/how-to/runbook.md, A lake table was rolled back"
            )
        return ledger

    def take_over(self, before: Ledger | None, after: Ledger) -> None:
        """Commit an empty snapshot with the new epoch. Raises Fenced if another worker is faster."""
        if self.ledger() != before or not self._commit([], after):
            raise Fenced(f"{self.name}: another worker took the table over at the same time")

    def commit(
        self, before: Ledger, after: Ledger, files: Sequence[DataFile], pause: Callable[[float], object]
    ) -> None:
        """Append the files and move the ledger from `before` to `after` in one snapshot.

        Commits of others (compaction) are no obstacle: `pause` waits between attempts (seconds). Raises Fenced if
        another worker owns the table now, CommitUnknown if the outcome is not known, CatalogDown if nothing was sent.
        """
        pause_s = _PAUSE_S
        for attempt in range(_ATTEMPTS):
            if attempt:
                self.reload()
            found = self.ledger()
            if found is not None and found.commit_id == after.commit_id:
                return  # an attempt that was reported as failed has landed
            if found is None or not found.follows(before):
                self._refuse(before, found)
            if self._commit(files, after):
                return
            log.info("%s: another program committed first; reading its commit", self.name)
            pause(pause_s * random.uniform(0.5, 1.5))  # noqa: S311 (spreads attempts)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
        raise RestartRequired(f"{self.name}: {_ATTEMPTS} commits of others came first, one after another")

    def _refuse(self, before: Ledger, found: Ledger | None) -> NoReturn:
        epoch = "none" if found is None else f"{found.epoch} of {found.owner}"
        raise Fenced(
            f"{self.name}: this worker has epoch {before.epoch}, the table has {epoch}: another worker owns it. "
            "Nothing of this batch was committed"
        )

    def _commit(self, files: Sequence[DataFile], ledger: Ledger) -> bool:
        """Commit once. Returns whether it landed. Raises CommitUnknown."""
        transaction = self.handle.transaction()
        try:
            transaction.set_properties(ledger.properties())
            update = transaction.update_snapshot(snapshot_properties=ledger.properties())
            with update.merge_append() if files else update.fast_append() as snapshot:
                for file in files:
                    snapshot.append_data_file(file)
        except OSError as error:  # manifests; nothing was sent to the catalog
            raise StorageFailed(f"{self.name}: writing manifests failed: {_words(error)}") from error
        try:
            transaction.commit_transaction()
        except CommitFailedException:
            return False
        except PipelineError:
            raise
        except Exception as error:
            raise CommitUnknown(
                f"{self.name}: the catalog did not say whether the commit has landed ({_words(error)}). Its files are "
                "kept. The next start reads the table"
            ) from error
        return True

    def _branch(self) -> Sequence[Snapshot]:
        """Return main's snapshots, the newest first, as far as they are not expired."""
        return [*ancestors_of(self.handle.current_snapshot(), self.handle.metadata)]


class StorageFailed(Exception):
    """A file could not be written; nothing was committed. Try again."""


def _summary(snapshot: Snapshot) -> Mapping[str, str]:
    return {} if snapshot.summary is None else snapshot.summary.additional_properties


def _words(error: Exception) -> str:
    """Return an error's type and the first line of its text."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
