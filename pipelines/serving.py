"""Serving from the command line: starting it, asking it, printing what it answers."""

import json
import signal
import threading
import urllib.error
import urllib.request
from typing import Any

from feature_repo.errors import RecloopError
from pipelines.config import ProjectConfig
from pipelines.home import Home


def serve_until_stopped(
    config: ProjectConfig, home: Home, host: str, port: int, model_server: str | None, model_ports: tuple[int, int]
) -> None:
    """Starts the gateway (and a model server unless one is named) and waits for Ctrl-C or SIGTERM."""
    from serving.launch import running_services

    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with running_services(
        home.root, config.serving, host, port, model_server, model_ports=model_ports, report=print
    ) as services:
        print(f"gateway       {services.gateway_url}  (API: {services.gateway_url}/docs)")
        rest = "" if model_server else f" (gRPC), http://127.0.0.1:{model_ports[1]} (REST)"
        print(f"model server  {services.model_server}{rest}")
        print("Ctrl-C stops it.", flush=True)
        while not stopped.wait(1.0):
            services.check()
        print("stopping ...")


def ask(url: str, user: str, count: int, at: str | None = None) -> dict[str, Any]:
    """Recommendations from a running gateway.

    Raises:
        RecloopError: when no gateway answers, or it refuses the request.
    """
    context = {"timestamp": at} if at else {}
    body = json.dumps({"user_id": user, "count": count, "context": context}).encode()
    request = urllib.request.Request(
        f"{url.rstrip('/')}/v1/recommendations", data=body, headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        detail = error.read(2000).decode("utf-8", "replace")
        raise RecloopError(f"the gateway at {url} refused the request ({error.code}): {detail}") from error
    except (urllib.error.URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise RecloopError(f"no gateway answers at {url} ({reason}). Start one with `recloop serve`.") from error


def print_answer(answer: dict[str, Any]) -> None:
    """One line an item: place, score, title or id."""
    for item in answer["items"]:
        name = item.get("title") or f"item {item['item_id']}"
        print(f"  {item['position']:>3}. {item['score']:.3f}  {name}")
    degraded = f", fallback: {answer['fallback']}" if answer.get("fallback") else ""
    print(f"  release {answer['release']}, request {answer['request_id']}{degraded}")
