"""A model endpoint that costs nothing, so that what is measured is the caller: nginx with one fixed answer."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ECHO = Path("/usr/lib/nginx/modules/ngx_http_echo_module.so")
ANSWER = (
    '{"id":"r","object":"response","created_at":1760000000,"status":"completed","error":null,"incomplete_details":null,'
    '"model":"fixed","output":[{"type":"message","id":"m","status":"completed","role":"assistant","content":'
    '[{"type":"output_text","text":"The answer is 42.","annotations":[]}]}],"parallel_tool_calls":true,"tools":[],'
    '"usage":{"input_tokens":32,"input_tokens_details":{"cached_tokens":0},"output_tokens":16,'
    '"output_tokens_details":{"reasoning_tokens":0},"total_tokens":48},"metadata":{}}'
)
INSTANT, SLOW = 18090, 18091
CONFIG = """
load_module {echo};
worker_processes 1;
worker_rlimit_nofile 65535;
pid {folder}/pid;
error_log {folder}/error.log warn;
events {{ worker_connections 30000; multi_accept on; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  client_body_buffer_size 1m;
  default_type application/json;
  server {{ listen 127.0.0.1:{instant} backlog=16384; location = /v1/responses {{ return 200 '{answer}'; }} }}
  server {{ listen 127.0.0.1:{slow} backlog=16384; location = /v1/responses {{ echo_sleep 1; echo '{answer}'; }} }}
}}
"""


def available() -> bool:
    """Whether nginx and its echo module are here (Debian: nginx-light, libnginx-mod-http-echo)."""
    return shutil.which("nginx") is not None and ECHO.exists()


@contextmanager
def running() -> Iterator[tuple[str, str]]:
    """The base URLs of an endpoint that answers at once and of one that answers after a second."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "nginx.conf")
        config.write_text(CONFIG.format(echo=ECHO, folder=folder, answer=ANSWER, instant=INSTANT, slow=SLOW))
        command = ["nginx", "-c", str(config), "-p", folder, "-g", "daemon off;"]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            yield f"http://127.0.0.1:{INSTANT}/v1", f"http://127.0.0.1:{SLOW}/v1"
        finally:
            server.terminate()
            server.wait(10)
