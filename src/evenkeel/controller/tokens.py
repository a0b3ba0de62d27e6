"""API tokens: made here, shown once, kept as SHA-256 only."""

from __future__ import annotations

import hashlib
import secrets
import threading
from dataclasses import dataclass
from typing import Final

from evenkeel.domain.errors import InvalidRequest, NotFound, TokenRevoked, Unauthenticated
from evenkeel.domain.events import Event
from evenkeel.ports import Clock
from evenkeel.ports_store import Session, Store
from evenkeel.records import TokenRecord

BOOTSTRAP_SUBJECT = "bootstrap"
MIN_SECRET = 24
REMEMBERED_S: Final = 1.0
MOST_REMEMBERED: Final = 10_000


@dataclass(frozen=True, slots=True)
class NewToken:
    record: TokenRecord
    secret: str

    def __repr__(self) -> str:
        return f"NewToken({self.record!r}, secret=...)"


def new_secret() -> str:
    return f"ek_{secrets.token_urlsafe(32)}"


class TokenService:
    """Creates, checks and revokes tokens. All methods raise StoreUnavailable. Thread-safe.

    A token that was good is taken as good for a second: what this controller revokes ends at once,
    what another one on the same database revokes by then.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._remembered: dict[str, tuple[float, TokenRecord]] = {}
        self._n_revoked = 0

    def remembered(self, secret: str) -> TokenRecord | None:
        """Whose token this is, if it was verified just now; asks nobody and raises nothing."""
        found = self._remembered.get(_sha256(secret))
        if found is None or self._clock.monotonic_s() - found[0] >= REMEMBERED_S:
            return None
        return found[1]

    def verify(self, secret: str) -> TokenRecord:
        """Whose token this is. Raises Unauthenticated, TokenRevoked."""
        hashed, asked_s, n_revoked = _sha256(secret), self._clock.monotonic_s(), self._n_revoked
        with self._store.read() as session:
            record = _valid(session.access.token_by_hash(hashed))
        with self._lock:
            if len(self._remembered) >= MOST_REMEMBERED:
                self._remembered.clear()
            if n_revoked == self._n_revoked:  # else it may be this one that was revoked meanwhile
                self._remembered[hashed] = asked_s, record
        return record

    def verify_id(self, token_id: str) -> TokenRecord:
        """As `verify`, for a session that was opened with the token before."""
        with self._store.read() as session:
            record = session.access.token_by_id(token_id)
        return _valid(record)

    def list(self, after: tuple[float, str], limit: int) -> list[TokenRecord]:
        with self._store.read() as session:
            return session.access.tokens(after, limit)

    def create(self, role: str, subject: str, who: str) -> NewToken:
        new = self._new(role, subject)
        with self._store.write() as session:
            self._add(session, new, who)
        return new

    def revoke(self, token_id: str, who: str) -> None:
        """For good; again is fine. Raises NotFound, InvalidRequest for the last admin token."""
        now_s = self._clock.wall_s()
        with self._store.write() as session:
            record = session.access.token_by_id(token_id)
            if record is None:
                raise NotFound(f"no token {token_id!r}")
            if record.revoked_at_s is not None:
                return
            if record.role == "admin" and session.access.n_valid_tokens("admin") == 1:
                raise InvalidRequest(
                    "this is the last valid admin token", hint="Create another one first."
                )
            session.access.revoke_token(token_id, now_s)
            event = Event(
                now_s,
                "token_revoked",
                f"{who} revoked {record.role} token {token_id} of {record.subject}",
                detail={"who": who, "token": token_id, "subject": record.subject},
            )
            session.chronicle.add_events([event])
        with self._lock:
            self._n_revoked += 1
            self._remembered.clear()

    def has_admin(self) -> bool:
        with self._store.read() as session:
            return session.access.n_valid_tokens("admin") > 0

    def adopt_admin(self, secret: str) -> None:
        """Make this secret the first admin token, unless there is a valid one. Retry: yes.

        Raises InvalidRequest for a secret that is too short to be one, or was revoked.
        """
        if len(secret) < MIN_SECRET:
            raise InvalidRequest(f"an admin token has at least {MIN_SECRET} characters")
        with self._store.write() as session:
            if session.access.n_valid_tokens("admin"):
                return
            if session.access.token_by_hash(_sha256(secret)):
                raise InvalidRequest("this token was revoked, or is not an admin's")
            record = self._new("admin", BOOTSTRAP_SUBJECT).record
            self._add(session, NewToken(record, secret), BOOTSTRAP_SUBJECT)

    def _new(self, role: str, subject: str) -> NewToken:
        if not 0 < len(subject) <= 200 or not subject.isprintable():
            raise InvalidRequest("subject is not a name of 1-200 printable characters")
        record = TokenRecord(secrets.token_hex(6), role, subject, self._clock.wall_s())
        return NewToken(record, new_secret())

    def _add(self, session: Session, new: NewToken, who: str) -> None:
        record = new.record
        session.access.add_token(record, _sha256(new.secret))
        message = f"{who} created {record.role} token {record.id} for {record.subject}"
        detail = {"who": who, "token": record.id, "role": record.role, "subject": record.subject}
        session.chronicle.add_events(
            [Event(record.created_at_s, "token_created", message, detail={**detail})]
        )


def _valid(record: TokenRecord | None) -> TokenRecord:
    if record is None:
        raise Unauthenticated("the token is not known")
    if record.revoked_at_s is not None:
        raise TokenRevoked("the token was revoked")
    return record


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
