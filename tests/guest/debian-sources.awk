# SPDX-License-Identifier: GPL-2.0-or-later
#
# Print, as one-line apt entries, the machine's own entries (both formats)
# that carry the packages of Debian 12: suite bookworm*, component main,
# binary packages.
#
#   awk -f debian-sources.awk /etc/apt/sources.list /etc/apt/sources.list.d/*

function flush_stanza(    n, m, i, j, uri, suite, opts)
{
    if (types ~ /(^| )deb( |$)/ && components ~ /(^| )main( |$)/ &&
        enabled !~ /^(no|false)$/) {
        n = split(uris, uri, " ")
        m = split(suites, suite, " ")
        opts = signed ? "[signed-by=" signed "] " : ""
        for (i = 1; i <= n; i++)
            for (j = 1; j <= m; j++)
                if (suite[j] ~ /^bookworm/)
                    print "deb " opts uri[i] " " suite[j] " main"
    }
    types = uris = suites = components = signed = enabled = ""
}

FNR == 1 { flush_stanza() }
/^[ \t]*#/ { next }
FILENAME ~ /\.sources$/ {
    if ($0 ~ /^[ \t]*$/) {
        flush_stanza()
        next
    }
    value = $0
    sub(/^[^:]*:[ \t]*/, "", value)
    if ($0 ~ /^Types:/) types = value
    if ($0 ~ /^URIs:/) uris = value
    if ($0 ~ /^Suites:/) suites = value
    if ($0 ~ /^Components:/) components = value
    if ($0 ~ /^Enabled:/) enabled = tolower(value)
    # A key written into the file itself stays with apt's own trusted keys.
    if ($0 ~ /^Signed-By:[ \t]*\//) signed = value
    next
}
FILENAME ~ /(sources\.list|\.list)$/ && $1 == "deb" {
    at = 2
    opts = ""
    if ($2 ~ /^\[/) {
        do opts = opts $at " "
        while ($(at++) !~ /\]$/ && at <= NF)
    }
    for (i = at + 2; i <= NF; i++)
        if ($i == "main" && $(at + 1) ~ /^bookworm/)
            print "deb " opts $at " " $(at + 1) " main"
}
END { flush_stanza() }
