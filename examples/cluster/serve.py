"""Ray Serve in front of `espalier serve`: a replica is a process of it on one device, and Ray hands requests to replicas.

    MODEL=DIR REPLICAS=2 GPUS=0 serve run --working-dir examples/cluster serve:app

Answers come whole or in events, as `espalier serve` gives them. A replica whose process has ended fails its health
check, and Ray begins another; what it had under way ends with an error, for Ray Serve does not know how far it was.
"""

import asyncio
import json
import os
import secrets

import aiohttp
from ray import serve
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

import espalier


@serve.deployment(
    num_replicas=int(os.environ.get("REPLICAS", "1")),
    max_ongoing_requests=64,
    ray_actor_options={"num_cpus": float(os.environ.get("CPUS", "1")), "num_gpus": float(os.environ.get("GPUS", "0"))},
    health_check_period_s=5,
)
class Espalier:
    async def __init__(self, command: list[str], model: str, options: list[str]) -> None:
        self.key = secrets.token_hex(32)
        self.process = await asyncio.create_subprocess_exec(
            *command,
            *("serve", "--model", model, "--port", "0", "--json", "--device", espalier.device(), *options),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "ESPALIER_API_KEY": self.key},
        )
        # the one document says where it listens, when the model is loaded
        said = ""
        while True:
            line = (await self.process.stdout.readline()).decode()
            if line == "":
                raise RuntimeError(f"espalier serve ended with {await self.process.wait()}")
            said += line
            try:
                self.url = json.loads(said)["url"]
                break
            except json.JSONDecodeError:
                continue
        self.client = aiohttp.ClientSession(
            headers={"authorization": f"Bearer {self.key}"}, timeout=aiohttp.ClientTimeout(total=None)
        )

    async def check_health(self) -> None:
        if self.process.returncode is not None:
            raise RuntimeError(f"espalier serve has ended with {self.process.returncode}")

    async def __call__(self, request: Request) -> Response:
        path = request.url.path.removeprefix("/v1")
        headers = {"content-type": request.headers.get("content-type", "application/json")}
        answer = await self.client.request(request.method, self.url + path, data=await request.body(), headers=headers)
        kind = answer.headers.get("content-type", "")
        if not kind.startswith("text/event-stream"):
            async with answer:
                return Response(await answer.read(), answer.status, media_type=kind)

        async def events():
            # a client that goes away closes this, and with it the request behind
            async with answer:
                async for piece in answer.content.iter_any():
                    yield piece

        return StreamingResponse(events(), answer.status, media_type=kind)

    def __del__(self) -> None:
        if getattr(self, "process", None) is not None and self.process.returncode is None:
            self.process.terminate()


# read where `serve run` is called: the replicas' machines have environments of their own
app = Espalier.bind(espalier.command(), os.environ["MODEL"], os.environ.get("OPTIONS", "").split())
