# SPDX-License-Identifier: GPL-2.0-or-later
#
# The rows of the printed table from bench.json, tab separated.

def figures: if . >= 1000 then round
    elif . >= 100 then . * 10 | round | . / 10
    elif . >= 1 or . <= -1 then . * 100 | round | . / 100
    else . * 10000 | round | . / 10000 end | tostring;

def median: sort | if length % 2 == 1 then .[(length - 1) / 2]
    else (.[length / 2 - 1] + .[length / 2]) / 2 end;

def three: if length == 0 then ["-", "-", "-"]
    else [min, median, max] | map(figures) end;

def target: if . == "-" then ""
    elif startswith("x") then "ratio " + ltrimstr("x") else . end;

.[] | [.name, .place, .unit] + (.mainline | three) + (.ours | three) +
    [if .ratio == null then "-" else .ratio | figures end,
     (.target | target),
     if .met == null then "" elif .met then "met" else "MISSED" end]
    | @tsv
