"""A transactional producer: a worker's outputs and input offsets commit together (KIP-98, KIP-447)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from broker_events.native import extension
from broker_events.runtime.kafka.clients import Headers, producer_config, refused
from broker_events.runtime.kafka.native_client import make_client
from broker_events.runtime.kafka.watchdog import Watchdog
from broker_events.runtime.process.errors import Fenced, PipelineError, RestartRequired
from broker_events.runtime.process.running_clock import running_s
from broker_events.runtime.settings import Settings
from broker_events.schemas.invalid_event import InvalidEvent, Reason

if TYPE_CHECKING:
    from broker_events.native._native import Writer

log = logging.getLogger(__name__)

_FENCED: Final = {
    KafkaError._FENCED,  # noqa: SLF001 (the public name of a client-side code)
    KafkaError.PRODUCER_FENCED,
    KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError.FENCED_INSTANCE_ID,
}
# Kafka refuses a record for what it is; another attempt would end the same way.
_REFUSALS: Final = {
    KafkaError.MSG_SIZE_TOO_LARGE: Reason.TOO_LARGE,
    KafkaError.RECORD_LIST_TOO_LARGE: Reason.TOO_LARGE,
    KafkaError.INVALID_TIMESTAMP: Reason.BAD_TIME,
    KafkaError.INVALID_RECORD: Reason.REFUSED,
}
_ABORT_TIMEOUT_S: Final = 2.0
# A call that exceeds its timeout by this much hangs. When a Kafka broker dies and leaves the metadata, librdkafka 2.16
# may wait for it without limit (confluentinc/librdkafka#5511).
_HANGS_AFTER_S: Final = 2.0
_TELLS_WITHIN_S: Final = 1.0
# confluent-kafka raises SystemError where a fatal error and a delivery report come in one call.
_ClientError = (KafkaException, SystemError)


class RecordRefused(RestartRequired):
    """Kafka refuses a record of the open transaction for what it is. The transaction must be aborted.

    One record can make Kafka refuse the batch that it was sent in.
    """

    def __init__(self, text: str, problem: InvalidEvent) -> None:
        """`problem`: for quarantine."""
        super().__init__(text)
        self.problem = problem


class Transaction:
    """The open transaction of one worker, identified by a transactional id that no other live worker has.

    It takes records of up to `size_factor` times `max_message_bytes`. Not thread-safe. The process must end after any
    error raised here but RecordRefused: Kafka aborts the transaction, and only a new process can know what is
    committed. If a call hangs, the watchdog ends the process.
    """

    def __init__(
        self, settings: Settings, transactional_id: str, size_factor: int = 1, *, native_passthrough: bool = False
    ) -> None:
        """`native_passthrough`: provide a `writer` if native code can write records."""
        self.transactional_id = transactional_id
        self.is_open = False
        self.records = 0
        self.opened_at = 0.0
        self._opened_at_s = 0.0  # by `running_s`
        self._committed_at: str | None = None  # UTC, for people
        self._timeout_s = settings.transaction_timeout_ms / 1000
        self._start_timeout_s = settings.start_timeout_s
        self._config = producer_config(
            settings,
            transactional_id=transactional_id,
            transaction_timeout_ms=settings.transaction_timeout_ms,
            message_max_bytes=settings.max_message_bytes * size_factor,
        )
        self._native_passthrough = native_passthrough
        self._make_producer()
        self._watchdog = Watchdog()

    def _make_producer(self) -> None:
        self._producer, self._client = make_client(Producer, self._config, native_passthrough=self._native_passthrough)

    def init(self) -> None:
        """Fence an older worker of the same transactional id and let its open transaction end.

        Raises OperatorActionRequired when an ACL forbids it, RestartRequired when the cluster doesn't answer within
        `start_timeout_s`.
        """
        self._until_done("init_transactions", self._producer.init_transactions, self._start_timeout_s)

    def begin(self) -> None:
        """Open a transaction, unless one is open. Raises Fenced or RestartRequired."""
        if not self.is_open:
            try:
                self._producer.begin_transaction()
            except _ClientError as error:
                raise self._restart("begin_transaction", error) from None
            self.is_open = True
            self.records = 0
            self.opened_at = time.monotonic()
            self._opened_at_s = running_s()

    def produce(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | str | None,
        partition: int = -1,
        headers: Headers | None = None,
        timestamp: int = 0,
        delivered: Callable[[KafkaError | None, Message], None] | None = None,
    ) -> None:
        """Add a record to the open transaction; partition -1 lets the partitioner choose by key.

        `timestamp` is the record's create time in ms since the epoch, 0 for now; `delivered` gets the delivery report.
        Blocks while the producer's queue is full. Raises RecordRefused if this record is too large, or if Kafka has
        refused an earlier one.
        """
        while True:
            try:
                # Positional arguments are faster.
                self._producer.produce(topic, value, key, partition, delivered, None, timestamp, headers)
            except BufferError:
                self._serve(0.1)
            except _ClientError as error:
                raise self._restart("produce", self._first_error(error)) from None
            else:
                self.records += 1
                return

    def writer(self, topics: Sequence[str], offset_header: str) -> Writer | None:
        """Return native code's writer to `topics` (by index); None without native passthrough."""
        return None if self._client is None else extension.native.Writer(self._client, topics, offset_header)

    def written(self, records: int) -> None:
        """Count records that a `writer` has added to the open transaction."""
        self.records += records

    def poll(self) -> None:
        """Serve the producer's callbacks (errors, logs) without waiting. Raises Fenced or RestartRequired."""
        self._serve(0)

    def flush(self) -> None:
        """Wait until Kafka has all records produced so far; `read_to_end` then waits for this transaction.

        Raises RestartRequired when that takes longer than the transaction timeout.
        """
        with self._watchdog.limit("flush", self._timeout_s + _HANGS_AFTER_S):
            try:
                left = self._producer.flush(self._timeout_s)
            except _ClientError as error:
                raise self._restart("flush", error) from None
        if left:
            raise RestartRequired(f"flush: Kafka has not taken {left:,} records within {self._timeout_s:g} s")

    def await_reports(self) -> None:
        """Wait until the delivery reports of everything produced so far are in; `commit` raises what failed."""
        with self._watchdog.limit("flush", self._timeout_s + _HANGS_AFTER_S), suppress(*_ClientError):
            self._producer.flush(self._timeout_s)

    def commit(
        self,
        offsets: Sequence[TopicPartition] = (),
        group: object = None,
        verify: Callable[[], None] = lambda: None,
    ) -> None:
        """Commit everything produced, and `offsets` (next offset to read) for the consumer `group` metadata.

        Calls `verify` after sending the offsets; nothing commits if it raises.
        Survives Kafka outages that are shorter than the transaction timeout. Raises Fenced, RecordRefused or
        RestartRequired.
        """
        began = time.monotonic()
        if offsets:
            self._until_done(
                "send_offsets_to_transaction",
                lambda timeout: self._producer.send_offsets_to_transaction(list(offsets), group, timeout),
                self._timeout_s,
            )
        verify()
        self._until_done("commit_transaction", self._producer.commit_transaction, self._timeout_s)
        self.is_open = False
        self._committed_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if log.isEnabledFor(logging.DEBUG):
            self._log_commit(time.monotonic() - began, len(offsets))

    def _log_commit(self, commit_s: float, partitions: int) -> None:
        """Log one line per transaction at DEBUG."""
        open_s = time.monotonic() - self.opened_at
        log.debug(
            "committed %d records with the offsets of %d partitions; open for %.3f s, of it %.3f s to commit",
            *(self.records, partitions, open_s, commit_s),
            extra={
                "transactional_id": self.transactional_id,
                "records": self.records,
                "partitions": partitions,
                "open_s": round(open_s, 6),
                "commit_s": round(commit_s, 6),
            },
        )

    def abort(self) -> None:
        """Abort the open transaction, so that readers need not wait for its timeout. Logs a failure."""
        if self.is_open:
            self.is_open = False
            try:
                self._abort()
            except _ClientError as error:
                log.warning("abort_transaction: %s; Kafka aborts it after its timeout", error)

    def start_over(self) -> None:
        """Abort the open transaction after RecordRefused, and go on with a new producer. Ask for `writer` again.

        Kafka would reject the old producer's next record: the refused ones are missing in its sequence. Raises Fenced
        or RestartRequired.
        """
        try:
            self._abort()
        except _ClientError as error:
            raise self._restart("abort_transaction", error) from None
        self.is_open = False
        self._make_producer()
        self.init()

    def _abort(self) -> None:
        with self._watchdog.limit("abort_transaction", _ABORT_TIMEOUT_S + _HANGS_AFTER_S):
            self._producer.purge()
            self._producer.abort_transaction(_ABORT_TIMEOUT_S)

    def _until_done(self, call: str, attempt: Callable[[float], Any], timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        with self._watchdog.limit(call, timeout_s + _HANGS_AFTER_S):
            while True:
                try:
                    attempt(max(deadline - time.monotonic(), 0.1))
                except _ClientError as error:
                    is_final = isinstance(error, SystemError) or not error.args[0].retriable()
                    if is_final or time.monotonic() >= deadline:
                        raise self._restart(call, error) from None
                    log.warning("%s: %s; retrying", call, error)
                    time.sleep(0.1)
                else:
                    return

    def _serve(self, timeout_s: float) -> None:
        try:
            self._producer.poll(timeout_s)
        except _ClientError as error:  # the producer has become unusable
            raise self._restart("poll", error) from None

    def _fatal_error(self) -> KafkaError | None:
        """Return the error that made the producer unusable; poll raises it, possibly a moment later."""
        deadline = time.monotonic() + _TELLS_WITHIN_S
        while time.monotonic() < deadline:
            try:
                with suppress(SystemError):
                    self._producer.poll(0.05)
            except KafkaException as error:
                found: KafkaError = error.args[0]
                return found
        return None

    def _first_error(self, exception: KafkaException | SystemError) -> KafkaException | SystemError:
        """Return the error of a produce call, or the earlier one after which the transaction takes no record.

        librdkafka names that one only where it refuses a commit.
        """
        is_earlier = isinstance(exception, KafkaException) and exception.args[0].code() == KafkaError._STATE  # noqa: SLF001
        if is_earlier:
            try:
                self._producer.commit_transaction(_TELLS_WITHIN_S)
            except KafkaException as earlier:
                return earlier
        return exception

    def _restart(self, call: str, exception: KafkaException | SystemError) -> PipelineError:
        if isinstance(exception, SystemError):
            fatal = self._fatal_error()
            if fatal is None:
                return RestartRequired(f"{call}: {exception}")
            error = fatal
        else:
            error = exception.args[0]
        if error.code() == KafkaError._FATAL:  # noqa: SLF001 (the public name of a client-side code)
            error = self._fatal_error() or error
        if error.code() in _FENCED:
            return self._fenced(call, error)
        if error.code() == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
            return refused(f"Write on transactional-id {self.transactional_id} ({error.str()})")
        if (reason := _REFUSALS.get(error.code())) is not None:
            text = f"Kafka refuses the derived record: {error.str()} ({error.name()})"
            return RecordRefused(f"{call}: {text}", InvalidEvent(reason, "", text))
        return RestartRequired(f"{call}: {error.str()} ({error.name()})")

    def _fenced(self, call: str, error: KafkaError) -> PipelineError:
        """Distinguish a successor from Kafka's own fencing of a producer whose transaction timed out."""
        open_s = running_s() - self._opened_at_s if self.is_open else 0.0
        if open_s >= self._timeout_s:
            return RestartRequired(
                f"{call}: the transaction was open for {open_s:.1f} s, and Kafka aborts it after {self._timeout_s:g} s"
            )
        last = "has committed nothing" if self._committed_at is None else f"last committed at {self._committed_at}"
        return Fenced(
            f"{call}: another process has taken over the transactional id {self.transactional_id}; this one {last}"
            f" ({error.str()})"
        )
