"""Runs the command `espalier` inside of a task of Ray, on the GPU that Ray gave the task."""

import json
import os
import shlex
import subprocess

import ray


def command() -> list[str]:
    """The command: `espalier`, or what ESPALIER says, as in `node /srv/espalier/dist/bundle/main.js`."""
    return shlex.split(os.environ.get("ESPALIER", "espalier"))


def device() -> str:
    """What `--device` is to be: the GPU of this task by its number on the machine, else the CPU.

    Ray hides cards by CUDA_VISIBLE_DEVICES, which Vulkan does not read; both count cards by their place on the bus.
    """
    gpus = ray.get_runtime_context().get_accelerator_ids().get("GPU", [])
    return f"gpu:{gpus[0]}" if gpus else "cpu"


def run(*arguments: str) -> dict:
    """The one JSON document that a command prints. A command that fails fails the task, with its own words."""
    done = subprocess.run([*command(), *arguments, "--device", device(), "--json"], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"espalier {arguments[0]} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)
