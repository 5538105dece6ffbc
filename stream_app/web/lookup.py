"""Finds the newest slate of a user, here or at the worker that owns the user, without holding up the hot path.

A published slate is answered from a dictionary. Only for users whose slate is not kept (after a restart, or beyond
``web_cached_slates``) is one made from their committed row in their task's thread, and at most :data:`MAX_WAITING` such
requests wait for it.

Which worker owns a user follows from the partition that Kafka's default partitioner gives the key. Producers may use
another one, so a user who is unknown there is asked for at all other workers before the answer is 404.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec
from aiokafka.partitioner import DefaultPartitioner
from yarl import URL

from state.store import StoreError
from stream_app.decoding import decode_or_none
from stream_app.members import advertised_address
from stream_app.web.answer import PROBLEMS, ProblemError, published

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from concurrent.futures import Executor

    from stream_app.observer import Observer
    from stream_app.runtime import Runtime
    from stream_app.settings import Settings
    from stream_app.user_stage import UserProcessor

HOP_HEADER: Final = "X-Crossaisle-Hop"
"""Marks a request that another worker has forwarded: it is answered here or not at all."""
PEER_TIMEOUT_S: Final = 2.0
MAX_WAITING: Final = 64

_OK = 200
_REFUSED = frozenset({401, 403})

T = TypeVar("T")
_partitioner = DefaultPartitioner()


class Answer(NamedTuple):
    """An answer to pass on: status, JSON, and which worker it is from."""

    status: int
    body: bytes
    worker: str

    @property
    def is_refusal(self) -> bool:
        """Whether that worker takes this one for a stranger: it has another token, or none."""
        return self.status in _REFUSED

    @property
    def problem(self) -> ProblemError | None:
        """The problem that the worker answers with, None where it has an answer."""
        if self.status == _OK:
            return None
        found = decode_or_none(msgspec.json.decode, self.body)
        code = found.get("code") if isinstance(found, dict) else None
        if not isinstance(found, dict) or code not in PROBLEMS or not isinstance(found.get("detail"), str):
            return ProblemError("not_ready", f"worker {self.worker} answers with status {self.status}; see its log")
        return ProblemError(code, found["detail"])


def path_part(user_id: str) -> str:
    """Return an id as one part of a path; dots, too, for an id `..` would be none."""
    return quote(user_id, safe="").replace(".", "%2E")


def partition_of(user_id: str, n_partitions: int) -> int:
    """Return the partition that Kafka's default partitioner gives a key."""
    everything = list(range(n_partitions))
    return int(_partitioner(user_id.encode(), everything, everything))


class Lookup:
    """Looks users up.

    Parameters
    ----------
    settings
        Of the application.
    runtime
        Of this worker.
    observer
        Knows the other workers.
    """

    def __init__(self, settings: Settings, runtime: Runtime, observer: Observer) -> None:
        self._settings = settings
        self._runtime = runtime
        self._observer = observer
        self._session: aiohttp.ClientSession | None = None
        self._turn = asyncio.Semaphore(1)
        self._n_waiting = 0
        self.address = advertised_address(settings)

    async def close(self) -> None:
        """Close the connections to other workers."""
        if self._session is not None:
            await self._session.close()

    async def newest(self, user_id: str) -> bytes:
        """Return the newest slate that this worker knows of a user, as JSON of ``Recommendations``.

        Raises
        ------
        ProblemError
            The user is not known here, nothing may be recommended, or too many are waiting.
        """
        processors = self._processors()
        for processor in processors:
            slate = processor.newest.get(user_id)
            if slate is not None:
                return published(slate)
        found = await self._compute(processors, user_id)
        if found is None:
            raise ProblemError("unknown_user", self._unknown(user_id))
        if not found.items:
            detail = f"user {user_id!r} is known, but nothing may be recommended now; ask with fallback=popular"
            raise ProblemError("no_slate", detail)
        return msgspec.json.encode(found)

    async def user(self, user_id: str) -> dict[str, Any]:
        """Return what the committed state of this worker holds of a user.

        Raises
        ------
        ProblemError
            The user is not known here.
        """
        from stream_app.user_lookup import describe_user  # noqa: PLC0415  # numba: only a real worker has it

        for processor in self._processors():
            found = await self.in_turn(self._thread_of(processor), describe_user, processor, user_id)
            if found is not None:
                return {**found, "partition": processor.partition}
        raise ProblemError("unknown_user", self._unknown(user_id))

    async def anywhere(self, user_id: str, path: str, here: Callable[[], Awaitable[bytes]]) -> Answer:
        """Answer here if this worker owns the user, else with what the owner answers.

        A problem that the owner answers with is raised here, as if it were this worker's.

        Parameters
        ----------
        path
            What to ask the owner for, percent-encoded; it is sent as it is.
        here
            Answers at this worker.

        Raises
        ------
        ProblemError
            Nobody knows the user, they have no slate, or somebody who may know does not answer.
        """
        n_partitions = self._n_partitions()
        owner = self._observer.owner(partition_of(user_id, n_partitions)) if n_partitions else None
        others = [address for address in self._observer.addresses() if address != self.address]
        if owner is not None and owner in others:
            asked = [await self._ask(owner, path)]
            found = _first_known(asked)
            if found is not None:
                return found
            others.remove(owner)
        else:
            asked = []
        try:
            return Answer(_OK, await here(), self.address)
        except ProblemError as problem:
            if problem.code != "unknown_user":
                raise
        asked += await asyncio.gather(*(self._ask(address, path) for address in others))
        found = _first_known(asked)
        if found is not None:
            return found
        refusals = [answer.worker for answer in asked if answer is not None and answer.is_refusal]
        if refusals:
            detail = f"worker {refusals[0]} refuses this one's token: give all workers the same CROSSAISLE_WEB_TOKEN"
            raise ProblemError("not_ready", detail)
        if None in asked or not self._is_owned(n_partitions):
            detail = "the partition of this user has no owner, or its owner does not answer; try again in a second"
            raise ProblemError("not_ready", detail)
        raise ProblemError("unknown_user", self._unknown(user_id))

    async def knows(self, user_id: str, partition: int, timeout_s: float = PEER_TIMEOUT_S) -> bool:
        """Return whether the owner of a partition says that it knows a user; False where it does not answer."""
        processor = next((each for each in self._processors() if each.partition == partition), None)
        if processor is None:
            owner = self._observer.owner(partition)
            if owner is None or owner == self.address:
                return False
            answer = await self._ask(owner, f"/users/{path_part(user_id)}", timeout_s)
            return answer is not None and answer.status == _OK
        from stream_app.user_lookup import knows_user  # noqa: PLC0415  # numba: only a real worker has it

        try:
            async with asyncio.timeout(timeout_s):
                return bool(await self.in_turn(self._thread_of(processor), knows_user, processor, user_id))
        except (ProblemError, TimeoutError):
            return False

    async def peer(self, address: str, path: str, timeout_s: float = PEER_TIMEOUT_S) -> bytes | None:
        """Return what another worker answers with 200 or 503, None if it does not answer.

        The path is one that is open to everybody: the worker's address is what a member of the group says it is, and
        is not given the token unasked.
        """
        answer = await self._ask(address, path, timeout_s, with_token=False)
        return answer.body if answer is not None and answer.status in {200, 503} else None

    async def in_turn(self, executor: Executor, function: Callable[..., T], *args: Any) -> T | None:
        """Call a function in one of the worker's threads, one request at a time; None if its task has been closed.

        Raises
        ------
        ProblemError
            Too many are waiting.
        """
        if self._n_waiting >= MAX_WAITING:
            raise ProblemError("busy", f"{MAX_WAITING} requests wait for the compute threads; try again in a second")
        self._n_waiting += 1
        try:
            async with self._turn:
                return await asyncio.get_running_loop().run_in_executor(executor, function, *args)
        except StoreError:  # the partition went to another worker while the request waited
            return None
        finally:
            self._n_waiting -= 1

    async def in_replica_turn(self, function: Callable[..., T], *args: Any) -> T | None:
        """Like :meth:`in_turn`, in the replica's thread."""
        return await self.in_turn(self._runtime.replica_executor, function, *args)

    async def _compute(self, processors: Sequence[UserProcessor], user_id: str) -> Any:
        if not processors:
            return None
        from stream_app.user_lookup import fresh_slate  # noqa: PLC0415  # numba: only a real worker has it

        for processor in processors:
            now_ms = time.time_ns() // 1_000_000
            found = await self.in_turn(self._thread_of(processor), fresh_slate, processor, user_id, now_ms)
            if found is not None:
                return found
        return None

    def _thread_of(self, processor: UserProcessor) -> Executor:
        return self._runtime.executor("user", processor.partition)

    def _processors(self) -> list[UserProcessor]:
        """Return this worker's user tasks."""
        found: list[Any] = list(self._runtime.processors("user").values())
        return [processor for processor in found if hasattr(processor, "newest")]

    def _n_partitions(self) -> int:
        latest = self._observer.latest
        return sum(lag.stage == "user" for lag in latest.lags) if latest is not None else 0

    def _is_owned(self, n_partitions: int) -> bool:
        """Return whether every partition has an owner: only then is an unknown user really unknown."""
        mine = self._runtime.processors("user")
        return n_partitions > 0 and all(
            p in mine or self._observer.owner(p) not in {None, self.address} for p in range(n_partitions)
        )

    async def _ask(
        self, address: str, path: str, timeout_s: float = PEER_TIMEOUT_S, *, with_token: bool = True
    ) -> Answer | None:
        if self._session is None:
            self._session = aiohttp.ClientSession()
        headers = {HOP_HEADER: "1"}
        token = self._settings.web_token
        if token is not None and with_token:
            headers["Authorization"] = f"Bearer {token.get_secret_value()}"
        try:
            async with self._session.get(
                URL(f"http://{address}{path}", encoded=True),  # else an id `..` would take a part of the path away
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=timeout_s),
            ) as response:
                return Answer(response.status, await response.read(), address)
        except (aiohttp.ClientError, OSError, ValueError):  # TimeoutError is an OSError, no address a ValueError
            return None

    @staticmethod
    def _unknown(user_id: str) -> str:
        return f"user {user_id!r}: no event was learned, or the user was forgotten; ask with fallback=popular"


def _first_known(answers: Sequence[Answer | None]) -> Answer | None:
    """Return the first answer of a worker that knows the user.

    Raises
    ------
    ProblemError
        The worker knows the user, but has no answer.
    """
    for answer in answers:
        if answer is None or answer.is_refusal:
            continue
        problem = answer.problem
        if problem is None:
            return answer
        if problem.code != "unknown_user":
            raise problem
    return None
