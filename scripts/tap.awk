# SPDX-License-Identifier: GPL-2.0-or-later
#
# Reads one program's TAP and prints what a reader wants to see: one line per
# test, the reason of a skip, and the diagnostics of a failure.  Appends one
# line "result TAB name TAB note" per test to the file `out`.
#
# variables: layer, out.  Subtests (indented) belong to their parent's line.

function record(result, name, note)
{
    printf "%s\t%s: %s\t%s\n", result, layer, name, note >> out
}

function clean(text)
{
    gsub(/[\t\r]/, " ", text)
    sub(/^ +/, "", text)
    sub(/ +$/, "", text)
    return text
}

function test_line(line,    failed, name, note, directive)
{
    failed = (line ~ /^not ok/)
    sub(/^(not )?ok */, "", line)
    sub(/^[0-9]+ */, "", line)
    sub(/^- */, "", line)
    name = line
    note = ""
    if (match(line, /# *[Ss][Kk][Ii][Pp]/)) {
        name = substr(line, 1, RSTART - 1)
        note = substr(line, RSTART + RLENGTH)
        sub(/^[A-Za-z:]* */, "", note)
        directive = "skip"
    }
    name = clean(name)
    note = clean(note)
    if (name == "") {
        name = "test " (tests + 1)
    }
    tests++
    if (failed) {
        printf "FAIL %s: %s\n%s", layer, name, held
        record("fail", name, "")
    } else if (directive == "skip") {
        if (note == "") {
            note = "no reason given"
        }
        printf "skip %s: %s (%s)\n", layer, name, note
        record("skip", name, note)
    } else {
        printf "ok   %s: %s\n", layer, name
        record("ok", name, "")
    }
    held = ""
    after_failure = failed
    fflush()
}

/^(not )?ok([ \t]|$)/ { test_line($0); next }

/^1\.\.[0-9]+/ {
    plan = substr($1, 4) + 0
    has_plan = 1
    if (plan == 0) {
        note = $0
        sub(/^1\.\.0 *#? *([Ss][Kk][Ii][Pp][A-Za-z]*:?)? */, "", note)
        printf "skip %s: all (%s)\n", layer, note
        record("skip", "all", clean(note))
    }
    next
}

/^Bail out!/ {
    printf "FAIL %s: %s\n", layer, $0
    record("fail", clean($0), "")
    bailed = 1
    next
}

/^[ \t]*#/ {
    if (after_failure) {
        print "     " $0
    } else {
        held = held "     " $0 "\n"
        if (length(held) > 4000) {
            held = substr(held, length(held) - 4000)
        }
    }
}

END {
    if (!has_plan && !bailed) {
        printf "FAIL %s: ended without a plan after %d tests\n", layer, tests
        record("fail", "ended without a plan after " tests + 0 " tests", "")
    } else if (!bailed && plan != tests + 0) {
        printf "FAIL %s: planned %d tests, ran %d\n", layer, plan, tests
        record("fail", "planned " plan " tests, ran " tests + 0, "")
    }
}
