#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Prints what of our QAPI schema has no description.

usage: undocumented.py QEMU_SOURCE

QEMU's documentation says "Not documented" then, and is content.
"""
import os
import re
import sys

source = sys.argv[1]
sys.path.insert(0, os.path.join(source, "scripts"))
from qapi.schema import QAPISchema      # noqa: E402 (found by the path above)

OURS = re.compile(r"Ksm|KSM_|query-ksm|StatsProvider$")

schema = QAPISchema(os.path.join(source, "qapi", "qapi-schema.json"))
found = 0
for doc in schema.docs:
    if doc.symbol and OURS.match(doc.symbol):
        found += 1
        if not doc.body.text.strip():
            print(f"{doc.symbol}")
        for name, section in doc.args.items():
            if not section.text.strip():
                print(f"{doc.symbol}: {name}")
if not found:
    sys.exit("nothing of ours is in the schema")
