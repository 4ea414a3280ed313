"""A Flask service with prometheus-flask-exporter: python flask_app.py PORT."""

import sys
import time

from flask import Flask
from prometheus_flask_exporter import PrometheusMetrics

app = Flask(__name__)
PrometheusMetrics(app)


@app.get("/items/<int:item>")
def item(item):
    return {"item": item}


@app.post("/orders")
def order():
    return {"ordered": True}


@app.get("/slow/<int:milliseconds>")
def slow(milliseconds):
    time.sleep(milliseconds / 1000)
    return {"slept": milliseconds}


@app.get("/fail")
def fail():
    raise RuntimeError("on purpose")


if __name__ == "__main__":
    from werkzeug.serving import WSGIRequestHandler

    WSGIRequestHandler.protocol_version = "HTTP/1.1"  # or each request waits for a connection of its own
    app.run("127.0.0.1", int(sys.argv[1]), threaded=True)
