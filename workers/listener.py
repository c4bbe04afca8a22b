"""The Celery worker that receives notices through Redis: `python -m workers.listener PARENT CHANNEL…`.

It computes nothing, so a message that ends Celery, such as one that is not JSON, ends no forecast.
"""

import resource
import sys

from celery.signals import setup_logging

from jobs.dispatching.dispatch import TASK, celery_app
from jobs.logs import configure_logging
from jobs.settings import Settings
from workers.notices import NoticeChannel
from workers.parent import end_with_parent

_MAX_BYTES = 2 << 30
"""Address space of the process, which a huge message would exceed."""


def listen(settings: Settings, channel: NoticeChannel) -> None:
    """Run a Celery worker that passes each notice on to the computing process, until the process is stopped."""
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_BYTES, _MAX_BYTES))

    configure_logging(settings.log.log_format, settings.log.log_level)
    setup_logging.connect(_keep_logging)
    app = celery_app(settings)

    @app.task(name=TASK)  # type: ignore[untyped-decorator] # Celery has no types
    def forecast() -> None:
        """Notify the computing process, which claims work by the rows, once it has no other."""
        channel.deliver()

    app.worker_main(["--quiet", "worker", "--without-gossip", "--without-mingle", "--pool=threads", "--concurrency=1"])


def _keep_logging(**_: object) -> None:
    """Handle the signal of Celery, which does not configure the log if there is a handler."""


if __name__ == "__main__":
    end_with_parent(int(sys.argv[1]))
    listen(Settings.read(), NoticeChannel.parse(sys.argv[2:]))
