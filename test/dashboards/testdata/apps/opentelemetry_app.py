"""A FastAPI service with OpenTelemetry's instrumentation and Prometheus exporter: python opentelemetry_app.py PORT."""

import asyncio
import os
import sys

# The stable names of the HTTP semantic conventions; the instrumentation still defaults to the old ones.
os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"] = "http"

import uvicorn  # noqa: E402
from fastapi import FastAPI, Response  # noqa: E402
from opentelemetry.exporter.prometheus import PrometheusMetricReader  # noqa: E402
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor  # noqa: E402
from opentelemetry.sdk.metrics import MeterProvider  # noqa: E402
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest  # noqa: E402

app = FastAPI()


@app.get("/items/{item}")
async def item(item: int):
    return {"item": item}


@app.post("/orders")
async def order():
    return {"ordered": True}


@app.get("/slow/{milliseconds}")
async def slow(milliseconds: int):
    await asyncio.sleep(milliseconds / 1000)
    return {"slept": milliseconds}


@app.get("/fail")
async def fail():
    raise RuntimeError("on purpose")


@app.get("/metrics")
async def metrics():
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


provider = MeterProvider(metric_readers=[PrometheusMetricReader()])
FastAPIInstrumentor.instrument_app(app, meter_provider=provider, excluded_urls="/metrics")

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="critical")
