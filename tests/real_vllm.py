"""A real vLLM server on the loopback interface, on the CPU, that can be killed and started again."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

SERVE = Path(__file__).with_name("serve_vllm.py")
START_S = 900.0  # 21 s alone on two cores, minutes on a busy machine
CPU = {  # one thread, one GB of KV cache, nothing compiled
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "TORCHDYNAMO_DISABLE": "1",
    "OMP_NUM_THREADS": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
}


class RealServer:
    """``vllm serve MODEL`` with what the engine needs of it."""

    def __init__(self, model: Path, log: Path) -> None:
        self.model, self.log = model, log
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def start(self, *, wait: bool = True) -> float:
        """Start it; seconds until it was healthy."""
        command = [
            sys.executable,
            str(SERVE),
            "serve",
            str(self.model),
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
        ]
        command += ["--enforce-eager", "--dtype", "float32", "--logprobs-mode", "processed_logprobs"]
        command += ["--enable-lora", "--max-lora-rank", "8", "--max-num-seqs", "64", "--disable-uvicorn-access-log"]
        switches = {"VLLM_SERVER_DEV_MODE": "1", "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, env={**os.environ, **CPU, **switches}, stdout=log, stderr=log, start_new_session=True
            )
        begun = time.monotonic()
        while wait and not self.healthy():
            if self._process.poll() is not None or time.monotonic() - begun > START_S:
                self.kill()
                raise RuntimeError(f"vLLM did not start:\n{self.log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.5)
        return time.monotonic() - begun

    def healthy(self) -> bool:
        """Whether it answers."""
        try:
            return httpx.get(f"{self.url}/health", timeout=2.0).is_success
        except httpx.HTTPError:
            return False

    def kill(self) -> None:
        """Kill it and its workers, as the kernel would for want of memory."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
