"""A Starlette service with starlette_exporter: python starlette_app.py PORT."""

import asyncio
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette_exporter import PrometheusMiddleware, handle_metrics


async def item(request):
    return JSONResponse({"item": request.path_params["item"]})


async def order(_):
    return JSONResponse({"ordered": True})


async def slow(request):
    await asyncio.sleep(request.path_params["milliseconds"] / 1000)
    return JSONResponse({"slept": True})


async def fail(_):
    raise RuntimeError("on purpose")


app = Starlette(
    routes=[
        Route("/items/{item:int}", item),
        Route("/orders", order, methods=["POST"]),
        Route("/slow/{milliseconds:int}", slow),
        Route("/fail", fail),
        Route("/metrics", handle_metrics),
    ]
)
app.add_middleware(PrometheusMiddleware, app_name="shop", skip_paths=["/metrics"])

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="critical")
