"""``kubectl nbhd new``: the manifest that it prints."""

from __future__ import annotations

import pytest
import yaml

from nbhd_cli.main import main
from nbhd_cli.new import fresh_id, manifest
from nbhd_crds.api.tenant import Tenant


def test_a_manifest_for_git(capsys: pytest.CaptureFixture[str]) -> None:
    main(["new", "ada", "--plan", "basic", "--complimentary", "-n", "tenants"])
    out, err = capsys.readouterr()
    document = yaml.safe_load(out)
    tenant = Tenant.parse(document)
    assert (document["apiVersion"], document["kind"]) == ("nbhd.united/v1alpha1", "Tenant")
    assert document["metadata"] == {"name": "ada", "namespace": "tenants"}
    assert tenant.spec.complimentary
    assert tenant.spec.plan_ref is not None
    assert tenant.spec.plan_ref.name == "basic"
    assert err == ""


def test_no_more_than_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    main(["new", "ada"])
    document = yaml.safe_load(capsys.readouterr().out)
    assert document["metadata"] == {"name": "ada"}
    assert document["spec"].keys() == {"id"}


def test_an_identity_is_never_made_twice() -> None:
    made = {fresh_id() for _ in range(1000)}
    assert len(made) == 1000
    assert all(Tenant.parse(manifest("ada")).spec.id for _ in range(10))
    assert {len(one) for one in made} == {20}


@pytest.mark.parametrize("name", ["Ada", "a_b", "-a", "a/../b", ""])
def test_a_name_that_kubernetes_would_refuse(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["new", "--", name])
    out, err = capsys.readouterr()
    assert caught.value.code == 2
    assert out == ""
    assert err.startswith("error: ")
