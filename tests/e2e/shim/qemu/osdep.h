/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stands in for QEMU's header where hw/ksm/ksm-host*.c is built outside it. */
#ifndef SAMEPAGE_SHIM_OSDEP_H
#define SAMEPAGE_SHIM_OSDEP_H

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>
#include <glib.h>

#ifndef HOST_LONG_BITS
#define HOST_LONG_BITS (__SIZEOF_LONG__ * 8)
#endif

#endif
