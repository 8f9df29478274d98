# SPDX-License-Identifier: GPL-2.0-or-later
#
# Judges the rows of docs/devel/ksm-coverage.rst and prints TAP; run by
# check-coverage.
#
# variables: work, have_results.  work is a folder with three files:
#   code     each "file:word" of the document that does not exist
#   known    "layer TAB name TAB test", or "layer TAB text TAB string" where the
#            string may hold conversions of printf or shell variables; the layer
#            of a string may be "any", which then makes the whole name
#   results  "ok|fail|skip TAB name TAB note"

# What can stand in the place of a conversion or a variable
function pattern(string)
{
    gsub(/[][\\.^$*+?(){}|]/, "\\\\&", string)
    gsub(/%[-+0-9]*[a-z]+/, ".*", string)
    gsub(/\\\$[a-z_]+/, ".*", string)
    return "^(/x86_64)?" string "$"
}

# A string without much fixed text would fit every name.
function is_telling(string)
{
    gsub(/%[-+0-9]*[a-z]+|\$[a-z_]+/, "", string)
    gsub(/[^A-Za-z]/, "", string)
    return length(string) >= 6
}

function read_known(    line, part)
{
    while ((getline line < (work "/known")) > 0) {
        split(line, part, "\t")
        if (part[1] != "any")
            known[part[1] ": " part[3]] = 1
        if (part[2] == "text" && is_telling(part[3])) {
            texts++
            text_layer[texts] = part[1]
            text[texts] = pattern(part[3])
        }
    }
}

function read_results(    line, part)
{
    while ((getline line < (work "/results")) > 0) {
        split(line, part, "\t")
        ran++
        result[ran] = part[1]
        name[ran] = part[2]
        note[ran] = part[3]
    }
}

# Is there such a test?  It may have "*" for what differs from run to run, and
# "(*)" at its end for the compiler.
function exists(test,    layer, rest, i)
{
    sub(/ \(\*\)$/, "", test)
    gsub(/\*/, "x", test)
    if (test in known)
        return 1
    layer = test
    sub(/: .*/, "", layer)
    rest = substr(test, length(layer) + 3)
    for (i = 1; i <= texts; i++) {
        if (text_layer[i] == layer && rest ~ text[i])
            return 1
        if (text_layer[i] == "any" && test ~ text[i])
            return 1
    }
    return 0
}

function fits(test, full,    at, tail)
{
    at = index(test, "*")
    if (!at)
        return test == full
    tail = substr(test, at + 1)
    return length(full) >= length(test) - 1 &&
           substr(full, 1, at - 1) == substr(test, 1, at - 1) &&
           substr(full, length(full) - length(tail) + 1) == tail
}

# @elsewhere: "debug", "kcsan" or "soak": no part of `make test`, so it needs no result
function check_test(test, elsewhere,    i, seen)
{
    if (test ~ /^[a-z0-9_]+\.[a-z0-9_]+$/)
        test = "kernel: " test
    if (!exists(test)) {
        problems = problems "# no such test: " test "\n"
        return
    }
    if (elsewhere == "debug")
        sub(/^kernel: /, "debug: ", test)
    for (i = 1; i <= ran; i++) {
        if (!fits(test, name[i]))
            continue
        seen = 1
        if (result[i] == "fail")
            problems = problems "# failed: " name[i] "\n"
        else if (result[i] == "skip" && !elsewhere)
            skips = skips (skips ? "; " : "") test ": " note[i]
    }
    if (have_results && !seen && !elsewhere)
        problems = problems "# did not run: " test "\n"
}

function check_code(text,    part, n, i)
{
    n = split(text, part, "``")
    if (text == "" || text ~ /\*missing\*/)
        problems = problems "# no code\n"
    for (i = 2; i <= n; i += 2)
        if (part[i] in no_code)
            problems = problems "# no such code: " part[i] "\n"
}

function check_tests(text,    part, n, i, where)
{
    n = split(text, part, "``")
    if (n < 3 || text ~ /\*missing\*/)
        problems = problems "# no test\n"
    for (i = 2; i <= n; i += 2) {
        where = ""
        if (part[i + 1] ~ /^ \((debug|kcsan|soak)\)/)
            where = substr(part[i + 1], 3, index(part[i + 1], ")") - 3)
        check_test(part[i], where)
    }
}

function end_row(    promise)
{
    if (cells && !is_header) {
        promise = cell[1]
        gsub(/`/, "", promise)
        problems = skips = ""
        if (cells != 3)
            problems = "# " cells " cells, not 3\n"
        check_code(cell[2])
        check_tests(cell[3])
        printf "%sok %d - %s%s\n", problems ? "not " : "", ++rows, promise,
            skips && !problems ? " # SKIP " skips : ""
        printf "%s", problems
        failed = failed || problems != ""
    }
    if (cells)
        is_header = 0
    cells = 0
    delete cell
}

BEGIN {
    while ((getline line < (work "/code")) > 0)
        no_code[line] = 1
    read_known()
    read_results()
}

/^\.\. list-table::/ { end_row(); is_header = 1; next }
/^   \* - / { end_row(); cell[cells = 1] = substr($0, 8); next }
/^     -( |$)/ && cells { cell[++cells] = substr($0, 8); next }
/^       / && cells { cell[cells] = cell[cells] " " substr($0, 8); next }
/^[^ ]/ { end_row() }

END {
    end_row()
    if (!rows) {
        print "not ok " ++rows " - the document has a table"
        failed = 1
    }
    print "1.." rows
    exit failed
}
