"""A Celery application with a task for each thing that can happen to one.

As a program it publishes tasks: app.py '[["proj.ok", 5, {"queue": "emails"}], ...]' sends proj.ok five times with
those options. It prints the ids, as JSON.
"""

import json
import os
import signal
import sys
import time

from celery import Celery
from celery.exceptions import Reject

app = Celery("proj", broker=os.environ["BROKER"])
app.conf.update(json.loads(os.environ.get("CELERY_CONF", "{}")))


@app.task(name="proj.ok")
def ok():
    return "a result that nobody may see"


@app.task(name="proj.fail")
def fail():
    raise ValueError("a text that nobody may see")


@app.task(name="proj.flaky", bind=True, max_retries=2, default_retry_delay=0)
def flaky(self):
    if self.request.retries < 2:
        raise self.retry(countdown=0)


@app.task(name="proj.rejected", acks_late=True)
def rejected():
    raise Reject("no", requeue=False)


@app.task(name="proj.hard", time_limit=1)
def hard():
    time.sleep(60)


@app.task(name="proj.killed")
def killed():
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(name="proj.slow")
def slow(seconds=60):
    time.sleep(seconds)


def publish(orders):
    ids = []
    for name, count, options in orders:
        for _ in range(count):
            ids.append(app.send_task(name, **options).id)
    return ids


if __name__ == "__main__":
    if sys.argv[1] == "revoke":
        app.control.revoke(sys.argv[2], terminate=True, signal="SIGKILL")
    elif sys.argv[1] == "revoke-early":
        # A worker's reply: from now on it knows the id.
        app.control.revoke(sys.argv[2], reply=True, timeout=60, limit=1)
    else:
        print(json.dumps(publish(json.loads(sys.argv[1]))))
