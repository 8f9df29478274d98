# SPDX-License-Identifier: GPL-2.0-or-later
#
# build/bench.json from the lines "ENGINE PLACE sample|na FIGURE VALUE..." of
# stdin; $list is figures.list.  Unless $all, rows of which there is nothing are
# left out.

def words: split(" ") | map(select(. != ""));

def median: sort | if length == 0 then null
    elif length % 2 == 1 then .[(length - 1) / 2]
    else (.[length / 2 - 1] + .[length / 2]) / 2 end;

def ratio($ours; $mainline):
    if $ours == null or $mainline == null or $mainline <= 0 then null
    else $ours / $mainline end;

def met($row; $ours):
    if $row.target == "-" or $ours == null then null
    else ($row.target | startswith("x")) as $relative
        | ($row.target | ltrimstr("x") | tonumber) as $limit
        | (if $relative then $row.ratio else $ours end)
        | if . == null then null
          elif $row.better == "lower" then . <= $limit else . >= $limit end
    end;

($list | split("\n") | map(select(test("^[a-z]")) | words |
    { name: .[0], place: .[1], figure: .[2], unit: .[3], better: .[4],
      target: .[5] })) as $rows
| [inputs | words | { engine: .[0], place: .[1], kind: .[2], figure: .[3],
    value: .[4], text: (.[4:] | join(" ")) }] as $lines
| def of($row; $engine; $kind): [$lines[] | select(.engine == $engine and
    .place == $row.place and .figure == $row.figure and .kind == $kind)];
  [$rows[] as $row
    | [of($row; "mainline"; "sample")[].value | tonumber] as $mainline
    | [of($row; "ours"; "sample")[].value | tonumber] as $ours
    | $row + {
        mainline: $mainline, ours: $ours,
        ratio: ratio($ours | median; $mainline | median),
        unavailable: (
            (if $mainline == [] then { mainline:
                (of($row; "mainline"; "na")[0].text // "not measured") }
             else {} end) +
            (if $ours == [] then { ours:
                (of($row; "ours"; "na")[0].text // "not measured") }
             else {} end)) }
    | select($all or any($lines[]; .figure == $row.figure and
        .place == $row.place))
    | . + { met: met(.; $ours | median) }
    | del(.figure)]
