"""Settings that all services share: where a value comes from, and the one line about what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field, SecretStr

from nbhd_crds.settings import LinkKeys, Settings, load, read


class Example(Settings):
    secret: SecretStr = Field(validation_alias="EXAMPLE_SECRET")
    keys: LinkKeys | None = Field(None, validation_alias="EXAMPLE_KEYS")
    number: int = Field(5, validation_alias="EXAMPLE_NUMBER", ge=1)


GOOD = {"EXAMPLE_SECRET": "topsecret"}


def test_defaults() -> None:
    settings = read(Example, GOOD)
    assert (settings.platform_id, settings.namespace, settings.log_level) == ("nbhd", "", "INFO")
    assert settings.secret.get_secret_value() == "topsecret"
    assert "topsecret" not in repr(settings)


def test_a_secret_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("from a file\n")
    assert read(Example, {"EXAMPLE_SECRET_FILE": str(file)}).secret.get_secret_value() == "from a file"


def test_a_keyring_is_read() -> None:
    settings = read(Example, GOOD | {"EXAMPLE_KEYS": f"k1:{'A' * 43}"})
    assert settings.keys is not None
    assert settings.keys.purpose == "link"


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        ({}, "EXAMPLE_SECRET: is required"),
        ({"EXAMPLE_SECRET": ""}, "EXAMPLE_SECRET: is required"),
        (GOOD | {"EXAMPLE_SECRET_FILE": "/x"}, "EXAMPLE_SECRET and EXAMPLE_SECRET_FILE are both set"),
        ({"EXAMPLE_SECRET_FILE": "/not/there"}, "EXAMPLE_SECRET_FILE: cannot read /not/there: FileNotFoundError"),
        (GOOD | {"EXAMPLE_NUMBER": "many"}, "EXAMPLE_NUMBER: Input should be a valid integer"),
        (GOOD | {"EXAMPLE_NUMBER": "0"}, "EXAMPLE_NUMBER: "),
        (GOOD | {"EXAMPLE_KEYS": "k1:short"}, "EXAMPLE_KEYS: key k1 is not base64url"),
        (GOOD | {"NBHD_LOG_LEVEL": "loud"}, "NBHD_LOG_LEVEL: "),
        (GOOD | {"NBHD_PLATFORM_ID": "No Spaces"}, "NBHD_PLATFORM_ID: "),
    ],
)
def test_one_line_names_the_setting(environ: dict[str, str], line: str) -> None:
    with pytest.raises(ValueError, match=f"^{line}") as caught:
        read(Example, environ)
    assert "\n" not in str(caught.value)
    assert "topsecret" not in str(caught.value)


def test_a_service_stops_with_that_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("EXAMPLE_SECRET", raising=False)
    with pytest.raises(SystemExit) as caught:
        load(Example)
    assert caught.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("EXAMPLE_SECRET: is required")
    assert err.count("\n") == 1
