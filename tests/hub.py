"""A model hub on this machine that has one model: what the hub's client is pointed at."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def environment(address: str, home: Path) -> dict[str, str]:
    """The environment of a process that asks the hub at `address`."""
    return {
        **os.environ, "HF_ENDPOINT": address, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1", "OMP_NUM_THREADS": "1",
    }  # fmt: skip


@contextmanager
def serve(folder: Path, model: str) -> Iterator[str]:
    """The address of a hub whose `model`, owner/name, has the files of `folder`, and a pickle."""
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    files["pytorch_model.bin"] = b"a pickle that must not be fetched"

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(self.path.split("?")[0])

        do_HEAD = do_GET

        def _answer(self, path: str) -> None:
            name = path.removeprefix(f"/{model}/resolve/").removeprefix(COMMIT).removeprefix("main")
            name = name.removeprefix("/")
            body, status = files.get(name, b"no such file"), 200 if name in files else 404
            if path.startswith(f"/api/models/{model}"):
                siblings = [{"rfilename": file} for file in files]
                listing: dict[str, Any] = {"id": model, "sha": COMMIT}
                listing |= {"siblings": siblings, "private": False, "tags": []}
                tree = [
                    {"type": "file", "path": file, "size": len(data), "oid": COMMIT}
                    for file, data in files.items()
                ]
                # huggingface_hub 2 asks for the files by themselves.
                asked = tree if "/tree/" in path else listing
                body, status = json.dumps(asked).encode(), 200
            assert name != "pytorch_model.bin"
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{abs(hash(body)):x}"')
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
