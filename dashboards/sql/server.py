"""The connection of one client: startup, TLS, login, simple and extended query, as PostgreSQL's protocol 3.0 has them."""

import asyncio
import logging
import secrets
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from dashboards.config import SqlConfig, is_loopback
from dashboards.sql import encode, lexer, scram, types
from dashboards.sql import errors as e
from dashboards.sql import protocol as p
from dashboards.sql.catalog import VERSION_TEXT
from dashboards.sql.check import Plan, Surroundings
from dashboards.sql.engine import Engine
from dashboards.sql.errors import SqlError
from dashboards.sql.protocol import Field
from dashboards.sql.roles import Role, Roles, RolesError
from dashboards.sql.session import REPORTED, STATEMENTS, Answer, Session
from dashboards.sql.store import Result, spread

_LOG: Final = logging.getLogger(__name__)
LOGIN_S: Final = 15.0  # from connecting to being let in
REFUSED_S: Final = 0.3  # a wrong password is answered no sooner
IDLE_S: Final = 3_600.0  # a connection that says nothing for so long is closed; pools keep theirs for minutes
WRITE_S: Final = 60.0  # a client that takes nothing of its answer for so long is dropped
PIPELINED: Final = 2 * p.MAX_MESSAGE  # bytes that may wait unread
SEND_AT_ONCE: Final = 1 << 18  # bytes written before the client has to take them
PREPARED: Final = 500  # statements, and as many portals, of one connection
STATEMENTS_AT_ONCE: Final = 100  # in one simple query
REASON_CLOSED: Final = "57P01"


@dataclass(frozen=True, slots=True)
class _Statement:
    """A prepared statement. ``plan`` is None where the session answers itself."""

    sql: str
    plan: Plan | None
    declared: tuple[int, ...]


@dataclass(slots=True)
class _Portal:
    """A bound statement, and what of its answer is still to be sent."""

    statement: _Statement
    values: tuple[Any, ...]
    formats: tuple[int, ...]
    answer: Answer | None = None
    result: Result | None = None
    rest: bytes | None = None
    sent: int = 0


@dataclass
class Server:
    """What the connections of one server share. ``cancels``: key data -> what to call."""

    config: SqlConfig
    engine: Engine
    roles: Roles
    tls: ssl.SSLContext | None
    pretence: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    cancels: dict[tuple[int, int], Callable[[], None]] = field(default_factory=dict)
    connections: int = 0
    next_pid: int = 1


class Connection(asyncio.Protocol):
    """One client. Its messages are answered one after another by the task ``_serve``."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._inbox = p.Inbox()
        self._transport: asyncio.Transport | None = None
        self._arrived = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._closed = False
        self._task: asyncio.Task[None] | None = None
        self._running: asyncio.Task[Any] | None = None
        self._cancelled = False
        self._statements: dict[str, _Statement] = {}
        self._portals: dict[str, _Portal] = {}
        self._tls = False
        self._out: list[bytes] = []
        self._out_size = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.Transport):
            raise AssertionError("a stream has a stream's transport")
        self._transport = transport
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._serve())

    def data_received(self, data: bytes) -> None:
        self._inbox.feed(data)
        self._arrived.set()
        if len(self._inbox) > PIPELINED and self._transport is not None:
            self._transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed = True
        self._arrived.set()
        self._writable.set()
        if self._running is not None:
            self._running.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    async def _message(self, patience_s: float) -> p.Message:
        """The next message. Raises ConnectionError when the client has gone, TimeoutError when it is silent."""
        async with asyncio.timeout(patience_s):
            while (message := self._inbox.take()) is None:
                if self._closed:
                    raise ConnectionError
                self._arrived.clear()
                if self._transport is not None and not self._transport.is_reading():
                    self._transport.resume_reading()
                await self._arrived.wait()
        return message

    def _put(self, data: bytes) -> None:
        self._out.append(data)
        self._out_size += len(data)

    async def _flush(self) -> None:
        """Send what was put. Raises ConnectionError for a client that takes nothing."""
        if self._closed or self._transport is None:
            raise ConnectionError
        self._transport.write(b"".join(self._out))
        self._out, self._out_size = [], 0
        if not self._writable.is_set():
            async with asyncio.timeout(WRITE_S):
                await self._writable.wait()
        if self._closed:
            raise ConnectionError

    async def _serve(self) -> None:
        """The life of the connection."""
        server = self._server
        server.connections += 1
        pid, secret = server.next_pid, secrets.randbits(31)
        server.next_pid = server.next_pid % 0x7FFFFFFF + 1
        try:
            async with asyncio.timeout(LOGIN_S):
                session, role = await self._log_in()
            if session is None or role is None:
                return
            self._tenancy = await server.engine.tenancy(role.tenant)
            server.cancels[pid, secret] = self._cancel
            self._put(p.authentication(0))
            for name in REPORTED:
                self._put(p.parameter_status(name, session.settings[name]))
            self._put(p.key_data(pid, secret) + p.ready(b"I"))
            await self._flush()
            self._session = session
            self._around = Surroundings(
                self._tenancy.store.relations,
                self._tenancy.store.column_types,
                server.config.database,
                session.user,
                pid,
                VERSION_TEXT,
                session.setting,
            )
            while await self._answer(await self._message(IDLE_S)):
                pass
        except SqlError as problem:
            await self._last_words(problem)
        except RolesError:
            _LOG.exception("sql_roles_unreadable")
            text = "the roles file cannot be read; the server's log says more"
            await self._last_words(SqlError("58000", text, fatal=True))
        except TimeoutError:
            await self._last_words(SqlError(REASON_CLOSED, "the connection was silent for too long", fatal=True))
        except (ConnectionError, ssl.SSLError):
            pass
        except Exception:
            _LOG.exception("sql_connection_failed")
            await self._last_words(
                SqlError(e.INTERNAL, "this is a mistake of the server; its log says more", fatal=True)
            )
        finally:
            server.connections -= 1
            server.cancels.pop((pid, secret), None)
            if self._transport is not None:
                self._transport.close()

    async def _last_words(self, problem: SqlError) -> None:
        problem.fatal = True
        self._put(p.error(problem))
        try:
            await self._flush()
        except (ConnectionError, TimeoutError):
            return

    async def _log_in(self) -> tuple[Session, Role] | tuple[None, None]:
        startup = await self._opening()
        if startup is None:
            return None, None
        if self._server.connections > self._server.config.connections:
            raise SqlError(
                e.BUSY, f"{self._server.config.connections} connections are open, no more are taken", fatal=True
            )
        if self._server.tls is not None and not self._tls and not is_loopback(self._server.config.listen):
            raise SqlError("28000", "this server wants TLS: connect with sslmode=require", fatal=True)
        user = startup.settings.get("user", "")
        strange = [name for name in startup.settings if name.startswith("_pq_.")]
        if startup.minor or strange:
            self._put(p.negotiate(strange))
        role = await self._prove(user)
        wanted = startup.settings.get("database", user)
        if wanted not in (self._server.config.database, user):
            raise SqlError(
                "3D000", f'database "{wanted}" does not exist, "{self._server.config.database}" does', fatal=True
            )
        if startup.settings.get("replication", "false").lower() not in ("false", "off", "0", "no"):
            raise SqlError(e.ACCESS_DENIED, "there is no replication here", fatal=True)
        session = Session(user)
        session.settings["session_authorization"] = user
        for name, value in startup.settings.items():
            if name not in ("user", "database", "options", "replication") and not name.startswith("_pq_."):
                session.put(name, value)
        return session, role

    async def _opening(self) -> p.Startup | None:
        """The startup message, after TLS where the client asks for it. None for a CancelRequest."""
        while True:
            message = await self._message(LOGIN_S)
            request = p.opening(message.body)
            if isinstance(request, p.Startup):
                self._inbox.opening = False
                self._inbox.limit = p.MAX_PASSWORD
                return request
            if isinstance(request, p.Cancel):
                if (cancel := self._server.cancels.get((request.pid, request.secret))) is not None:
                    cancel()
                return None
            if len(self._inbox):
                raise SqlError(e.PROTOCOL, "data came before encryption was agreed on", fatal=True)
            if not request.tls or self._server.tls is None or self._tls:
                self._put(b"N")
                await self._flush()
                continue
            await self._start_tls(self._server.tls)

    async def _start_tls(self, context: ssl.SSLContext) -> None:
        transport = self._transport
        if transport is None:
            raise ConnectionError
        self._put(b"S")
        await self._flush()
        upgraded = await asyncio.get_running_loop().start_tls(
            transport, self, context, server_side=True, ssl_handshake_timeout=LOGIN_S
        )
        if upgraded is None:
            raise ConnectionError
        self._transport = upgraded
        self._tls = True

    async def _prove(self, user: str) -> Role:
        """SCRAM. Raises SqlError for a user who does not exist in the same way, and at the same time, as for a wrong password."""
        role = self._server.roles.get(user)
        verifier = scram.pretended(user, self._server.pretence) if role is None else scram.read(role.verifier)
        exchange = scram.Exchange(verifier)
        started = time.monotonic()
        self._put(p.authentication(10, p.text(scram.MECHANISM) + b"\0"))
        await self._flush()
        mechanism, data = p.sasl_first(await self._password())
        if mechanism != scram.MECHANISM:
            raise SqlError("28000", f"{mechanism} is not spoken here, {scram.MECHANISM} is", fatal=True)
        self._put(p.authentication(11, exchange.challenge(data)))
        await self._flush()
        try:
            final = exchange.finish(await self._password())
            if role is None:
                raise SqlError(e.BAD_PASSWORD, "user and password do not fit", fatal=True)
        except SqlError:
            await asyncio.sleep(max(0.0, started + REFUSED_S - time.monotonic()))
            raise
        self._put(p.authentication(12, final))
        self._inbox.limit = p.MAX_MESSAGE
        return role

    async def _password(self) -> bytes:
        message = await self._message(LOGIN_S)
        if message.kind != b"p":
            raise SqlError(e.PROTOCOL, "a password message was expected", fatal=True)
        return message.body

    def _cancel(self) -> None:
        if self._running is not None:
            self._cancelled = True
            self._running.cancel()

    async def _stoppable(self, work: Any) -> Any:
        """Await ``work`` so that a CancelRequest or the client's leaving ends it."""
        self._cancelled = False
        self._running = asyncio.ensure_future(work)
        try:
            return await self._running
        except asyncio.CancelledError:
            if self._closed:
                raise ConnectionError from None
            if self._cancelled:
                raise SqlError(e.CANCELLED, "canceling statement due to user request") from None
            raise
        finally:
            self._running = None

    async def _answer(self, message: p.Message) -> bool:
        """Answer one message; False ends the connection. After an error in the extended protocol all is skipped up to Sync."""
        if message.kind == b"X":
            return False
        try:
            match message.kind:
                case b"Q":
                    await self._simple(p.query(message.body))
                case b"P":
                    await self._parse(p.parse(message.body))
                case b"B":
                    self._bind(p.bind(message.body))
                case b"D":
                    await self._describe(p.named(message.body))
                case b"E":
                    await self._execute(*p.execute(message.body))
                case b"C":
                    self._close_named(p.named(message.body))
                case b"H":
                    await self._flush()
                case b"S":
                    await self._sync()
                case b"d" | b"c" | b"f":
                    pass  # COPY data after a COPY that was refused
                case _:
                    raise SqlError(e.PROTOCOL, f"message {message.kind!r} is not known", fatal=True)
        except SqlError as problem:
            self._fail(problem)
            if problem.fatal:
                await self._flush()
                return False
            if message.kind == b"Q":
                self._put(p.ready(self._session.status.encode()))
                await self._flush()
            else:
                await self._skip()
        return True

    def _fail(self, problem: SqlError) -> None:
        if self._session.status == "T":
            self._session.status = "E"
        self._put(p.error(problem))

    async def _skip(self) -> None:
        await self._flush()
        while (message := await self._message(IDLE_S)).kind != b"S":
            if message.kind == b"X":
                raise ConnectionError
        await self._sync()

    async def _sync(self) -> None:
        if self._session.status == "I":
            self._portals.clear()
        self._put(p.ready(self._session.status.encode()))
        await self._flush()

    async def _simple(self, sql: str) -> None:
        """Query: statements one after another, up to the first that fails."""
        self._statements.pop("", None)
        self._portals.pop("", None)
        found = lexer.statements(sql)
        if len(found) > STATEMENTS_AT_ONCE:
            raise SqlError(e.TOO_LARGE, f"{len(found)} statements at once, at most {STATEMENTS_AT_ONCE} are taken")
        if not found:
            self._put(p.EMPTY_QUERY)
        for statement in found:
            answer = self._session.answer(statement)
            if answer is not None:
                self._put_answer(answer, with_columns=True)
                continue
            plan = await self._stoppable(self._server.engine.plan(statement, self._around))
            if plan.parameters:
                raise SqlError("42P02", "there is no parameter $1")
            result = await self._stoppable(self._server.engine.run(self._tenancy, plan))
            self._put(p.row_description(result.fields, (0,) * len(result.fields)))
            for piece in result.pieces:
                await self._put_rows(piece)
            self._put(p.command_complete(f"SELECT {result.rows}"))
        self._put(p.ready(self._session.status.encode()))
        await self._flush()

    async def _put_rows(self, rows: bytes) -> None:
        for at in range(0, len(rows), SEND_AT_ONCE):
            self._put(rows[at : at + SEND_AT_ONCE])
            if self._out_size >= SEND_AT_ONCE:
                await self._flush()

    def _put_answer(self, answer: Answer, *, with_columns: bool) -> None:
        if answer.forget == "*":
            self._statements.clear()
            self._portals.clear()
        elif answer.forget:
            self._statements.pop(answer.forget, None)
        if answer.columns and with_columns:
            self._put(p.row_description([Field(c, types.TEXT, -1) for c in answer.columns], [0] * len(answer.columns)))
        for row in encode.text_rows(answer.rows):
            self._put(p.data_row(row))
        self._put(p.command_complete(answer.tag))
        for name in answer.changed:
            self._put(p.parameter_status(name, self._session.settings[name]))

    async def _parse(self, request: p.Parse) -> None:
        if self._session.status == "E" and not _ends_transaction(request.sql):
            raise SqlError(
                e.FAILED_TRANSACTION, "current transaction is aborted, commands ignored until end of transaction block"
            )
        found = lexer.statements(request.sql)
        if len(found) > 1:
            raise SqlError(e.SYNTAX, "cannot insert multiple commands into a prepared statement")
        if request.name and request.name in self._statements:
            raise SqlError("42P05", f'prepared statement "{request.name}" already exists')
        if len(self._statements) >= PREPARED:
            raise SqlError(e.TOO_LARGE, f"{PREPARED} prepared statements are open; close some")
        sql = found[0] if found else ""
        plan = None
        if sql and not _of_session(sql):
            plan = await self._stoppable(self._server.engine.plan(sql, self._around, request.types))
        self._statements[request.name] = _Statement(sql, plan, request.types)
        self._put(p.PARSE_COMPLETE)

    def _statement(self, name: str) -> _Statement:
        if name not in self._statements:
            raise SqlError(e.UNKNOWN_NAME, f'prepared statement "{name}" does not exist')
        return self._statements[name]

    def _portal(self, name: str) -> _Portal:
        if name not in self._portals:
            raise SqlError("34000", f'portal "{name}" does not exist')
        return self._portals[name]

    def _bind(self, request: p.Bind) -> None:
        statement = self._statement(request.statement)
        wanted = statement.plan.parameters if statement.plan else ()
        if len(request.values) != len(wanted):
            raise SqlError(
                e.PROTOCOL, f"bind message supplies {len(request.values)} parameters, {len(wanted)} are needed"
            )
        if len(self._portals) >= PREPARED:
            raise SqlError(e.TOO_LARGE, f"{PREPARED} portals are open; close some")
        forms = spread(request.formats, len(wanted))
        values = tuple(types.value(v, oid, form) for v, oid, form in zip(request.values, wanted, forms, strict=True))
        self._portals[request.portal] = _Portal(statement, values, request.results)
        self._put(p.BIND_COMPLETE)

    async def _describe(self, request: p.Named) -> None:
        if request.kind == "S":
            statement = self._statement(request.name)
            self._put(p.parameter_description(statement.plan.parameters if statement.plan else ()))
            if statement.plan is not None:
                fields = await self._stoppable(self._server.engine.describe(self._tenancy, statement.plan))
                self._put(p.row_description(fields, (0,) * len(fields)))
            else:
                self._put_session_columns(statement.sql)
            return
        portal = self._portal(request.name)
        if portal.statement.plan is None:
            self._put_session_columns(portal.statement.sql)
            return
        result = await self._result(portal, portal.statement.plan)
        self._put(p.row_description(result.fields, spread(portal.formats, len(result.fields))))

    def _put_session_columns(self, sql: str) -> None:
        columns = (
            Session(self._session.user, dict(self._session.settings)).answer(sql) if sql[:4].lower() == "show" else None
        )
        if columns is None:
            self._put(p.NO_DATA)
        else:
            self._put(
                p.row_description([Field(c, types.TEXT, -1) for c in columns.columns], [0] * len(columns.columns))
            )

    async def _result(self, portal: _Portal, plan: Plan) -> Result:
        """The portal's answer; asked for once, by Describe or by Execute."""
        if portal.result is None:
            run = self._server.engine.run(self._tenancy, plan, portal.values, portal.formats)
            portal.result = await self._stoppable(run)
        return portal.result

    async def _execute(self, name: str, most: int) -> None:
        portal = self._portal(name)
        sql = portal.statement.sql
        if not sql:
            self._put(p.EMPTY_QUERY)
            return
        if portal.statement.plan is None:
            answer = self._session.answer(sql)
            if answer is None:
                raise AssertionError("the session answers what it said it would")
            self._put_answer(answer, with_columns=False)
            return
        if self._session.status == "E":
            raise SqlError(
                e.FAILED_TRANSACTION, "current transaction is aborted, commands ignored until end of transaction block"
            )
        result = await self._result(portal, portal.statement.plan)
        left = result.rows - portal.sent
        if most == 0 or left <= most:
            for piece in result.pieces if portal.rest is None else [portal.rest]:
                await self._put_rows(piece)
            portal.rest, portal.sent = b"", result.rows
            self._put(p.command_complete(f"SELECT {left}"))
            return
        rest = b"".join(result.pieces) if portal.rest is None else portal.rest
        end = encode.split(rest, most)
        await self._put_rows(rest[:end])
        portal.rest, portal.sent = rest[end:], portal.sent + most
        self._put(p.PORTAL_SUSPENDED)

    def _close_named(self, request: p.Named) -> None:
        if request.kind == "S":
            self._statements.pop(request.name, None)
        else:
            self._portals.pop(request.name, None)
        self._put(p.CLOSE_COMPLETE)


def _of_session(sql: str) -> bool:
    return sql.split(None, 1)[0].lower().rstrip(";(") in STATEMENTS


def _ends_transaction(sql: str) -> bool:
    return sql.split(None, 1)[:1] != [] and sql.split(None, 1)[0].lower().rstrip(";") in (
        "commit",
        "end",
        "rollback",
        "abort",
    )


async def start(config: SqlConfig, lake: Path, unnamed: str) -> "Running":
    """Listen. Raises OSError for an address that is taken, RolesError, ssl.SSLError for a certificate that cannot be used."""
    roles = Roles(Path(config.roles))
    roles.get("")  # a file that cannot be used is found now
    tls = None
    if config.tls_cert:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.minimum_version = ssl.TLSVersion.TLSv1_2
        tls.load_cert_chain(config.tls_cert, config.tls_key)
    engine = Engine(config, lake, unnamed)
    shared = Server(config, engine, roles, tls)
    listener = await asyncio.get_running_loop().create_server(
        lambda: Connection(shared), config.listen, config.port, backlog=512
    )
    return Running(listener, engine)


@dataclass(frozen=True, slots=True)
class Running:
    """A server that listens. ``port`` is the one it got."""

    listener: asyncio.Server
    engine: Engine

    @property
    def port(self) -> int:
        """The port listened on."""
        return int(self.listener.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Take no more connections, end those there are."""
        self.listener.close()
        await self.engine.close()
