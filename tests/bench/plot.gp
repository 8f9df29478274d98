# SPDX-License-Identifier: GPL-2.0-or-later
#
# build/bench.svg: called with -e "data='DIR'; svg='FILE'".  DIR has the points
# that ksm-bench printed, as CURVE.ENGINE.
set terminal svg size 900,900 font "sans,12" background "white"
set output svg
set multiplot layout 3,1
set key left top
set grid
set style data linespoints

set title "New duplicates, default settings"
set xlabel "seconds"
set ylabel "MiB saved"
plot data."/pacing.mainline" using 1:2 with lines lw 2 title "mainline", \
     data."/pacing.ours" using 1:2 with lines lw 2 title "ours"

set ylabel "ksmd's CPU seconds"
plot data."/pacing.mainline" using 1:3 with lines lw 2 title "mainline", \
     data."/pacing.ours" using 1:3 with lines lw 2 title "ours"

set title "Unique memory that does not change, every page looked at in each pass"
set xlabel "MiB"
set ylabel "ns of CPU for a page and pass"
set logscale x 2
set yrange [0:*]
plot data."/cost.mainline" using 1:2 smooth unique with linespoints title "mainline", \
     data."/cost.ours" using 1:2 smooth unique with linespoints title "ours", \
     data."/cost.ours" using 1:3 smooth unique with lines dt 2 title "reading alone"
