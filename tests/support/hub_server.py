"""A stand-in of the Hub on this machine: what its HTTP API answers to uploads and downloads, with files in memory.

The addresses, headers and bodies are those of the Hub's API that huggingface_hub calls: repositories and branches,
the check of a card's metadata, upload by LFS for tensors and inline for other files, listings, and files by revision.
"""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import yaml

TOKEN = "hf_writes"


class HubState:
    """Repositories: commits with all their files, and branches that point to commits."""

    def __init__(self):
        self.private, self.branches, self.commits, self.blobs, self.asked = {}, {}, {}, {}, []
        self.gated = set()

    def make(self, name, private):
        self.private[name] = bool(private)
        self.branches[name] = {}
        self.commit(name, "main", {})

    def commit(self, name, branch, changes):
        before = self.commits.get(self.branches[name].get(branch), {})
        files = {**before, **changes}
        sha = hashlib.sha1(repr((name, branch, sorted(files.items()), len(self.commits))).encode()).hexdigest()
        self.commits[sha] = files
        self.branches[name][branch] = sha
        return sha

    def files(self, name, revision="main"):
        return self.commits[self.sha(name, revision)]

    def sha(self, name, revision):
        return revision if revision in self.commits else self.branches[name].get(revision)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: HubState

    def log_message(self, *words):
        pass

    def answer(self, status, value=None, *, code="", body=None, headers=()):
        body = json.dumps(value).encode() if body is None else body
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", code)
        for key, text in headers:
            self.send_header(key, text)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def receive(self):
        """The path and the body of a request."""
        self.state.asked.append(f"{self.command} {self.path}")
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return unquote(urlsplit(self.path).path), body

    def may_write(self):
        if self.headers.get("Authorization") == f"Bearer {TOKEN}":
            return True
        self.answer(401, {"error": "Invalid username or password."})
        return False

    def reads(self, name):
        """Whether the account of the request may read a repository; says why not."""
        known = name in self.state.branches
        if known and name in self.state.gated:
            self.answer(403, {"error": "gated"}, code="GatedRepo")
        elif not known or (self.state.private[name] and self.headers.get("Authorization") != f"Bearer {TOKEN}"):
            self.answer(404, {"error": "Repository not found"}, code="RepoNotFound")
        else:
            return True
        return False

    def do_POST(self):
        path, body = self.receive()
        if path == "/api/validate-yaml":
            self.validate(json.loads(body)["content"])
        elif self.may_write():
            self.write(path, body)

    def validate(self, card):
        """As the Hub: metadata is a mapping, and results name a data set by letters, digits, -, _, . and one /."""
        try:
            data = yaml.safe_load(card.split("\n---\n")[0].removeprefix("---\n"))
            for index in data.get("model-index", []):
                for result in index["results"]:
                    assert re.fullmatch(r"(?:[\w-]+/)?[\w.-]+", result["dataset"]["type"]), "dataset.type"
            assert re.fullmatch(r"[\w.-]+", data.get("license", "mit")), '"license" must be one of those of the Hub'
        except (yaml.YAMLError, AssertionError, AttributeError, KeyError) as error:
            self.answer(400, {"errors": [{"message": str(error)}], "warnings": []})
        else:
            self.answer(200, {"errors": [], "warnings": []})

    def write(self, path, body):
        if path == "/api/repos/create":
            self.make_repository(json.loads(body))
        elif path.endswith(".git/info/lfs/objects/batch"):
            objects = json.loads(body)["objects"]
            where = [{**found, "actions": {"upload": {"href": f"{self.host}/lfs/{found['oid']}"}}} for found in objects]
            self.answer(200, {"transfer": "basic", "objects": where})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/(branch|preupload|commit)/(.+)", path):
            name, action, branch = found.groups()
            {"branch": self.make_branch, "preupload": self.say_modes, "commit": self.commit}[action](name, branch, body)
        else:
            self.answer(404, {"error": path})

    def make_repository(self, wanted):
        name = f"{wanted['organization']}/{wanted['name']}"
        if name in self.state.branches:
            self.answer(409, {"error": "exists", "url": f"{self.host}/{name}"})
        else:
            self.state.make(name, wanted.get("private") or wanted.get("visibility") == "private")
            self.answer(200, {"url": f"{self.host}/{name}", "name": name})

    def make_branch(self, name, branch, body):
        branches = self.state.branches[name]
        exists = branch in branches
        branches.setdefault(branch, branches["main"])
        self.answer(409 if exists else 200, {"error": "exists"} if exists else {})

    def say_modes(self, name, branch, body):
        paths = [file["path"] for file in json.loads(body)["files"]]
        modes = {path: "lfs" if path.endswith(".safetensors") else "regular" for path in paths}
        files = [{"path": path, "uploadMode": mode, "shouldIgnore": False} for path, mode in modes.items()]
        self.answer(200, {"files": files})

    def commit(self, name, branch, body):
        changes = {}
        for line in body.splitlines():
            kind, value = (json.loads(line)[key] for key in ("key", "value"))
            if kind == "file":
                changes[value["path"]] = base64.b64decode(value["content"])
            elif kind == "lfsFile":
                changes[value["path"]] = self.state.blobs[value["oid"]]
        sha = self.state.commit(name, branch, changes)
        self.answer(200, {"success": True, "commitOid": sha, "commitUrl": f"{self.host}/{name}/commit/{sha}"})

    def do_PUT(self):
        path, body = self.receive()
        oid = path.rpartition("/")[2]
        assert hashlib.sha256(body).hexdigest() == oid
        self.state.blobs[oid] = body
        self.answer(200, {})

    def do_GET(self):
        path, _ = self.receive()
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            if self.reads(found[1]) and (sha := self.known(found[1], found[2] or "main")):
                siblings = [{"rfilename": name} for name in self.state.commits[sha]]
                private = self.state.private[found[1]]
                self.answer(200, {"id": found[1], "sha": sha, "private": private, "siblings": siblings})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)/?", path):
            if self.reads(found[1]) and (sha := self.known(found[1], found[2])):
                self.answer(200, [self.listed(name, body) for name, body in self.state.commits[sha].items()])
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/(.+)", path):
            self.file(found[1], found[2])
        else:
            self.answer(404, {"error": path})

    do_HEAD = do_GET

    def listed(self, name, body):
        entry = {"type": "file", "path": name, "size": len(body), "oid": hashlib.sha1(body).hexdigest()}
        if name.endswith(".safetensors"):
            entry["lfs"] = {"oid": hashlib.sha256(body).hexdigest(), "size": len(body), "pointerSize": 100}
        return entry

    def known(self, name, revision):
        sha = self.state.sha(name, revision)
        if not sha:
            self.answer(404, {"error": "Revision not found"}, code="RevisionNotFound")
        return sha

    def file(self, name, rest):
        if not self.reads(name):
            return
        revisions = [*self.state.commits, *self.state.branches[name]]
        revision = max((one for one in revisions if rest.startswith(f"{one}/")), key=len, default="")
        if not revision:
            self.known(name, "no such")
            return
        sha, path = self.state.sha(name, revision), rest[len(revision) + 1 :]
        body = self.state.commits[sha].get(path)
        if body is None:
            self.answer(404, {"error": "Entry not found"}, code="EntryNotFound", headers=[("X-Repo-Commit", sha)])
            return
        digest = (hashlib.sha256 if path.endswith(".safetensors") else hashlib.sha1)(body).hexdigest()
        self.answer(200, body=body, headers=[("ETag", f'"{digest}"'), ("X-Repo-Commit", sha)])

    @property
    def host(self):
        return f"http://127.0.0.1:{self.server.server_port}"


@contextmanager
def hub_server():
    """Yield the address of a stand-in and its state."""
    handler = type("Handler", (_Handler,), {"state": HubState()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler.state
    finally:
        server.shutdown()
        server.server_close()
