# SPDX-License-Identifier: GPL-2.0-or-later
#
# The complaints in a kernel's log, each with what follows it; nothing if there is
# none.
#
# usage: awk -v complaint=REGEX [-v functions=FILE] -f complaints.awk LOG
#
# With FILE, of the data races that the detector tells only those count in which one
# of the functions has a part that FILE names.  That part must be one that its author
# could have done otherwise: an access that is marked as one that races, in struct
# page, is none.  Nearly everywhere in mm zone and node of a page are read plainly
# while somebody takes its lock, which is a bit of the same word.

function name_of(text) {
    gsub(/^\[[^]]*\] *|[+ \r].*/, "", text)
    return text
}

# Has what line i tells of such a part?  Either it tells of two accesses, each with
# its function in the line after, or the title has all that is known.
function is_ours(i,    title, side, told, n, j) {
    title = line[i]
    if (!functions || !sub(/.*BUG: KCSAN: .* in /, "", title))
        return 1
    for (j = i + 1; j < NR && line[j] !~ /======/; j++) {
        if (line[j] !~ / to 0x[0-9a-f]+ of [0-9]+ bytes by /)
            continue
        told++
        if (name_of(line[j + 1]) in ours &&
            line[j] !~ /\(marked[^)]*\) to 0xffffea/)
            return 1
    }
    if (told > 1)
        return 0
    n = split(title, side, " / ")
    for (j = 1; j <= n; j++)
        if (name_of(side[j]) in ours)
            return 1
    return 0
}

BEGIN {
    while (functions && (getline name < functions) > 0)
        ours[name]
}
{ line[NR] = $0 }
END {
    for (i = 1; i <= NR; i++) {
        if (line[i] ~ complaint && is_ours(i))
            left = 26
        if (left-- > 0)
            print line[i]
    }
}
