"""A stand-in for the W&B server, for tests: takes runs, files and artifacts, and can stop answering.

It mirrors one reading of wandb 0.31's protocol, not W&B's behaviour: a GraphQL end point that knows the operations the
client asks for by name, a file stream of history lines with offsets, and addresses that files are put to.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

ENTITY = "someone"
KEY = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class ServedRun:
    """What the server has of one run."""

    name: str
    project: str
    group: str = ""
    job_type: str = ""
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    uploads: list[str] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    used: list[str] = field(default_factory=list)
    exit_code: int | None = None

    @property
    def history(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]


@dataclass
class ServedArtifact:
    """One version of an artifact."""

    id: str
    name: str
    type: str
    digest: str
    metadata: dict[str, Any]
    made_by: str
    state: str = "PENDING"
    manifest: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)


class Server:
    """The stand-in. ``url`` is where it listens; ``silent`` makes it take requests and never answer."""

    def __init__(self) -> None:
        self.runs: dict[str, ServedRun] = {}
        self.artifacts: list[ServedArtifact] = []
        self.operations: list[str] = []
        self.requests = 0
        self.silent = threading.Event()
        self._closing = threading.Event()
        self._lock = threading.Lock()
        outer = self

        class Handler(_Handler):
            served = outer

        self._http = _Listener(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """From now on connections are refused."""
        self._closing.set()
        self._http.shutdown()
        self._http.server_close()

    def wait_for_ever(self) -> None:
        self._closing.wait()

    def artifact(self, name: str) -> ServedArtifact:
        return next(artifact for artifact in reversed(self.artifacts) if artifact.name == name)

    # --- GraphQL ---

    def answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        found = re.search(r"\b(?:query|mutation)\s+(\w+)", query)
        operation = found[1] if found else ""
        with self._lock:
            self.operations.append(operation)
            method = getattr(self, f"_{operation}", None)
            return method(variables) if method else {}

    def _Viewer(self, given: dict[str, Any]) -> dict[str, Any]:
        viewer = {"id": "u", "entity": ENTITY, "username": ENTITY, "email": "", "flags": "{}", "teams": {"edges": []}}
        return {"viewer": viewer}

    def _ServerFeaturesQuery(self, given: dict[str, Any]) -> dict[str, Any]:
        return {"serverInfo": {"features": []}}

    def _RunResumeStatus(self, given: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.get(given["name"])
        bucket = run and {
            "id": run.name, "name": run.name, "summaryMetrics": json.dumps(run.summary), "displayName": run.name,
            "logLineCount": 0, "historyLineCount": len(run.lines), "eventsLineCount": 0,
            "historyTail": json.dumps(run.lines[-1:]), "eventsTail": "[]", "config": json.dumps(run.config),
            "tags": run.tags, "notes": None, "wandbConfig": '{"t": 1}',
        }  # fmt: skip
        project = {"id": "p", "name": given["project"], "entity": {"id": "e", "name": ENTITY}}
        return {"model": {**project, "bucket": bucket}}

    def _UpsertBucket(self, given: dict[str, Any]) -> dict[str, Any]:
        name = given.get("name") or given["id"]
        inserted = name not in self.runs
        run = self.runs.setdefault(name, ServedRun(name, given.get("project") or "uncategorized"))
        run.group, run.job_type = given.get("groupName") or run.group, given.get("jobType") or run.job_type
        run.tags = given.get("tags") or run.tags
        if given.get("config"):
            run.config = json.loads(given["config"])
        bucket = {
            "id": name, "name": name, "displayName": given.get("displayName") or name, "description": None,
            "config": json.dumps(run.config), "sweepName": None, "historyLineCount": len(run.lines),
            "project": {"id": "p", "name": run.project, "entity": {"id": "e", "name": ENTITY}},
        }  # fmt: skip
        return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}

    def _CreateRunFiles(self, given: dict[str, Any]) -> dict[str, Any]:
        files = [{"name": name, "uploadUrl": f"{self.url}/put/run/{given['run']}/{name}"} for name in given["files"]]
        return {"createRunFiles": {"runID": given["run"], "uploadHeaders": [], "files": files}}

    def _CreateArtifact(self, given: dict[str, Any]) -> dict[str, Any]:
        given = given.get("input", given)
        name = (given.get("artifactCollectionNames") or [given.get("artifactCollectionName")])[0]
        earlier = [artifact for artifact in self.artifacts if artifact.name == name]
        same = next((artifact for artifact in earlier if artifact.digest == given["digest"]), None)
        if same is None:
            metadata = json.loads(given.get("metadata") or "{}")
            same = ServedArtifact(
                f"artifact-{len(self.artifacts)}", name, given["artifactTypeName"], given["digest"], metadata,
                given["runName"] or "",
            )  # fmt: skip
            self.artifacts.append(same)
        if given["runName"]:  # without one it is declared only to be used
            self.runs[given["runName"]].made.append(same.id)
        sequence = {"id": f"sequence-{name}", "latestArtifact": {"id": earlier[-1].id} if earlier else None}
        return {"createArtifact": {"artifact": {"id": same.id, "state": same.state, "artifactSequence": sequence}}}

    def _ArtifactType(self, given: dict[str, Any]) -> dict[str, Any]:
        return {"project": None}  # no artifact of that name yet, as far as types go

    def _CreateArtifactManifest(self, given: dict[str, Any]) -> dict[str, Any]:
        file = {"id": "f", "uploadUrl": f"{self.url}/put/manifest/{given['artifactID']}", "uploadHeaders": []}
        return {"createArtifactManifest": {"artifactManifest": {"id": given["artifactID"], "file": file}}}

    def _UpdateArtifactManifest(self, given: dict[str, Any]) -> dict[str, Any]:
        number = given["artifactManifestID"]
        file = {"id": "f", "uploadUrl": f"{self.url}/put/manifest/{number}", "uploadHeaders": []}
        return {"updateArtifactManifest": {"artifactManifest": {"id": number, "file": file}}}

    def _CreateArtifactFiles(self, given: dict[str, Any]) -> dict[str, Any]:
        edges = [
            {
                "node": {
                    "storagePath": wanted["name"], "uploadHeaders": [], "uploadMultipartUrls": None,
                    "uploadUrl": f"{self.url}/put/artifact/{wanted['artifactID']}/{wanted['name']}",
                    "artifact": {"id": wanted["artifactID"]},
                }
            }
            for wanted in given["input"]["artifactFiles"]
        ]  # fmt: skip
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def _CommitArtifact(self, given: dict[str, Any]) -> dict[str, Any]:
        artifact = self._by_id(given["artifactID"])
        artifact.state = "COMMITTED"
        return {"commitArtifact": {"artifact": {"id": artifact.id, "digest": artifact.digest}}}

    def _UseArtifact(self, given: dict[str, Any]) -> dict[str, Any]:
        given = given.get("input", given)
        self.runs[given["runName"]].used.append(given["artifactID"])
        return {"useArtifact": {"artifact": {"id": given["artifactID"]}}}

    def _ArtifactByID(self, given: dict[str, Any]) -> dict[str, Any]:
        artifact = self._by_id(given["id"])
        project = {"id": "p", "internalId": "p", "name": "seedml", "entity": {"id": "e", "name": ENTITY}}
        sequence = {"__typename": "ArtifactSequence", "id": "s", "name": artifact.name, "project": project}
        shown = {
            "__typename": "Artifact", "id": artifact.id, "artifactSequence": sequence, "versionIndex": 0,
            "artifactType": {"name": artifact.type}, "description": None, "metadata": json.dumps(artifact.metadata),
            "ttlDurationSeconds": -1, "ttlIsInherited": False, "tags": [], "historyStep": None,
            "state": artifact.state, "size": 0, "digest": artifact.digest, "commitHash": None, "fileCount": 0,
            "createdAt": "2026-01-01T00:00:00", "updatedAt": None, "aliases": [],
        }  # fmt: skip
        return {"artifact": shown}

    def _by_id(self, number: str) -> ServedArtifact:
        return next(artifact for artifact in self.artifacts if artifact.id == number)

    # --- files ---

    def put(self, path: str, body: bytes) -> None:
        kind, owner, *rest = unquote(path).split("/")[2:]
        name = "/".join(rest)
        with self._lock:
            if kind == "run":
                self.runs[owner].files[name] = body
                self.runs[owner].uploads.append(name)
            elif kind == "manifest":
                self._by_id(owner).manifest = json.loads(body)
            else:
                self._by_id(owner).files[name] = body

    def stream(self, name: str, body: dict[str, Any]) -> None:
        with self._lock:
            run = self.runs[name]
            files = body.get("files") or {}
            if "wandb-history.jsonl" in files:
                chunk = files["wandb-history.jsonl"]
                offset = chunk["offset"]
                run.lines[offset : offset + len(chunk["content"])] = chunk["content"]
            if "wandb-summary.json" in files:
                run.summary = json.loads(files["wandb-summary.json"]["content"][-1])
            if body.get("complete"):
                run.exit_code = body.get("exitcode")


class _Listener(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients are killed, and hang up without a word."""
        if not isinstance(sys.exception(), ConnectionError):
            traceback.print_exc()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served: Server

    def do_POST(self) -> None:
        body = self._body()
        if self.path == "/graphql":
            asked = json.loads(body)
            self._answer({"data": self.served.answer(asked["query"], asked.get("variables") or {})})
            return
        if self.path.endswith("/file_stream"):  # /files/<entity>/<project>/<run>/file_stream
            self.served.stream(self.path.split("/")[4], json.loads(body))
        self._answer({"limits": {}})

    def do_PUT(self) -> None:
        self.served.put(self.path, self._body())
        self._answer({})

    def do_GET(self) -> None:
        self._body()
        self._answer({})

    def _body(self) -> bytes:
        chunked = self.headers.get("Transfer-Encoding") == "chunked"
        body = self._chunks() if chunked else self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.served.requests += 1
        if self.served.silent.is_set():
            self.served.wait_for_ever()
        return body

    def _chunks(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _answer(self, value: object) -> None:
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        """Nothing."""


@contextmanager
def wandb_server() -> Iterator[Server]:
    """A stand-in that runs while the block lasts."""
    server = Server()
    try:
        yield server
    finally:
        server.stop()
