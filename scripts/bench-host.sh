#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# `make bench-host`: an interactive shell in the bench host, with our kernel or
# (ENGINE=mainline) the one with mainline's engine.  Leave it with `exit`.

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

check_engine "${ENGINE-samepage}"
variant=ours
[[ ${ENGINE-samepage} == samepage ]] || variant=mainline
kernel=$("$SP_TOP/scripts/build.sh" kernel "$variant")
exec "$SP_TOP/scripts/boot.sh" --kernel "$kernel" --mem 2048 \
    --timeout 86400 --results "$SP_TOP/build/bench-host" --shell
