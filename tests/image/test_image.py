"""What is in the image that is deployed, and that its services start in it."""

from __future__ import annotations

import json
import re
import stat
import struct
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from nbhd_local import image, tools
from tests.image.conftest import Image

# The first build on a machine makes a base image and downloads all wheels.
pytestmark = [pytest.mark.timeout(1500), pytest.mark.xdist_group("image")]

TOOLS = re.compile(
    r"(apt|apt-.+|dpkg|dpkg-.+|pip[\d.]*|uv|gcc.*|g\+\+.*|cc|c\+\+|ld|ld\.(bfd|gold)|as|make|perl.*|git|curl|wget|sudo|su)"
)
INSTALLERS = {"pip", "setuptools", "wheel", "hatchling", "ensurepip", "distutils", "python-wheels"}


def test_a_second_build_takes_the_archive_from_the_cache(platform: Image) -> None:
    before = platform.archive.stat()
    assert image.build() == platform.archive
    assert platform.archive.stat().st_ino == before.st_ino


def test_it_is_small_and_says_how_small(platform: Image, measured: Callable[[str], None]) -> None:
    megabytes = sum(path.lstat().st_size for path in platform.root.rglob("*") if not path.is_dir()) / 1e6
    ours = sum(path.lstat().st_size for path in (platform.root / "opt").rglob("*") if not path.is_dir()) / 1e6
    packed = platform.archive.stat().st_size / 1e6
    measured(f"image {packed:.0f} MB compressed, {megabytes:.0f} MB unpacked, of which {ours:.0f} MB in /opt/nbhd")
    assert megabytes < 320


def test_a_release_that_changes_no_dependency_is_a_small_layer(
    platform: Image, measured: Callable[[str], None]
) -> None:
    system, libraries, ours = platform.layers
    measured(
        f"image layers: system {system / 1e6:.0f} MB, libraries {libraries / 1e6:.0f} MB, ours {ours / 1e6:.1f} MB"
    )
    assert ours < 1e6


def test_it_runs_as_a_user_without_a_name_to_log_in_with(platform: Image) -> None:
    config = platform.config["config"]
    assert config["User"] == "65532:65532"
    assert not config.get("Entrypoint")
    assert config["Labels"]["org.opencontainers.image.title"] == "nbhd-united"
    assert platform.run("id", "-u").stdout == "65532\n"
    assert platform.run("id", "-G").stdout == "65532\n"
    assert "nbhd:x:65532:65532:nbhd-united:/nonexistent:/usr/sbin/nologin" in (platform.root / "etc/passwd").read_text()


def test_it_has_no_build_tools_and_no_package_tools(platform: Image) -> None:
    folders = ("bin", "sbin", "usr/bin", "usr/sbin", "usr/local/bin", "usr/local/sbin", "opt/nbhd/bin")
    programs = [path for folder in folders for path in (platform.root / folder).glob("*")]
    assert [str(path) for path in programs if TOOLS.fullmatch(path.name)] == []
    assert [name for name in platform.files() if Path(name).name in INSTALLERS] == []


def test_it_has_no_setuid_program(platform: Image) -> None:
    every = [platform.root / name for name in platform.files()]
    special = [path for path in every if path.is_file() and path.lstat().st_mode & (stat.S_ISUID | stat.S_ISGID)]
    assert special == []


def test_nothing_in_it_belongs_to_its_user_or_is_writable_but_for_its_state(platform: Image) -> None:
    loose = []
    for name in platform.files():
        status = (platform.root / name).lstat()
        writable = (
            status.st_mode & stat.S_IWOTH and not stat.S_ISLNK(status.st_mode) and not stat.S_ISCHR(status.st_mode)
        )
        if status.st_uid == 65532 or (writable and not status.st_mode & stat.S_ISVTX):
            loose.append(name)
    assert loose == ["var/lib/nbhd"]


def test_the_build_left_no_trace(platform: Image) -> None:
    for name in ("etc/apt", "var/lib/apt", "etc/pip.conf", "src", "build", "wheels", "root/.cache", "root/.config"):
        assert not (platform.root / name).exists(), name
    for name in ("mnt", "tmp", "run/secrets", "var/cache", "var/log", "proc", "sys"):
        assert [path.name for path in (platform.root / name).glob("**/*")] == [], name
    for name in ("opt/nbhd/lib", "etc"):
        assert not [path for path in (platform.root / name).rglob("*.pem") if path.name.startswith("key")]
    assert not re.search(r"pip\.conf|index-url|find-links", json.dumps(platform.config["config"]))


def test_no_service_of_the_offline_world_is_in_it(platform: Image) -> None:
    code = platform.root / "opt/nbhd"
    assert [path for path in code.rglob("*") if "nbhd_local" in path.name or path.name == "nbhd-local"] == []
    assert sorted(path.name for path in (code / "bin").glob("*nbhd*")) == [
        "kubectl-nbhd",
        "kubectl_complete-nbhd",
        "nbhd-operator",
        "nbhd-router",
        "nbhd-webhooks",
    ]


def test_what_is_installed_is_what_is_locked(platform: Image) -> None:
    shown = platform.python(
        "import json, importlib.metadata as m;"
        "print(json.dumps({d.metadata['Name'].lower().replace('_', '-'): d.version for d in m.distributions()}))"
    )
    assert json.loads(shown) == locked("requirements.txt") | {"nbhd-united": version("nbhd-united")}


def test_the_local_image_adds_the_offline_world_and_what_it_needs(platform: Image, local: Image) -> None:
    program = (
        "import json, importlib.metadata as m;"
        "print(json.dumps({d.metadata['Name'].lower().replace('_', '-'): d.version for d in m.distributions()}))"
    )
    ours = {name: version(name) for name in ("nbhd-united", "nbhd-united-local")}
    wanted = locked("requirements.txt") | locked("requirements-local.txt") | ours
    assert json.loads(local.python(program)) == wanted
    assert local.run("nbhd-local", "--help").returncode == 0
    assert local.python("import nbhd_local.world; print('ready')") == "ready\n"
    assert local.config["config"]["User"] == platform.config["config"]["User"]


def test_its_bytecode_needs_no_writing_and_no_checking(platform: Image) -> None:
    modules = [path for folder in ("opt/nbhd/lib", "usr/lib") for path in (platform.root / folder).rglob("*.py")]
    assert len(modules) > 1000
    for module in modules:
        compiled = list((module.parent / "__pycache__").glob(f"{module.stem}.cpython-*.pyc"))
        assert compiled, f"{module} is not compiled"
        flags = struct.unpack("<4xI", compiled[0].read_bytes()[:8])[0]
        assert flags == 0b01, f"{compiled[0]} is checked against its source's time or content"


@pytest.mark.parametrize("command", ["nbhd-operator", "nbhd-router", "nbhd-webhooks"])
def test_a_service_stops_with_one_line_for_a_missing_setting(platform: Image, command: str) -> None:
    done = platform.run(command)
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(r"[A-Z_]+: is required .*\n", done.stderr)


def test_nobody_can_write_but_to_the_state_and_tmp(platform: Image) -> None:
    tried = platform.python(
        "import pathlib\n"
        "for name in ('/', '/opt/nbhd', '/etc', '/var/lib', '/tmp', '/var/lib/nbhd'):\n"
        "    try:\n"
        "        (pathlib.Path(name) / 'x').write_text('')\n"
        "        print(name)\n"
        "    except OSError:\n"
        "        pass\n"
    )
    assert tried.split() == ["/tmp", "/var/lib/nbhd"]


def test_it_trusts_the_usual_authorities(platform: Image) -> None:
    assert int(platform.python("import ssl; print(len(ssl.create_default_context().get_ca_certs()))")) > 100


def locked(name: str) -> dict[str, str]:
    """The versions in a requirements file that this platform needs."""
    text = (tools.ROOT / name).read_text()
    found = [Requirement(line.rstrip(" \\")) for line in text.splitlines() if re.match(r"[a-z0-9]", line)]
    return {one.name: str(one.specifier)[2:] for one in found if not one.marker or one.marker.evaluate()}
