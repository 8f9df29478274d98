# SPDX-License-Identifier: GPL-2.0-or-later
#
# Samepage: KVM guests share identical memory.  `make help` lists the targets;
# each is one script of scripts/, which does all the set-up it needs.

.PHONY: help run test test-debug test-kcsan test-sanitize test-fast fuzz soak bench bench-quick \
	profile bench-backend kernel qemu bench-host setup clean

help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

## make run         guests share memory through our engine, shown live
##                  [ENGINE=samepage|mainline] [GUESTS=1..8] [RAM=128..2048 (MiB)]
run:
	@scripts/run.sh

## make test        every test; the last line is "N passed, N failed[, N skipped]"
test:
	@scripts/test.sh

## make test-debug  the kernel tests on a debug kernel (KASAN, lockdep, ...)
test-debug:
	@scripts/test.sh debug

## make test-kcsan  the kernel tests on a kernel that looks for data races
test-kcsan:
	@scripts/test.sh kcsan

## make test-sanitize  tests of the QEMU side with ASan and UBSan
test-sanitize:
	@scripts/test.sh qmp-fuzz sanitize

## make test-fast   only what needs no bench host: layers, unit, qtest
test-fast:
	@scripts/test.sh layers unit qtest

## make soak        a storm of processes and guests, all memory verified
##                  [MINUTES=1..1440] [GUESTS=0..8] [RAM=128..2048 (MiB)]
##                  [WORKERS=1..32] [SOAK_KERNEL=faults|ours|mainline|debug]
soak:
	@scripts/soak.sh

## make bench       what both merge engines cost: build/bench.json, build/bench.svg
##                  [RUNS=1..99] [CASES="NAME..."]
bench:
	@scripts/bench.sh full

## make bench-quick the same in 5 minutes: fewer cases, samples and pages
bench-quick:
	@scripts/bench.sh quick

## make fuzz        libFuzzer on the engine's data structures; what it kept and found
##                  is in build/fuzz [SECONDS=60]
fuzz:
	@FUZZ_SECONDS=$(or $(SECONDS),$(FUZZ_SECONDS),60) scripts/test.sh fuzz

## make profile     where a case of the bench spends instructions, by function
##                  [CASES="NAME..."] [MIB=8..1024] [ENGINE=ours|mainline]
profile:
	@scripts/profile.sh $(or $(CASES),scan_idle_unique)

## make bench-backend  what the QEMU backend costs a guest; in build/bench-backend.json
##                  [ROUNDS=10..10000] [PIECE=100..10000 (ms)] [ACCEL=tcg|kvm]
bench-backend:
	@scripts/bench-backend.sh

## make kernel      build the kernel with our engine, print where it is
kernel: setup
	@scripts/build.sh kernel ours

## make qemu        build QEMU with our backend, print where it is
qemu: setup
	@scripts/build.sh qemu

## make bench-host  an interactive shell in the bench host
bench-host: setup
	@scripts/bench-host.sh

## make setup       install the Debian packages that are missing
setup:
	@scripts/setup.sh

## make clean       remove build/ (the cache in ~/.cache/samepage stays)
clean:
	rm -rf build
