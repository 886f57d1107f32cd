"""What every measurement states with its numbers."""

import os
import pathlib
import platform

import jax


def hardware_line() -> str:
    """Processor, cores this process may use, devices and versions, in one line."""
    model = platform.processor() or platform.machine()
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    devices = ", ".join(sorted({device.device_kind for device in jax.devices()}))
    return f"{model}, {available} cores, JAX {jax.__version__} on {devices}, Python {platform.python_version()}"
