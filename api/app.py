"""The application: settings in, ASGI out."""

import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from api import VERSION, dialects, openapi, problems
from api.auth.access import AccessMiddleware
from api.auth.guard import guard
from api.auth.quotas import SubmissionQuotas
from api.dependencies import Platform
from api.jobs import housekeeping
from api.jobs.backlog import BacklogView
from api.jobs.backpressure import Backpressure
from api.jobs.catalogue import Catalogue
from api.jobs.hints import Hints
from api.jobs.intake import Intake
from api.jobs.machine import Machine
from api.jobs.notifications import notifications
from api.jobs.submission import SubmissionService
from api.metrics.process import ApiMetrics
from api.middleware import origins, tracing
from api.middleware.requests import RequestMiddleware
from api.middleware.zero_retention import ZeroRetention, noting_jobs
from api.routes import (
    dead_letters,
    direct,
    events,
    health,
    internal,
    jobs,
    metrics,
    models,
    page,
    results,
    speakers,
    stats,
    webhook_secrets,
    webhooks,
)
from transcription.ledger.broker import CeleryQueue, celery_app
from transcription.ledger.connections.answer_times import AnswerTimes
from transcription.ledger.connections.clients import connect_async, connect_broker
from transcription.ledger.jobs.change_feed import Watch
from transcription.ledger.jobs.job_store import RedisJobs
from transcription.media.findings import Probe
from transcription.media.prober import Prober
from transcription.options import LONGEST_SAMPLE_S
from transcription.ports import BlobStore, JobQueue, JobStore
from transcription.settings import Settings
from transcription.settings.security import networks
from transcription.storage.results import open_results
from transcription.storage.stores import open_blobs

_PARTS = (
    *(jobs, results, speakers, events, webhooks, webhook_secrets, models),
    *(health, stats, metrics, dead_letters, internal, page),
)
_ROUTES = tuple(route for part in _PARTS for route in part.router.routes)


def create_app(
    settings: Settings,
    *,
    jobs: JobStore | None = None,
    blobs: BlobStore | None = None,
    queue: JobQueue | None = None,
    probe: Callable[[Path], Probe] | None = None,
) -> FastAPI:
    """
    Build the API from a settings value.

    Args:
        settings: Everything that can be set.
        jobs: The ledger; by default the one in Redis.
        blobs: Where audio is kept; by default the disk under the data directory.
        queue: Where hints go; by default Celery.
        probe: Looks into uploads; by default each in a process of its own.
    """
    meters = ApiMetrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            meters.ledger.start()
            stack.callback(meters.ledger.stop)
            times = meters.ledger.times
            access_control = guard(settings, meters, stack)
            app.state.policy = access_control.policy
            app.state.notifications = channels = notifications(settings, access_control.log, stack, times)
            hinted, store = queue or _queue(settings, stack), blobs or open_blobs(settings)
            if jobs is None and settings.api.housekeeping:
                housekeeping.start(settings, store, hinted, stack)
            ledger = jobs or _ledger(settings, channels.watch, stack, times)
            app.state.platform = _platform(
                settings,
                meters,
                jobs=_kept(settings, access_control.audited_jobs(ledger)),
                blobs=store,
                hints=_hints(hinted, stack),
                submission_quotas=access_control.submission_quotas,
                machine=_machine(settings, stack),
                probes=(probes := stack.enter_context(ThreadPoolExecutor(max(4, os.cpu_count() or 1), "probe"))),
                prober=(prober := _prober(settings, probes, stack, starts=probe is None)),
                probe=probe or prober,
            )
            yield

    # Its pages bring their scripts along: a platform on one's own machines must not need a CDN to show /docs.
    app = FastAPIOffline(
        static_url="/docs/assets",
        # Ours is api/middleware/tracing.py, and asking at every request whether there is another costs time.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        title="Murmuration",
        version=VERSION,
        description=openapi.DESCRIPTION,
        lifespan=lifespan,
    )
    # As they are: `include_router` has each of them made anew for every application, by its first requests.
    app.router.routes += _ROUTES
    if page.WEB.is_dir():
        app.mount("/web", page.PageFiles(directory=page.WEB), name="web")
    problems.install(app)
    openapi.install(app, settings.security)
    # The last one added is the outermost.
    app.add_middleware(direct.DirectAnswers)
    if settings.retention.delete_after_read:
        app.add_middleware(ZeroRetention)
    app.add_middleware(AccessMiddleware)
    dialects.install(app, settings.api.dialects)
    origins.refuse_foreign_pages(app, settings.api)
    app.add_middleware(direct.Liveness)
    origins.install(app, settings.api)
    tracing.install(app)
    app.add_middleware(RequestMiddleware, meters=meters, poll_log_share=settings.api.poll_log_share)
    if settings.security.trusted_proxies:
        proxies = [str(network) for network in networks(settings.security.trusted_proxies)]
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=proxies)
    _leave_out_the_frameworks_outer_layers(app)
    return app


def _leave_out_the_frameworks_outer_layers(app: FastAPI) -> None:
    """
    Begin with our own outermost layer: those that the framework puts around it would do what it does already (answer
    unforeseen errors), or nothing (limit bodies, trace), and each costs every request.
    """
    stack: Any = app.build_middleware_stack()
    while not isinstance(stack, RequestMiddleware | ProxyHeadersMiddleware):
        stack = stack.app
    app.middleware_stack = cast("ASGIApp", stack)


def _platform(
    settings: Settings,
    meters: ApiMetrics,
    *,
    jobs: JobStore,
    blobs: BlobStore,
    hints: Hints,
    machine: Machine,
    probes: Executor,
    prober: Prober,
    probe: Callable[[Path], Probe],
    submission_quotas: SubmissionQuotas,
) -> Platform:
    backlog = BacklogView(jobs)
    backpressure = Backpressure(settings.limits, backlog=backlog, machine=machine, promised_bytes=blobs.promised_bytes)
    catalogue = Catalogue(settings, backlog)
    submissions = SubmissionService(
        limits=settings.limits,
        outbound=settings.outbound,
        jobs=jobs,
        blobs=blobs,
        hints=hints,
        lane=settings.lane,
        intake=Intake(
            limits=settings.limits,
            jobs=jobs,
            blobs=blobs,
            probes=probes,
            probe=probe,
            listen=partial(prober.listen, limit_s=LONGEST_SAMPLE_S + 1),
        ),
        submission_quotas=submission_quotas,
        backpressure=backpressure,
        catalogue=catalogue,
        meters=meters,
    )
    return Platform(
        settings=settings,
        jobs=jobs,
        submissions=submissions,
        backlog=backlog,
        machine=machine,
        catalogue=catalogue,
        meters=meters,
    )


def _kept(settings: Settings, jobs: JobStore) -> JobStore:
    return noting_jobs(jobs) if settings.retention.delete_after_read else jobs


def _machine(settings: Settings, stack: AsyncExitStack) -> Machine:
    machine = Machine(settings.blob_dir)
    stack.callback(machine.close)
    return machine


def _prober(settings: Settings, probes: Executor, stack: AsyncExitStack, *, starts: bool) -> Prober:
    prober = Prober(settings)
    stack.callback(prober.close)
    if starts:
        probes.submit(prober.start)
    return prober


def _ledger(settings: Settings, watch: Watch, stack: AsyncExitStack, times: AnswerTimes) -> JobStore:
    jobs = RedisJobs(connect_async(settings.ledger, times), settings, watch, open_results(settings))
    stack.push_async_callback(jobs.close)
    return jobs


def _queue(settings: Settings, stack: AsyncExitStack) -> JobQueue:
    celery = celery_app(settings)
    client = connect_broker(settings.ledger)
    stack.callback(client.close)
    stack.callback(celery.close)
    return CeleryQueue(celery, client)


def _hints(queue: JobQueue, stack: AsyncExitStack) -> Hints:
    hints = Hints(queue)
    stack.push_async_callback(hints.close)
    return hints
