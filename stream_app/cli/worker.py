"""``crossaisle worker``: one worker process."""


def worker() -> None:
    """Run one worker: learns from events and publishes slates, until SIGTERM or Ctrl-C.

    Start as many as you like, on one machine or on several: they share out the partitions. Give workers on one machine
    different web ports (CROSSAISLE_WEB_PORT). `faust -A stream_app worker` runs the same worker.
    """
    from stream_app.garbage import collect_seldom

    collect_seldom()
    from stream_app.application import WorkerStoppedError, create_app, run_worker  # imports faust
    from stream_app.cli import CommandError
    from stream_app.settings import Settings
    from stream_app.web.guard import ExposedError

    try:
        run_worker(create_app(Settings()))
    except (WorkerStoppedError, ExposedError) as error:
        raise CommandError(str(error)) from error
