#!/usr/bin/env python3
"""Checks a bill of materials: it is valid CycloneDX 1.5, and its crates are those of the lock file.

    check-bill.py BILL.json Cargo.lock
"""

import json
import re
import sys
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator


def locked(path):
    """Every (name, version) of a lock file."""
    pairs = re.findall(r'^name = "(.+)"\nversion = "(.+)"$', Path(path).read_text(), re.MULTILINE)
    return set(pairs)


def main(bill, lock):
    text = Path(bill).read_text()
    error = JsonStrictValidator(SchemaVersion.V1_5).validate_str(text)
    if error:
        sys.exit(f"{bill} is not valid: {error}")
    named = {(part["name"], part["version"]) for part in json.loads(text)["components"]}
    unknown = named - locked(lock)
    if unknown:
        sys.exit(f"{bill}: not of {lock}: {sorted(unknown)}, of {len(named)}")
    # Every program has these. An empty bill is valid, too.
    missing = {"rustls", "tokio"} - {name for name, _ in named}
    if missing:
        sys.exit(f"{bill}: these are missing: {sorted(missing)}")
    print(f"{bill}: valid, {len(named)} crates")


main(*sys.argv[1:])
