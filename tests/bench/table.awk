# SPDX-License-Identifier: GPL-2.0-or-later
#
# Aligns the rows of table.jq.
BEGIN {
    FS = "\t"
    add("figure\twhere\tunit\tmainline\t\t\tours\t\t\tours/\ttarget\t")
    add("\t\t\tmin\tmedian\tmax\tmin\tmedian\tmax\tmainline\t\t")
}

{ add($0) }

function add(line,    n, i, cell) {
    n = split(line, cell, "\t")
    rows++
    for (i = 1; i <= n; i++) {
        text[rows, i] = cell[i]
        if (length(cell[i]) > width[i])
            width[i] = length(cell[i])
    }
    if (n > columns)
        columns = n
}

END {
    for (row = 1; row <= rows; row++) {
        line = ""
        for (i = 1; i <= columns; i++) {
            # Names to the left, numbers to the right
            left = i <= 3 || i >= 11 ? "-" : ""
            line = line sprintf("%" left width[i] "s  ", text[row, i])
        }
        sub(/ +$/, "", line)
        print line
    }
}
