"""The chart on a real node, from our own image: all of ``inside/``, and then what the API server's audit log says.

The tests inside need the node's network, so they are a pytest of their own that runs there.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest

from nbhd_crds.api.policies import SERVICES
from nbhd_local import image
from nbhd_local.installed import NAMESPACE
from nbhd_local.node import Node
from tests.node.running import run_inside

pytestmark = [pytest.mark.timeout(1500), pytest.mark.xdist_group("the installed platform")]

STORY = ("story_installed",)
EVERY_WAY = ("ways_to_install", "all_in_the_cluster", *STORY)
Call = tuple[str, str]  # verb, group/resource


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(STORY, id="the story"),
        pytest.param(EVERY_WAY, id="after every way to install", marks=pytest.mark.all_installs),
    ],
)
def lived(
    request: pytest.FixtureRequest, possible: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Node, str, int]]:
    """A node on which the platform was installed and has lived through what is in those files of ``inside/``."""
    del possible
    reason = image.missing()
    if reason:
        pytest.skip(f"no image here: {reason}")
    names: tuple[str, ...] = request.param
    archives = [image.build(), *([image.build("local")] if names == EVERY_WAY else [])]
    print(f"image: {archives[0].stat().st_size / 2**20:.0f} MiB compressed")
    with Node(images=archives) as node:
        done = run_inside(node, tmp_path_factory.mktemp("installed"), *names)
        yield node, done.stdout + done.stderr, done.returncode


def test_everything_inside_holds(lived: tuple[Node, str, int]) -> None:
    _, shown, code = lived
    print(shown)
    assert code == 0, shown[-6000:]


def test_every_right_is_used_and_no_call_is_refused(lived: tuple[Node, str, int]) -> None:
    node, *_ = lived
    used, refused = calls(node)
    assert refused == []
    granted = rights(node)
    assert {name: granted[name] - used[name] for name in SERVICES} == {name: set() for name in SERVICES}
    assert {name: used[name] - granted[name] for name in SERVICES} == {name: set() for name in SERVICES}


def calls(node: Node) -> tuple[dict[str, set[Call]], list[str]]:
    """What each service's ServiceAccount asked of the API server, and what it was refused for want of a right.

    Refusals count from the last install on: an uninstall before took the rights away from Pods that were ending.
    """
    used: dict[str, set[Call]] = defaultdict(set)
    refused: list[str] = []
    log = node.cluster.audit_log
    assert log is not None
    role = node.cluster.get("-n", NAMESPACE, "role", "nbhd-operator")
    begun: str = role["metadata"]["creationTimestamp"]
    for line in log.read_text().splitlines():
        event: dict[str, Any] = json.loads(line)
        about, user = event.get("objectRef"), event["user"]["username"]
        prefix = f"system:serviceaccount:{NAMESPACE}:"
        if (
            not user.startswith(prefix)
            or about is None
            or event["stage"] not in ("ResponseStarted", "ResponseComplete")
        ):
            continue
        if about.get("apiGroup") == "authorization.k8s.io" or "dryRun=" in event["requestURI"]:
            continue  # `helm test` asks and tries what it may do
        name = user.removeprefix(prefix)
        call = (event["verb"], "/".join(filter(None, (about["resource"], about.get("subresource")))))
        forbidden = event.get("annotations", {}).get("authorization.k8s.io/decision") == "forbid"
        if forbidden and event["stageTimestamp"] > begun:
            refused.append(f"{name}: {call}")
        used[name].add(call)
    return used, refused


def rights(node: Node) -> dict[str, set[Call]]:
    """What each service is granted by the installed Roles."""
    found: dict[str, set[Call]] = {name: set() for name in SERVICES}
    everything = node.cluster.get("roles", "-A")["items"]
    for binding in node.cluster.get("rolebindings", "-A")["items"]:
        for subject in binding.get("subjects", []):
            if (subject.get("namespace"), subject["name"] in found) != (NAMESPACE, True):
                continue
            (role,) = [
                role
                for role in everything
                if (role["metadata"]["name"], role["metadata"]["namespace"])
                == (binding["roleRef"]["name"], binding["metadata"]["namespace"])
            ]
            found[subject["name"]] |= {
                (verb, resource) for rule in role["rules"] for verb in rule["verbs"] for resource in rule["resources"]
            }
    assert all(found.values()), "a service without rights proves nothing"
    return found
