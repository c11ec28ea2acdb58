"""The receivers file: what is wrong is named with line and key, and no secret is shown."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from broker_events.runtime.process.errors import OperatorActionRequired
from broker_events.runtime.settings import Settings
from broker_events.sinks.deliver.http_client import refused_address
from broker_events.sinks.deliver.receivers import Receiver, load_receivers

SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()
DESK = """\
[[receiver]]
name = "desk"
kind = "webhook"
url = "https://desk.example.com/hook?token=hidden"
secret_files = ["{secret}"]
"""
ON_CALL = """\
[[receiver]]
name = "on-call"
kind = "alertmanager"
urls = ["http://am-0:9093", "http://am-1:9093"]
private = true
"""


def load(folder: Path, text: str, secret: str = SECRET) -> tuple[Receiver, ...]:
    (folder / "secret").write_text(f"{secret}\n")
    path = folder / "receivers.toml"
    path.write_text(text.replace("{secret}", str(folder / "secret")))
    return load_receivers(Settings(delivery_receivers=path))


def test_defaults(tmp_path: Path) -> None:
    desk, on_call = load(tmp_path, f"{DESK}\n{ON_CALL}")
    assert (desk.give_up_after.total_seconds(), desk.max_in_flight, desk.timeout_s) == (75 * 3600, 16, 15)
    assert desk.secrets() == [SECRET]
    assert on_call.addresses() == ("http://am-0:9093", "http://am-1:9093")
    assert on_call.interval_s == 60


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (DESK.replace("kind", "knd"), ":1: kind: Field required"),
        (DESK + "timeout = 3\n", ":6: timeout: Extra inputs are not permitted"),
        (DESK + "timeout_s = 0\n", ":6: timeout_s: "),
        (DESK + '\ngive_up_after = "75 hours"\n', ':7: give_up_after: must be a number and a unit, such as "75h"'),
        (
            DESK + 'give_up_after = "90d"\n',
            ":6: give_up_after: must be below the retention of the topic alerts, 90 days",
        ),
        (DESK + "interval_s = 5\n", ":6: interval_s: does not apply to the kind webhook"),
        (DESK + "rules = []\n", ":6: rules: "),
        (DESK + 'rules = ["liquidate"]\n', ":6: rules: "),
        (DESK + "since = 2026-01-31T09:30:00\n", ":6: since: needs an offset from UTC"),
        (DESK.replace("https", "http"), ":4: url: must be https, except on this machine"),
        (DESK.replace("//desk", "//user:hidden@desk"), ":4: url: must be without user and password"),
        (
            DESK.replace('"https://desk.example.com/hook?token=hidden"', '"ftp://x"'),
            ":4: url: must be https://host/path",
        ),
        (DESK.replace("{secret}", "/nowhere/hidden"), ":5: secret_files: /nowhere/hidden: No such file or directory"),
        (DESK.partition("secret_files")[0], ":1: secret_files: is required: a webhook is signed"),
        (f"{DESK}\n{DESK}", ":8: name: 'desk' is the name of another receiver"),
        (f"{DESK}\n{ON_CALL}secret_files = []\n", ":12: secret_files: does not apply to the kind alertmanager"),
        (DESK + "[other]\n", ": no such key: 'other'; there is [[receiver]] only"),
        ("", ": has no receiver: begin each one with [[receiver]]"),
        (DESK + "name = 3\n", ": Cannot overwrite a value (at line 6, column 9)"),
    ],
)
def test_a_wrong_file(tmp_path: Path, text: str, place: str) -> None:
    with pytest.raises(OperatorActionRequired) as raised:
        load(tmp_path, text)
    found = str(raised.value)
    assert found.startswith(f"PIPELINE_DELIVERY_RECEIVERS: {tmp_path / 'receivers.toml'}")
    assert place in found
    assert "hidden@" not in found
    assert "token" not in found
    assert "\n" not in found


@pytest.mark.parametrize(
    ("secret", "problem"),
    [
        ("hid-den", "a secret must begin with whsec_"),
        ("whsec_!hidden", "a secret must be whsec_ and base64"),
        ("whsec_aGlkZGVu", "a secret must have 24 bytes or more, this one has 6"),
        ("", "is empty"),
    ],
)
def test_a_wrong_secret(tmp_path: Path, secret: str, problem: str) -> None:
    with pytest.raises(OperatorActionRequired, match="secret_files: ") as raised:
        load(tmp_path, DESK, secret)
    assert problem in str(raised.value)
    assert not secret or secret not in str(raised.value)


def test_no_file() -> None:
    with pytest.raises(OperatorActionRequired, match="PIPELINE_DELIVERY_RECEIVERS is not set"):
        load_receivers(Settings())


LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"}
PUBLIC, PRIVATE, OWN = {"is_own": False, "private": False}, {"is_own": False, "private": True}, {"is_own": True}


@pytest.mark.parametrize(
    ("address", "of_public", "of_private"),
    [
        ("93.184.216.34", True, True),
        ("2606:2800:220:1:248:1893:25c8:1946", True, True),
        ("10.0.0.1", False, True),
        ("192.168.1.1", False, True),
        ("172.16.0.1", False, True),
        ("100.64.0.1", False, True),
        ("fd00::1", False, True),
        ("127.0.0.1", False, False),
        ("::1", False, False),
        ("::ffff:127.0.0.1", False, False),
        ("64:ff9b::7f00:1", False, False),
        ("0.0.0.0", False, False),  # noqa: S104 (an address to refuse)
        ("169.254.169.254", False, False),
        ("::ffff:169.254.169.254", False, False),
        ("2002:a9fe:a9fe::1", False, False),
        ("fe80::1%eth0", False, False),
        ("224.0.0.1", False, False),
    ],
)
def test_which_addresses_a_receiver_may_have(address: str, of_public: bool, of_private: bool) -> None:  # noqa: FBT001
    assert (refused_address(address, **PUBLIC) is None) is of_public
    assert (refused_address(address, **PRIVATE) is None) is of_private
    assert (refused_address(address, private=False, **OWN) is None) is (
        address in {"127.0.0.1", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"}
    )
